"""One training step of a job as a flat graph of ATen operations, without side effects."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import torch
import torch.fx.traceback as notes
from torch import Tensor, nn
from torch.fx import GraphModule, Node
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.attention import SDPBackend, sdpa_kernel

from offchain.errors import BadInput, Unsupported
from offchain.job import Job, Loss, Order
from offchain.lines import at, line_of
from offchain.lower.aids import without_profiling, without_validation
from offchain.lower.decompositions import decompositions, shapes_on_meta
from offchain.lower.host import Run
from offchain.lower.inner import own_backwards
from offchain.lower.optim import Functional, functional
from offchain.lower.order import uniform_rows
from offchain.lower.origin import Origins, Step, described, where, within, within_modules
from offchain.lower.packs import Pack, packed_tensors
from offchain.lower.random import drawn, replayed
from offchain.lower.refusals import refusal
from offchain.lower.substitutes import Substituted
from offchain.task import PackedTensor

aten = torch.ops.aten
_COPIES: Final = frozenset({aten.clone.default, aten.detach.default, aten.alias.default})
_ROWS: Final = (torch.int32, torch.int64)


@dataclass(frozen=True)
class Captured:
    """The graph, whose placeholders stand for `state` tensors (by name), then the dataset, then t.

    It returns the next values of the first `len(state)` tensors, then the metrics. Trained parameters, and what the
    optimizer keeps of them, are in packs; `packed` says where. `eager` is the loss with its gradient, without a graph.
    """

    module: GraphModule
    names: tuple[str, ...]
    state: tuple[Tensor, ...]
    parameters: tuple[str, ...]
    packed: tuple[PackedTensor, ...]
    metrics: tuple[str, ...]
    eager: Run


class Losses(nn.Module):
    """Loss and metrics as a module over the model, so that `functional_call` can replace the model's tensors."""

    def __init__(self, job: Job) -> None:
        super().__init__()
        self.model, self.loss, self.metrics, self.given = job.model, job.loss, dict(job.metrics), job.given

    def forward(self, batch: dict[str, Tensor]) -> tuple[Tensor, tuple[Tensor, ...]]:
        loss = self._scalar("loss", self.loss, batch)
        values = [self._scalar(f"metric {name!r}", fn, batch).detach() for name, fn in self.metrics.items()]
        return loss, (loss.detach(), *values)

    def _scalar(self, name: str, function: Loss, batch: dict[str, Tensor]) -> Tensor:
        line = line_of(function)
        with within(name, line):
            value = function(self.model, self.given(batch))
            if not isinstance(value, Tensor) or value.numel() != 1:
                gave = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
                raise BadInput(f"job: {name}{at(line)} gave {gave}, must give one number as a tensor; use .mean()")
            if value.is_complex():
                raise BadInput(
                    f"job: {name}{at(line)} gave {value.dtype}, must give one real number; use .abs() or .real"
                )
            return value.reshape(())


def capture(job: Job) -> Captured:
    """Capture one step. Raises Unsupported for what depends on values that only a run would know, BadInput."""
    optimizer = functional(job)
    weights = {name: parameter.detach() for name, parameter in job.model.named_parameters()}
    packs, optimizer = optimizer.packed(weights)
    trained = {pack.slot: pack.joined(weights) for pack in packs}
    members = {name for pack in packs for name, _ in pack.members}
    fixed = {name: tensor for name, tensor in weights.items() if name not in members}
    fixed |= {n: b.detach() for n, b in job.model.named_buffers()}
    slots = optimizer.initial(trained)
    tensors = packed_tensors(packs, {**trained, **slots})
    for name, uses in Counter([*(tensor.name for tensor in tensors), *trained, *slots, *fixed]).items():
        if uses > 1:
            line = job.line_of("model")
            raise BadInput(f"job{at(line)}: both model and optimizer have a tensor {name!r}; rename the module")
    state = {**trained, **fixed, **slots}
    origins = Origins()
    gradient = _Gradient(job, packs, tuple(fixed), origins)
    step = _step(gradient, optimizer, tuple(slots))
    data = [as_int32(tensor) for tensor in job.dataset.values()]
    t = torch.zeros((), dtype=torch.int32)
    module = _make_fx(job, step, [*state.values(), *data, t], origins)
    names = tuple(name for pack in packs for name, _ in pack.members)
    eager = Run(partial(_eagerly, job, gradient), (*trained.values(), *fixed.values(), *data, t))
    return Captured(module, tuple(state), tuple(state.values()), names, tensors, ("loss", *job.metrics), eager)


