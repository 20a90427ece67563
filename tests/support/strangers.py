"""HTTP servers of strangers: each answers as a test says, and notes who asked for what."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Answer = Callable[[BaseHTTPRequestHandler], None]
CONTENT = bytes(range(256)) * 100


@dataclass
class Server:
    """Listens at every address of this machine; `url` has 127.0.0.1."""

    answer: Answer
    url: str = ""
    asked: list[str] = field(default_factory=list)

    def at(self, host: str) -> str:
        """Its URL with another host."""
        return self.url.replace("127.0.0.1", host)


@contextmanager
def listening(answer: Answer) -> Iterator[Server]:
    served = Server(answer)

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            """Says that it has everything."""
            self.send_response(200)
            self.end_headers()

        def do_GET(self) -> None:
            served.asked.append(self.path)
            served.answer(self)

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

        def handle_error(self, *args: object) -> None:
            pass  # a client has gone

    with Quiet(("", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        served.url = f"http://127.0.0.1:{server.server_port}"
        yield served
        server.shutdown()


def whole(handler: BaseHTTPRequestHandler, body: bytes = CONTENT) -> None:
    """A file as it should be."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def moved(*places: str) -> Answer:
    """Sends on to each of these in turn, then answers."""
    left = list(places)

    def answer(handler: BaseHTTPRequestHandler) -> None:
        if not left:
            return whole(handler)
        handler.send_response(302)
        handler.send_header("Location", left.pop(0))
        handler.end_headers()
        return None

    return answer


def trickle(handler: BaseHTTPRequestHandler, pause: float = 0.1, seconds: float = 4) -> None:
    """A byte now and then."""
    handler.send_response(200)
    handler.end_headers()
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        handler.wfile.write(b"x")
        handler.wfile.flush()
        time.sleep(pause)
