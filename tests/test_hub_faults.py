"""Everything that the local hub can be told to do wrong, seen by the plainest of clients."""

import contextlib
import email.utils
import gzip
import http.client
import socket
import threading
import time
from urllib.parse import urlsplit

import pytest
from hub import HuggingFaceHub, Repository, faults

CONTENT = bytes(range(251)) * 400
PATH = "/datasets/team/photos/resolve/"


@pytest.fixture
def hub():
    repository = Repository("team/photos")
    repository.commit({"a.zip": CONTENT, "b.zip": CONTENT[::-1], "notes.txt": b"one\n"})
    with HuggingFaceHub([repository]) as running:
        yield running


class Answer:
    """What came: status, headers in lower case, as much of the body as there was, and the error that ended it."""

    def __init__(self, hub, path="a.zip", timeout=10.0, subject="content", revision="main", **headers):
        self.body, self.error = b"", None
        address = urlsplit(f"{hub.url}{PATH}{revision}/{path}")
        if subject == "content":
            place = Answer(hub, path, subject="resolve", revision=revision).headers["location"]
            address = urlsplit(hub.url + place if place.startswith("/") else place)
        connection = http.client.HTTPConnection(address.hostname, address.port, timeout=timeout)
        try:
            connection.putrequest("GET", f"{address.path}?{address.query}", skip_accept_encoding=True)
            connection.putheader("Accept-Encoding", "identity")
            for name, value in headers.items():
                connection.putheader(name, value)
            connection.endheaders()
            answer = connection.getresponse()
            self.status = answer.status
            self.headers = {name.lower(): value for name, value in answer.getheaders()}
            while piece := answer.read1(1 << 16):
                self.body += piece
            if len(self.body) < int(self.headers.get("content-length", 0)):
                self.error = http.client.IncompleteRead(self.body)
        except OSError as error:
            self.error = error
        finally:
            connection.close()


def test_range_ignored(hub):
    hub.inject(faults.range_ignored())
    answer = Answer(hub, Range="bytes=5-9")
    assert (answer.status, answer.body) == (200, CONTENT)
    assert "accept-ranges" not in answer.headers
    assert Answer(hub, Range="bytes=5-9").body == CONTENT[5:10]


def test_range_not_satisfiable(hub):
    hub.inject(faults.range_not_satisfiable())
    answer = Answer(hub, Range="bytes=5-9")
    assert (answer.status, answer.headers["content-range"]) == (416, f"bytes */{len(CONTENT)}")
    assert Answer(hub, Range="bytes=5-9").status == 206


def test_short_body(hub):
    hub.inject(faults.short_body(after=1234))
    answer = Answer(hub)
    assert (answer.status, answer.headers["content-length"]) == (200, str(len(CONTENT)))
    assert answer.body == CONTENT[:1234]
    assert isinstance(answer.error, http.client.IncompleteRead)
    [cut] = hub.record(subject="content")
    assert (cut.sent, cut.complete) == (1234, False)
    assert Answer(hub).body == CONTENT


def test_a_short_range_is_cut_where_it_says(hub):
    hub.inject(faults.short_body(after=10))
    assert Answer(hub, Range="bytes=100-200").body == CONTENT[100:110]


def test_reset_mid_file(hub):
    hub.inject(faults.reset_mid_file(after=5000))
    answer = Answer(hub)
    assert answer.body == CONTENT[:5000]
    assert isinstance(answer.error, ConnectionResetError)
    assert Answer(hub).body == CONTENT


def test_a_reset_before_the_first_byte(hub):
    hub.inject(faults.reset_mid_file(after=0))
    answer = Answer(hub)
    assert answer.body == b""
    assert isinstance(answer.error, ConnectionResetError)


def test_gzip_encoded(hub):
    hub.inject(faults.gzip_encoded())
    answer = Answer(hub, Range="bytes=5-9")
    assert (answer.status, answer.headers["content-encoding"]) == (200, "gzip")
    assert gzip.decompress(answer.body) == CONTENT
    assert "content-encoding" not in Answer(hub).headers


