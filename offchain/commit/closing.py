"""The end of an interval: another thread hashes and keeps its state while the next steps run."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache

from offchain.commit.merkle import Tree
from offchain.commit.roots import state_root_of, state_tree
from offchain.ir.arrays import Array


@dataclass(frozen=True, slots=True)
class Reached:
    """The end of an interval: the state there, with its tree."""

    checkpoint: int
    root: bytes
    state: list[Array]
    tree: Tree


Keep = Callable[[Reached], object]


def close(checkpoint: int, state: list[Array], keep: Keep | None = None) -> Future[Reached]:
    """Begins to hash and keep a state, which nobody may write to any more. The future raises what `keep` raises."""

    def work() -> Reached:
        tree = state_tree(state)
        reached = Reached(checkpoint, state_root_of(len(state), tree.root), state, tree)
        if keep is not None:
            keep(reached)
        return reached

    return _threads().submit(work)


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(thread_name_prefix="checkpoint")
