"""Keepers' signatures as files, and how a solver gathers them.

A keeper signs once for each checkpoint, of its own accord, and serves that like any other file. So whoever asks learns
nothing from the time that signing takes, and a solver fetches signatures within the limits of every fetch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Final

from offchain.bls.points import G1, G2, inside1, inside2
from offchain.errors import BadBlob, OffchainError
from offchain.market.keeping import Member, Signed, is_quorum, is_signed, seats_of
from offchain.store.addresses import host_of
from offchain.store.blobs import BlobStore, blob_name
from offchain.store.race import Places
from offchain.worker.background import Background, Backoff, Shares
from offchain.worker.holders import Endpoints

KIND: Final = "kept"
WORD: Final = 32  # bytes
SIZE: Final = 6 * WORD
PATIENCE: Final = 10.0  # seconds for a keeper's answer
GRACE: Final = 5.0  # seconds for which a quorum waits for the others, who are paid for what they have signed
SHARES: Final = Shares(16, 2, 4)  # signatures that are fetched at a time


def signature_name(message: bytes, holder: str) -> str:
    """Of the file with a member's signature over a message."""
    return blob_name(sha256(message + bytes.fromhex(holder.removeprefix("0x"))).digest(), KIND)


def encoded(signed: Signed) -> bytes:
    """192 bytes: the key in G2, and the signature."""
    return b"".join(word.to_bytes(WORD) for word in (*signed.twin, *signed.signature))


def decoded(path: Path) -> Signed:
    """Raises BadBlob for another number of bytes, and BadPoint for points that are none."""
    raw = path.read_bytes()
    if len(raw) != SIZE:
        raise BadBlob(f"a signature has {SIZE} bytes, and this file {len(raw)}")
    words = [int.from_bytes(raw[at : at + WORD]) for at in range(0, SIZE, WORD)]
    signed = Signed(G2(*words[:4]), G1(*words[4:]))
    inside2(signed.twin)
    inside1(signed.signature)
    return signed


@dataclass
class Round:
    """The signatures of a committee over one message, as far as they are here.

    Attributes:
        checkpoint: up to which they hold everything.
        signed: by the member's place. That they are signatures of points was checked; whether they are the member's is
            found out by the contract for all together.
        strict: one of them was not: each is checked alone from now on.
    """

    checkpoint: int
    message: bytes
    signed: dict[int, Signed] = field(default_factory=dict)
    strict: bool = False
    since: float = 0.0  # there has been a quorum since then; 0: there is none

    @property
    def signers(self) -> int:
        return sum(1 << place for place in self.signed)

    def is_due(self, members: Sequence[Member], keepers: int) -> bool:
        """Whether there is a quorum, and the others have signed or had time to."""
        if not is_quorum(seats_of(members, self.signers), keepers):
            return False
        self.since = self.since or time.monotonic()
        return len(self.signed) == len(members) or time.monotonic() > self.since + GRACE


class Gatherer:
    """Asks keepers for their signatures, in the background.

    Args:
        endpoints: where accounts can be reached.
    """

    def __init__(self, blobs: BlobStore, endpoints: Callable[[Sequence[str]], Endpoints], me: str) -> None:
        self._blobs, self._endpoints, self._me = blobs, endpoints, me
        self._background = Background({"signature": SHARES})
        self._tries = Backoff(1.0, 30.0)
        self._liars = set[str]()  # whose signatures are each checked, as one of them was false

    def ask(self, members: Sequence[Member], known: Round) -> None:
        """Take in what has come, and ask those who have not answered. A wrong answer spoils only itself."""
        endpoints = self._endpoints([member.holder for member in members])
        for place, member in enumerate(members):
            key = known.message, place
            if place in known.signed or not self._tries.ready(key):
                continue
            where = Places(self._where(known.message, member, endpoints))
            if not where.first:
                continue
            fetch = partial(self._fetch, known.message, member, where, known.strict)
            try:
                answer = self._background.poll(("signature", *key), fetch, member.holder, host_of(where.first[0]))
            except (OffchainError, OSError):
                self._tries.failed(key)
                continue
            if answer is not None:
                known.signed[place] = answer

    def doubt(self, members: Sequence[Member], known: Round) -> None:
        """One of the signatures is false: ask for all again, and check each."""
        known.strict, known.since = True, 0.0
        known.signed.clear()
        for member in members:
            if member.holder != self._me:
                self._blobs.remove(signature_name(known.message, member.holder))

    def close(self) -> None:
        self._background.close()

    def _where(self, message: bytes, member: Member, endpoints: Mapping[str, str]) -> tuple[str, ...]:
        name = signature_name(message, member.holder)
        if member.holder == self._me:
            return (self._blobs.uri(name),) if name in self._blobs else ()
        server = endpoints.get(member.holder)
        return (f"{server.rstrip('/')}/{name}",) if server else ()

    def _fetch(self, message: bytes, member: Member, where: Places, strict: bool) -> Signed:
        """A strict check takes seconds, which are not the keeper's. Who has lied once costs no more than its own."""
        name = signature_name(message, member.holder)
        signed = decoded(self._blobs.fetch(where, name, decoded, SIZE, PATIENCE))
        checked = strict or member.holder in self._liars
        if checked and not is_signed(member, message, signed):
            self._liars.add(member.holder)
            self._blobs.remove(name)
            raise BadBlob(f"{where.first[0]}: not this member's signature")
        return signed
