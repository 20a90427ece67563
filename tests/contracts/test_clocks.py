"""The solver's clock in all disputes of a task, beside a model of it, after any sequence of moves."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from web3 import Web3

from tests.conftest import Deploy
from tests.support.clock import Clock
from tests.support.draws import examples

CLOCK = 1_000


class SharedClock(RuleBasedStateMachine):
    """`left` is what the solver has; it passes only while a dispute waits, and never grows beyond four clocks."""

    clock: Clock
    harness: Any

    def __init__(self) -> None:
        super().__init__()
        self.undo = self.clock.undone()
        self.undo.__enter__()
        self.now = self.clock.now
        self.left = self.granted = self.waiting = self.running = self.used = 0
        self.charged = 0  # what was left when time was last charged

    def teardown(self) -> None:
        self.undo.__exit__(None, None, None)

    def send(self, verb: str, *args: int) -> None:
        """A move, a second after the one before."""
        self.pass_time(1)
        getattr(self.harness.functions, verb)(*args).transact()
        self.clock.tick(self.now)

    def pass_time(self, seconds: int) -> None:
        self.now += seconds
        if self.waiting:
            self.left -= seconds

    @rule(seconds=st.sampled_from([1, 10, 240, 700]))
    def think(self, seconds: int) -> None:
        self.pass_time(seconds)

    @rule()
    def enter(self) -> None:
        self.send("enter", CLOCK)
        if not self.running:
            self.left = self.granted = self.charged = CLOCK
        elif self.left >= 0 or not self.waiting:
            more = min(CLOCK // 4, 4 * CLOCK - self.granted)
            self.left, self.granted, self.charged = self.left + more, self.granted + more, self.charged + more
        self.running += 1

    @precondition(lambda self: self.waiting < self.running and (self.left > 0 or not self.waiting))
    @rule()
    def wait(self) -> None:
        self.send("wait")
        self.waiting += 1

    @precondition(lambda self: self.waiting)
    @rule()
    def proceed(self) -> None:
        self.send("proceed")
        self.left = max(self.left, 0)
        self.used, self.charged = self.used + self.charged - self.left, self.left
        self.waiting -= 1

    @rule()
    def take_used(self) -> None:
        self.send("takeUsed")
        self.used = 0

    @precondition(lambda self: self.running > self.waiting)
    @rule()
    def end(self) -> None:
        self.send("end")
        self.running -= 1

    @invariant()
    def the_same(self) -> None:
        left, since, granted, waiting, running, used = self.harness.functions.shared().call()
        assert (granted, waiting, running) == (self.granted, self.waiting, self.running)
        passed = self.now - since if waiting else 0
        assert left - passed == self.left or (self.left < 0 and left <= passed)
        assert granted <= 4 * CLOCK
        assert used == self.used


def test_the_clock_is_its_model(w3: Web3, deploy: Deploy, snapshot: None) -> None:
    clock = Clock(w3)
    names = {"clock": clock, "harness": deploy("ClocksHarness")}
    with clock.stopped():
        machine = type("AnyMoves", (SharedClock,), names)
        limits = settings(
            max_examples=examples(6), stateful_step_count=30, deadline=None, database=None,
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        run_state_machine_as_test(machine, settings=limits)
