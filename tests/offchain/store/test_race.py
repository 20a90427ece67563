"""A blob is fetched from whoever has it: wrong, slow and silent answers cost time, and nothing else."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Event

import pytest

from offchain.errors import BadBlob, NoRoom, Unreachable
from offchain.store import race as module
from offchain.store.blobs import BlobStore, blob_name
from offchain.store.fetch import FetchOptions, is_there
from offchain.store.race import Places
from offchain.store.serve import BlobServer
from tests.support.strangers import Answer, Server, listening, moved, trickle, whole

NAME = blob_name(bytes(range(32)), "state")
CONTENT = b"weights" * 1000
OPTIONS = FetchOptions(timeout=20, answer=1, window=1, haste=0.3, least_rate=1, private=True, reserve=0)
WRONG: Answer = partial(whole, body=CONTENT[:-1] + b"!")
RIGHT: Answer = partial(whole, body=CONTENT)


def check(path: Path) -> None:
    if path.read_bytes() != CONTENT:
        raise BadBlob("not what the root says")


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "mine", options=OPTIONS)


@pytest.fixture
def stranger() -> Iterator[Callable[[Answer], Server]]:
    with ExitStack() as stack:
        yield lambda answer: stack.enter_context(listening(answer))


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[str]:
    """The base address of one who has it."""
    theirs = BlobStore(tmp_path / "theirs")
    theirs.publish(NAME, lambda path: path.write_bytes(CONTENT))
    with BlobServer(theirs.folder) as server:
        yield server.url


@contextmanager
def quick(seconds: float) -> Iterator[None]:
    began = time.monotonic()
    yield
    assert time.monotonic() < began + seconds


def fetched(store: BlobStore, *first: str, servers: tuple[str, ...] = (), timeout: float = 20) -> bytes:
    found = store.fetch(Places(first, servers), NAME, check, timeout=timeout).read_bytes()
    assert [path.name for path in store.folder.iterdir()] == [NAME]  # nothing of the others is left
    return found


def test_wrong_bytes_spoil_only_who_sent_them(
    store: BlobStore, stranger: Callable[[Answer], Server], holder: str
) -> None:
    liar = stranger(WRONG)
    assert fetched(store, f"{liar.url}/{NAME}", f"{holder}/{NAME}") == CONTENT
    assert liar.asked == [f"/{NAME}"]


def test_who_has_it_is_found_among_those_who_may(
    store: BlobStore, stranger: Callable[[Answer], Server], holder: str
) -> None:
    empty, liar = stranger(WRONG), stranger(WRONG)
    empty.answer = lambda handler: handler.send_error(404)
    servers = (empty.url, liar.url, "http://127.0.0.1:1", holder, "no address", "ftp://host", "http://[")
    assert fetched(store, f"{empty.url}/{NAME}", servers=servers) == CONTENT
    assert len(liar.asked) <= 1


def test_nobody_is_asked_for_what_the_first_one_brings(
    store: BlobStore, stranger: Callable[[Answer], Server], holder: str
) -> None:
    other = stranger(RIGHT)
    assert fetched(store, f"{holder}/{NAME}", f"{other.url}/{NAME}", servers=(other.url,)) == CONTENT
    assert other.asked == []


@pytest.mark.parametrize("count", [1, 2, 3, 6])
def test_slow_holders_make_place(
    store: BlobStore, stranger: Callable[[Answer], Server], holder: str, count: int
) -> None:
    """Each sends a byte now and then, which none of the limits of one fetch forbids."""
    slow = stranger(partial(trickle, pause=0.05, seconds=30))
    first = [f"{slow.at(f'127.0.0.{number + 1}')}/{NAME}" for number in range(count)]
    with quick(0.5 * count + 2):
        assert fetched(store, *first, f"{holder}/{NAME}") == CONTENT


def test_a_slow_check_of_one_holds_up_no_other(
    store: BlobStore, stranger: Callable[[Answer], Server], holder: str
) -> None:
    """A file of a stranger that takes long to judge, and is wrong."""
    over, liar = Event(), stranger(WRONG)

    def judge(path: Path) -> None:
        if path.read_bytes() != CONTENT:
            over.wait(20)
        check(path)

    with quick(5):
        places = Places((f"{liar.url}/{NAME}", f"{holder}/{NAME}"))
        assert store.fetch(places, NAME, judge).read_bytes() == CONTENT
    over.set()


def test_who_says_nothing_costs_a_moment_however_many_they_are(
    tmp_path: Path, holder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand addresses take connections and never answer; the next fetch asks them last."""
    asked = list[str]()

    async def briefly(uri: str, options: FetchOptions, seconds: float) -> bool:
        """Who never answers may be cut short; who has it is given time, also on a busy machine."""
        asked.append(uri)
        return await is_there(uri, options, 30 if uri.startswith(holder) else 0.2)

    monkeypatch.setattr(module, "is_there", briefly)
    store = BlobStore(tmp_path / "mine", options=replace(OPTIONS, answer=30, timeout=60))
    with socket.create_server(("", 0), backlog=2_000) as silent:
        port = silent.getsockname()[1]
        servers = tuple(f"http://127.0.{n // 250}.{n % 250 + 1}:{port}" for n in range(1_000))
        assert fetched(store, servers=(*servers[:500], holder, *servers[500:]), timeout=60) == CONTENT
        store.remove(NAME)
        with pytest.raises(Unreachable, match="nobody who was asked has it"):
            store.fetch(Places((), servers), NAME, check, timeout=60)
        asked.clear()
        assert fetched(store, servers=(*servers, holder), timeout=60) == CONTENT
        assert asked[0] == f"{holder}/{NAME}"


