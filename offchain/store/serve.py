"""Serves a worker's blobs over HTTP, read-only: files whose name is that of a blob, and no others.

Whoever asks is a stranger, and some ask only so that others are not served. So connections are counted, in all and by
address; who says nothing, or takes too little, is let go; and where no place is free, the idlest one is made free.
"""

from __future__ import annotations

import os
import socket
import stat
import time
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from threading import Lock, Thread
from types import TracebackType
from typing import Any, BinaryIO, Final, Self

from offchain.errors import BadInput
from offchain.store.blobs import NAME

BLOCK: Final = 1 << 18  # bytes
LOOK: Final = 0.25  # seconds between two looks at who is too slow


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """Limits of a blob server.

    Attributes:
        clients: connections at a time.
        clients_per_address: of those, from one IPv4 address, or from one IPv6 network of 64 bits.
        head: seconds in which a request must have arrived, counted from the connection, or from the answer before it.
        silence: seconds for which a connection that has not asked yet may not be let go to make place.
        least_rate: bytes a second that a client must take, on average over a block of `BLOCK` bytes.
        grace: seconds for which an answer may not be cut short to make place for another client.
    """

    clients: int = 128
    clients_per_address: int = 8
    head: float = 10.0
    silence: float = 0.5
    least_rate: int = 16 << 10
    grace: float = 10.0


@dataclass(eq=False)
class _Client:
    """One connection."""

    request: socket.socket
    network: str
    since: float = field(default_factory=time.monotonic)  # it is idle, or is being answered
    answering: bool = False
    sent: int = 0  # bytes of the present answer

    def turn(self, answering: bool) -> None:
        self.answering, self.since, self.sent = answering, time.monotonic(), 0

    @property
    def rate(self) -> float:
        """Bytes a second of the present answer."""
        return self.sent / max(time.monotonic() - self.since, 1e-3)

    def drop(self) -> None:
        """Wakes its thread, which then ends."""
        with suppress(OSError):  # it has gone by itself
            self.request.shutdown(socket.SHUT_RDWR)


class _Clients:
    """Who is connected, and who has to go."""

    def __init__(self, options: ServeOptions) -> None:
        self._options = options
        self._lock = Lock()
        self._present: dict[socket.socket, _Client] = {}
        self._leaving: set[socket.socket] = set()

    def admit(self, request: socket.socket, address: str) -> bool:
        """Whether a new connection has a place, after another one was let go where that is necessary and right."""
        new = _Client(request, network_of(address))
        with self._lock:
            here = [client for key, client in self._present.items() if key not in self._leaving]
            neighbours = [client for client in here if client.network == new.network]
            full = len(neighbours) >= self._options.clients_per_address
            if full or len(here) >= self._options.clients:
                idlest = self._idlest(neighbours if full else here)
                # Those who leave still have threads: a flood must not make more of them than twice the places.
                if idlest is None or len(self._present) >= 2 * self._options.clients:
                    return False
                self._leave(idlest)
            self._present[request] = new
            return True

    def _idlest(self, clients: list[_Client]) -> _Client | None:
        """The one that has said nothing for longest; else the one that takes its answer most slowly, after a while.

        Who has only just come has had no time to say anything.
        """
        idle = [client for client in clients if not client.answering]
        oldest = min(idle, key=lambda client: client.since, default=None)
        if oldest is not None and oldest.since < time.monotonic() - self._options.silence:
            return oldest
        late = time.monotonic() - self._options.grace
        return min(
            (client for client in clients if client.answering and client.since < late),
            key=lambda client: client.rate,
            default=None,
        )

    def _leave(self, client: _Client) -> None:
        self._leaving.add(client.request)
        client.drop()

    def client(self, request: socket.socket) -> _Client:
        return self._present[request]

    def gone(self, request: socket.socket) -> None:
        with self._lock:
            self._present.pop(request, None)
            self._leaving.discard(request)

    def let_go(self) -> None:
        """Drop those whose request does not arrive."""
        late = time.monotonic() - self._options.head
        with self._lock:
            for request, client in self._present.items():
                if not client.answering and client.since < late and request not in self._leaving:
                    self._leave(client)


def network_of(address: str) -> str:
    """What one stranger has at least: an IPv4 address, or 64 bits of IPv6."""
    parsed = ip_address(address.partition("%")[0])
    if not isinstance(parsed, IPv6Address):
        return str(parsed)
    return str(parsed.ipv4_mapped or int(parsed) >> 64)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "offchain", ""
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.connection.settimeout(BLOCK / self.server.options.least_rate)  # for each block that is sent, as a whole
        self._client = self.server.clients.client(self.request)

    def do_GET(self) -> None:
        if (blob := self._start()) is not None:
            with blob:
                while block := blob.read(BLOCK):
                    self.wfile.write(block)
                    self._client.sent += len(block)

    def do_HEAD(self) -> None:
        if (blob := self._start()) is not None:
            blob.close()

    def parse_request(self) -> bool:
        sound = super().parse_request()
        self._client.turn(answering=True)  # the head is here
        return sound

    def handle_one_request(self) -> None:
        super().handle_one_request()
        self._client.turn(answering=False)

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
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], folder: Path, options: ServeOptions) -> None:
        self.folder, self.options, self.clients = folder, options, _Clients(options)
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self.clients.admit(request, client_address[0]):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:  # no thread could be started
            self.clients.gone(request)
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.clients.gone(request)

    def service_actions(self) -> None:
        self.clients.let_go()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log nothing when a client goes away."""


class BlobServer:
    """Serves blobs while the context is open.

    Args:
        folder: the folder of a BlobStore.
        host, port: where to listen; port 0 picks a free one.
    """

    def __init__(
        self, folder: Path, host: str = "127.0.0.1", port: int = 0, options: ServeOptions | None = None
    ) -> None:
        try:
            self._server = _Server((host, port), folder, options or ServeOptions())
        except (OSError, OverflowError) as error:
            why = getattr(error, "strerror", None) or error
            raise BadInput(f"cannot serve files at {host}:{port}: {why}; name another --listen HOST:PORT") from error
        self._thread = Thread(target=self._server.serve_forever, args=(LOOK,), name="blobs", daemon=True)

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

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
