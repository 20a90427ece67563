"""Makes a task of a job: its captured step is lowered to slots, nodes and constants, fused, and checked."""

from __future__ import annotations

import gc
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, fx

from offchain.commit.roots import tensor_root
from offchain.errors import OffchainError, Unsupported
from offchain.generation import Generation
from offchain.ir.arrays import Array, dtype_of
from offchain.ir.graph import LOG_SLOT, Graph, Input, Node, Slot, Source, TensorSpec
from offchain.ir.kinds import MAX_INPUTS
from offchain.ir.legality import check
from offchain.ir.primitives import Instr, Op
from offchain.ir.program import F32, FULL, I32, Bounds
from offchain.job import Job
from offchain.lines import at, line_of
from offchain.lower import (  # noqa: F401  importing them fills the registry
    distances,
    elementwise,
    fourier,
    indexing,
    normalisation,
    pooling,
    quantisation,
    reductions,
    resample,
    scattering,
    shapes,
    solving,
    sorting,
    windows,
    words,
)
from offchain.lower.builder import GraphBuilder
from offchain.lower.capture import Captured, as_int32, capture, uncopied
from offchain.lower.counters import ASSUMED, Counter, check_counter
from offchain.lower.evaluated import evaluated
from offchain.lower.faithful import check_faithful
from offchain.lower.fuse import fuse, prune
from offchain.lower.host import World, check_host, check_schedule, kept, unmoved
from offchain.lower.log import next_log, next_rows
from offchain.lower.losses import metrics_form, training_form
from offchain.lower.model import changed_tensors, model_tensors
from offchain.lower.origin import described
from offchain.lower.pairs import lowered
from offchain.lower.ranges import Known, check_ranges
from offchain.lower.refs import Complex, Ref
from offchain.lower.registry import Context
from offchain.lower.stepping import program_form
from offchain.lower.unused import without_gradient
from offchain.modes import evaluating
from offchain.program import Asked, Program
from offchain.task import ModelTensor, Output, Task, slot_of
from offchain.vocabulary import Vocabulary

__all__ = ["compile"]

_ASSUMED: Final[dict[torch.dtype, Bounds]] = {torch.int64: ASSUMED, torch.bool: (0, 1)}  # of state, in every step
MAX_METRICS = MAX_INPUTS - 2  # the log's map also reads the old rows


def compile(asked: Asked, *, fused: bool = True, lent: bool = False) -> Task:
    """The task of a job or a program: a legal graph, its constants, datasets and initial state.

    Raises Unsupported in one line for what cannot be lowered. `fused=False` keeps one node per operation (for tests).
    With `lent`, weights that no step changes and columns are not copied: the caller changes none of them from now on.
    """
    with _unsearched(), kept(asked) as found, unmoved(found) as world:
        compiler = (_trained if isinstance(asked, Job) else _lowered)(asked, world, lent)
        check_host(asked, world, compiler.captured.eager)
        check_faithful(asked, compiler.captured)
        if not isinstance(asked, Job):
            world.put_back()
            return compiler.task(fused)
        check_schedule(asked)
        world.put_back()
        task = compiler.task(fused)
        return replace(task, validation=_validation(asked, task.parameters, fused))


def _trained(job: Any, world: World, lent: bool) -> _Compiler:
    """The compiler that has lowered a job, whose optimizer leaves alone what the loss does not depend on."""
    compiler = _lowered(job, world, lent)
    unused = without_gradient(job)
    world.put_back()
    if not unused:
        return compiler
    job.leave(unused)
    return _lowered(job, world, lent)


@contextmanager
def _unsearched() -> Iterator[None]:
    """While open, Python does not search again and again what was there before, most of it torch's, for garbage."""
    if gc.get_freeze_count():
        yield  # somebody froze objects, and wants them to stay so
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _validation(job: Job, moving: Collection[str], fused: bool) -> tuple[Task, ...]:
    """Tasks that read the validation set and leave the model's tensors, those named `moving`, as they are."""
    found = []
    try:
        with evaluating(job.model):
            for part in job.validations():
                compiler = _Compiler(part, capture(metrics_form(part)), frozenset(moving))
                compiler.lower()
                found.append(compiler.evaluation(fused))
    except OffchainError as error:
        raise type(error)(f"validation: {error}") from error
    return tuple(found)


