"""Whatever the network does: nothing is lost, doubled or missed, and what is there in the end is what always is."""

import gzip

import pytest
from hub import faults

# Heals by itself within one run: name, faults, all kinds of datasets.
PASSING = {
    "range ignored": lambda: [faults.range_ignored(times=None)],
    "range ignored now and then": lambda: [faults.range_ignored(times=8, skip=3)],
    "range not satisfiable once": lambda: [faults.range_not_satisfiable(skip=1)],
    "short body": lambda: [faults.short_body(after=20_000, times=4)],
    "empty body": lambda: [faults.short_body(after=0, times=3)],
    "reset": lambda: [faults.reset_mid_file(after=30_000, times=4)],
    "reset before the first byte": lambda: [faults.reset_mid_file(after=0, times=3)],
    "stall": lambda: [faults.stall(after=10_000, times=2)],
    "stall of a listing": lambda: [faults.stall(subjects=("tree",), times=1)],
    "too many requests, wait a second": lambda: [faults.status_429(1, times=2, subjects=("resolve",))],
    "too many requests, wait until": lambda: [faults.status_429("date", times=2, subjects=("tree",))],
    "too many requests, no word": lambda: [faults.status_429(times=3, subjects=faults.ANYTHING)],
    "server error three times": lambda: [faults.status_500(times=3, subjects=("info",))],
    "server errors everywhere": lambda: [
        faults.status_500(times=3, subjects=("tree",)),
        faults.status(503, times=3, subjects=("resolve",)),
        faults.status(502, times=3),
    ],
    "another etag": lambda: [faults.other_etag(times=3, skip=2), faults.short_body(after=20_000, times=3)],
    "slow": lambda: [faults.slow(bytes_per_second=4_000_000, times=None)],
    "all at once": lambda: [
        faults.slow(bytes_per_second=8_000_000, times=None),
        faults.short_body(after=50_000, times=3),
        faults.reset_mid_file(after=70_000, times=3, skip=5),
        faults.range_ignored(times=3, skip=8),
        faults.status_500(times=3, subjects=("resolve",), skip=2),
        faults.status_429(times=2, subjects=("tree",)),
    ],
}


@pytest.mark.parametrize("name", sorted(PASSING))
def test_what_passes_leaves_no_trace(hub, place, undisturbed, name):
    workplace = place()
    hub.inject(*PASSING[name]())
    runs = workplace.prepare_until_done("image")
    assert all(fault.hits for fault in hub.faults), hub.faults
    assert workplace.snapshot() == undisturbed()
    for dataset in workplace.datasets:
        workplace.check_dataset(dataset)
    workplace.check_index()
    assert runs == 1


# Lasts as long as the test wants: the run names it, and once it is over another run brings what is missing.
LASTING = {
    "range not satisfiable": (lambda: [faults.range_not_satisfiable(times=None)], ("parquet", "zip")),
    "short bodies": (lambda: [faults.short_body(after=1000, times=None)], ("zip", "tar.gz", "png")),
    "resets": (lambda: [faults.reset_mid_file(after=0, times=None)], ("parquet", "zip", "tar.gz", "png")),
    "stalls": (lambda: [faults.stall(times=None)], ("zip",)),
    "redirect loop": (lambda: [faults.redirect_loop()], ("parquet", "zip", "tar.gz", "png")),
    "server errors": (lambda: [faults.status_500(times=None)], ("parquet", "zip", "tar.gz", "png")),
    "wrong bytes": (lambda: [faults.wrong_bytes(times=None)], ("parquet", "zip", "tar.gz", "png")),
    "gzip": (lambda: [faults.gzip_encoded(times=None)], ("parquet", "zip", "tar.gz", "png")),
    "listings fail": (lambda: [faults.status_500(times=None, subjects=("tree",))], ("zip", "png")),
    "no hub": (lambda: [faults.status(503, times=None, subjects=faults.ANYTHING)], ("zip", "png")),
    "forbidden for a while": (lambda: [faults.status(403, times=None)], ("zip", "png")),
}
# A body that is decoded exactly is as good as one that was never encoded.
MAY_SUCCEED = ("gzip", "short bodies")