def test_wrong_bytes_are_as_many_and_the_same_in_every_range(hub):
    hub.inject(faults.wrong_bytes(times=None))
    whole = Answer(hub).body
    assert len(whole) == len(CONTENT)
    wrong = [position for position, byte in enumerate(whole) if byte != CONTENT[position]]
    assert wrong == list(range(0, len(CONTENT), faults.WRONG_EVERY))
    for start, stop in ((0, 10), (96, 99), (97, 98), (50_000, 50_500)):
        assert Answer(hub, Range=f"bytes={start}-{stop - 1}").body == whole[start:stop]


def test_other_etag(hub):
    etag = Answer(hub).headers["etag"]
    hub.inject(faults.other_etag())
    answer = Answer(hub, **{"Range": "bytes=5-9", "If-Range": etag})
    assert (answer.status, answer.body) == (200, CONTENT)
    assert answer.headers["etag"] != etag
    assert Answer(hub, **{"Range": "bytes=5-9", "If-Range": etag}).status == 206


def test_status_500_so_many_times(hub):
    hub.inject(faults.status_500(times=3))
    assert [Answer(hub).status for _ in range(5)] == [500, 500, 500, 200, 200]


def test_status_429(hub):
    hub.inject(faults.status_429(), faults.status_429(7, skip=1), faults.status_429("date", skip=2))
    without, seconds, date, fine = (Answer(hub) for _ in range(4))
    assert [answer.status for answer in (without, seconds, date, fine)] == [429, 429, 429, 200]
    assert "retry-after" not in without.headers
    assert seconds.headers["retry-after"] == "7"
    when = email.utils.parsedate_to_datetime(date.headers["retry-after"]).timestamp()
    # Made in this test, so it cannot have been longer ago than the test is old; whether it has passed is no matter.
    assert abs(when - time.time()) < 60


def test_redirect_loop(hub):
    hub.inject(faults.redirect_loop(paths="b.zip"))
    assert Answer(hub, "a.zip").status == 200
    places = {Answer(hub, "b.zip", subject="resolve").headers["location"] for _ in range(20)}
    assert len(places) == 20
    assert {place.partition("?")[0] for place in places} == {f"{PATH}main/b.zip"}


def test_stall(hub):
    hub.inject(faults.stall(after=100, times=2))
    answer = Answer(hub, timeout=0.3)
    assert answer.body == CONTENT[:100]
    assert isinstance(answer.error, TimeoutError)


def test_a_stalled_connection_ends_with_the_server():
    repository = Repository("team/photos")
    repository.commit({"a.zip": CONTENT})
    with HuggingFaceHub([repository]) as hub:
        hub.inject(faults.stall())
        waiting = threading.Thread(target=Answer, args=(hub,))
        waiting.start()
        while not hub.record(subject="content"):
            time.sleep(0.01)
    waiting.join(timeout=5)
    assert not waiting.is_alive()
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", urlsplit(hub.url).port), timeout=1):
        pytest.fail("somebody still listens")


def test_slow(hub):
    hub.inject(faults.slow(bytes_per_second=len(CONTENT) / 0.4))
    begun = time.monotonic()
    assert Answer(hub).body == CONTENT
    assert time.monotonic() - begun >= 0.39


def test_revision_moves_at_the_request_that_was_named(hub):
    repository = hub.repositories["team/photos"]
    old = repository.branches["main"]
    new = repository.commit({"a.zip": b"another"}, advance=False)
    hub.inject(faults.revision_moves("team/photos", new, paths="a.zip"))
    assert Answer(hub, "a.zip").body == CONTENT
    assert repository.branches["main"] == new != old
    assert Answer(hub, "a.zip").body == b"another"
    assert Answer(hub, "a.zip", revision=old).body == CONTENT


def test_faults_choose_and_combine(hub):
    hub.inject(
        faults.status(503, subjects=("tree",)),
        faults.wrong_bytes(paths="b.*"),
        faults.short_body(after=50, paths="b.*"),
        faults.status(418, subjects=faults.ANYTHING, repositories="other/*", times=None),
    )
    assert Answer(hub, "a.zip").body == CONTENT
    answer = Answer(hub, "b.zip")
    assert (len(answer.body), answer.body[1:]) == (50, CONTENT[::-1][1:50])
    assert answer.body[0] != CONTENT[-1]
    assert Answer(hub, "notes.txt").body == b"one\n"
    assert [fault.hits for fault in hub.faults] == [0, 1, 1, 0]
