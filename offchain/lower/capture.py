"""One step of a job or a program as a flat graph of ATen operations, without side effects."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import torch
import torch.fx.traceback as notes
from torch import Tensor
from torch.fx import GraphModule, Node
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.attention import SDPBackend, sdpa_kernel

from offchain.errors import BadInput, Unsupported
from offchain.job import Job, Order
from offchain.lines import at, line_of
from offchain.lower.aids import padded_encoders, without_profiling, without_validation
from offchain.lower.answers import plain_answers
from offchain.lower.decompositions import decompositions, shapes_on_meta
from offchain.lower.empty import leave_empty_out
from offchain.lower.host import Run
from offchain.lower.inner import own_backwards
from offchain.lower.order import uniform_rows
from offchain.lower.origin import Origins, Step, described, where, within, within_modules
from offchain.lower.random import drawn, replayed
from offchain.lower.refusals import refusal
from offchain.lower.substitutes import substituted
from offchain.program import Asked
from offchain.task import PackedTensor

aten = torch.ops.aten
_COPIES: Final = frozenset({aten.clone.default, aten.detach.default, aten.alias.default})
_ROWS: Final = (torch.int32, torch.int64)


@dataclass(frozen=True)
class OutputSpec:
    """What each step outputs under a name: a tensor of this shape and dtype, whose first axis is its rows."""

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype


@dataclass
class Told:
    """What is known of a step once it was captured: the names of its metrics, its outputs."""

    metrics: tuple[str, ...] = ()
    outputs: tuple[OutputSpec, ...] = ()


@dataclass(frozen=True)
class Form:
    """A step as a function of tensors, before it is captured: of `state`, then the dataset's columns, then t.

    It returns the next values of the state, the metrics, the outputs, and says by `told` which. `eager` is what the
    host is watched with, where that is less than the step. The tensors of `packed` share slots; `parameters` are those
    that are trained.
    """

    asked: Asked
    state: dict[str, Tensor]
    step: Step
    told: Told
    origins: Origins = field(default_factory=lambda: Origins())
    parameters: tuple[str, ...] = ()
    packed: tuple[PackedTensor, ...] = ()
    eager: Run | None = None
    dead: bool = False  # whether what no result depends on is removed

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """The tensors of the first step."""
        return (*self.state.values(), *inputs_of(self.asked))


@dataclass(frozen=True)
class Captured:
    """The graph, whose placeholders stand for `state` tensors (by name), then the dataset, then t.

    It returns the next values of the first `len(state)` tensors, then the metrics, then the outputs. Trained
    parameters, and what the optimizer keeps of them, are in packs; `packed` says where. `eager` is what the host is
    watched with. `caught` are errors of torch that the requester's code did not let stop it.
    """

    module: GraphModule
    names: tuple[str, ...]
    state: tuple[Tensor, ...]
    parameters: tuple[str, ...]
    packed: tuple[PackedTensor, ...]
    metrics: tuple[str, ...]
    outputs: tuple[OutputSpec, ...]
    eager: Run
    caught: tuple[Exception, ...]


def capture(form: Form) -> Captured:
    """Capture one step. Raises Unsupported for what depends on values that only a run would know, BadInput."""
    module = _make_fx(form.asked, form.step, list(form.inputs), form.origins)
    if form.dead:
        module.graph.eliminate_dead_code()
    leave_empty_out(module.graph)
    told, (names, state) = form.told, zip(*form.state.items(), strict=True) if form.state else ((), ())
    eager = form.eager or Run(partial(eagerly, form), form.inputs)
    caught = tuple(form.origins.raised)
    return Captured(module, names, state, form.parameters, form.packed, told.metrics, told.outputs, eager, caught)


def inputs_of(asked: Asked) -> tuple[Tensor, ...]:
    """The dataset's columns as a graph holds them, and t of the first step."""
    return (*map(as_int32, asked.columns.values()), torch.zeros((), dtype=torch.int32))


def eagerly(form: Form, *flat: Tensor) -> Sequence[Tensor]:
    with tracing(form.asked), replayed(form.asked.seed, flat[-1]):
        return form.step(*flat)


def uncopied(node: Node) -> Node:
    """The value that a captured node copies, through any number of copies, or the node itself. A choice between a value
    and its copy is one."""
    while node.op == "call_function":
        if node.target in _COPIES:
            node = node.args[0]  # type: ignore[assignment]
        elif node.target is aten.where.self and (same := _same(*node.args[1:])) is not None:
            node = same
        else:
            break
    return node


def _same(yes: Any, no: Any) -> Node | None:
    """The value that both copy; None where they copy different ones."""
    if not (isinstance(yes, Node) and isinstance(no, Node)):
        return None
    found = uncopied(yes)
    return found if found is uncopied(no) else None


