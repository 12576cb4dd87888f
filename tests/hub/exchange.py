"""What a client asked a local server for and what it got, and the answer before it is sent."""

import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from .repository import Content

RANGE = re.compile(r"bytes=(\d*)-(\d*)")


@dataclass
class Exchange:
    """A request and what came of it. `subject` is what it is about: info, tree, resolve or content.

    `host` is the server that was asked, "hub" or "storage". Names of headers are in lower case. `sent` counts the bytes
    of the body that went out, and `range` is what the client asked for, `(start, stop)`, as far as it was a range.
    """

    host: str
    method: str
    target: str
    headers: Mapping[str, str]
    subject: str = ""
    repository: str = ""
    revision: str = ""
    path: str = ""
    range: tuple[int, int] | None = None
    status: int = 0
    sent: int = 0
    complete: bool = False

    @property
    def token(self) -> str | None:
        scheme, _, token = self.headers.get("authorization", "").partition(" ")
        return token if scheme.lower() == "bearer" and token else None


@dataclass
class Reply:
    """An answer that faults may still change.

    `cut_after`, `reset_after` and `stall_after` are numbers of bytes of the body after which the connection is closed
    in order, torn down, or kept open without another byte.
    """

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: Content = field(default_factory=lambda: Content(b""))
    start: int = 0
    stop: int | None = None
    cut_after: int | None = None
    reset_after: int | None = None
    stall_after: int | None = None
    bytes_per_second: float | None = None
    change: Callable[[bytes, int], bytes] | None = None

    def __post_init__(self) -> None:
        if self.stop is None:
            self.stop = self.body.size

    def replace_body(self, body: bytes) -> None:
        self.body, self.start, self.stop = Content(body), 0, len(body)


class Record:
    """Every exchange of a server, in the order in which the requests came."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._exchanges: list[Exchange] = []

    def add(self, exchange: Exchange) -> None:
        with self._lock:
            self._exchanges.append(exchange)

    def clear(self) -> None:
        with self._lock:
            self._exchanges.clear()

    def __call__(self, **wanted: object) -> list[Exchange]:
        """Return the exchanges whose attributes are as `wanted` says."""
        with self._lock:
            known = list(self._exchanges)
        return [one for one in known if all(getattr(one, name) == value for name, value in wanted.items())]

    def sent(self, **wanted: object) -> int:
        """Return the number of bytes of the bodies that went out."""
        return sum(one.sent for one in self(**wanted))


def parse_range(header: str | None, size: int) -> tuple[int, int] | None:
    """Return `(start, stop)` of a single range of bytes; none for anything else, which a server may ignore.

    A range that begins at the end or after it comes back as it is, for the caller to refuse.
    """
    found = RANGE.fullmatch(header or "")
    if not found or not any(found.groups()):
        return None
    first, last = found.groups()
    if not first:
        return max(size - int(last), 0), size
    if last and int(last) < int(first):
        return None
    return int(first), min(int(last) + 1, size) if last else size


def content_reply(exchange: Exchange, body: Content, etag: str, headers: Mapping[str, str]) -> Reply:
    """Serve a file as RFC 9110 asks for: whole, or the range if `If-Range` names this very file."""
    quoted = f'"{etag}"'
    said = {**headers, "ETag": quoted, "Accept-Ranges": "bytes", "Content-Type": "application/octet-stream"}
    if exchange.headers.get("if-none-match") == quoted:
        return Reply(304, said)
    exchange.range = parse_range(exchange.headers.get("range"), body.size)
    if exchange.range is None or exchange.headers.get("if-range", quoted) != quoted:
        return Reply(200, said, body)
    start, stop = exchange.range
    if start >= body.size:
        return Reply(416, {**said, "Content-Range": f"bytes */{body.size}"})
    return Reply(206, {**said, "Content-Range": f"bytes {start}-{stop - 1}/{body.size}"}, body, start, stop)
