"""Verifiers with keys and stakes, and states whose logs they know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from offchain.chain import claims, verifiers
from offchain.chain.client import Receipt
from offchain.commit.logs import LogChunk
from offchain.commit.merkle import Tree
from offchain.commit.roots import state_root_of, state_tree
from offchain.ir.arrays import Array
from tests.support.bls import SECRETS
from tests.support.deployment import Funded

STAKES: Final = {"rival": 2, "challenger": 3, "stranger": 5}
SECRET: Final = dict(zip(STAKES, SECRETS, strict=False))
EVERYBODY: Final = 2**16 - 1  # the highest rate: whom `lots.grant` names is soon found to win
ROLES: Final = 3  # solver and verifier
FEE: Final = 10_007  # for an audit


@dataclass(frozen=True)
class Ended:
    """The state after an interval: a weight, and a log of `rows` rows, of which the first `written` are written."""

    log: Array
    tree: Tree
    rows: int
    written: int
    tensors: tuple[Array, ...] = ()

    @classmethod
    def of(cls, seed: int, rows: int = 10, metrics: int = 3, written: int | None = None, slots: int = 2) -> Ended:
        random = np.random.default_rng(seed)
        filled = rows if written is None else written
        log = np.zeros(rows * metrics, np.float32)
        log[: filled * metrics] = random.random(filled * metrics, np.float32)
        state = [random.random(7, np.float32) for _ in range(slots - 1)]
        return cls(log, state_tree([*state, log]), rows, filled, (*state, log))

    @property
    def root(self) -> bytes:
        return state_root_of(len(self.tree.leaves), self.tree.root)

    @property
    def shown(self) -> LogChunk:
        """What a verifier shows who has replayed the interval."""
        return LogChunk.of(self.log, self.tree, self.rows, self.written)


def enter(
    place: Funded, stakes: Mapping[str, int] = STAKES, secrets: Mapping[str, int] = SECRET, roles: int = ROLES
) -> None:
    """They register, enroll their keys and lock their stakes; then as much time passes as these need to count."""
    for name, stake in stakes.items():
        chain = place.quick(name)
        chain.register(roles, "")
        verifiers.enroll(chain, secrets[name])
        verifiers.stake(chain, stake)
    place.clock.travel(place.quick("requester").call("verifiers", "delay"))


def vouch(
    place: Funded, name: str, task: int, checkpoint: int, shown: LogChunk, commitment: bytes | None = None
) -> Receipt:
    """A verifier that is drawn claims a checkpoint."""
    chain = place.quick(name)
    draw = verifiers.draw(chain, SECRET[name], task, checkpoint)
    assert draw is not None
    return claims.claim(chain, task, checkpoint, draw, commitment or shown.commitment(chain.address))


def close_claiming(place: Funded, task: int, checkpoint: int) -> int:
    """Puts the clock forward until nobody can claim a checkpoint any more; returns that time."""
    ends = int(place.quick("requester").call("auditor", "claimableUntil", task, checkpoint)) + 1
    place.clock.travel(ends - place.clock.now)
    return ends
