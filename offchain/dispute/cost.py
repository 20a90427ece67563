"""What disputes about a task cost a player, measured on this machine before any money depends on it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from random import SystemRandom
from statistics import median
from typing import Any, Final

import numpy as np

from offchain.commit.roots import state_tree
from offchain.commit.trace import Outputs, Trace
from offchain.dispute.points import Point, point_bytes, states_kept
from offchain.dispute.replay import BUDGET, Ledger
from offchain.dispute.spans import STEP_FAN
from offchain.exec.base import Executor
from offchain.ir.arrays import Array

LEAST: Final = 3  # runs of which a median is taken
ENOUGH: Final = 0.2  # seconds after which no further run begins
MOST: Final = 25  # runs
LONG: Final = 1.0  # seconds of a run that is not repeated: its median would hardly differ
DISPUTES: Final = 4  # about one interval at once, whose disputed steps are all kept in memory
PASSES: Final = 2  # over a step's outputs in which a dispute looks for tensors that it opens
MANTISSA: Final = (1 << 23) - 1  # the bits of a binary32 that tell subnormals apart


@dataclass(frozen=True, slots=True)
class DisputeCost:
    """Seconds of computing in disputes about intervals of one task; the moves' transactions come on top.

    Attributes:
        plain: of a step, warm.
        hashed: that the root of the state after a step adds to it: only slots that a step can change are hashed.
        traced: of a disputed step with all its hashes, and of the passes that look for the tensors to open.
        state_bytes: of one state that a replay keeps on the way: the slots that a step can change.
        budget: bytes that a replay may keep, half of them for such states.
        outputs_bytes: of the outputs of all nodes of a step.
    """

    plain: float
    hashed: float
    traced: float
    state_bytes: int
    budget: int
    outputs_bytes: int = 0

    def interval_seconds(self, steps: int) -> float:
        """Of computing an interval of that many steps, and hashing the state at its end."""
        return self.plain * steps + self.hashed

    def dispute_seconds(self, steps: int) -> float:
        """Of a dispute about such an interval that is the only one."""
        return self.replay_seconds(steps) + self.step_seconds(steps)

    def replay_seconds(self, steps: int) -> float:
        """Of the hashed replay of an interval of that many steps, once for all disputes about it."""
        return steps * self.plain + min(steps, STEP_FAN) * self.hashed

    def step_seconds(self, steps: int) -> float:
        """Of each dispute about such an interval once it was replayed: from the nearest kept state to its step.

        In an interval of more than 256 steps it first asks for lists of roots of its own.
        """
        apart, seconds = self.apart(steps) * self.plain, self.traced
        while steps > STEP_FAN:
            steps = -(-steps // STEP_FAN)
            seconds += apart + steps * self.plain + min(steps, STEP_FAN) * self.hashed
        return apart + seconds

    def apart(self, steps: int) -> int:
        """The most steps from a kept state to a step of an interval."""
        return -(-steps // (states_kept(self.state_bytes, self.budget) + 1)) - 1

    def replay_bytes(self, steps: int) -> int:
        """The most memory that the replay of such an interval takes beside the executor and the state before it."""
        states = min(states_kept(self.state_bytes, self.budget), steps) + 2
        records = min(self.budget // 2, DISPUTES * (self.state_bytes + self.outputs_bytes))
        return states * self.state_bytes + max(records, self.outputs_bytes)


def measure(
    executor: Executor[Any], ledger: Ledger, state: Sequence[Array], last: int, budget: int = BUDGET
) -> DisputeCost:
    """The cost of disputes about a task with that state, whose last step has the number `last`.

    Every figure is a median of warm runs at steps drawn at random, and the greater one of two: from the state after a
    step, and from one in which every float is subnormal, which processors compute with several times more slowly.
    Takes at least as long as 9 plain and 4 traced steps, and about two seconds if steps are short.
    """
    after = executor.dump(executor.step(executor.load(state), 0))  # the first step also warms caches up
    found = [_Measured.of(executor, ledger, arrays, last) for arrays in (after, subnormal(after))]
    return DisputeCost(
        max(one.plain for one in found),
        max(one.hashed for one in found),
        max(one.traced for one in found),
        point_bytes(ledger.graph),
        budget,
        4 * sum(node.length for node in ledger.graph.nodes),
    )


def subnormal(state: Sequence[Array]) -> list[Array]:
    """A state like this one, whose floats are all subnormal."""
    rng = np.random.default_rng(0)
    return [array if array.dtype != np.float32 else _subnormal(array.size, rng) for array in state]


def _subnormal(size: int, rng: np.random.Generator) -> Array:
    words = rng.integers(1, MANTISSA, size, np.uint32) | rng.integers(0, 2, size, np.uint32) << np.uint32(31)
    floats: Array = words.view(np.float32)
    return floats


@dataclass(frozen=True)
class _Measured:
    """Median seconds from one state."""

    plain: float
    hashed: float
    traced: float

    @classmethod
    def of(cls, executor: Executor[Any], ledger: Ledger, arrays: list[Array], last: int) -> _Measured:
        draw, tree = SystemRandom(), state_tree(arrays)
        before = Point.at(executor, 0, executor.load(arrays), tree)
        after = before.after()

        def some() -> int:
            return draw.randint(0, last)

        def look() -> None:
            for _ in executor.outputs(before.state, some()):
                pass

        def trace() -> None:
            Trace.of_step(Outputs(ledger.graph, partial(executor.outputs, before.state, some())), tree)

        plain = _median(lambda: executor.step(before.state, some()))
        hashed = _median(lambda: replace(after, leaves=list(after.leaves)).tree())
        return cls(plain, hashed, _median(trace) + hashed + PASSES * _median(look))


def _median(call: Callable[[], object]) -> float:
    """Median seconds of a call, after one that does not count. Of a single one, if it takes long."""
    call()
    found, until = list[float](), time.monotonic() + ENOUGH
    while not found or (found[0] < LONG and (len(found) < LEAST or (time.monotonic() < until and len(found) < MOST))):
        began = time.perf_counter()
        call()
        found.append(time.perf_counter() - began)
    return median(found)
