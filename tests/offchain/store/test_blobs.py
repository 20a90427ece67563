"""Blobs: a fetched file gets its name only after it was checked, and only blobs are served."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
import requests

from offchain.errors import BadBlob, BadInput, Unreachable
from offchain.store.blobs import BlobStore, blob_name
from offchain.store.fetch import FetchOptions
from offchain.store.serve import BlobServer

ROOT = bytes(range(32))
NAME = blob_name(ROOT, "state")
CONTENT = b"weights" * 1000
QUICK = FetchOptions(timeout=5, answer=1, window=1, private=True)


def write(path: Path) -> None:
    path.write_bytes(CONTENT)


def check(path: Path) -> None:
    if path.read_bytes() != CONTENT:
        raise BadBlob("not what the root says")


def files(store: BlobStore) -> list[str]:
    return sorted(path.name for path in store.folder.iterdir())


@pytest.fixture
def ours(tmp_path: Path) -> Iterator[BlobStore]:
    """A store that is served."""
    folder = tmp_path / "ours"
    folder.mkdir()
    with BlobServer(folder) as server:
        yield BlobStore(folder, base=server.url)


@pytest.fixture
def theirs(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "theirs", options=QUICK)


def test_published_blob_is_fetched(ours: BlobStore, theirs: BlobStore) -> None:
    uri = ours.publish(NAME, write)
    assert uri == f"{ours.base}/{NAME}"
    assert theirs.fetch(uri, NAME, check).read_bytes() == CONTENT
    assert files(theirs) == files(ours) == [NAME]


def test_published_once_is_not_written_again(ours: BlobStore) -> None:
    ours.publish(NAME, write)
    ours.publish(NAME, lambda path: pytest.fail("written again"))


def test_failed_publish_leaves_nothing(ours: BlobStore) -> None:
    def fail(path: Path) -> None:
        path.write_bytes(b"half")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        ours.publish(NAME, fail)
    assert files(ours) == []


def test_altered_blob_is_refused_and_not_kept(ours: BlobStore, theirs: BlobStore) -> None:
    uri = ours.publish(NAME, lambda path: path.write_bytes(CONTENT[:-1] + b"!"))
    with pytest.raises(BadBlob, match="not what the root says"):
        theirs.fetch(uri, NAME, check)
    assert files(theirs) == []


def test_oversized_blob_is_refused_and_not_kept(ours: BlobStore, theirs: BlobStore) -> None:
    uri = ours.publish(NAME, write)
    with pytest.raises(BadBlob, match="larger than"):
        theirs.fetch(uri, NAME, check, max_bytes=len(CONTENT) - 1)
    assert files(theirs) == []
    theirs.fetch(uri, NAME, check, max_bytes=len(CONTENT))


def test_missing_blob_is_unreachable(ours: BlobStore, theirs: BlobStore) -> None:
    with pytest.raises(Unreachable):
        theirs.fetch(ours.uri(NAME), NAME, check)
    assert files(theirs) == []


def test_dead_server_is_unreachable(theirs: BlobStore) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(Unreachable):
        theirs.fetch(f"http://127.0.0.1:{port}/{NAME}", NAME, check)


class Stranger(BaseHTTPRequestHandler):
    """Answers with whatever the test sets."""

    status: ClassVar[int] = 200
    headers_out: ClassVar[dict[str, str]] = {}
    body: ClassVar[bytes] = b""
    stall: ClassVar[float] = 0

    def do_HEAD(self) -> None:
        self.send_response(self.status)
        for key, value in self.headers_out.items():
            self.send_header(key, value)
        self.end_headers()

    def do_GET(self) -> None:
        self.do_HEAD()
        self.wfile.write(self.body)
        self.wfile.flush()
        threading.Event().wait(self.stall)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def stranger() -> Iterator[tuple[type[Stranger], str]]:
    handler = type("Handler", (Stranger,), {})
    server = HTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield handler, f"http://127.0.0.1:{server.server_port}/x"
    server.shutdown()
    server.server_close()


def test_endless_body_is_cut_off(theirs: BlobStore, stranger: tuple[type[Stranger], str]) -> None:
    handler, uri = stranger
    handler.body = bytes(1 << 22)
    with pytest.raises(BadBlob, match="larger than"):
        theirs.fetch(uri, NAME, check, max_bytes=1 << 16)


def test_stalling_server_is_given_up(theirs: BlobStore, stranger: tuple[type[Stranger], str]) -> None:
    handler, uri = stranger
    handler.headers_out, handler.body, handler.stall = {"Content-Length": "7000"}, b"half", 3
    with pytest.raises(Unreachable):
        theirs.fetch(uri, NAME, check)
    assert files(theirs) == []


def test_trickling_server_is_given_up(theirs: BlobStore, stranger: tuple[type[Stranger], str]) -> None:
    """A server that sends a byte now and then is never idle, but the time limit for the whole fetch still ends it."""
    handler, uri = stranger

    def trickle(self: Stranger) -> None:
        self.do_HEAD()
        for _ in range(20):
            self.wfile.write(b"x")
            self.wfile.flush()
            threading.Event().wait(0.2)

    handler.do_GET, handler.headers_out = trickle, {"Content-Length": "7000"}  # type: ignore[method-assign]
    began = time.monotonic()
    with pytest.raises(Unreachable):
        theirs.fetch(uri, NAME, check, timeout=1)
    assert time.monotonic() < began + 3
    assert files(theirs) == []


def test_redirect_to_a_file_is_not_followed(
    theirs: BlobStore, stranger: tuple[type[Stranger], str], tmp_path: Path
) -> None:
    handler, uri = stranger
    (tmp_path / "x").write_bytes(CONTENT)
    handler.status, handler.headers_out = 302, {"Location": f"file://{tmp_path}/x"}
    with pytest.raises(BadBlob, match="not an address"):
        theirs.fetch(uri, NAME, check)


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "relative/path",
        "file:///etc/passwd",
        "ssh://host/x",
        "simplecache::http://host/x",
        "http://host/\n",
        "http://[",
        "http://host/" + "x" * 5000,
    ],
)
def test_address_that_may_not_be_followed_is_refused(theirs: BlobStore, uri: str) -> None:
    with pytest.raises(BadBlob, match="not an address"):
        theirs.fetch(uri, NAME, check)


def test_file_is_fetched_where_allowed(tmp_path: Path) -> None:
    source = BlobStore(tmp_path / "a b")
    uri = source.publish(NAME, write)
    store = BlobStore(tmp_path / "other", options=replace(QUICK, schemes=frozenset({"file"})))
    assert store.fetch(uri, NAME, check).read_bytes() == CONTENT


def test_special_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    store = BlobStore(tmp_path / "store", options=replace(QUICK, schemes=frozenset({"file"})))
    with pytest.raises(BadBlob, match="not a plain file"):
        store.fetch(f"file://{tmp_path}/pipe", NAME, check)


@pytest.mark.parametrize("name", ["", "x", "../secret", f"{NAME}/..", NAME.upper(), f"{NAME}\n", f"a/{NAME}"])
def test_other_names_are_refused(ours: BlobStore, name: str) -> None:
    with pytest.raises(ValueError, match="not a blob name"):
        ours.path(name)


def request(base: str, target: str) -> bytes:
    """The answer to a GET whose target is sent unchanged."""
    host, port = base.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as wire:
        wire.sendall(f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        answer = b""
        while part := wire.recv(65536):
            answer += part
    return answer


def test_served_blob(ours: BlobStore) -> None:
    uri = ours.publish(NAME, write)
    assert requests.get(uri, timeout=5).content == CONTENT
    head = requests.head(uri, timeout=5)
    assert (head.content, head.headers["Content-Length"]) == (b"", str(len(CONTENT)))


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "//",
        "/.",
        "/../secret",
        "/%2e%2e/secret",
        f"/../ours/{NAME}",
        f"/%2e%2e/ours/{NAME}",
        f"/{NAME}/",
        f"/{NAME}?x",
        f"/./{NAME}",
        "/notes.txt",
        f"/{NAME}.1.partial",
        "/" + "1" * 64 + ".link",
        "/" + "2" * 64 + ".folder",
    ],
)
def test_nothing_else_is_served(ours: BlobStore, target: str) -> None:
    ours.publish(NAME, write)
    secret = b"the key of the account"
    (ours.folder.parent / "secret").write_bytes(secret)
    for name in ("notes.txt", f"{NAME}.1.partial"):
        (ours.folder / name).write_bytes(secret)
    (ours.folder / ("1" * 64 + ".link")).symlink_to(ours.folder.parent / "secret")
    (ours.folder / ("2" * 64 + ".folder")).mkdir()
    answer = request(str(ours.base), target)
    assert answer.startswith(b"HTTP/1.1 404")
    assert secret not in answer
    assert NAME.encode() not in answer


def test_writing_is_refused(ours: BlobStore) -> None:
    answer = requests.put(ours.uri(NAME), data=CONTENT, timeout=5)
    assert answer.status_code == 501
    assert files(ours) == []


def test_port_in_use_is_refused(ours: BlobStore) -> None:
    with pytest.raises(BadInput, match="cannot serve"):
        BlobServer(ours.folder, port=int(str(ours.base).rsplit(":", 1)[1]))
