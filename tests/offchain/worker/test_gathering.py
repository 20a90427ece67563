"""Signatures of keepers are fetched as strangers' files: what is wrong, too large or another's spoils only itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from offchain.bls.points import P
from offchain.bls.signing import public_key, sign, verify_aggregate
from offchain.errors import BadBlob, BadInput
from offchain.market.keeping import Member, Signed, gathered
from offchain.store.blobs import BlobStore
from offchain.store.fetch import FetchOptions
from offchain.worker import gathering as gathering_module
from offchain.worker.gathering import SIZE, Gatherer, Round, decoded, encoded, signature_name
from tests.support.bls import SECRETS
from tests.support.strangers import Answer, Server, listening, trickle, whole

MESSAGE: Final = b"m" * 256
HOLDERS: Final = tuple("0x" + f"{n:02x}" * 20 for n in (1, 2, 3))
KEYS: Final = [public_key(secret) for secret in SECRETS[:3]]
MEMBERS: Final = tuple(Member(who, 1, key.point) for who, key in zip(HOLDERS, KEYS, strict=True))
ANSWERS: Final = [Signed(key.twin, sign(secret, MESSAGE)) for key, secret in zip(KEYS, SECRETS, strict=False)]
OPTIONS: Final = FetchOptions(timeout=2, answer=1, window=1, haste=0.3, private=True, reserve=0)
FOREIGN: Final = replace(ANSWERS[0], signature=sign(SECRETS[0], b"another"))
WRONG: Final[dict[str, bytes]] = {
    "half": encoded(ANSWERS[0])[:-1],
    "oversized": encoded(ANSWERS[0]) + b"!" * 100_000,
    "no point": bytes([1]) * SIZE,
    "infinity": bytes(SIZE),
    "outside the field": P.to_bytes(32) + encoded(ANSWERS[0])[32:],
    "text": b"<html>not found</html>",
}
PATIENCE: Final = 60.0  # seconds


@pytest.fixture
def keeper() -> Iterator[Callable[[Answer], Server]]:
    with ExitStack() as stack:
        yield lambda answer: stack.enter_context(listening(answer))


def served(signed: Signed) -> Answer:
    return partial(whole, body=encoded(signed))


def gathering(tmp_path: Path, *servers: Server, me: str = "0x" + "ff" * 20) -> Gatherer:
    endpoints = {who: server.url for who, server in zip(HOLDERS, servers, strict=False)}
    return Gatherer(BlobStore(tmp_path / "mine", options=OPTIONS), lambda holders: endpoints, me)


def asked(gatherer: Gatherer, known: Round, wanted: set[int]) -> None:
    until = time.monotonic() + PATIENCE
    while set(known.signed) != wanted:
        assert time.monotonic() < until, known.signed.keys()
        gatherer.ask(MEMBERS, known)
        time.sleep(0.02)


def test_what_is_gathered_is_one_signature(tmp_path: Path, keeper: Callable[[Answer], Server]) -> None:
    known = Round(0, MESSAGE)
    servers = [keeper(served(answer)) for answer in ANSWERS]
    asked(gathering(tmp_path, *servers), known, {0, 1, 2})
    assert servers[1].asked == [f"/{signature_name(MESSAGE, HOLDERS[1])}"]
    made = gathered(known.signed)
    points = [member.point for member in MEMBERS]
    assert verify_aggregate(points, made.signers, made.total, MESSAGE, made.signature)
    assert known.is_due(MEMBERS, 3)


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_answer_spoils_only_itself(tmp_path: Path, keeper: Callable[[Answer], Server], wrong: str) -> None:
    known, liar = Round(0, MESSAGE), keeper(partial(whole, body=WRONG[wrong]))
    gatherer = gathering(tmp_path, liar, keeper(served(ANSWERS[1])), keeper(served(ANSWERS[2])))
    asked(gatherer, known, {1, 2})
    until = time.monotonic() + 1.5
    while time.monotonic() < until:
        gatherer.ask(MEMBERS, known)
    assert set(known.signed) == {1, 2} and len(liar.asked) <= 2  # it is not asked again at once
    assert signature_name(MESSAGE, HOLDERS[0]) not in [path.name for path in (tmp_path / "mine").iterdir()]


def test_who_is_slow_or_silent_keeps_nobody_waiting(tmp_path: Path, keeper: Callable[[Answer], Server]) -> None:
    known, slow = Round(0, MESSAGE), keeper(partial(trickle, seconds=30))
    asked(gathering(tmp_path, slow, keeper(served(ANSWERS[1])), keeper(served(ANSWERS[2]))), known, {1, 2})
    assert not known.is_due(MEMBERS, 3)  # the first one has some time left
    assert not known.is_due(MEMBERS, 4) and known.since


@pytest.mark.parametrize("answer", [ANSWERS[1], FOREIGN, replace(ANSWERS[0], twin=KEYS[1].twin)])
def test_once_one_was_false_each_is_checked(tmp_path: Path, keeper: Callable[[Answer], Server], answer: Signed) -> None:
    """Another member's, one over another message, one with another member's key: all of them are points."""
    known = Round(0, MESSAGE)
    gatherer = gathering(tmp_path, keeper(served(answer)), keeper(served(ANSWERS[1])))
    asked(gatherer, known, {0, 1})
    gatherer.doubt(MEMBERS, known)
    assert not known.signed and not list((tmp_path / "mine").iterdir())
    asked(gatherer, known, {1})


def test_who_has_lied_makes_nobody_else_s_signature_be_checked_again(
    tmp_path: Path, keeper: Callable[[Answer], Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A check takes a second: of sixteen members one liar would cost sixteen of them at every checkpoint."""
    gatherer = gathering(tmp_path, keeper(served(FOREIGN)), *(keeper(served(answer)) for answer in ANSWERS[1:]))
    known, checked = Round(0, MESSAGE), list[str]()
    asked(gatherer, known, {0, 1, 2})
    gatherer.doubt(MEMBERS, known)
    asked(gatherer, known, {1, 2})

    def seen(member: Member, message: bytes, signed: Signed) -> bool:
        checked.append(member.holder)
        return False

    monkeypatch.setattr(gathering_module, "is_signed", seen)
    later = Round(1, b"n" * 256)
    asked(gatherer, later, {1, 2})
    until = time.monotonic() + PATIENCE
    while not checked and time.monotonic() < until:
        gatherer.ask(MEMBERS, later)
        time.sleep(0.02)
    assert set(checked) == {HOLDERS[0]} and set(later.signed) == {1, 2} and not later.strict


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(encoded(ANSWERS[0]))
    assert decoded(path) == ANSWERS[0]
    for raw in WRONG.values():
        path.write_bytes(raw)
        with pytest.raises(BadInput):
            decoded(path)
    path.write_bytes(b"")
    with pytest.raises(BadBlob, match="a signature has 192 bytes, and this file 0"):
        decoded(path)


def test_one_s_own_signature_is_taken_from_here(tmp_path: Path) -> None:
    known = Round(0, MESSAGE)
    gatherer = gathering(tmp_path, me=HOLDERS[0])
    gatherer.ask(MEMBERS, known)
    assert not known.signed
    name = signature_name(MESSAGE, HOLDERS[0])
    BlobStore(tmp_path / "mine").publish(name, lambda path: path.write_bytes(encoded(ANSWERS[0])))
    asked(gatherer, known, {0})
    gatherer.doubt(MEMBERS, known)
    assert (tmp_path / "mine" / name).exists()
