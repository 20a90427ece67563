"""Serves a worker's blobs over HTTP, read-only: files whose name is that of a blob, and no others."""

from __future__ import annotations

import os
import shutil
import socket
import stat
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import BoundedSemaphore, Thread
from types import TracebackType
from typing import Any, BinaryIO, Final, Self

from offchain.errors import BadInput
from offchain.store.blobs import NAME

MAX_CLIENTS: Final = 32
IDLE: Final = 30.0  # seconds after which a silent client is dropped


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "offchain", ""
    timeout = IDLE
    server: _Server

    def do_GET(self) -> None:
        if (blob := self._start()) is not None:
            with blob:
                shutil.copyfileobj(blob, self.wfile, 1 << 20)

    def do_HEAD(self) -> None:
        if (blob := self._start()) is not None:
            blob.close()

    def _start(self) -> BinaryIO | None:
        """Send the head of the answer. Returns the open blob, or None if there is none."""
        blob = self._blob()
        if blob is None:
            self.send_error(HTTPStatus.NOT_FOUND)
            return None
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(os.fstat(blob.fileno()).st_size))
        self.send_header("Cache-Control", "public, max-age=31536000, immutable")
        self.end_headers()
        return blob

    def _blob(self) -> BinaryIO | None:
        name = self.path.removeprefix("/")
        if not NAME.fullmatch(name):  # the pattern admits no slash, no dot-dot and no escapes
            return None
        try:
            handle = os.open(self.server.folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            return None
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            return None
        return os.fdopen(handle, "rb")

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: the requests of strangers do not concern the operator."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # a slow client must not delay the end of the worker

    def __init__(self, address: tuple[str, int], folder: Path) -> None:
        self.folder = folder
        self._places = BoundedSemaphore(MAX_CLIENTS)
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._places.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log nothing when a client goes away."""


class BlobServer:
    """Serves blobs while the context is open.

    Args:
        folder: the folder of a BlobStore.
        host, port: where to listen; port 0 picks a free one.
    """

    def __init__(self, folder: Path, host: str = "127.0.0.1", port: int = 0) -> None:
        try:
            self._server = _Server((host, port), folder)
        except (OSError, OverflowError) as error:
            raise BadInput(f"cannot serve blobs at {host}:{port}: {error}") from error
        self._thread = Thread(target=self._server.serve_forever, name="blobs", daemon=True)

    @property
    def url(self) -> str:
        """The address it listens at; behind a proxy or an address translation, others need another one."""
        host, port = self._server.server_address[:2]
        name = host.decode() if isinstance(host, bytes | bytearray) else str(host)
        return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
