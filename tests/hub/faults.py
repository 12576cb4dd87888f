"""What may go wrong on the way, as switches: each acts on chosen requests, so many times, and may be combined.

    hub.inject(faults.reset_mid_file(after=5000, paths="*.zip", times=2))

A fault acts on requests for content unless it says otherwise; `paths` and `repositories` are shell patterns, `skip`
lets so many matching requests pass first, and `times` of None means for ever. `hits` counts what it has acted on.
"""

import fnmatch
import gzip
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import TYPE_CHECKING

from .exchange import Exchange, Reply

if TYPE_CHECKING:
    from .huggingface import HuggingFaceHub

CONTENT = ("content",)
ANYTHING = ("info", "tree", "resolve", "content")

WRONG_EVERY = 97
"""Every so many-th byte of wrong content is wrong."""


def _nothing_before(_hub: "HuggingFaceHub", _exchange: Exchange) -> None:
    pass


def _nothing_after(_hub: "HuggingFaceHub", _exchange: Exchange, reply: Reply) -> Reply:
    return reply


@dataclass
class Fault:
    """Something that goes wrong: `before` the answer is made up, or with the answer (`after`)."""

    name: str
    before: Callable[["HuggingFaceHub", Exchange], None] = _nothing_before
    after: Callable[["HuggingFaceHub", Exchange, Reply], Reply] = _nothing_after
    subjects: Sequence[str] = CONTENT
    methods: Sequence[str] = ("GET",)
    paths: str = "*"
    repositories: str = "*"
    times: int | None = 1
    skip: int = 0
    hits: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def acts_on(self, exchange: Exchange) -> bool:
        """Say whether this request is hit, and count it."""
        if exchange.subject not in self.subjects or exchange.method not in self.methods:
            return False
        if not fnmatch.fnmatchcase(exchange.path, self.paths):
            return False
        if not fnmatch.fnmatchcase(exchange.repository, self.repositories):
            return False
        with self._lock:
            if self.skip > 0:
                self.skip -= 1
                return False
            if self.times is not None and self.hits >= self.times:
                return False
            self.hits += 1
            return True


def range_ignored(**where: object) -> Fault:
    """The whole file comes, with 200, whatever range was asked for."""

    def before(_hub: "HuggingFaceHub", exchange: Exchange) -> None:
        exchange.headers = {name: value for name, value in exchange.headers.items() if name != "range"}

    def after(_hub: "HuggingFaceHub", _exchange: Exchange, reply: Reply) -> Reply:
        reply.headers.pop("Accept-Ranges", None)
        return reply

    return Fault("range ignored", before, after, **where)


def range_not_satisfiable(**where: object) -> Fault:
    """A range that is all right is refused with 416; a request for the whole file is not."""

    def after(_hub: "HuggingFaceHub", _exchange: Exchange, reply: Reply) -> Reply:
        if reply.status != 206:
            return reply
        return Reply(416, {"Content-Range": f"bytes */{reply.body.size}"})

    return Fault("range not satisfiable", after=after, **where)


def short_body(after: int, **where: object) -> Fault:
    """The connection is closed in order after so many bytes of the body, of which more were announced."""

    def shorten(_hub: "HuggingFaceHub", _exchange: Exchange, reply: Reply) -> Reply:
        reply.cut_after = after
        return reply

    return Fault("short body", after=shorten, **where)


def reset_mid_file(after: int, **where: object) -> Fault:
    """The connection is torn down (RST) after so many bytes of the body."""

    def tear(_hub: "HuggingFaceHub", _exchange: Exchange, reply: Reply) -> Reply:
        reply.reset_after = after
        return reply

    return Fault("reset", after=tear, **where)


def stall(after: int = 0, **where: object) -> Fault:
    """The connection stays open, and no byte comes any more after so many of the body."""

    def hold(_hub: "HuggingFaceHub", _exchange: Exchange, reply: Reply) -> Reply:
        reply.stall_after = after
        return reply

    return Fault("stall", after=hold, **where)


def slow(bytes_per_second: float, **where: object) -> Fault:
    """The body comes, slowly."""

    def brake(_hub: "HuggingFaceHub", _exchange: Exchange, reply: Reply) -> Reply:
        reply.bytes_per_second = bytes_per_second
        return reply

    return Fault("slow", after=brake, **where)


