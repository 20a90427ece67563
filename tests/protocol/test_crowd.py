"""Several challengers at once: a sock puppet that loses on purpose shields nobody, and nobody pays for being second."""

from __future__ import annotations

import pytest

from offchain.chain.client import GraphHeader
from offchain.chain.reverts import Reverted
from offchain.dispute import defender
from offchain.dispute.falsified import Falsehood
from offchain.market.actions import Move
from offchain.market.view import DisputeView, Phase, Status
from tests.support.arena import Arena
from tests.support.deployment import PARAMETERS
from tests.support.everything import INTERVAL, everything
from tests.support.players import CONCEDE, Mind, Player, Strategy, silent
from tests.support.tasks import BOND, BURNED, PRICE, proof

STEP = 2 * INTERVAL - 1
NAMES = everything().names
BOUNTY = PARAMETERS.bounty


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
    reward = BOUNTY if how == "times out" else proof(stake)
    assert arena.gains(before) == {
        "challenger": reward,
        "rival": -BOND,
        "solver": BOND - BURNED,
        "requester": PRICE,
        "burned": stake - reward + BURNED,
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
    """Not even the loser of what goes on: the stake is gone, so the bond comes back whole, however it ends.

    Who was right gets a bounty besides.
    """
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
    stake, reward = arena.terms.stake, proof(arena.terms.stake)
    burned = stake - reward - BOUNTY
    assert arena.gains(before) == {"burned": burned, "challenger": reward, "rival": BOUNTY, "requester": PRICE}
    assert arena.holds() == 0
    with pytest.raises(Reverted, match="NotRunning"):
        arena.stranger.chain.dismiss(second)


def test_a_puppet_that_wins_first_costs_the_honest_nothing(arena: Arena, cheat: Mind) -> None:
    """The cheat slashes itself through a friend: nearly all of the stake burns, and the honest one gets a bounty."""
    before = arena.wealth()
    honest, friend = arena.open(arena.challenger), arena.open(arena.rival)
    _reveal(arena, honest, cheat)
    won = arena.play(friend, (lambda view: CONCEDE, silent), arena.rival)
    assert won.event("Resolved")["winner"] == arena.rival.address
    arena.stranger.chain.dismiss(honest)
    burned = arena.terms.stake - 2 * BOUNTY
    assert arena.gains(before) == {"burned": burned, "rival": BOUNTY, "challenger": BOUNTY, "requester": PRICE}
    assert burned >= arena.terms.max_price  # more than it could have got


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


def test_a_bounty_is_for_the_step_and_node_that_were_wrong(arena: Arena, cheat: Mind) -> None:
    """Who names another node than what was proved wrong gets its bond back, and nothing besides."""
    before = arena.wealth()
    lost = Mind(arena.work, Falsehood(STEP, NAMES["rows"], 2))  # believes in an earlier node
    beside, first = arena.open(arena.rival), arena.open(arena.challenger)
    for _ in range(4):
        _move(arena, beside, arena.rival, (cheat.defend, lost.attack))
    arena.play(first, (cheat.defend, arena.honest.attack))
    assert arena.stranger.chain.dismiss(beside).event("Dismissed")
    reward = proof(arena.terms.stake)
    assert arena.gains(before) == {
        "burned": arena.terms.stake - reward, "challenger": reward, "requester": PRICE
    }  # fmt: skip


def test_who_comes_first_is_paid_first(arena: Arena, cheat: Mind) -> None:
    """A quarter of the stake is there for bounties, by the order of opening: friends who come later take nothing."""
    before, terms = arena.wealth(), arena.terms
    running = [arena.open(player) for player in (arena.challenger, arena.rival, arena.stranger)]
    assert [arena.solver.raw(dispute)["place"] for dispute in running] == [0, 1, 2]
    again = arena.stranger.chain.open
    with pytest.raises(Reverted, match="AlreadyChallenged"):
        again(arena.task, 1, GraphHeader.of(arena.work.graph))
    arena.play(running[2], (lambda view: CONCEDE, silent), arena.stranger)
    for dispute in running[1::-1]:
        arena.stranger.chain.dismiss(dispute)
    paid = dict.fromkeys(("challenger", "rival", "stranger"), BOUNTY)
    assert arena.gains(before) == paid | {"burned": terms.stake - 3 * BOUNTY, "requester": PRICE}


# --- one defence -----------------------------------------------------------------------------------------------------


def test_the_solver_has_one_clock_and_reveals_once(arena: Arena) -> None:
    """Three liars about one checkpoint: the solver reveals steps and trace once, and has a clock and a half."""
    arena.commit(arena.honest.root(1))
    liars = {
        name: Mind(arena.work, Falsehood(step, NAMES[node], element)).attack
        for name, step, node, element in (
            ("challenger", STEP, "y", 7), ("rival", STEP, "new_w", 133), ("stranger", STEP - 1, "new_w", 133)
        )
    }  # fmt: skip
    began = arena.clock.now
    running = {name: arena.open(arena.players[name]) for name in liars}
    views = [arena.solver.dispute(dispute) for dispute in running.values()]
    ends = {view.deadline for view in views if view}
    assert len(ends) == 1 and 0 <= ends.pop() - began - arena.terms.clock * 3 // 2 <= 3
    for dispute, name in ((d, n) for _ in range(3) for n, d in running.items()):
        _move(arena, dispute, arena.players[name], (arena.honest.defend, liars[name]))
    made = [event.name for event in arena.stranger.chain.logs(("game",), 0, arena.stranger.chain.head().number)]
    assert (made.count("StepsRevealed"), made.count("TraceRevealed"), made.count("Followed")) == (1, 2, 3)
    for name, dispute in running.items():
        played = arena.play(dispute, (arena.honest.defend, liars[name]), arena.players[name])
        assert played.event("Resolved")["winner"] == arena.solver.address


def test_two_lists_of_steps_for_two_challengers_are_refused(arena: Arena, cheat: Mind) -> None:
    """A cheat cannot tell one challenger this and another one that."""
    one, other = arena.open(arena.challenger), arena.open(arena.rival)
    with pytest.raises(Reverted, match="NotRevealed"):
        arena.stranger.chain.move(other, Move("follow", ()))
    first = defender.move(_seen(arena, one), cheat.replay(1))
    arena.solver.chain.move(one, first)
    roots = list(first.args[0])
    second = Move("revealSteps", ([bytes(32), *roots[1:]],))
    with pytest.raises(Reverted, match="HashMismatch"):
        arena.solver.chain.move(other, second)
    assert _seen(arena, other).revealed
    assert arena.stranger.chain.move(other, Move("follow", ())).event("Followed").args["phase"] == Phase.REVEAL_STEPS
    assert _seen(arena, other).phase is Phase.NAME_STEP


def test_no_friend_gives_a_late_solver_time(arena: Arena, cheat: Mind) -> None:
    dispute = arena.open(arena.challenger)
    arena.clock.travel(arena.terms.clock + 1)
    late = _seen(arena, dispute).deadline
    arena.open(arena.rival)
    assert _seen(arena, dispute).deadline == late
    move = cheat.defend(_seen(arena, dispute))
    assert move is not None
    with pytest.raises(Reverted, match="ClockExpired"):
        arena.solver.chain.move(dispute, move)
    assert arena.stranger.chain.timeout(dispute).event("Resolved").args["loser"] == arena.solver.address


def test_a_clock_is_whole_again_when_no_dispute_runs(arena: Arena) -> None:
    arena.commit(arena.honest.root(1))
    first = arena.open(arena.challenger)
    arena.clock.travel(arena.terms.clock - 60)
    arena.challenger.chain.concede(first)
    again = arena.open(arena.challenger)
    assert _seen(arena, again).deadline >= arena.clock.now + arena.terms.clock


def _seen(arena: Arena, dispute: int) -> DisputeView:
    view = arena.stranger.dispute(dispute)
    assert view is not None
    return view


def _move(arena: Arena, dispute: int, challenger: Player, strategies: tuple[Strategy, Strategy]) -> None:
    """The next move, if it runs still."""
    view = arena.stranger.dispute(dispute)
    if view is not None:
        solver = view.mover == arena.solver.address
        move = strategies[0 if solver else 1](view)
        assert move is not None
        (arena.solver if solver else challenger).chain.move(dispute, move)
