"""A fetch stays within its limits, whatever the server does, and reaches no address that it may not."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import fsspec
import fsspec.implementations.memory
import pytest

from offchain.errors import BadBlob, NoRoom, Unreachable
from offchain.store import fetch as module
from offchain.store.addresses import WEB, Forbidden
from offchain.store.fetch import FetchOptions, fetch
from tests.support.strangers import CONTENT, Server, listening, moved, trickle, whole

OPTIONS = FetchOptions(timeout=5, answer=1, window=0.5, least_rate=1 << 10, private=True, reserve=0)


@pytest.fixture
def server() -> Iterator[Server]:
    with listening(whole) as served:
        yield served


def fetched(uri: str, folder: Path, limit: int = 1 << 20, timeout: float = 5, **changes: Any) -> bytes:
    target = folder / "target"
    fetch(uri, target, replace(OPTIONS, **changes), limit, timeout)
    return target.read_bytes()


def test_a_file_is_fetched(server: Server, tmp_path: Path) -> None:
    assert fetched(server.url + "/x", tmp_path) == CONTENT


# --- inside the network


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "localhost", "2130706433", "0x7f000001", "127.1", "0"])
def test_no_address_of_this_machine_is_asked(server: Server, tmp_path: Path, host: str) -> None:
    with pytest.raises((Forbidden, Unreachable)):
        fetched(server.at(host), tmp_path, private=False)
    assert server.asked == []


@pytest.mark.parametrize("host", ["[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]"])
def test_nor_one_of_the_new_form(tmp_path: Path, host: str) -> None:
    with socket.create_server(("", 0)) as listening:
        listening.settimeout(0.2)
        with pytest.raises(Forbidden, match="inside"):
            fetched(f"http://{host}:{listening.getsockname()[1]}/x", tmp_path, private=False)
        with pytest.raises(TimeoutError):
            listening.accept()


def names(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> list[str]:
    """A name server that answers each question with the next of `answers`, then with the last one again."""
    left, asked = list(answers), list[str]()

    def getaddrinfo(host: str, port: int, *args: Any, **kwargs: Any) -> list[Any]:
        asked.append(host)
        found = left.pop(0) if len(left) > 1 else left[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in found]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return asked


def test_a_name_that_leads_inside_is_not_followed(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names(monkeypatch, ["127.0.0.1"])
    with pytest.raises(Forbidden, match=r"127\.0\.0\.1 lies inside"):
        fetched(server.at("cdn.example"), tmp_path, private=False)
    assert server.asked == []


def test_a_name_is_asked_for_once_and_what_it_answered_is_what_is_connected_to(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rebinding: the first answer is a public address, the next one leads inside."""
    asked = names(monkeypatch, ["127.0.0.2"], ["127.0.0.1"])
    monkeypatch.setattr(module, "is_public", lambda host: host == "127.0.0.2")
    assert fetched(server.at("cdn.example"), tmp_path, private=False) == CONTENT
    assert asked == ["cdn.example"]
    with pytest.raises(Forbidden):
        fetch(server.at("cdn.example"), tmp_path / "again", replace(OPTIONS, private=False), 1 << 20, 5)


def test_a_name_with_an_address_inside_among_others_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "is_public", lambda host: host == "127.0.0.2")
    with socket.create_server(("127.0.0.1", 0)) as listening:  # and nobody listens at 127.0.0.2
        names(monkeypatch, ["127.0.0.2", "127.0.0.1"])
        with pytest.raises(Forbidden):
            fetched(f"http://cdn.example:{listening.getsockname()[1]}", tmp_path, private=False)


def test_redirects_are_followed_a_few_times(server: Server, tmp_path: Path) -> None:
    server.answer = moved("/a", server.at("127.0.0.3") + "/b", "//127.0.0.1:" + server.url.rpartition(":")[2] + "/c")
    assert fetched(server.url, tmp_path) == CONTENT
    assert server.asked == ["/", "/a", "/b", "/c"]


def test_a_circle_of_redirects_is_left(server: Server, tmp_path: Path) -> None:
    server.answer = moved(*["/round"] * 10)
    with pytest.raises(BadBlob, match="sends on more than 3 times"):
        fetched(server.url, tmp_path)
    assert len(server.asked) == 4


@pytest.mark.parametrize("private", [False, True], ids=["private forbidden", "private allowed"])
def test_no_redirect_leads_from_outside_to_inside(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, private: bool
) -> None:
    """Not even where private addresses may be asked: a server outside must not choose one."""
    monkeypatch.setattr(module, "is_public", lambda host: host == "127.0.0.2")
    server.answer = moved(server.url + "/secret")
    with pytest.raises(Forbidden, match="inside"):
        fetched(server.at("127.0.0.2"), tmp_path, private=private)
    assert server.asked == ["/"]


