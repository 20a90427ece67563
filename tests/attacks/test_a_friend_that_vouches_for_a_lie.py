"""Attack: a solver falsifies an element, and gives its log to friends, who are drawn and vouch without looking.

The log tells that somebody knows it, not that it is right. So who vouches for what a computation proves false loses a
bond; who vouched for a checkpoint before it, which is right, has its bond again.
"""

from __future__ import annotations

from typing import Final

import pytest

from offchain.chain import claims
from offchain.chain.claims import Fate, claims_of
from offchain.chain.deployment import COIN
from offchain.commit.logs import LogChunk
from offchain.commit.roots import state_root, state_tree
from offchain.dispute.falsified import Falsehood, FalsifiedExecutor
from tests.attacks.conftest import PRICE, REAL
from tests.support.arena import Arena
from tests.support.deployment import Funded
from tests.support.everything import INTERVAL, everything
from tests.support.lots import grant
from tests.support.players import Mind, silent
from tests.support.vouching import EVERYBODY, enter, vouch

FEE: Final = COIN // 10
GAS: Final = COIN // 10
LIE: Final = Falsehood(2 * INTERVAL - 1, everything().names["new_w"], 133, 1)


@pytest.fixture
def audited(place: Funded) -> Arena:
    """A task that pays for audits."""
    enter(place)
    changes = {"audit_fee": FEE, "audit_rate_bps": EVERYBODY}
    return place.seen_as(Arena, work=everything(), price=PRICE, changes=changes)


def log_of(mind: Mind, checkpoint: int) -> LogChunk:
    """The end of the log as this player computes it."""
    work, executor = mind.work, mind.work.executor
    if mind.falsehood:
        executor = FalsifiedExecutor(executor, work.ledger, mind.falsehood)
    held = executor.load(work.before(checkpoint))
    for t in range(checkpoint * work.interval, (checkpoint + 1) * work.interval):
        held = executor.step(held, t)
    state = executor.dump(held)
    assert state_root(state) == mind.root(checkpoint)
    return LogChunk.of(state[-1], state_tree(state), work.interval, work.interval)


@pytest.mark.parametrize("proved", [True, False])
def test_the_friend_loses_its_bond_only_where_something_is_proved(audited: Arena, proved: bool) -> None:
    """By its silence the solver convicts itself, of what may be right: then nobody who vouched loses anything."""
    arena = audited
    before, cheat = arena.fortunes(), Mind(arena.work, LIE)
    arena.commit(cheat.root(1))
    for checkpoint, fees in enumerate(({"rival": 1}, {"stranger": 3})):  # who wins more locks no more
        grant(arena, arena.task, checkpoint, fees)
    vouch(arena, "rival", arena.task, 0, log_of(arena.honest, 0))
    vouch(arena, "stranger", arena.task, 1, log_of(cheat, 1))
    dispute = arena.open(arena.challenger)
    arena.play(dispute, (cheat.defend if proved else silent, arena.honest.attack))
    for name, checkpoint in (("rival", 0), ("stranger", 1)):
        claims.settle(arena.quick("requester"), arena.task, 0, checkpoint, arena.address(name))
    stranger = Fate.FORFEITED if proved else Fate.RETURNED
    assert [claim.fate for claim in claims_of(arena.quick("requester"), arena.task)] == [Fate.RETURNED, stranger]
    net = {name: arena.fortunes()[name].total - had.total for name, had in before.items() if name != "burned"}
    assert -GAS < net["rival"] < 0  # but for gas
    lost = REAL.audit_bond if proved else 0
    assert -GAS - lost < net["stranger"] < -lost
    assert net["challenger"] > 0 and net["solver"] < -arena.terms.stake + GAS
    assert -GAS < net["requester"] < 0  # escrow and budget came back
