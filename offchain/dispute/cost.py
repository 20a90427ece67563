"""What disputes about a task cost a player, measured on this machine before any money depends on it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import SystemRandom
from statistics import median
from typing import Any, Final

import numpy as np

from offchain.commit.roots import tensor_roots
from offchain.dispute.replay import Ledger, Replay
from offchain.dispute.spans import STEP_FAN
from offchain.exec.base import Executor
from offchain.ir.arrays import Array
from offchain.ir.graph import Graph, Source

BUDGET: Final = 1 << 30  # bytes for the states that a replay keeps, where the caller names none
LEAST: Final = 3  # runs of which a median is taken
ENOUGH: Final = 0.2  # seconds after which no further run begins
MOST: Final = 25  # runs
LONG: Final = 1.0  # seconds of a run that is not repeated: its median would hardly differ
PASSES: Final = 2  # over a step's outputs in which a dispute looks for tensors that it opens
MANTISSA: Final = (1 << 23) - 1  # the bits of a binary32 that tell subnormals apart


@dataclass(frozen=True, slots=True)
class DisputeCost:
    """Seconds of computing in disputes about intervals of one task; the moves' transactions come on top.

    Attributes:
        plain: of a step, warm.
        hashed: that the root of the state after a step adds to it: only slots that a step can change are hashed.
        traced: of a disputed step with all its hashes, and of the passes that look for the tensors to open.
        state_bytes: that one kept state takes: the slots that a step can change.
        budget: bytes for the states that a replay keeps.
    """

    plain: float
    hashed: float
    traced: float
    state_bytes: int
    budget: int

    def replay_seconds(self, steps: int) -> float:
        """Of the hashed replay of an interval of that many steps, once for all disputes about it."""
        return steps * self.plain + min(steps, STEP_FAN) * self.hashed

    def step_seconds(self, steps: int) -> float:
        """Of each dispute about such an interval once it was replayed: from the nearest kept state to its step."""
        return self.apart(steps) * self.plain + self.traced

    def apart(self, steps: int) -> int:
        """The most steps from a kept state to a step of an interval."""
        kept = self.budget // max(1, self.state_bytes)
        return -(-steps // (kept + 1)) - 1


def measure(
    executor: Executor[Any], ledger: Ledger, state: Sequence[Array], last: int, budget: int = BUDGET
) -> DisputeCost:
    """The cost of disputes about a task with that state, whose last step has the number `last`.

    Every figure is a median of warm runs at steps drawn at random, and the greater one of two: from the state after a
    step, and from one in which every float is subnormal, which processors compute with several times more slowly.
    Takes about as long as a hundred steps, and at least as long as 5 plain and 4 traced ones.
    """
    after = executor.dump(executor.step(executor.load(state), 0))  # the first step also warms caches up
    changed = changing(ledger.graph)
    found = [_Measured.of(executor, ledger, arrays, changed, last) for arrays in (after, subnormal(after))]
    return DisputeCost(
        max(one.plain for one in found),
        max(one.hashed for one in found),
        max(one.traced for one in found),
        sum(after[slot].nbytes for slot in changed),
        budget,
    )


def changing(graph: Graph) -> list[int]:
    """The slots that a step can change: all but those that repeat themselves."""
    return [n for n, slot in enumerate(graph.slots) if (slot.source, slot.index) != (Source.STATE, n)]


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
    def of(
        cls, executor: Executor[Any], ledger: Ledger, arrays: list[Array], changed: Sequence[int], last: int
    ) -> _Measured:
        held, draw = executor.load(arrays), SystemRandom()

        def some() -> int:
            return draw.randint(0, last)

        def look() -> None:
            for _ in executor.outputs(held, some()):
                pass

        def trace() -> None:
            t = some()
            Replay(executor, ledger, t, arrays).step(t)

        plain = _median(lambda: executor.step(held, some()))
        hashed = _median(lambda: list(tensor_roots(executor.dump(held)[n] for n in changed)))
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
