"""A certificate: what was computed from what, by whom, where it was settled, and the proofs of that."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from offchain.chain.proofs import Header, Stored


@dataclass(frozen=True, slots=True)
class Leaf:
    """A tensor that hangs on a root by a path of a tree: on the graph's, or on a state's.

    Attributes:
        index: among the graph's constants, its datasets, or the state's slots.
        root: of the tensor.
        proof: siblings from its leaf of the tree upwards.
    """

    index: int
    root: bytes
    proof: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """A tensor of the model, and where the roots bind its values.

    Attributes:
        key: its name in `state_dict()`.
        dtype: one of `offchain.task.DTYPES`.
        place: "slot" of the state, "constant" of the graph, or "own": no step reads it, and no root binds it.
        index: of the slot or the constant.
        offset: element of the slot at which it begins.
    """

    key: str
    dtype: str
    shape: tuple[int, ...]
    place: str
    index: int
    offset: int

    @property
    def length(self) -> int:
        """Elements of the slot or the constant that hold it: complex numbers are pairs."""
        return prod(self.shape) * (2 if self.dtype == "complex64" else 1)


@dataclass(frozen=True, slots=True)
class Rows:
    """What the steps output under a name, all intervals joined.

    Attributes:
        dtype: one of `offchain.task.DTYPES` that is real.
        shape: of all rows that are kept.
        slot: that holds an interval's.
        tail: the rows of the last intervals that are not kept, as their slots hold them: 4 bytes an element.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    slot: int
    tail: bytes


@dataclass(frozen=True, slots=True)
class Figures:
    """What the log says of the last step, and what an evaluation that ends a job keeps beside it.

    Attributes:
        names: of the log's columns.
        chunks: of the log, those that hold that row: 4,096 bytes each, and the proof to the tree of its chunks.
        matrices: each a slot of the final state.
    """

    names: tuple[str, ...]
    chunks: tuple[tuple[bytes, tuple[bytes, ...]], ...]
    matrices: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Binding:
    """What the roots bind of a model and of its data.

    Attributes:
        counts: the graph's nodes, constants, slots and datasets.
        constants: those that the model holds.
        datasets: all of them.
        slots: the tensor roots of the final state, in slot order.
        entries: of the model.
        outputs: what steps output.
        parts: for each interval, and each of the outputs, the slot's tensor root, proven to the checkpoint's root.
        figures: of the last step; None where nobody had the log any more.
    """

    counts: tuple[int, int, int, int]
    constants: tuple[Leaf, ...]
    datasets: tuple[Leaf, ...]
    slots: tuple[bytes, ...]
    entries: tuple[Entry, ...]
    outputs: tuple[Rows, ...]
    parts: tuple[tuple[Leaf, ...], ...]
    figures: Figures | None


@dataclass(frozen=True, slots=True)
class Work:
    """What a task was: all of it can be read from its market's and its log's storage.

    Attributes:
        chain_id: of the chain.
        market: address of the market, 20 bytes; `task_id` is its number there.
        requester, solver: addresses, 20 bytes each; the solver of the last attempt, by number.
        first: interval with which that attempt began.
        graph_root, state_root, final_root: of the step graph, and of the states before the first and after the last
            step.
        started: timestamp at which the last attempt began; `finished`: of its last checkpoint.
    """

    chain_id: int
    market: bytes
    task_id: int
    requester: bytes
    solver: bytes
    attempt: int
    first: int
    graph_root: bytes
    state_root: bytes
    final_root: bytes
    steps: int
    interval: int
    started: int
    finished: int

    @property
    def intervals(self) -> int:
        return -(-self.steps // self.interval)


@dataclass(frozen=True, slots=True)
class Audit:
    """A verifier's claim that it has replayed the interval before a checkpoint. `fate`: one of `claims.Fate`."""

    checkpoint: int
    attempt: int
    verifier: str
    fate: str


@dataclass(frozen=True, slots=True)
class Contest:
    """A dispute about a checkpoint. `outcome`: "upheld", "convicted", "dismissed" or "open"."""

    checkpoint: int
    attempt: int
    challenger: str
    outcome: str


@dataclass(frozen=True, slots=True)
class Certificate:
    """A completed task.

    Attributes:
        name: of the task, for people.
        audits, contests: as the chain's events tell them up to the block of `header`.
        header: of the block by which everything is proven.
        market, log: what the contracts have stored at that block.
    """

    name: str
    work: Work
    binding: Binding
    audits: tuple[Audit, ...]
    contests: tuple[Contest, ...]
    header: Header
    market: Stored
    log: Stored
