"""Several challengers at once: a sock puppet that loses on purpose shields nobody, and nobody pays for being second."""

from __future__ import annotations

import pytest

from offchain.chain.reverts import Reverted
from offchain.dispute.falsified import Falsehood
from offchain.market.view import Status
from tests.support.arena import Arena
from tests.support.everything import INTERVAL, everything
from tests.support.players import CONCEDE, Mind, Strategy, silent
from tests.support.tasks import BOND, PRICE

STEP = 2 * INTERVAL - 1
NAMES = everything().names
BURNED = -(-BOND // 5)


@pytest.fixture
def cheat(arena: Arena) -> Mind:
    """Its checkpoint is committed."""
    mind = Mind(arena.work, Falsehood(STEP, NAMES["new_w"], 133))
    arena.commit(mind.root(1))
    return mind


def puppet(arena: Arena, how: str) -> Strategy:
    """A challenger who means to lose."""
    if how == "lies":  # names an earlier node, which is right
        return Mind(arena.work, Falsehood(STEP, NAMES["rows"], 2)).attack
    return silent if how == "times out" else lambda view: CONCEDE


@pytest.mark.parametrize("how", ["concedes", "times out", "lies"])
def test_a_puppet_that_loses_shields_nobody(arena: Arena, cheat: Mind, how: str) -> None:
    before = arena.wealth()
    false, honest = arena.open(arena.rival), arena.open(arena.challenger)
    assert arena.holds() == 2
    lost = arena.play(false, (cheat.defend, puppet(arena, how)), arena.rival)
    assert lost.event("Resolved")["loser"] == arena.rival.address
    assert (arena.status(), arena.holds()) == (Status.TRAINING, 1)

    # Where time passed, it passed for the solver, who was on the move here too.
    defence = silent if how == "times out" else cheat.defend
    won = arena.play(honest, (defence, arena.honest.attack))
    assert won.event("Resolved")["winner"] == arena.challenger.address
    stake = arena.terms.stake
    half = stake - stake // 2
    assert arena.gains(before) == {
        "challenger": stake - half,
        "rival": -BOND,
        "solver": BOND - BURNED,
        "requester": PRICE,
        "burned": half + BURNED,
    }


def _reveal(arena: Arena, dispute: int, cheat: Mind) -> None:
    for player, strategy in ((arena.solver, cheat.defend), (arena.challenger, arena.honest.attack)):
        view = player.dispute(dispute)
        assert view is not None
        move = strategy(view)
        assert move is not None
        player.chain.move(dispute, move)


@pytest.mark.parametrize("moves", [0, 1, 3])
@pytest.mark.parametrize("ending", ["dismiss", "timeout", "concede", "move"])
def test_nobody_pays_for_being_second(arena: Arena, cheat: Mind, ending: str, moves: int) -> None:
    """Not even the loser of what goes on: the stake is gone, so the bond comes back whole, however it ends."""
    before = arena.wealth()
    second, first = arena.open(arena.rival), arena.open(arena.challenger)
    for _ in range(moves):
        view = arena.rival.dispute(second)
        assert view is not None
        solver = view.mover == arena.solver.address
        move = (cheat.defend if solver else arena.honest.attack)(view)
        assert move is not None
        (arena.solver if solver else arena.rival).chain.move(second, move)
    with pytest.raises(Reverted, match="StillTraining"):
        arena.stranger.chain.dismiss(second)
    arena.play(first, (cheat.defend, arena.honest.attack))
    assert arena.status() is Status.SLASHED

    if ending == "dismiss":
        assert arena.stranger.chain.dismiss(second).event("Dismissed")
    elif ending == "concede":
        assert arena.rival.chain.concede(second).event("Dismissed")
    else:
        strategies = (silent, silent) if ending == "timeout" else (cheat.defend, arena.honest.attack)
        assert arena.play(second, strategies, arena.rival).event("Dismissed")
    stake = arena.terms.stake
    half = stake - stake // 2
    assert arena.gains(before) == {"burned": half, "challenger": stake - half, "requester": PRICE}
    assert arena.holds() == 0
    with pytest.raises(Reverted, match="NotRunning"):
        arena.stranger.chain.dismiss(second)


def test_a_puppet_that_wins_first_costs_the_honest_nothing(arena: Arena, cheat: Mind) -> None:
    """The cheat slashes itself through a friend: half of the stake burns, and the honest bond is whole."""
    before = arena.wealth()
    honest, friend = arena.open(arena.challenger), arena.open(arena.rival)
    _reveal(arena, honest, cheat)
    won = arena.play(friend, (lambda view: CONCEDE, silent), arena.rival)
    assert won.event("Resolved")["winner"] == arena.rival.address
    arena.stranger.chain.dismiss(honest)
    stake = arena.terms.stake
    half = stake - stake // 2
    assert arena.gains(before) == {"burned": half, "rival": stake - half, "requester": PRICE}
    assert half >= arena.terms.max_price  # more than it could have got


def test_an_honest_solver_survives_a_crowd(arena: Arena) -> None:
    """Two liars and one who concedes, move by move in turns: each loses a bond, the solver gets three."""
    arena.commit(arena.honest.root(1))
    before = arena.wealth()
    liars = {
        "challenger": Mind(arena.work, Falsehood(STEP, NAMES["y"], 7)).attack,
        "rival": Mind(arena.work, Falsehood(STEP - 1, NAMES["new_w"], 133)).attack,
        "stranger": lambda view: CONCEDE,
    }
    running = {name: arena.open(arena.players[name]) for name in liars}
    while running:
        for name, dispute in list(running.items()):
            view = arena.solver.dispute(dispute)
            if view is None:
                del running[name]
                continue
            solver = view.mover == arena.solver.address
            move = (arena.honest.defend if solver else liars[name])(view)
            assert move is not None
            (arena.solver if solver else arena.players[name]).chain.move(dispute, move)
    lost = dict.fromkeys(liars, -BOND)
    assert arena.gains(before) == lost | {"solver": 3 * (BOND - BURNED), "burned": 3 * BURNED}
    assert (arena.status(), arena.holds()) == (Status.TRAINING, 0)