def test_who_sends_on_is_no_holder(store: BlobStore, stranger: Callable[[Answer], Server], holder: str) -> None:
    """A redirect of a named address is followed within limits; a server that answers with one is not asked further."""
    sends_on = stranger(moved(f"{holder}/{NAME}"))
    assert fetched(store, f"{sends_on.url}/{NAME}") == CONTENT
    store.remove(NAME)
    circle = stranger(moved(*[f"/{NAME}"] * 20))
    assert fetched(store, f"{circle.url}/{NAME}", servers=(holder,)) == CONTENT
    assert len(circle.asked) == 4


def test_time_is_up_for_all_together(store: BlobStore, stranger: Callable[[Answer], Server]) -> None:
    slow = stranger(partial(trickle, pause=0.05, seconds=30))
    first = tuple(f"{slow.at(f'127.0.0.{number + 1}')}/{NAME}" for number in range(3))
    with quick(3), pytest.raises(Unreachable, match=r"not here within 1\.0 s"):
        store.fetch(Places(first), NAME, check, timeout=1)
    assert list(store.folder.iterdir()) == []


@pytest.mark.parametrize("wanted", [True, False])
def test_a_slow_fetch_makes_place_where_others_wait(
    store: BlobStore, stranger: Callable[[Answer], Server], monkeypatch: pytest.MonkeyPatch, wanted: bool
) -> None:
    """A server that sends just fast enough held one of sixteen places for half an hour."""
    monkeypatch.setattr(module, "FAIR", 1.0)
    slow = stranger(partial(trickle, pause=0.05, seconds=60))
    began = time.monotonic()
    with pytest.raises(Unreachable, match="too slow while others wait" if wanted else "not here within 4.0 s"):
        store.fetch(f"{slow.url}/{NAME}", NAME, check, timeout=4, yields=lambda: wanted)
    assert (time.monotonic() - began < 3) is wanted
    assert list(store.folder.iterdir()) == []


def test_a_file_that_is_being_checked_makes_no_place(
    store: BlobStore, stranger: Callable[[Answer], Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FAIR", 0.5)

    def slow(path: Path) -> None:
        time.sleep(2)
        check(path)

    store.fetch(f"{stranger(RIGHT).url}/{NAME}", NAME, slow, yields=lambda: True)


def test_what_is_raised_says_what_can_be_hoped_for(store: BlobStore, stranger: Callable[[Answer], Server]) -> None:
    liar, gone = stranger(WRONG), f"http://127.0.0.1:1/{NAME}"
    wrong = tuple(f"{liar.at(f'127.0.0.{number + 1}')}/{NAME}" for number in range(5))
    with pytest.raises(BadBlob, match=r"^not what the root says; .*; and 1 more$"):
        store.fetch(Places(wrong), NAME, check)
    with pytest.raises(Unreachable, match="cannot be fetched"):
        store.fetch(Places((gone, *wrong)), NAME, check)  # it may be back, whatever others say
    with pytest.raises(BadBlob):
        store.fetch(Places((*wrong, gone)), NAME, check)
    full = BlobStore(store.folder.with_name("full"), options=replace(OPTIONS, reserve=1 << 62))
    with pytest.raises(NoRoom):
        full.fetch(Places((*wrong, gone)), NAME, check)


def test_whatever_a_check_stumbles_over_spoils_only_that_file(
    store: BlobStore, stranger: Callable[[Answer], Server], holder: str
) -> None:
    odd = stranger(WRONG)

    def stumble(path: Path) -> None:
        if path.read_bytes() != CONTENT:
            raise ZeroDivisionError

    places = Places((f"{odd.url}/{NAME}", f"{holder}/{NAME}"))
    assert store.fetch(places, NAME, stumble).read_bytes() == CONTENT
    store.remove(NAME)
    with pytest.raises(ZeroDivisionError):
        store.fetch(Places((f"{odd.url}/{NAME}", "http://127.0.0.1:1/x")), NAME, stumble)


def test_kept_within_a_share_of_the_disk_the_oldest_go_first(tmp_path: Path) -> None:
    store = BlobStore(tmp_path, options=replace(OPTIONS, reserve=0))
    names = [blob_name(bytes([n]) * 32, "state") for n in range(5)]
    for name in names:
        store.publish(name, lambda path: path.write_bytes(bytes(100)))
    for name in (names[2], names[4], names[0], names[3]):  # names[1] is the oldest
        time.sleep(0.02)
        store.touch(name)
    store.keep_within(300, {names[1]}, 0)
    assert sorted(store.names()) == sorted({names[1], names[4], names[0], names[3]})
    store.keep_within(1 << 40, {names[1]}, 1 << 60)  # the disk is full
    assert list(store.names()) == [names[1]]