@pytest.mark.parametrize("name", sorted(LASTING))
def test_what_lasts_is_named_and_made_up_for_later(hub, place, undisturbed, name):
    make_faults, kinds = LASTING[name]
    workplace = place(*kinds)
    hub.inject(*make_faults())
    finished = workplace.prepare("--modality", "image", DFRESEARCH_NETWORK_ATTEMPTS="3")
    said = finished.stdout + finished.stderr
    assert all(fault.hits for fault in hub.faults)
    whole = set(undisturbed(*kinds).contents)
    arrived = workplace.snapshot().contents if (workplace.cache / "index.sqlite3").exists() else []
    assert len(arrived) == len(set(arrived))
    assert set(arrived) <= whole, "something was stored that nobody has published"
    if name in MAY_SUCCEED and set(arrived) == whole:
        return
    for dataset in workplace.datasets:
        if set(dataset.media) - set(arrived):
            assert dataset.name in said, "a dataset is not whole, and the run does not say so"
            assert dataset.name in workplace.unfinished()
            assert workplace.state_of(dataset).get("reason"), dataset.name
    # The command fails when it brought nothing at all.
    assert finished.returncode == 0 or not arrived
    hub.faults.clear()
    workplace.prepare_until_done("image")
    # A file that was passed over comes after the others when it comes later: the same samples, other numbers.
    assert workplace.snapshot().contents == undisturbed(*kinds).contents
    for dataset in workplace.datasets:
        workplace.check_dataset(dataset)
    workplace.check_index()


@pytest.mark.parametrize("kind", ["parquet", "zip", "tar.gz", "png"])
def test_wrong_bytes_are_fetched_again(hub, place, undisturbed, kind):
    workplace = place(kind)
    hub.inject(faults.wrong_bytes(times=1, skip=1))
    workplace.prepare_until_done("image")
    assert hub.faults[0].hits == 1
    assert workplace.snapshot().contents == undisturbed(kind).contents
    workplace.check_dataset(workplace.datasets[0])


def test_no_file_is_stored_encoded(hub, place):
    workplace = place("png")
    hub.inject(faults.gzip_encoded(times=5))
    workplace.prepare_until_done("image")
    for path in (workplace.cache / "datasets").rglob("*.*"):
        if path.is_file():
            assert not path.read_bytes().startswith(gzip.compress(b"")[:2]), path


@pytest.mark.parametrize("kind", ["parquet", "zip", "tar.gz", "png"])
def test_a_dataset_stays_at_the_revision_it_was_begun_at(hub, place, undisturbed, kind):
    workplace = place(kind)
    [dataset] = workplace.datasets
    repository = dataset.repository
    old = repository.branches["main"]
    files = {path: file.content.read(0, file.content.size) for path, file in repository.find(old).files.items()}
    replaced = {path: content[::-1] for path, content in files.items()}
    new = repository.commit({**replaced, "zzz/one-more.txt": b"new\n"}, "Replace everything", advance=False)
    hub.inject(
        faults.revision_moves(repository.name, new, skip=1),
        faults.reset_mid_file(after=20_000, times=2, skip=1),
    )
    assert workplace.prepare_until_done("image") == 1
    assert repository.branches["main"] == new
    assert {exchange.revision for exchange in hub.record(subject="content")} == {old}
    assert workplace.snapshot() == undisturbed(kind)
    assert workplace.state_of(dataset)["identity"]["revision"] == old


def test_an_interrupted_dataset_goes_on_at_the_revision_it_was_begun_at(hub, place, undisturbed):
    workplace = place("png")
    [dataset] = workplace.datasets
    repository = dataset.repository
    old = repository.branches["main"]
    hub.inject(faults.status_500(times=None, skip=10))
    workplace.prepare("--modality", "image", DFRESEARCH_NETWORK_ATTEMPTS="2")
    assert workplace.unfinished() == [dataset.name]
    some = workplace.snapshot()
    assert 0 < len(some.files) < len(undisturbed("png").files)
    files = {path: file.content.read(0, file.content.size) for path, file in repository.find(old).files.items()}
    repository.commit({path: content[::-1] for path, content in files.items()}, "Replace everything")
    hub.faults.clear()
    workplace.prepare_until_done("image")
    assert workplace.snapshot() == undisturbed("png")


def test_what_was_received_before_a_break_is_not_asked_for_again(hub, place):
    workplace = place("tar.gz")
    hub.inject(faults.reset_mid_file(after=700_000, times=1))
    assert workplace.prepare("--modality", "image").returncode == 0
    sizes = [
        file.content.size for path, file in workplace.datasets[0].repository.find("main").files.items() if "tar" in path
    ]
    # A block that was under way, and what was still in the sockets' buffers, may come twice.
    assert hub.record.sent(subject="content") < sum(sizes) + 700_000
    assert any(exchange.range and exchange.range[0] > 0 for exchange in hub.record(subject="content"))
