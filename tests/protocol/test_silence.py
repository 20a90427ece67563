"""Whoever goes silent loses, at whatever turn; and nobody is timed out before."""

from __future__ import annotations

import pytest

from offchain.chain.reverts import Reverted
from offchain.dispute.falsified import Falsehood
from offchain.market.view import Phase, Status
from tests.support.arena import Arena
from tests.support.deployment import PARAMETERS
from tests.support.everything import INTERVAL, everything
from tests.support.players import Mind, silent
from tests.support.tasks import BOND, BURNED, PRICE

STEP = 2 * INTERVAL - 1
NAMES = everything().names
WALKS = {
    "sums": (("long", 0), {Phase.REVEAL_SUMS, Phase.NAME_SUM}),
    "chunks": (("new_big", 5), {Phase.REVEAL_CHILDREN, Phase.NAME_CHILD, Phase.REVEAL_CHUNKS}),
    "witness": (("top", 0), {Phase.REVEAL_WITNESS}),
    "exponent": (("y", 7, 0, (0, 4)), {Phase.REVEAL_SUMS, Phase.NAME_SUM, Phase.REVEAL_EXPONENT}),
}
ALWAYS = {
    Phase.REVEAL_STEPS, Phase.NAME_STEP, Phase.REVEAL_TRACE, Phase.NAME_TRACE, Phase.REVEAL_CHUNK, Phase.NAME_ELEMENT
}  # fmt: skip


@pytest.mark.parametrize(
    "walk", ["sums", *(pytest.param(name, marks=pytest.mark.slow) for name in WALKS if name != "sums")]
)
def test_silence_loses_at_every_turn(arena: Arena, walk: str) -> None:
    """A dispute between a cheat and an honest challenger; at each turn, what if its mover stayed silent."""
    (name, *bent), also = WALKS[walk]
    cheat = Mind(arena.work, Falsehood(STEP, NAMES[name], *bent))
    arena.commit(cheat.root(1))
    before = arena.wealth()
    dispute = arena.open(arena.challenger)
    met = set()
    while (view := arena.stranger.dispute(dispute)) is not None:
        met.add(view.phase)
        with arena.clock.undone():
            _times_out(arena, dispute, before)
        solver_moves = view.mover == arena.solver.address
        player, strategy = (arena.solver, cheat.defend) if solver_moves else (arena.challenger, arena.honest.attack)
        if view.phase in (Phase.REVEAL_WITNESS, Phase.REVEAL_EXPONENT):
            break  # the cheat has none
        move = strategy(view)
        assert move is not None
        player.chain.move(dispute, move)
    assert met == ALWAYS | also


def _times_out(arena: Arena, dispute: int, before: dict[str, int]) -> None:
    view = arena.stranger.dispute(dispute)
    assert view is not None
    with pytest.raises(Reverted, match="ClockRunning"):
        arena.stranger.chain.timeout(dispute)
    arena.clock.travel(view.deadline - arena.stranger.chain.head().timestamp - 30)
    with pytest.raises(Reverted, match="ClockRunning"):
        arena.stranger.chain.timeout(dispute)
    players = (silent, silent)
    played = arena.play(dispute, players)  # the other one times it out
    loser = view.mover
    assert (played.event("Resolved")["loser"], played.moves) == (loser, [])
    stake = arena.terms.stake
    if loser == arena.solver.address:
        assert arena.status() is Status.SLASHED
        bounty = PARAMETERS.bounty
        assert arena.gains(before) == {"burned": stake - bounty, "challenger": bounty, "requester": PRICE}
    else:
        assert arena.status() is Status.TRAINING
        assert arena.gains(before) == {"challenger": -BOND, "solver": BOND - BURNED, "burned": BURNED}


def test_a_late_move_is_refused(arena: Arena) -> None:
    arena.commit(arena.honest.root(1))
    dispute = arena.open(arena.challenger)
    view = arena.solver.dispute(dispute)
    assert view is not None
    arena.clock.travel(arena.terms.clock + 1)
    move = arena.honest.defend(view)
    assert move is not None
    with pytest.raises(Reverted, match="ClockExpired"):
        arena.solver.chain.move(dispute, move)


def test_clocks_are_one_per_side_and_not_per_move(arena: Arena) -> None:
    """Who thinks for half of its time twice has used it up."""
    cheat = Mind(arena.work, Falsehood(STEP, NAMES["new_w"], 133))
    arena.commit(cheat.root(1))
    dispute = arena.open(arena.challenger)

    def slow(view: object) -> object:
        arena.clock.travel(arena.terms.clock // 2 + 1)
        return cheat.defend(view)  # type: ignore[arg-type]

    played = arena.play(dispute, (slow, arena.honest.attack))  # type: ignore[arg-type]
    assert (played.reveals, played.refusals) == (1, ["ClockExpired"])
    assert played.event("Resolved")["loser"] == arena.solver.address
