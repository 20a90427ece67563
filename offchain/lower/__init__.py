"""torch → step graph: `compile(job)` traces one step, lowers it, fuses it, and packs it with its tensors."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, fx

from offchain.commit.roots import tensor_root
from offchain.errors import Unsupported
from offchain.ir.arrays import Array, dtype_of
from offchain.ir.graph import LOG_SLOT, Graph, Input, Node, Slot, Source, TensorSpec
from offchain.ir.kinds import MAX_INPUTS
from offchain.ir.legality import check
from offchain.ir.primitives import Instr, Op
from offchain.ir.program import F32, FULL, I32, Bounds, ProgramBuilder, Value
from offchain.job import Job
from offchain.lines import at
from offchain.lower import (  # noqa: F401  they fill the registry
    elementwise,
    indexing,
    normalisation,
    pooling,
    reductions,
    resample,
    shapes,
    windows,
    words,
)
from offchain.lower.builder import Builder
from offchain.lower.fuse import fuse, prune
from offchain.lower.library import remainder
from offchain.lower.origin import described, where
from offchain.lower.refs import Ref
from offchain.lower.registry import Context
from offchain.lower.trace import Traced, as_int32, trace
from offchain.task import Task

__all__ = ["compile"]

aten = torch.ops.aten
_COPIES = {aten.clone.default, aten.detach.default, aten.alias.default}
# int64 is computed in int32, where nothing may wrap; _check_counter enforces what is assumed of int64 state
_ASSUMED: Final[dict[torch.dtype, Bounds]] = {torch.int64: (-(1 << 30), 1 << 30), torch.bool: (0, 1)}
MAX_METRICS = MAX_INPUTS - 2  # the log's map also reads the old rows


def compile(job: Job, *, fused: bool = True) -> Task:
    """The task of a job: a legal graph, its constants, datasets and initial state.

    Raises Unsupported in one line for what cannot be lowered. `fused=False` keeps one node per operation (for tests).
    """
    if len(job.metrics) >= MAX_METRICS:
        raise Unsupported(
            f"job{at(job.line_of('metrics'))}: {len(job.metrics)} metrics; leave some out, at most {MAX_METRICS - 1} "
            "fit besides the loss"
        )
    return _Compiler(job, trace(job)).task(fused)


class _Compiler:
    """Lowers a traced step into slots, nodes and constants."""

    def __init__(self, job: Job, traced: Traced) -> None:
        self.job, self.traced = job, traced
        self.builder = Builder(job.bits, job.steps)
        self.context = Context(self.builder)
        nodes = list(traced.module.graph.nodes)
        self.placeholders = [node for node in nodes if node.op == "placeholder"]
        self.outputs: list[fx.Node] = list(next(node for node in nodes if node.op == "output").args[0])
        self.body = [node for node in nodes if node.op not in ("placeholder", "output")]
        count = len(traced.names)
        self.moving = [i for i in range(count) if _origin(self.outputs[i]) is not self.placeholders[i]]
        self.datasets = {name: _array(as_int32(data)) for name, data in job.dataset.items()}

    def task(self, fused: bool) -> Task:
        self._bind()
        for node in self.body:
            self.context.values[node] = self._attribute(node) if node.op == "get_attr" else self.context.run(node)
        for i in self.moving:
            if self.traced.state[i].dtype is torch.int64:
                self._check_counter(i)
        state = [(self.traced.names[i], _array(self.traced.state[i])) for i in self.moving]
        slots = [
            self._slot(name, array, self._result(self.outputs[i]))
            for i, (name, array) in zip(self.moving, state, strict=True)
        ]
        log = np.zeros((self.job.interval, len(self.traced.metrics)), np.float32)
        slots.append(self._slot(LOG_SLOT, log, self._log(len(slots), log.shape)))
        graph, constants = self._graph(slots, fused)
        check(graph)
        return Task(
            graph=graph,
            constants=constants,
            datasets=tuple(array.reshape(-1) for array in self.datasets.values()),
            state=(*(array.reshape(-1) for _, array in state), log.reshape(-1)),
            steps=self.job.steps,
            name=self.job.name,
            parameters=(*self.traced.parameters, *self._moving_buffers()),
            packed=self.traced.packed,
        )

    def _moving_buffers(self) -> list[str]:
        """Buffers of the model that steps change: a trained model is not whole without them."""
        buffers = {name for name, _ in self.job.model.named_buffers()}
        return [self.traced.names[i] for i in self.moving if self.traced.names[i] in buffers]

    def _bind(self) -> None:
        """Placeholders: slots that move, constants that do not, datasets, the step number."""
        values, count = self.context.values, len(self.traced.names)
        for i in range(count):
            array = _array(self.traced.state[i])
            if i in self.moving:
                bounds = _ASSUMED.get(self.traced.state[i].dtype, FULL)
                slot = self.moving.index(i)
                ref = Ref.whole(Source.STATE, slot, dtype_of(array), array.shape, bounds)
            else:
                ref = self.builder.constant(array)
            values[self.placeholders[i]] = ref
        for number, array in enumerate(self.datasets.values()):
            bounds = (int(array.min()), int(array.max())) if array.dtype == np.int32 else FULL
            ref = Ref.whole(Source.DATA, number, dtype_of(array), array.shape, bounds)
            values[self.placeholders[count + number]] = ref
        step = Ref(I32, (), Instr(Op.STEP), bounds=(0, self.job.steps - 1))
        values[self.placeholders[-1]] = step

    def _check_counter(self, i: int) -> None:
        """Raise Unsupported unless int64 state stays within what `_bind` assumes of it, in all steps.

        By induction: either any step ends within, or each adds what is bounded, and all of them together not too much.
        """
        low, high = _ASSUMED[torch.int64]
        after = self._bounds(self.outputs[i])
        grown = (0, 0) if low <= after[0] and after[1] <= high else self._growth(self.outputs[i], self.placeholders[i])
        first, what = self.traced.state[i], f"buffer {self.traced.names[i]!r}{where(_origin(self.outputs[i]))}"
        if grown is None:
            raise Unsupported(f"{what}: int64 that is not counted up by what fits; use int32, which wraps")
        least, most = (int(end) + self.job.steps * by for end, by in zip(first.aminmax(), grown, strict=True))
        if min(least, int(first.min())) < low or max(most, int(first.max())) > high:
            raise Unsupported(
                f"{what}: int64 that may reach {least} to {most} in {self.job.steps} steps; "
                "it must stay within 2^30: use int32, which wraps"
            )

    def _growth(self, node: Any, start: fx.Node) -> Bounds | None:
        """Bounds of what a step adds to `start` to make `node`; None where it is not a sum with it."""
        node = _origin(node) if isinstance(node, fx.Node) else node
        if node is start:
            return 0, 0
        if not isinstance(node, fx.Node) or node.kwargs:
            return None
        if node.target is aten.copy.default:
            return self._growth(node.args[1], start)
        if node.target is aten.where.self:
            yes, no = (self._growth(branch, start) for branch in node.args[1:])
            return (min(yes[0], no[0]), max(yes[1], no[1])) if yes and no else None
        if node.target is aten.sub.Tensor and (grown := self._growth(node.args[0], start)):
            low, high = self._bounds(node.args[1])
            return grown[0] - high, grown[1] - low
        for old, added in (node.args, node.args[::-1]) if node.target is aten.add.Tensor else ():
            if grown := self._growth(old, start):
                low, high = self._bounds(added)
                return grown[0] + low, grown[1] + high
        return None

    def _bounds(self, value: Any) -> Bounds:
        """Bounds of an integer argument of a traced operation."""
        if not isinstance(value, fx.Node):
            return value, value
        ref = self._result(value)
        if ref.uniform is not None and ref.uniform.op is Op.CONST_I32:
            return ref.uniform.word, ref.uniform.word
        return ref.bounds

    def _attribute(self, node: fx.Node) -> Ref:
        """A tensor that the job's code holds outside of the model."""
        value = getattr(self.traced.module, str(node.target))
        if not isinstance(value, Tensor) or (value.is_floating_point() and value.dtype is not torch.float32):
            reader = next(iter(node.users), node)
            made = getattr(value, "dtype", type(value).__name__)
            raise Unsupported(f"{described(reader)}: reads {made} from outside the model; use float32 (.float())")
        return self.builder.constant(_array(value))

    def _result(self, node: fx.Node) -> Ref:
        value: Ref = self.context.values[node]
        return value

    def _slot(self, name: str, array: Array, ref: Ref) -> Slot:
        """A slot that repeats a whole tensor: a node, or a slot from before."""
        spec = TensorSpec(name, dtype_of(array), array.shape)
        if not (ref.is_whole and ref.source in (Source.NODE, Source.STATE)):
            ref = self.builder.copy(ref)
        return Slot(spec, ref.source, ref.index)

    def _log(self, slot: int, shape: tuple[int, ...]) -> Ref:
        """Row t mod c takes the metrics; earlier rows are carried, later ones read nothing of the old log."""
        rows, columns = shape
        old = Ref.whole(Source.STATE, slot, F32, shape)
        metrics = [self._result(node) for node in self.outputs[len(self.traced.names) :]]
        floats = [self.builder.map(lambda v: v.cast(F32), metric.expand(())) for metric in metrics]

        def carried(p: ProgramBuilder) -> Value:
            return p.index(0).lt(remainder(p.step(), rows)).where(p.index(0), -1)

        index = self.builder.generate((rows,), carried).unsqueeze(1)
        kept = self.builder.gather(old.permute([1, 0]).unsqueeze(0), index.expand(shape))

        def row(kept: Value, *values: Value) -> Value:
            p = kept.program
            new = values[-1]
            for column in reversed(range(columns - 1)):
                new = p.index(1).eq(column).where(values[column], new)
            return p.index(0).eq(remainder(p.step(), rows)).where(new, kept)

        return self.builder.generate(shape, row, kept, *floats)

    def _graph(self, slots: list[Slot], fused: bool) -> tuple[Graph, tuple[Array, ...]]:
        nodes, slots = (fuse if fused else prune)(self.builder.nodes, slots)
        nodes, constants = _used_constants(nodes, self.builder.constants)
        specs = tuple(TensorSpec(f"constant.{i}", dtype_of(c), (c.size,)) for i, c in enumerate(constants))
        data = tuple(TensorSpec(name, dtype_of(a), a.shape) for name, a in self.datasets.items())
        graph = Graph(
            nodes=tuple(nodes),
            slots=tuple(slots),
            constants=specs,
            constant_roots=tuple(map(tensor_root, constants)),
            datasets=data,
            dataset_roots=tuple(map(tensor_root, self.datasets.values())),
            metrics=self.traced.metrics,
        )
        return graph, constants


def _used_constants(nodes: list[Node], constants: list[Array]) -> tuple[list[Node], tuple[Array, ...]]:
    """Only those constants that a node reads, renumbered."""
    used = sorted({i.index for node in nodes for i in node.inputs if i.source is Source.CONST})
    new = {old: number for number, old in enumerate(used)}

    def renamed(item: Input) -> Input:
        return replace(item, index=new[item.index]) if item.source is Source.CONST else item

    moved = [replace(node, inputs=tuple(map(renamed, node.inputs))) for node in nodes]
    return moved, tuple(constants[old] for old in used)


def _origin(node: fx.Node) -> fx.Node:
    """The placeholder that a traced value merely copies, or the value itself."""
    while node.op == "call_function" and node.target in _COPIES:
        node = node.args[0]  # type: ignore[assignment]
    return node


def _array(tensor: Tensor) -> Array:
    """As NumPy, in the dtype that the graph holds, float32 or int32; the job may change its tensor afterwards."""
    array: Array = as_int32(tensor).numpy().copy()
    return array
