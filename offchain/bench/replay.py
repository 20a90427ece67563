"""`offchain bench replay`: what a dispute costs a player: an interval with its roots, and a step with its trace."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from offchain.bench.jobs import job
from offchain.bench.timing import Row, Settings, Watch, unwatched
from offchain.commit.merkle import Tree
from offchain.commit.roots import state_tree
from offchain.dispute.replay import Ledger, Replay
from offchain.exec.base import Executor
from offchain.ir.arrays import Array
from offchain.lower import compile as lower

PAIRS: Final = 10
BEFORE: Final = 2  # steps before the measured ones, so that their state is not the initial one
STEPS: Final = 10  # of the interval: each adds the same, as in all intervals of at most 256 steps


def rows(jobs: Sequence[str], settings: Settings, watch: Watch = unwatched) -> Iterator[Row]:
    """For each job at each precision: an interval with the roots of its states, and a step with its full trace, all of
    it hashed; each beside the same in training."""
    for name in jobs:
        for bits in settings.bits:
            watch(f"compiling {name}", 0, 1)
            player = Player.of(name, bits, settings, watch)
            n = settings.pairs(PAIRS)
            yield _hashed(player, bits, settings, n, watch)
            held, label = player.executor.load(player.state), f"replay {name}"
            pairs = settings.measure(player.trace_root, lambda: player.executor.step(held, BEFORE), n, watch, label)  # noqa: B023  called here
            yield Row.of(label, bits, pairs)


@dataclass(frozen=True)
class Player:
    """Who replays a job from a state on, of which it knows the roots: it trained up to there, or checked a file."""

    name: str
    executor: Executor[Any]
    ledger: Ledger
    state: list[Array]
    tree: Tree

    @classmethod
    def of(cls, name: str, bits: int, settings: Settings, watch: Watch = unwatched) -> Player:
        task = lower(job(name, bits, settings.quick))
        executor = settings.runs(task, watch)
        state = executor.load(task.state)
        for t in range(BEFORE):
            state = executor.step(state, t)
        arrays = executor.dump(state)
        return cls(name, executor, Ledger(task.graph, task.constants, task.datasets), arrays, state_tree(arrays))

    def roots(self) -> list[bytes]:
        """What both players compute once for all disputes about an interval."""
        return self._replay().roots(range(BEFORE + 1, BEFORE + STEPS + 1))

    def train(self) -> Any:
        state = self.executor.load(self.state)
        for t in range(BEFORE, BEFORE + STEPS):
            state = self.executor.step(state, t)
        return state

    def trace_root(self) -> bytes:
        """What both players compute in each dispute."""
        return self._replay().step(BEFORE).trace.root

    def _replay(self) -> Replay:
        return Replay(self.executor, self.ledger, BEFORE, self.state, self.tree)


def _hashed(player: Player, bits: int, settings: Settings, n: int, watch: Watch) -> Row:
    label = f"interval {player.name}"
    row = Row.of(label, bits, settings.measure(player.roots, player.train, n, watch, label))
    return replace(row, notes={"hashing": f"{100 * max(0.0, 1 - 1 / row.ratio):.2g} %"})