def capture_metrics(job: Job) -> Captured:
    """Capture loss and metrics of one batch, which change nothing. Raises as `capture` does."""
    tensors = (*job.model.named_parameters(), *job.model.named_buffers())
    state = {name: tensor.detach() for name, tensor in tensors}
    losses = Losses(job)

    def step(*flat: Tensor) -> tuple[Tensor, ...]:
        named = {f"model.{name}": tensor.clone() for name, tensor in zip(state, flat, strict=False)}
        batch = batch_of(job, dict(zip(job.dataset, flat[len(state) :], strict=False)), flat[-1])
        _, metrics = torch.func.functional_call(losses, named, (batch,))
        return (*flat[: len(state)], *metrics)

    data = [as_int32(tensor) for tensor in job.dataset.values()]
    t = torch.zeros((), dtype=torch.int32)
    module = _make_fx(job, step, [*state.values(), *data, t], Origins())
    module.graph.eliminate_dead_code()  # what is read of the model is then what the figures depend on
    run = Run(step, (*state.values(), *data, t))
    return Captured(module, tuple(state), tuple(state.values()), (), (), ("loss", *job.metrics), run)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """While open, every module is in evaluation mode."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def uncopied(node: Node) -> Node:
    """The value that a captured node copies, through any number of copies, or the node itself."""
    while node.op == "call_function" and node.target in _COPIES:
        node = node.args[0]  # type: ignore[assignment]
    return node


def as_int32(data: Tensor) -> Tensor:
    """The tensor on the CPU, contiguous, in the dtype that a graph holds: float32, or int32 for all other dtypes."""
    data = data.detach().cpu()
    if data._is_zerotensor():  # of torch.func.jvp: it has no memory
        data = torch.zeros(data.shape, dtype=data.dtype)
    return data.contiguous() if data.dtype is torch.float32 else data.to(torch.int32).contiguous()


def _check_trains(job: Job, loss: Tensor) -> None:
    """Raise BadInput for a loss without a gradient; torch.func.grad wraps what depends on a trained parameter."""
    line = line_of(job.loss)
    if not loss.is_floating_point():
        raise BadInput(
            f"job: loss{at(line)} gave {loss.dtype}, which has no gradient; give float32 from functions that have one, "
            "as F.cross_entropy, not argmax"
        )
    if not (torch._C._functorch.is_gradtrackingtensor(loss) and loss.requires_grad):
        raise BadInput(
            f"job: loss{at(line)} depends on no trained parameter, so that nothing would be trained; compute it from "
            "the model that the loss is given, without .detach(), torch.no_grad() and comparisons"
        )


class _Gradient:
    """The gradient of a job's loss in its packs, next values of all other tensors of the model, and the metrics."""

    def __init__(self, job: Job, packs: Sequence[Pack], others: Sequence[str], origins: Origins) -> None:
        self.job, self.packs, self.others, self.origins = job, packs, others, origins
        self.losses = Losses(job)

    def of(self, *flat: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor], tuple[Tensor, ...]]:
        """From the packs, the others, the dataset and t."""
        tensors, job = iter(flat), self.job
        trained, others, data = (
            {name: next(tensors) for name in names}
            for names in ([pack.slot for pack in self.packs], self.others, job.dataset)
        )
        batch = batch_of(job, data, next(tensors))

        def value(weights: dict[str, Tensor]) -> tuple[Tensor, tuple[Any, Any]]:
            moving = {name: tensor.clone() for name, tensor in others.items()}  # a model may change its buffers
            named = {f"model.{name}": tensor for name, tensor in {**weights, **moving}.items()}
            own = {name: rows.clone() for name, rows in batch.items()}  # so that the loss can take gradients of them
            loss, metrics = torch.func.functional_call(self.losses, named, (own,))
            _check_trains(job, loss)
            share = loss / job.accumulate if job.accumulate > 1 else loss
            self.origins.follow(share)
            torch.autograd.set_detect_anomaly(False)  # it looks at values in the backward pass
            moved = {name: named[f"model.{name}"].detach() for name in moving}  # new ones included
            return share, (metrics, moved)

        weights = {name: tensor for pack in self.packs for name, tensor in pack.split(trained[pack.slot]).items()}
        with within("the backward pass", line_of(job.loss)):
            gradients, (_, (metrics, moved)) = torch.func.grad_and_value(value, has_aux=True)(weights)
        return {pack.slot: pack.joined(gradients) for pack in self.packs}, moved, metrics


