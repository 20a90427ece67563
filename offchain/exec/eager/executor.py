"""The torch executor: whole-tensor operations on any device, equal to the reference bit for bit.

Every tensor stays flat, contiguous and on the device. Sums run in floating point only where every partial sum, in any
order, is an integer that the type holds: float64 up to 2^53, float32 up to 2^24.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import torch

from offchain.errors import OffchainError
from offchain.exec.base import DEFAULT, Setting, Tensors, last_readers, state_after
from offchain.exec.distributed import Processes
from offchain.exec.eager.program import alive, run_map
from offchain.exec.eager.views import Plane, read, read_rows
from offchain.exec.eager.words import (
    canonical,
    exponent_of_magnitude,
    magnitude,
    order_key,
    order_unkey,
    quantise,
    scale,
)
from offchain.exec.plan.geometry import steps
from offchain.exec.plan.memory import memory_for, memory_of, require_memory
from offchain.exec.plan.precision import single_is_exact
from offchain.exec.plan.products import SINGLE_BITS
from offchain.exec.plan.shards import share, whole
from offchain.ir.arrays import Array
from offchain.ir.graph import Axis, Graph, Node, Source, View
from offchain.ir.kinds import Kind, chosen, traits, unknown
from offchain.ir.primitives import DType

Tensor = torch.Tensor
State = list[Tensor]

_SLICE: Final = 1 << 24  # elements that a reduction reads at once
_SCRATCH: Final = 32  # bytes for each: what was read, its magnitudes, both operands as doubles


@dataclass(frozen=True)
class Cut:
    """How a reduction is divided: into slices of K in this process, and among the processes."""

    parts: int = 1
    processes: Processes | None = None

    def greatest(self, numbers: Tensor) -> Tensor:
        return numbers if self.processes is None else self.processes.greatest(numbers.contiguous())

    def total(self, numbers: Tensor) -> Tensor:
        return numbers if self.processes is None else self.processes.total(numbers.contiguous())


class TorchExecutor:
    """A state is a list of flat tensors on `device`, in slot order, which nobody writes to.

    `parts` cuts every reduction into that many slices of K: maxima of exponents, then sums of integer partial sums. The
    processes share each step in the same way, and each holds the whole state after it. Raises OffchainError
    where the device flushes subnormals.
    """

    def __init__(
        self,
        graph: Graph,
        constants: Sequence[Array],
        datasets: Sequence[Array],
        setting: Setting = DEFAULT,
        parts: int = 1,
    ) -> None:
        self.graph, self.parts, self.processes = graph, parts, setting.processes
        self.device = torch.device(setting.device)
        processes = setting.processes
        self._share = whole(graph) if processes is None else share(graph, processes.size, processes.rank)
        self._tensors = Tensors(graph, constants, datasets)
        for number, node in enumerate(self._share.graph.nodes):
            require_memory(*memory_of(number, node), _scratch(node), setting.limits.memory)
        _require_subnormals(self.device)
        self._constants = [self._upload(array) for array in self._tensors.constants]
        self._datasets = [self._upload(array) for array in self._tensors.datasets]
        self._dead = last_readers(self._share.graph)

    def load(self, state: Sequence[Array]) -> State:
        held = []
        for slot, array in zip(self.graph.slots, self._tensors.state(state), strict=True):
            with memory_for(f"slot {slot.spec.name!r}", "in each state", array.nbytes):
                held.append(self._upload(array))
        return held

    def dump(self, state: State) -> list[Array]:
        return [_download(tensor) for tensor in state]

    def lend(self, state: State, slots: Sequence[int]) -> list[Array]:
        return [_download(state[n]) for n in slots]

    def step(self, state: State, t: int) -> State:
        outputs: list[Tensor | None] = []
        for _ in self._run(state, t, outputs):
            pass
        return [tensor for tensor in state_after(self._share.graph, state, outputs) if tensor is not None]

    def outputs(self, state: State, t: int) -> Iterator[Array]:
        if self.processes is not None:  # no process has all outputs, so each computes them alone
            constants, datasets = self._tensors.constants, self._tensors.datasets
            alone = TorchExecutor(self.graph, constants, datasets, Setting(str(self.device)), self.parts)
            yield from alone.outputs(state, t)
            return
        for tensor in self._run(state, t, []):
            yield _download(tensor)

    def _run(self, state: State, t: int, outputs: list[Tensor | None]) -> Iterator[Tensor]:
        """Runs the nodes in order into `outputs`. An output is dropped after its last reader."""
        tensors: dict[Source, Sequence[Tensor | None]] = {
            Source.NODE: outputs,
            Source.STATE: state,
            Source.DATA: self._datasets,
            Source.CONST: self._constants,
        }
        alone, together = Cut(self.parts), Cut(self.parts, self.processes)
        rows = zip(self._share.graph.nodes, self._share.joined, self._dead, strict=True)
        for number, (node, how, dead) in enumerate(rows):
            sources = [tensors[item.source][item.index] for item in node.inputs]
            live = [tensor for tensor in sources if tensor is not None]
            with memory_for(*memory_of(number, node)):
                result = self._node(node, live, t, together if how else alone)
            outputs.append(result)
            del sources, live
            yield result
            del result
            for n in dead:
                outputs[n] = None

    @torch.no_grad()
    def _node(self, node: Node, sources: list[Tensor], t: int, cut: Cut) -> Tensor:
        if node.kind is Kind.MAP:
            out = run_map(node, sources, t, self.device)
            out = out if cut.processes is None else cut.total(out.view(torch.int32)).view(out.dtype)
        else:
            out = chosen(_KINDS, node.kind)(node, sources, cut)
        flat = out.expand(node.shape).reshape(-1).contiguous()
        # a view would keep all of its source alive, and a state may outlive many steps
        return flat.clone() if flat.untyped_storage().nbytes() > 4 * flat.numel() else flat

    def _upload(self, array: Array) -> Tensor:
        return torch.tensor(array, device=self.device)


def _require_subnormals(device: torch.device) -> None:
    smallest = torch.full((64,), 2.0**-149, device=device)
    if not bool(((smallest * 3 > 0) & (smallest.double().float() > 0)).all()):
        raise OffchainError(f"{device} flushes subnormals to zero here: call torch.set_flush_denormal(False)")


def _download(tensor: Tensor) -> Array:
    array: Array = canonical(tensor).cpu().clone().numpy()
    return array


def _slices(node: Node, parts: int, terms: int) -> Iterator[tuple[int, int]]:
    """[lo, hi) of the slices of K: `parts` of them, or more to keep the memory of `terms` terms bounded."""
    count = min(node.extent, max(parts, -(-terms // _SLICE)))
    bounds = [node.extent * i // count for i in range(count + 1)]
    yield from pairwise(bounds)


def _scratch(node: Node) -> int:
    """Bytes that are alive while a node is computed, beside its sources and its output: an estimate, seldom too low."""
    if node.kind is Kind.MAP:
        return 4 * node.length * alive(node.program)
    terms = _SCRATCH * min(node.length * node.extent, max(node.length, _SLICE))
    if node.kind is Kind.GATHER:
        return terms + 4 * _terms(node)
    if traits(node.kind).reduces:
        return terms
    raise unknown(node.kind)


def _within(view: View, lo: int, hi: int) -> View:
    """The view with k restricted to [lo, hi), counted from 0."""
    *axes, k = view.axes
    ends = (min(max(end - lo, 0), hi - lo) for end in (k.lo, k.hi))
    return View(view.offset + k.stride * lo, (*axes, Axis(k.stride, *ends)))


def _terms(node: Node, position: int = 0) -> int:
    view = node.inputs[position].view
    size = node.extent
    for axis, n in zip(view.axes, node.shape, strict=False):
        size *= n if steps(axis, n) else 1
    return size


def _read_k(node: Node, position: int, sources: list[Tensor], lo: int, hi: int) -> Tensor:
    """Input `position` at k in [lo, hi): one dimension per axis, of size 1 where the view has stride 0."""
    view = _within(node.inputs[position].view, lo, hi)
    return read(sources[position], view, (*node.shape, hi - lo), keep_last=True)


def _maximum(node: Node, position: int, sources: list[Tensor], cut: Cut, order: Callable[[Tensor], Tensor]) -> Tensor:
    best: Tensor | None = None
    for lo, hi in _slices(node, cut.parts, _terms(node, position)):
        part = order(_read_k(node, position, sources, lo, hi)).amax(dim=-1)
        best = part if best is None else torch.maximum(best, part)
    assert best is not None
    return cut.greatest(best)


def _exponents(node: Node, position: int, sources: list[Tensor], cut: Cut) -> Tensor:
    """max_k e(x) of an operand, of size 1 along axes where its view has stride 0."""
    return exponent_of_magnitude(_maximum(node, position, sources, cut, magnitude))


def _max(node: Node, sources: list[Tensor], cut: Cut) -> Tensor:
    if node.dtype is DType.I32:
        return _maximum(node, 0, sources, cut, lambda x: x)
    return order_unkey(_maximum(node, 0, sources, cut, order_key))


def _rounded(node: Node, total: Tensor, *exponents: Tensor) -> Tensor:
    """Rounds exact sums to float32. Adding +0.0 turns a sum of -0.0 into +0.0, as an integer zero has no sign."""
    total = total + 0.0
    for e in exponents:
        total = total * scale(e, node.bits)
    return total.float()


def _sum(node: Node, sources: list[Tensor], cut: Cut) -> Tensor:
    e = _exponents(node, 0, sources, cut)
    total: Tensor | None = None
    for lo, hi in _slices(node, cut.parts, _terms(node)):
        q = quantise(_read_k(node, 0, sources, lo, hi), e.unsqueeze(-1), node.bits, torch.float64)
        part = q.sum(dim=-1)
        total = part if total is None else total.add_(part)
    assert total is not None
    return _rounded(node, cut.total(total), e)


def _dot(node: Node, sources: list[Tensor], cut: Cut) -> Tensor:
    """A batch of matrix products of integers, in the narrowest type that sums them exactly."""
    single = node.bits <= SINGLE_BITS and single_is_exact()
    dtype = torch.float32 if single else torch.float64
    longest = 1 << (24 - 2 * (node.bits - 1)) if single else node.extent
    ea, eb = (_exponents(node, position, sources, cut) for position in (0, 1))
    plane = Plane(tuple(ea.shape), tuple(eb.shape))
    total: Tensor | None = None
    for lo, hi in _slices(node, max(cut.parts, -(-node.extent // longest)), plane.terms(node.extent)):
        qa = quantise(_read_k(node, 0, sources, lo, hi), ea.unsqueeze(-1), node.bits, dtype)
        qb = quantise(_read_k(node, 1, sources, lo, hi), eb.unsqueeze(-1), node.bits, dtype)
        part = plane.product(qa, qb).double()
        total = part if total is None else total.add_(part)
    assert total is not None
    return _rounded(node, cut.total(total), ea, eb)


def _scatter_add(node: Node, sources: list[Tensor], cut: Cut) -> Tensor:
    """Adds rows of x to row I of the result. An I outside the result names an extra row, which is dropped."""
    e = _exponents(node, 0, sources, cut)
    values, index = node.inputs[0].view.axes, node.inputs[1].view.axes[:-1]
    sizes = node.shape
    if steps(values[0], sizes[0]) or any(map(steps, index, sizes)):
        return _scatter_by_mask(node, sources, cut, e)
    total: Tensor | None = None
    for lo, hi in _slices(node, cut.parts, _terms(node)):
        q = quantise(_read_k(node, 0, sources, lo, hi), e.unsqueeze(-1), node.bits, torch.float64)
        rows = _read_k(node, 1, sources, lo, hi).reshape(-1).long()
        rows = torch.where((rows >= 0) & (rows < sizes[0]), rows, sizes[0])
        if total is None:
            total = q.new_zeros((sizes[0] + 1, *q.shape[1:-1]))
        total.index_add_(0, rows, q.squeeze(0).movedim(-1, 0))
    assert total is not None
    return _rounded(node, cut.total(total[: sizes[0]]), e)


def _scatter_by_mask(node: Node, sources: list[Tensor], cut: Cut, e: Tensor) -> Tensor:
    """For views with cut-off rows, where not every row sees the same terms."""
    row = torch.arange(node.shape[0], device=e.device).reshape(-1, *[1] * len(node.shape))
    total: Tensor | None = None
    for lo, hi in _slices(node, cut.parts, node.length * node.extent):
        q = quantise(_read_k(node, 0, sources, lo, hi), e.unsqueeze(-1), node.bits, torch.float64)
        hit = _read_k(node, 1, sources, lo, hi) == row
        part = torch.where(hit, q, 0.0).sum(dim=-1)
        total = part if total is None else total.add_(part)
    assert total is not None
    return _rounded(node, cut.total(total), e)


def _gather(node: Node, sources: list[Tensor], cut: Cut) -> Tensor:
    index = read(sources[1], node.inputs[1].view, node.shape).long()
    inside = (index >= 0) & (index < node.extent)
    found = read_rows(sources[0], node, index.clamp(0, node.extent - 1))
    return torch.where(inside, found, torch.zeros((), dtype=found.dtype, device=found.device))


_KINDS: Final[dict[Kind, Callable[[Node, list[Tensor], Cut], Tensor]]] = {
    Kind.DOT: _dot,
    Kind.SUM: _sum,
    Kind.SCATTER_ADD: _scatter_add,
    Kind.MAX: _max,
    Kind.GATHER: _gather,
}