def as_int32(data: Tensor) -> Tensor:
    """The tensor on the CPU, contiguous, in the dtype that a graph holds: float32, or int32 for all other dtypes."""
    data = data.detach().cpu()
    if data._is_zerotensor():  # of torch.func.jvp: it has no memory
        data = torch.zeros(data.shape, dtype=data.dtype)
    return data.contiguous() if data.dtype is torch.float32 else data.to(torch.int32).contiguous()


def batch_of(job: Asked, data: dict[str, Tensor], t: Tensor) -> dict[str, Tensor]:
    """The rows of step t (an int32 scalar) of the job's datasets, in the job's own dtypes."""
    assert job.batch_size is not None
    rows = _ordered(job, job.order, t) if job.order else uniform_rows(t, job.seed, job.rows, job.batch_size)
    with within("order", line_of(job.order)) if job.order else nullcontext():
        picked = {name: tensor.index_select(0, rows) for name, tensor in data.items()}
    return {name: rows.to(job.dataset[name].dtype) for name, rows in picked.items()}


def _ordered(job: Asked, order: Order, t: Tensor) -> Tensor:
    line = line_of(order)
    with within("order", line):
        rows: Any = order(t.clone())
        if not isinstance(rows, Tensor) or rows.dtype not in _ROWS or rows.shape != (job.batch_size,):
            gave = f"{rows.dtype} of shape {tuple(rows.shape)}" if isinstance(rows, Tensor) else type(rows).__name__
            raise BadInput(f"job: order(t){at(line)} gave {gave}; give {job.batch_size} int32 rows")
        return rows


def _make_fx(job: Asked, step: Step, inputs: list[Tensor], origins: Origins) -> GraphModule:
    table = decompositions()
    clones = [tensor.clone() for tensor in inputs]  # a model may change its buffers in place
    try:
        with tracing(job), shapes_on_meta():
            functional_step = origins.noted(torch.func.functionalize(step))
            module = make_fx(drawn(functional_step, job.seed), table, "real")(*clones)
    except Exception as error:
        raise refusal(error, origins, job.model, job.line_of("model")) from error
    without_profiling(module)
    _refuse_writes(module)
    return module


def _refuse_writes(module: GraphModule) -> None:
    """Refuse writes that functionalization left: they go to trained parameters or to tensors from outside the model."""
    for node in module.graph.nodes:
        schema = getattr(node.target, "_schema", None)
        if schema is not None and schema.is_mutable and not _fills_its_own(node):
            raise Unsupported(
                f"{described(node)}{_written_by(node)}: a parameter, or a tensor from outside the model, is written in "
                "place: in-place tricks on inputs cannot be replayed; write only to buffers of the model, and to "
                "parameters in the step of an optimizer of your own"
            )


def _written_by(node: Node) -> str:
    """Where the written value was computed; the write itself is moved to the end of the step and has no place."""
    values = [value for value in node.args[1:] if isinstance(value, Node)]
    return "" if where(node) or not values else where(values[-1])


def _fills_its_own(node: Node) -> bool:
    """Whether this copies into a tensor that the step made itself and that has no views: later reads are of this node.

    Functionalization leaves such copies where a mask is made of tensors from outside alone.
    """
    target: Any = node.args[0]
    if node.target is not aten.copy_.default or target.op != "call_function":
        return False
    return not any(_is_view(user) for user in (target, *target.users) if user.target is not aten.copy_.default)


def _is_view(node: Node) -> bool:
    schema = getattr(node.target, "_schema", None)
    return schema is not None and any(result.alias_info is not None for result in schema.returns)


@contextmanager
def tracing(job: Asked) -> Iterator[None]:
    """While open, the job's functions run as they are captured: in plain operations, which know their modules."""
    with (
        notes.preserve_node_meta(),
        within_modules(job.model),
        _plain_torch(isinstance(job, Job) and job.accumulate > 1),
    ):
        yield


@contextmanager
def _plain_torch(adding: bool) -> Iterator[None]:
    """While open, attention and recurrent layers consist of plain operations, and torch does not warn.

    Libraries that ask `torch.compiler.is_compiling()` leave out shortcuts that depend on a tensor's values.
    """
    with ExitStack() as settings:
        settings.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        settings.enter_context(sdpa_kernel(SDPBackend.MATH))
        settings.enter_context(torch.backends.mkldnn.flags(enabled=False))
        settings.enter_context(torch.autograd.set_detect_anomaly(False))
        settings.enter_context(torch.compiler._compile_session_context())
        settings.enter_context(plain_answers())
        settings.enter_context(without_validation())
        settings.enter_context(own_backwards())
        settings.enter_context(substituted(adding))
        settings.enter_context(padded_encoders())
        yield