def _step(gradient: _Gradient, optimizer: Functional, slots: Sequence[str]) -> Step:
    def step(*flat: Tensor) -> tuple[Tensor, ...]:
        """From the packs, the others, the optimizer's slots, the dataset and t, as the captured graph."""
        packs, kept = len(gradient.packs), len(gradient.packs) + len(gradient.others)
        old = dict(zip(slots, flat[kept:], strict=False))
        gradients, others, metrics = gradient.of(*flat[:kept], *flat[kept + len(slots) :])
        trained = {pack.slot: tensor for pack, tensor in zip(gradient.packs, flat[:packs], strict=True)}
        trained, moved = optimizer.step(trained, gradients, old, flat[-1])
        return (*trained.values(), *others.values(), *(moved[name] for name in slots), *metrics)

    return step


def batch_of(job: Job, data: dict[str, Tensor], t: Tensor) -> dict[str, Tensor]:
    """The rows of step t (an int32 scalar) of the job's datasets, in the job's own dtypes."""
    rows = _ordered(job, job.order, t) if job.order else uniform_rows(t, job.seed, job.rows, job.batch_size)
    picked = {name: tensor.index_select(0, rows) for name, tensor in data.items()}
    return {name: rows.to(job.dataset[name].dtype) for name, rows in picked.items()}


def _ordered(job: Job, order: Order, t: Tensor) -> Tensor:
    line = line_of(order)
    with within("order", line):
        rows: Any = order(t.clone())
        if not isinstance(rows, Tensor) or rows.dtype not in _ROWS or rows.shape != (job.batch_size,):
            gave = f"{rows.dtype} of shape {tuple(rows.shape)}" if isinstance(rows, Tensor) else type(rows).__name__
            raise BadInput(f"job: order(t){at(line)} gave {gave}; give {job.batch_size} int32 rows")
        return rows


def _eagerly(job: Job, gradient: _Gradient, *flat: Tensor) -> list[Tensor]:
    """The gradients, next values and metrics of a step, as eager torch computes them."""
    with tracing(job), replayed(job.seed, flat[-1]):
        gradients, others, metrics = gradient.of(*flat)
    return [*gradients.values(), *others.values(), *metrics]


def _make_fx(job: Job, step: Step, inputs: list[Tensor], origins: Origins) -> GraphModule:
    table = decompositions()
    clones = [tensor.clone() for tensor in inputs]  # a model may change its buffers in place
    try:
        with tracing(job), shapes_on_meta():
            functional_step = origins.noted(torch.func.functionalize(step))
            module = make_fx(drawn(functional_step, job.seed), table, "real")(*clones)
    except Exception as error:
        raise refusal(error, origins, job.model) from error
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
def tracing(job: Job) -> Iterator[None]:
    """While open, the job's functions run as they are captured: in plain operations, which know their modules."""
    with notes.preserve_node_meta(), within_modules(job.model), _plain_torch():
        yield


@contextmanager
def _plain_torch() -> Iterator[None]:
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
        settings.enter_context(without_validation())
        settings.enter_context(own_backwards())
        settings.enter_context(Substituted())
        yield
