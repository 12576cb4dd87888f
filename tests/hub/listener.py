"""A server on the loopback address: it reads requests, asks for the answer, and sends it with its faults."""

import contextlib
import select
import socket
import struct
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from .exchange import Exchange, Record, Reply

ADDRESS = "127.0.0.1"

WRITE_BYTES = 64 * 1024

# How often a stalled answer looks whether anybody still waits for it.
WATCH_SECONDS = 0.05

BODILESS = (204, 304)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is what many a test is about."""


class Listener:
    """Serves until it is closed; `answer` turns an exchange into a reply, and every exchange is recorded.

    `name` is how clients should address this machine: with one name for the hub and another one for the storage, they
    are two hosts to whoever compares host names, with or without the port.
    """

    def __init__(self, host: str, answer: Callable[[Exchange], Reply], record: Record, name: str = ADDRESS) -> None:
        self.stopping = threading.Event()
        listener = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # Nagle's algorithm and delayed acknowledgements would add 40 ms to every answer.
            disable_nagle_algorithm = True

            def handle_one(self) -> None:
                headers = {name.lower(): value for name, value in self.headers.items()}
                exchange = Exchange(host, self.command, self.path, headers)
                record.add(exchange)
                reply = answer(exchange)
                exchange.status = reply.status
                listener._send(self, exchange, reply)

            do_GET = do_HEAD = handle_one  # noqa: N815 -- the names that the base class looks for

            def log_message(self, *_arguments: object) -> None:
                pass

        self._server = _Server((ADDRESS, 0), Handler)
        self.url = f"http://{name}:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _send(self, handler: BaseHTTPRequestHandler, exchange: Exchange, reply: Reply) -> None:
        length = reply.stop - reply.start
        handler.send_response(reply.status)
        for name, value in reply.headers.items():
            handler.send_header(name, value)
        if reply.status not in BODILESS:
            handler.send_header("Content-Length", str(length))
        handler.end_headers()
        if exchange.method == "HEAD" or reply.status in BODILESS:
            exchange.complete = True
            return
        ends = [end for end in (reply.cut_after, reply.reset_after, reply.stall_after) if end is not None]
        allowed = min([length, *ends])
        self._send_body(handler, exchange, reply, allowed)
        if reply.reset_after is not None and exchange.sent >= reply.reset_after:
            self._reset(handler)
        elif reply.stall_after is not None and exchange.sent >= reply.stall_after:
            self._stall(handler.connection)
            handler.close_connection = True
        elif allowed < length:
            handler.close_connection = True
        else:
            exchange.complete = True

    def _send_body(self, handler: BaseHTTPRequestHandler, exchange: Exchange, reply: Reply, allowed: int) -> None:
        step = WRITE_BYTES
        if reply.bytes_per_second is not None:
            step = max(1, min(WRITE_BYTES, int(reply.bytes_per_second / 50)))
        position, end = reply.start, reply.start + allowed
        while position < end and not self.stopping.is_set():
            piece = reply.body.read(position, min(position + step, end))
            if reply.bytes_per_second is not None:
                time.sleep(len(piece) / reply.bytes_per_second)
            handler.wfile.write(piece if reply.change is None else reply.change(piece, position))
            position += len(piece)
            exchange.sent += len(piece)

    def _stall(self, connection: socket.socket) -> None:
        """Keep the connection open until the client closes it, or the server is closed."""
        while not self.stopping.wait(WATCH_SECONDS):
            readable, _, _ = select.select([connection], [], [], 0)
            with contextlib.suppress(OSError):
                if readable and not connection.recv(1, socket.MSG_PEEK):
                    return

    @staticmethod
    def _reset(handler: BaseHTTPRequestHandler) -> None:
        """Close the connection without waiting for what is under way: the client sees a reset."""
        handler.close_connection = True
        # What is still in the send buffer would be thrown away by the reset; tests count on the bytes before it.
        time.sleep(WATCH_SECONDS)
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # `socketserver` would shut the connection down in order before it closes it.
        handler.connection.close()