def gzip_encoded(**where: object) -> Fault:
    """The body is compressed although nobody said that this is fine; the ranges are those of the compressed body."""

    def compress(_hub: "HuggingFaceHub", _exchange: Exchange, reply: Reply) -> Reply:
        if reply.status not in (200, 206):
            return reply
        headers = {**reply.headers, "Content-Encoding": "gzip"}
        headers.pop("Content-Range", None)
        packed = Reply(200, headers)
        packed.replace_body(gzip.compress(reply.body.read(0, reply.body.size), mtime=0))
        return packed

    return Fault("gzip", after=compress, **where)


def wrong_bytes(**where: object) -> Fault:
    """As many bytes as there should be, some of them others: the same ones whatever the range."""

    def change(piece: bytes, position: int) -> bytes:
        first = -position % WRONG_EVERY
        changed = bytearray(piece)
        changed[first::WRONG_EVERY] = bytes(byte ^ 0xFF for byte in changed[first::WRONG_EVERY])
        return bytes(changed)

    def spoil(_hub: "HuggingFaceHub", _exchange: Exchange, reply: Reply) -> Reply:
        if reply.status in (200, 206):
            reply.change = change
        return reply

    return Fault("wrong bytes", after=spoil, **where)


def other_etag(**where: object) -> Fault:
    """The storage calls the same file by another ETag, as if it had been put there anew."""

    def before(_hub: "HuggingFaceHub", exchange: Exchange) -> None:
        # No condition about the old name can hold.
        if "if-range" in exchange.headers:
            exchange.headers = {**exchange.headers, "if-range": '"gone"'}

    def rename(_hub: "HuggingFaceHub", _exchange: Exchange, reply: Reply) -> Reply:
        reply.headers["ETag"] = '"put-there-anew"'
        return reply

    return Fault("other etag", before, rename, **where)


def status(code: int, headers: dict[str, str] | None = None, **where: object) -> Fault:
    """The answer is a status and a sentence, whatever was asked."""

    def refuse(_hub: "HuggingFaceHub", _exchange: Exchange, _reply: Reply) -> Reply:
        reply = Reply(code, {"Content-Type": "text/plain; charset=utf-8", **(headers or {})})
        reply.replace_body(f"the local hub was told to answer {code}".encode())
        return reply

    return Fault(f"status {code}", after=refuse, **where)


def status_500(times: int | None = 3, **where: object) -> Fault:
    return status(500, times=times, **where)


def status_429(retry_after: int | str | None = None, **where: object) -> Fault:
    """Too many requests. `retry_after`: seconds; "date" for the same as a date, a second from now; none for no word."""
    fault = status(429, **where)
    refuse = fault.after

    def after(hub: "HuggingFaceHub", exchange: Exchange, reply: Reply) -> Reply:
        reply = refuse(hub, exchange, reply)
        if retry_after is not None:
            # Dates are in whole seconds: the next but one is at least a second away.
            said = formatdate(time.time() + 2, usegmt=True) if retry_after == "date" else str(retry_after)
            reply.headers["Retry-After"] = said
        return reply

    fault.after = after
    return fault


def redirect_loop(times: int | None = None, **where: object) -> Fault:
    """The hub sends whoever asks for a file to the same address, each time with another query."""
    hops = 0

    def turn(_hub: "HuggingFaceHub", exchange: Exchange, _reply: Reply) -> Reply:
        nonlocal hops
        hops += 1
        return Reply(302, {"Location": f"{exchange.target.partition('?')[0]}?hop={hops}"})

    return Fault("redirect loop", after=turn, times=times, **{"subjects": ("resolve",), **where})


def revision_moves(repository: str, commit: str, branch: str = "main", **where: object) -> Fault:
    """Somebody pushes: at this request the branch moves to another commit; the old one stays reachable."""

    def push(hub: "HuggingFaceHub", _exchange: Exchange) -> None:
        hub.repositories[repository].branches[branch] = commit

    return Fault("revision moves", push, **{"repositories": repository, **where})
