"""A blob server goes on serving others, whoever holds its connections."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from offchain.store.blobs import blob_name
from offchain.store.serve import BlobServer, ServeOptions, network_of

NAME = blob_name(bytes(range(32)), "state")
SMALL, LARGE = b"weights" * 1000, 64 << 20  # bytes; the large one is more than any socket's buffers take
LARGE_NAME = blob_name(bytes(32), "state")
OPTIONS = ServeOptions(clients=12, clients_per_address=4, head=3.0, grace=0.5, silence=0.3)
Connect = Callable[..., socket.socket]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / NAME).write_bytes(SMALL)
    with (tmp_path / LARGE_NAME).open("wb") as large:
        large.truncate(LARGE)
    return tmp_path


@pytest.fixture
def server(folder: Path) -> Iterator[BlobServer]:
    with BlobServer(folder, options=OPTIONS) as server:
        yield server


@pytest.fixture
def connect(server: BlobServer) -> Iterator[Connect]:
    """Connections from addresses of this machine, which are closed at the end."""
    with ExitStack() as stack:

        def made(source: str = "127.0.0.1", name: str | None = None) -> socket.socket:
            host, _, port = server.url.removeprefix("http://").partition(":")
            wire = stack.enter_context(socket.create_connection((host, int(port)), 5, (source, 0)))
            if name:
                wire.sendall(f"GET /{name} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            return wire

        yield made


def answer(wire: socket.socket, least: int = 15) -> bytes:
    """What is answered, at least so many bytes; less if the connection ends."""
    said = b""
    wire.settimeout(5)
    try:
        while len(said) < least and (part := wire.recv(1 << 16)):
            said += part
    except ConnectionResetError:
        pass
    return said


def served(connect: Connect, source: str, seconds: float = 0) -> bool:
    """Whether the file is served, at once or at another try within some seconds."""
    limit = time.monotonic() + seconds
    while SMALL not in answer(connect(source, NAME), len(SMALL) + 200):
        if time.monotonic() > limit:
            return False
        time.sleep(0.1)
    return True


def ended(wire: socket.socket, seconds: float = 5) -> bool:
    wire.settimeout(seconds)
    try:
        return wire.recv(1) == b""
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False


def test_idle_connections_of_one_address_do_not_keep_others_out(connect: Connect) -> None:
    for _ in range(40):
        connect("127.0.0.2")
    assert served(connect, "127.0.0.3", 10)


def test_nor_do_those_of_many_addresses(connect: Connect) -> None:
    for number in range(40):
        connect(f"127.0.1.{number + 1}")
    assert served(connect, "127.0.0.3", 10)


def test_who_has_too_many_loses_its_idlest(connect: Connect) -> None:
    first = connect("127.0.0.2")
    time.sleep(2 * OPTIONS.silence)
    rest = [connect("127.0.0.2") for _ in range(4)]
    assert ended(first)
    assert not ended(rest[-1], 0.2)


def test_a_request_that_does_not_arrive_in_time_is_dropped(connect: Connect) -> None:
    wire = connect("127.0.0.2")
    began = time.monotonic()
    with suppress(OSError):
        while time.monotonic() < began + 10:
            wire.sendall(b"G")  # a byte now and then: never silent, never done
            time.sleep(0.1)
    assert OPTIONS.head <= time.monotonic() - began < OPTIONS.head + 3


def test_a_connection_that_asks_nothing_more_is_dropped(connect: Connect) -> None:
    wire = connect("127.0.0.2", NAME)
    assert SMALL in answer(wire, len(SMALL) + 200)
    assert ended(wire, OPTIONS.head + 3)


def test_who_takes_nothing_makes_place_for_others(connect: Connect) -> None:
    """All places are taken by clients that asked for a large file and read nothing of it."""
    silent = [connect(f"127.0.1.{number + 1}", LARGE_NAME) for number in range(OPTIONS.clients)]
    assert all(answer(wire).startswith(b"HTTP/1.1 200") for wire in silent)
    assert served(connect, "127.0.0.3", 10)


def test_who_takes_its_file_keeps_its_place(connect: Connect) -> None:
    """The slowest one goes, not one that reads."""
    for number in range(OPTIONS.clients - 1):
        connect(f"127.0.1.{number + 1}", LARGE_NAME)
    reader = connect("127.0.0.2", LARGE_NAME)
    got = [0]

    def read() -> None:
        while part := reader.recv(1 << 16):
            got[0] += len(part)
            time.sleep(0.001)
            if got[0] >= LARGE:
                return

    thread = threading.Thread(target=read)
    thread.start()
    assert served(connect, "127.0.0.3", 10)
    thread.join(20)
    assert got[0] >= LARGE


def test_who_takes_too_little_is_dropped(folder: Path) -> None:
    """A block of 256 KiB must be taken within a second."""
    with BlobServer(folder, options=ServeOptions(least_rate=1 << 18)) as server:
        host, _, port = server.url.removeprefix("http://").partition(":")
        with socket.create_connection((host, int(port))) as wire:
            wire.sendall(f"GET /{LARGE_NAME} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            time.sleep(3)
            assert len(answer(wire, LARGE)) < LARGE


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8::ffff:1:2:3", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("fe80::1%eth0", "fe80::2", True),
    ],
)
def test_one_stranger_has_one_network(one: str, other: str, same: bool) -> None:
    assert (network_of(one) == network_of(other)) is same
