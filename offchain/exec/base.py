"""What every executor promises, and what all executors share: settings, checked inputs, liveness, the next state."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

import numpy as np

from offchain.errors import BadBlob, BadInput
from offchain.ir.arrays import Array, is_canonical, numpy_dtype
from offchain.ir.graph import Graph, Source, TensorSpec
from offchain.ir.legality import check
from offchain.progress import Count, unwatched

if TYPE_CHECKING:  # it imports torch, which takes a second
    from offchain.exec.distributed import Processes

S = TypeVar("S")
T = TypeVar("T")


PREPARED: Final = 2 << 30  # bytes: 530 million weights at 21 bits, a billion at up to 13


@dataclass(frozen=True)
class Limits:
    """What an executor may take for an untrusted graph, in addition to the tensors and the outputs of nodes.

    `prepared` bytes, part of `memory`, may hold from step to step what no step changes: quantised weights that are not
    trained. Where they do not fit, these are made in each step. With `whole` each step makes all nodes, also those that
    no slot reads in this one: so no step takes longer than one that was measured.
    """

    memory: int = 1 << 62  # bytes
    kernels: int = 1 << 62  # that it compiles
    prepared: int = PREPARED
    whole: bool = False

    def require_kernels(self, count: int) -> None:
        """Raises BadInput where a graph needs more kernels than the limit."""
        if count > self.kernels:
            raise BadInput(f"the graph needs {count} kernels, of which {self.kernels} may be compiled")


UNLIMITED: Final = Limits()


@dataclass(frozen=True)
class Setting:
    """Where and how an executor runs: the same object for every executor, which refuses what it cannot honour.

    `device` is a name that torch knows ("cpu", "cuda", "cuda:1"). `watch(done, of)` is called whenever a kernel is
    ready. The `processes` share every step. `limits` are checked before anything is compiled or allocated.
    """

    device: str = "cpu"
    watch: Count = unwatched
    processes: Processes | None = None
    limits: Limits = UNLIMITED

    @property
    def device_type(self) -> str:
        """`cuda` for `cuda:1`."""
        return self.device.partition(":")[0]


DEFAULT: Final = Setting()


class Executor(Protocol[S]):
    """Runs the steps of one graph. `S` is the executor's own form of a state; all executors give the same bits."""

    graph: Graph

    def load(self, state: Sequence[Array]) -> S:
        """A state from flat or shaped float32 and int32 arrays in slot order.

        Raises BadBlob where an array's dtype or length is not its slot's, or a NaN is not canonical.
        """

    def dump(self, state: S) -> list[Array]:
        """Flat arrays in slot order, NaN canonical; the caller owns them."""

    def lend(self, state: S, slots: Sequence[int]) -> list[Array]:
        """Flat arrays of some slots, NaN canonical. They may be the state's own memory: nobody writes to them, and they
        are read only while the state is held."""

    def step(self, state: S, t: int) -> S:
        """`state[t+1] = F(state[t], t)`. Does not change its argument."""

    def outputs(self, state: S, t: int) -> Iterator[Array]:
        """Outputs of all nodes in execution order, flat, NaN canonical, one at a time; the caller owns them."""


class Tensors:
    """A legal graph with its constants and datasets, whose dtypes, lengths and NaNs are checked.

    Nobody writes to the arrays as long as the executor lives: what it makes of constants lasts. Raises IllegalGraph or
    BadBlob.
    """

    def __init__(self, graph: Graph, constants: Sequence[Array], datasets: Sequence[Array]) -> None:
        check(graph)
        self.graph = graph
        self.constants = flat_arrays("constant", graph.constants, constants)
        self.datasets = flat_arrays("dataset", graph.datasets, datasets)

    def state(self, state: Sequence[Array]) -> list[Array]:
        """Flat arrays of a state. Raises BadBlob."""
        return flat_arrays("slot", [slot.spec for slot in self.graph.slots], state)


def flat_arrays(what: str, specs: Sequence[TensorSpec], arrays: Sequence[Array]) -> list[Array]:
    """The arrays, flat. Raises BadBlob naming the first whose dtype or length is not that of its spec.

    A NaN that is not canonical is refused, not repaired: the array's root binds the bits that it has.
    """
    if len(specs) != len(arrays):
        raise BadBlob(f"{len(arrays)} arrays for {len(specs)} of kind {what}")
    for spec, array in zip(specs, arrays, strict=True):
        if array.dtype != numpy_dtype(spec.dtype) or array.size != spec.length:
            have = f"{array.dtype} of {array.size} elements"
            raise BadBlob(f"{what} {spec.name}: {have}, must be {spec.dtype.name} of {spec.length}")
        if not is_canonical(array):
            raise BadBlob(f"{what} {spec.name}: holds a NaN that is not 0x7fc00000")
    return [np.ascontiguousarray(array).reshape(-1) for array in arrays]


def state_after(graph: Graph, state: Sequence[T], outputs: Sequence[T]) -> list[T]:
    """The next state: each slot repeats a node's output, or a slot of the state before."""
    return [(outputs if slot.source is Source.NODE else state)[slot.index] for slot in graph.slots]


def last_readers(graph: Graph) -> list[tuple[int, ...]]:
    """For each node, the nodes whose outputs nothing reads after it; an output that nothing reads counts as its own."""
    last = list(range(len(graph.nodes)))
    for n, node in enumerate(graph.nodes):
        for item in node.inputs:
            if item.source is Source.NODE:
                last[item.index] = n
    kept = {slot.index for slot in graph.slots if slot.source is Source.NODE}
    dead: list[list[int]] = [[] for _ in graph.nodes]
    for n, reader in enumerate(last):
        if n not in kept:
            dead[reader].append(n)
    return [tuple(nodes) for nodes in dead]