def _lowered(asked: Asked, world: World, lent: bool) -> _Compiler:
    """The compiler that has captured and lowered a step; `world` is put back after that."""
    form = evaluated(training_form(asked)) if isinstance(asked, Job) else program_form(asked)
    captured = capture(form)
    _check_metrics(asked, len(captured.metrics))
    compiler = _Compiler(asked, captured, lent=lent)
    compiler.lower()
    world.put_back()
    return compiler


def _check_metrics(asked: Asked, count: int) -> None:
    if count <= MAX_METRICS:
        return
    if isinstance(asked, Job):
        raise Unsupported(
            f"job{at(asked.line_of('metrics'))}: {count - 1} metrics; leave some out, at most {MAX_METRICS - 1} "
            "fit besides the loss"
        )
    raise Unsupported(
        f"program: step{at(line_of(asked.step))} returns {count} metrics; leave some out, at most {MAX_METRICS} fit"
    )


class _Compiler:
    """Lowers a captured step into slots, nodes, constants. Slots are what it changes, and what it reads of `held`.

    What is `lent` is not copied, where a graph can hold it as it is.
    """

    def __init__(self, job: Asked, captured: Captured, held: frozenset[str] = frozenset(), lent: bool = False) -> None:
        self.job, self.captured, self.taken = job, captured, _lent if lent else _array
        self.builder = GraphBuilder(job.bits, job.task_steps)
        self.context = Context(self.builder, lowered)
        nodes = list(captured.module.graph.nodes)
        self.placeholders = [node for node in nodes if node.op == "placeholder"]
        self.outputs: list[fx.Node] = list(next(node for node in nodes if node.op == "output").args[0])
        self.body = [node for node in nodes if node.op not in ("placeholder", "output")]
        count = len(captured.names)
        self.changed = [i for i in range(count) if uncopied(self.outputs[i]) is not self.placeholders[i]]
        reads = [len(self.placeholders[i].users) > 1 and captured.names[i] in held for i in range(count)]
        self.moving = sorted({*self.changed, *(i for i in range(count) if reads[i])})
        self.datasets = {name: self.taken(as_int32(data)) for name, data in job.columns.items()}

    def lower(self) -> None:
        """Lower every operation. Raises Unsupported."""
        self._bind()
        for node in self.body:
            self.context.values[node] = self._attribute(node) if node.op == "get_attr" else self.context.run(node)
        for i in self.changed:
            if self.captured.state[i].dtype is torch.int64:
                self._check_counter(i)
        count = len(self.captured.names)
        columns = dict(zip(self.placeholders[count:], self.datasets, strict=False))
        fixed = {self.placeholders[i]: self.captured.state[i] for i in range(count) if i not in self.moving}
        if self.job.batch_size is None:  # the step reads whole columns
            fixed |= {node: torch.from_numpy(self.datasets[name]) for node, name in columns.items()}
            columns = {}
        check_ranges(self.job, self.captured.module, Known(columns, self.placeholders[-1], fixed), self._bounds)

    def task(self, fused: bool) -> Task:
        """The task, once all is lowered."""
        graph, constants, state = self._whole(fused)
        moving = (*self.captured.parameters, *self._moving_buffers())
        parameters = moving if isinstance(self.job, Job) else tuple(name for name in moving if name in self.job.results)
        model, own = self._model(parameters, graph)
        return Task(
            graph=graph,
            constants=constants,
            datasets=self._columns(),
            state=state,
            steps=self.job.task_steps,
            name=self.job.name,
            parameters=parameters,
            packed=self.captured.packed,
            model=model,
            own=own,
            outputs=self._outputs(),
            vocabulary=self.job.vocabulary if isinstance(self.job, Generation) else Vocabulary(),
        )

    def _model(self, parameters: Sequence[str], graph: Graph) -> tuple[tuple[ModelTensor, ...], tuple[Array, ...]]:
        """What the result holds: the model's `state_dict()`, or the results that the steps of a program change."""
        state = dict(zip(self.captured.names, self.captured.state, strict=True))
        if not isinstance(self.job, Job):
            return changed_tensors({name: state[name] for name in parameters}), ()
        kept = {name: tensor for i, (name, tensor) in enumerate(state.items()) if i not in self.moving}
        return model_tensors(self.job.model, parameters, kept, graph.constant_roots)

    def _outputs(self) -> tuple[Output, ...]:
        """What the task's steps output, and how many rows of it are kept."""
        found = []
        for output in self.captured.outputs:
            kept = self.job.outputs[output.name] if isinstance(self.job, Program) else None
            dtype = str(output.dtype).removeprefix("torch.")
            found.append(Output(output.name, dtype, kept or self.job.steps * output.shape[0]))
        return tuple(found)

    def evaluation(self, fused: bool) -> Task:
        """The task of steps that change nothing. Its state, all zeros, takes the tensors of a training's by name."""
        graph, constants, state = self._whole(fused)
        return Task(graph, constants, self._columns(), tuple(map(np.zeros_like, state)), self.job.steps, self.job.name)

    def _whole(self, fused: bool) -> tuple[Graph, tuple[Array, ...], tuple[Array, ...]]:
        """The graph, its constants, and its initial state in slot order."""
        state = [(self.captured.names[i], _array(self.captured.state[i])) for i in self.moving]
        slots = [
            self._slot(name, array, self._result(self.outputs[i]))
            for i, (name, array) in zip(self.moving, state, strict=True)
        ]
        first, interval = len(self.captured.names), self.job.interval
        results = [self._result(node) for node in self.outputs[first:]]
        metrics, rows = results[: len(self.captured.metrics)], results[len(self.captured.metrics) :]
        arrays = [array for _, array in state]
        for output, ref in zip(self.captured.outputs, rows, strict=True):
            after = next_rows(self.builder, len(slots), interval, ref)
            arrays.append(np.zeros(after.shape, np.float32 if after.dtype is F32 else np.int32))
            slots.append(self._slot(slot_of(output.name), arrays[-1], after))
        log = np.zeros((interval, len(metrics)), np.float32)
        slots.append(self._slot(LOG_SLOT, log, next_log(self.builder, len(slots), log.shape, metrics)))
        graph, constants = self._graph(slots, fused)
        check(graph)
        return graph, constants, (*(array.reshape(-1) for array in (*arrays, log)),)

    def _columns(self) -> tuple[Array, ...]:
        return tuple(array.reshape(-1) for array in self.datasets.values())

    def _moving_buffers(self) -> list[str]:
        """Buffers and frozen parameters of the model that steps change; they belong to the trained model. Of a program
        all that steps change."""
        others = {name for name, _ in self._given()} - {*self.captured.parameters}
        return [self.captured.names[i] for i in self.moving if self.captured.names[i] in others]

    def _given(self) -> list[tuple[str, Tensor]]:
        """The tensors that the requester gave as a model, or as a program's state, by name."""
        if not isinstance(self.job, Job):
            return list(self.job.tensors.items())
        return [*self.job.model.named_parameters(), *self.job.model.named_buffers()]

    def _bind(self) -> None:
        """Bind placeholders to slots (state that steps change), constants (other state), datasets and the step."""
        values, count = self.context.values, len(self.captured.names)
        for i in range(count):
            if self.captured.state[i].is_complex():
                values[self.placeholders[i]] = self._complex(i)
                continue
            array = self.taken(self.captured.state[i])
            if i in self.moving:
                bounds = _ASSUMED.get(self.captured.state[i].dtype, FULL)
                slot = self.moving.index(i)
                ref = Ref.whole(Source.STATE, slot, dtype_of(array), array.shape, bounds)
            else:
                ref = self.builder.constant(array)
            values[self.placeholders[i]] = ref
        for number, array in enumerate(self.datasets.values()):
            bounds = (int(array.min()), int(array.max())) if array.dtype == np.int32 else FULL
            ref = Ref.whole(Source.DATA, number, dtype_of(array), array.shape, bounds)
            values[self.placeholders[count + number]] = ref
        step = Ref(I32, (), Instr(Op.STEP), bounds=(0, self.job.task_steps - 1))
        values[self.placeholders[-1]] = step

    def _complex(self, i: int) -> Complex:
        """Complex state, which steps may not change."""
        if i in self.moving:
            raise Unsupported(
                f"{self.captured.names[i]!r} of the model is complex and changes: keep real and imaginary parts as two "
                "tensors, and join them where they are used (torch.complex)"
            )
        return _constant_pair(self.builder, self.captured.state[i])

    def _check_counter(self, i: int) -> None:
        name, first = self.captured.names[i], self.captured.state[i]
        counter = Counter(name, first, self.placeholders[i], self.outputs[i])
        check_counter(counter, self.job.task_steps, self._bounds)

    def _bounds(self, value: Any) -> Bounds:
        """Bounds of an integer argument of a captured operation."""
        if not isinstance(value, fx.Node):
            return value, value
        ref = self._result(value)
        if ref.uniform is not None and ref.uniform.op is Op.CONST_I32:
            return ref.uniform.word, ref.uniform.word
        return ref.bounds

    def _attribute(self, node: fx.Node) -> Ref | Complex:
        """A tensor that the job's code holds outside the model."""
        value = getattr(self.captured.module, str(node.target))
        if not isinstance(value, Tensor) or (value.is_floating_point() and value.dtype is not torch.float32):
            reader = next(iter(node.users), node)
            made = getattr(value, "dtype", type(value).__name__)
            raise Unsupported(f"{described(reader)}: reads {made} from outside the model; use float32 (.float())")
        if not torch._C._has_storage(value):
            reader = next(iter(node.users), node)
            raise Unsupported(
                f"{described(reader)}: reads a sparse tensor, or one that is left of a step, from outside the model; "
                "use a dense one (.to_dense()), and a buffer of the model for what steps change"
            )
        self._refuse_moving(node, value)
        if value.is_complex():
            return _constant_pair(self.builder, value)
        return self.builder.constant(self.taken(value))

    def _refuse_moving(self, node: fx.Node, value: Tensor) -> None:
        """Refuse what is no constant: a parameter or buffer that steps change, read around the model."""
        if value._is_zerotensor():  # of torch.func.jvp: it has no memory
            return
        moving = {*self.captured.parameters, *self._moving_buffers()}
        for name, tensor in self._given():
            if name in moving and tensor.untyped_storage().data_ptr() == value.untyped_storage().data_ptr():
                reader = next(iter(node.users), node)
                what, given = (
                    ("model", "model that the loss") if isinstance(self.job, Job) else ("state", "state that the step")
                )
                raise Unsupported(
                    f"{described(reader)}: reads {name!r} of the {what} as it is before the first step; take it from "
                    f"the {given} is given"
                )

    def _result(self, node: fx.Node) -> Ref:
        value: Ref = self.context.values[node]
        return value

    def _slot(self, name: str, array: Array, ref: Ref) -> Slot:
        """A slot whose next value is a whole tensor: a node's output, or the old value of a slot."""
        spec = TensorSpec(name, dtype_of(array), array.shape)
        if not (ref.is_whole and ref.source in (Source.NODE, Source.STATE)):
            ref = self.builder.copy(ref)
        return Slot(spec, ref.source, ref.index)

    def _graph(self, slots: list[Slot], fused: bool) -> tuple[Graph, tuple[Array, ...]]:
        others = len(self.builder.constants), len(self.datasets)
        nodes, slots = fuse(self.builder.nodes, slots, others) if fused else prune(self.builder.nodes, slots)
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
            metrics=self.captured.metrics,
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


def _constant_pair(builder: GraphBuilder, tensor: Tensor) -> Complex:
    return Complex(*(builder.constant(_array(part.float())) for part in (tensor.real, tensor.imag)))


def _array(tensor: Tensor) -> Array:
    """As NumPy, in the dtype that the graph holds, float32 or int32; the job may change its tensor afterwards."""
    return _lent(tensor).copy()


def _lent(tensor: Tensor) -> Array:
    """Likewise, in the tensor's own memory where it has that dtype."""
    array: Array = as_int32(tensor).numpy()
    return array
