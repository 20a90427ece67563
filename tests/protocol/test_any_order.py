"""Disputes about a right checkpoint, moved, lied in, left and conceded in any order: the solver is never slashed."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from offchain.chain.reverts import Reverted
from offchain.dispute.falsified import Falsehood
from offchain.market.view import DisputeView, Status
from tests.support.arena import Arena
from tests.support.deployment import PEOPLE
from tests.support.draws import examples
from tests.support.everything import STEPS, everything
from tests.support.players import Mind

LAST = STEPS - 1
CHALLENGERS = ["challenger", "rival"]
LIES = [
    ("y", 7, 1), ("new_w", 133, 1 << 20), ("top", 2, 1 << 20), ("back", 80, 1 << 20), ("y", 7, 0, (0, 4)),
    ("sum65", 1, 0, (-2, 0)),
]  # fmt: skip


class Crowd(RuleBasedStateMachine):
    """An honest solver against challengers who are all wrong; `arena` and `liars` come with a subclass."""

    arena: Arena
    liars: list[Mind]

    def __init__(self) -> None:
        super().__init__()
        self.undo = self.arena.clock.undone()
        self.undo.__enter__()
        self.arena.commit(self.arena.honest.root(1))
        self.before = self.arena.wealth()
        self.disputes: dict[int, tuple[str, Mind]] = {}  # challenger and what it believes

    def teardown(self) -> None:
        self.undo.__exit__(None, None, None)

    def view(self, index: int) -> tuple[int, DisputeView]:
        dispute = sorted(self.disputes)[index % len(self.disputes)]
        view = self.arena.solver.dispute(dispute)
        assert view is not None
        return dispute, view

    def settle(self, dispute: int) -> None:
        if self.arena.solver.dispute(dispute) is None:
            del self.disputes[dispute]

    @precondition(lambda self: len(self.disputes) < len(CHALLENGERS))
    @rule(who=st.sampled_from(CHALLENGERS), lie=st.integers(0, len(LIES) - 1))
    def open(self, who: str, lie: int) -> None:
        """Whoever disputes the checkpoint already has to end that first: another one opens in its place."""
        if any(who == challenger for challenger, _ in self.disputes.values()):
            with pytest.raises(Reverted, match="AlreadyChallenged"):
                self.arena.open(self.arena.players[who])
            who = next(name for name in CHALLENGERS if all(name != busy for busy, _ in self.disputes.values()))
        self.disputes[self.arena.open(self.arena.players[who])] = (who, self.liars[lie])

    @precondition(lambda self: self.disputes)
    @rule(index=st.integers(0, 2), moves=st.integers(1, 6))
    def go_on(self, index: int, moves: int) -> None:
        """Both sides move, as far as they can."""
        dispute, _ = self.view(index)
        challenger, liar = self.disputes[dispute]
        for _ in range(moves):
            view = self.arena.solver.dispute(dispute)
            if view is None:
                break
            solving = view.mover == view.solver
            move = self.arena.honest.defend(view) if solving else liar.attack(view)
            player = self.arena.solver if solving else self.arena.players[challenger]
            if move is None:
                break
            try:
                player.chain.move(dispute, move)
            except Reverted:
                assert not solving, "an honest move was refused"
                break
        self.settle(dispute)

    @precondition(lambda self: self.disputes)
    @rule(index=st.integers(0, 2))
    def fall_silent(self, index: int) -> None:
        """A challenger lets its clock run out; the solver has moved wherever it could before."""
        dispute, view = self.view(index)
        for other in sorted(self.disputes):
            current = self.arena.solver.dispute(other)
            if current is not None and current.mover == current.solver:
                move = self.arena.honest.defend(current)
                assert move is not None
                self.arena.solver.chain.move(other, move)
                self.settle(other)
        late = self.arena.solver.dispute(dispute)
        if late is None or late.mover == late.solver:
            return
        self.arena.clock.travel(view.deadline - self.arena.solver.chain.head().timestamp + 700)
        for other in sorted(self.disputes):
            self.arena.stranger.chain.timeout(other)
            self.settle(other)

    @precondition(lambda self: self.disputes)
    @rule(index=st.integers(0, 2))
    def concede(self, index: int) -> None:
        dispute, _ = self.view(index)
        self.arena.players[self.disputes[dispute][0]].chain.concede(dispute)
        self.settle(dispute)

    @precondition(lambda self: self.disputes)
    @rule(index=st.integers(0, 2), verb=st.sampled_from(["concede", "timeout", "dismiss"]))
    def meddle(self, index: int, verb: str) -> None:
        """A stranger can end nothing."""
        dispute, _ = self.view(index)
        with pytest.raises(Reverted):
            getattr(self.arena.stranger.chain, verb)(dispute)

    @invariant()
    def solver_keeps_what_it_has_and_no_money_is_lost(self) -> None:
        assert self.arena.status() is Status.TRAINING
        now = self.arena.wealth()
        bonds = len(self.disputes) * self.arena.terms.bond
        assert now["solver"] >= self.before["solver"]
        assert sum(now.values()) + bonds == sum(self.before.values())
        assert all(now[name] == self.before[name] for name in PEOPLE if name in ("requester", "stranger"))
        assert self.arena.holds() == len(self.disputes)


def test_an_honest_solver_survives_any_crowd(arena: Arena) -> None:
    nodes = everything().names
    liars = [Mind(arena.work, Falsehood(LAST, nodes[name], *bent)) for name, *bent in LIES]
    machine = type("AnyCrowd", (Crowd,), {"arena": arena, "liars": liars})
    limits = settings(
        max_examples=examples(6),
        stateful_step_count=12,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(machine, settings=limits)