@pytest.mark.parametrize(
    "place", ["file:///etc/passwd", "ftp://host/x", "http://user:x@host/", "simplecache::http://h"]
)
def test_no_redirect_leads_to_another_kind_of_address(server: Server, tmp_path: Path, place: str) -> None:
    server.answer = moved(place)
    with pytest.raises((Forbidden, Unreachable)):
        fetched(server.url, tmp_path, schemes=WEB | {"file"})


def test_a_proxy_of_the_environment_is_not_asked(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would make the connection in place of the worker, to wherever it likes."""
    monkeypatch.setenv("http_proxy", server.url)
    names(monkeypatch, ["127.0.0.1"])
    with pytest.raises(Forbidden):
        fetched("http://cdn.example/x", tmp_path, private=False)
    assert server.asked == []


# --- time and bytes


def took(call: Callable[[], object]) -> float:
    began = time.monotonic()
    with pytest.raises(Unreachable):
        call()
    return time.monotonic() - began


def test_a_trickle_is_given_up_after_a_window(server: Server, tmp_path: Path) -> None:
    server.answer = trickle
    assert took(lambda: fetched(server.url, tmp_path)) < 2
    server.answer = lambda handler: trickle(handler, pause=10)
    (tmp_path / "target").unlink()
    assert took(lambda: fetched(server.url, tmp_path)) < 2


def test_who_sends_fast_enough_is_not(server: Server, tmp_path: Path) -> None:
    def steady(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        for _ in range(10):
            handler.wfile.write(bytes(1 << 10))
            handler.wfile.flush()
            time.sleep(0.15)

    server.answer = steady
    assert len(fetched(server.url, tmp_path, least_rate=1 << 9)) == 10 << 10


def test_an_answer_that_does_not_begin_is_given_up(server: Server, tmp_path: Path) -> None:
    def slow_head(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
        for number in range(40):
            handler.wfile.write(f"X-{number}: y\r\n".encode())
            handler.wfile.flush()
            time.sleep(0.1)

    server.answer = slow_head
    assert took(lambda: fetched(server.url, tmp_path)) < 2.5


def test_the_time_of_the_caller_ends_it_too(server: Server, tmp_path: Path) -> None:
    server.answer = trickle
    assert took(lambda: fetched(server.url, tmp_path, timeout=0.7, least_rate=1)) < 1.5


def test_a_file_is_too_large_by_its_own_word(server: Server, tmp_path: Path) -> None:
    with pytest.raises(BadBlob, match="larger than the 1,000 bytes"):
        fetched(server.url, tmp_path, limit=1000)
    assert (tmp_path / "target").stat().st_size == 0


def test_half_a_file_is_none(server: Server, tmp_path: Path) -> None:
    def half(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        handler.wfile.write(b"x" * 500)

    server.answer = half
    with pytest.raises(Unreachable):
        fetched(server.url, tmp_path)


def test_a_disk_without_room_is_no_fault_of_the_file(server: Server, tmp_path: Path) -> None:
    with pytest.raises(NoRoom, match="no room"):
        fetched(server.url, tmp_path, reserve=1 << 62)


def test_a_compressed_answer_is_not_unpacked(server: Server, tmp_path: Path) -> None:
    def bomb(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Encoding", "gzip")
        handler.end_headers()
        handler.wfile.write(b"\x1f\x8bnot gzip at all")

    server.answer = bomb
    assert fetched(server.url, tmp_path).startswith(b"\x1f\x8b")


# --- what an operator allowed beside the web


class Hanging(fsspec.AbstractFileSystem):  # type: ignore[misc]
    protocol = "hanging"

    def _open(self, path: str, **more: Any) -> Any:
        time.sleep(30)


def test_a_file_system_that_hangs_is_left_to_itself(tmp_path: Path) -> None:
    fsspec.register_implementation("hanging", Hanging, clobber=True)
    assert took(lambda: fetched("hanging://x", tmp_path, schemes=frozenset({"hanging"}))) < 2


def test_files_of_an_allowed_file_system_are_fetched(tmp_path: Path) -> None:
    class Plain(fsspec.implementations.memory.MemoryFileSystem):  # type: ignore[misc, name-defined]
        protocol = "plain"

    fsspec.register_implementation("plain", Plain, clobber=True)
    with fsspec.open("plain://a/b", "wb") as out:
        out.write(CONTENT)
    allowed = frozenset({"plain"})
    assert fetched("plain://a/b", tmp_path, schemes=allowed) == CONTENT
    (tmp_path / "target").unlink()
    with pytest.raises(BadBlob, match="larger than"):
        fetched("plain://a/b", tmp_path, limit=100, schemes=allowed)
