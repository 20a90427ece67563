"""Attack 4, the contracts' half: four disputes at once about one right checkpoint, each naming another step.

On clocks that ran side by side an honest solver had to answer all of them in the time of one, and was slashed when it
did not. Now it has one clock, which each further dispute lengthens; it reveals once what all of them ask for; and each
liar loses its bond, of which the solver gets half.
"""

from __future__ import annotations

from collections.abc import Callable

from offchain.dispute.falsified import Falsehood
from offchain.market.view import DisputeView, Status
from tests.support.arena import Arena
from tests.support.everything import INTERVAL, everything
from tests.support.players import Mind, Player

NAMES = everything().names
LIARS = ("requester", "rival", "challenger", "stranger")
SECONDS = 75  # that the solver thinks about a step that it has not looked into yet; its clock is 600


def thinking(arena: Arena) -> Callable[[DisputeView], None]:
    """Puts the chain's clock forward for each step that the solver looks into for the first time."""
    seen: set[int] = set()

    def think(view: DisputeView) -> None:
        if not view.revealed and view.lo not in seen:
            seen.add(view.lo)
            arena.clock.travel(SECONDS)

    return think


def test_an_honest_solver_survives_and_every_liar_pays(arena: Arena) -> None:
    """Each look at another step takes an eighth of a clock; all four take half of it, and the clock grows."""
    arena.commit(arena.honest.root(1))
    before = arena.fortunes()
    minds = {name: Mind(arena.work, Falsehood(INTERVAL + step, NAMES["new_w"], 133)) for step, name in enumerate(LIARS)}
    running: dict[str, tuple[Player, int]] = {
        name: (arena.players[name], arena.open(arena.players[name])) for name in LIARS
    }
    think = thinking(arena)
    while running:
        for name, (player, dispute) in list(running.items()):
            view = arena.stranger.dispute(dispute)
            if view is None:
                del running[name]
            elif view.mover == arena.solver.address:
                think(view)
                _send(arena.solver, dispute, arena.honest.defend(view))
            else:
                _send(player, dispute, minds[name].attack(view))
    assert arena.status() is Status.TRAINING and arena.holds() == 0
    said = [event.name for event in arena.stranger.chain.logs(("game",), 0, arena.stranger.chain.head().number)]
    assert (said.count("StepsRevealed"), said.count("TraceRevealed")) == (1, 4)
    net = arena.net(before, ended=False)
    assert net["solver"] > 0
    assert all(net[name] < -arena.terms.bond * 99 // 100 for name in LIARS)


def _send(player: Player, dispute: int, move: object) -> None:
    assert move is not None
    player.chain.move(dispute, move)  # type: ignore[arg-type]
