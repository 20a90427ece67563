"""Refuses a job whose code goes another way while it is captured than in plain torch.

Its step runs once in plain torch. What torch refuses only to a step that is captured, and the job's own code caught,
is raised after all. And a loss that is another number was computed in another way.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final

import torch
from torch import Tensor, fx, nn
from torch.fx.node import map_arg
from torch.utils._python_dispatch import TorchDispatchMode

from offchain.errors import OffchainError, Unsupported
from offchain.job import Job
from offchain.lines import at, line_of
from offchain.lower.aids import padded_encoders
from offchain.lower.capture import Captured, batch_of, inputs_of
from offchain.lower.host.record import UNFILLED
from offchain.lower.losses import Losses
from offchain.lower.origin import Origins, call_of
from offchain.lower.random import replayed
from offchain.lower.refusals import refusal
from offchain.lower.stepping import program_form
from offchain.program import Asked, Program

_NEAR: Final = 3e-5, 1e-6  # of the loss, and in all: of 173 losses the farthest was 5e-7 of itself away
_FAR: Final = 1e-2, 1e-4  # even where rounding errors may be as large
_NOISE: Final = 64  # times what the loss moves by where each number on its way is moved by its last places
_MOVES: Final = 3


def check_faithful(asked: Asked, captured: Captured) -> None:
    """Raise Unsupported, with the requester's line, if the first step is not the one that plain torch computes."""
    plain = Origins()
    loss = _plainly(asked, plain)
    known = {call_of(error) for error in plain.raised}
    for error in captured.caught:
        if isinstance(error, OffchainError) or call_of(error) not in known:
            told = refusal(error, Origins(), asked.model)
            raise type(told)(f"{told}; plain torch does not raise the error that is caught here")
    if isinstance(asked, Job) and loss is not None:
        _compare(asked, captured, loss)


class _Zeros(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While on, tensors whose content torch leaves undefined (`empty`) are zero, as in a graph."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        return result.zero_() if func.overloadpacket in UNFILLED else result


@contextmanager
def _unchanged(model: nn.Module | None) -> Iterator[None]:
    """At the end the tensors of a model, which a step of plain torch changes, are as they were."""
    tensors = [] if model is None else [*model.parameters(), *model.buffers()]
    before = [(tensor.data, tensor.detach().clone(), tensor.requires_grad) for tensor in tensors]
    gradients = [tensor.grad if tensor.is_leaf else None for tensor in tensors]
    try:
        yield
    finally:
        for tensor, (data, value, requires_grad), gradient in zip(tensors, before, gradients, strict=True):
            if tensor.is_leaf:
                tensor.requires_grad_(requires_grad).grad = gradient
            if tensor.data_ptr() != data.data_ptr():
                tensor.data = data
            if not torch.equal(data, value):
                data.copy_(value)


def _plainly(asked: Asked, origins: Origins) -> float | None:
    """The loss of a job's first step in plain torch; None if it raises an error, or for a program.

    It is that of the model itself, not of other tensors in it: a loss may ask which object a parameter is. `origins`
    collects the errors that are raised on the way.
    """
    t = torch.zeros((), dtype=torch.int32)

    def step() -> tuple[Tensor, ...]:
        if isinstance(asked, Program):
            form = program_form(asked, plain=True)
            return form.step(*form.inputs)
        return (Losses(asked)(batch_of(asked, asked.dataset, t))[0],)

    with ExitStack() as settings:
        settings.enter_context(_unchanged(asked.model))
        settings.enter_context(padded_encoders())
        settings.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        settings.enter_context(replayed(asked.seed, t))
        settings.enter_context(torch.enable_grad())
        settings.enter_context(_Zeros())
        try:
            results = origins.noted(step)()
        except Exception:  # whatever the job's own code raises: there is nothing to compare with then
            return None
    return results[0].item() if isinstance(asked, Job) else None


def _compare(job: Job, captured: Captured, plain: float) -> None:
    ours = _loss(job, captured)
    off = abs(ours - plain)
    if not math.isfinite(plain) or off <= _bound(_NEAR, plain):
        return
    noise = max(abs(_loss(job, captured, seed) - ours) for seed in range(_MOVES))
    if off <= min(_NOISE * noise, _bound(_FAR, plain)):
        return
    raise Unsupported(
        f"job: loss{at(line_of(job.loss))}: the first step's is {ours:.6g} as it was captured, and {plain:.6g} in "
        "plain torch: some code asks whether it is traced, catches an error that tracing raises, or asks which object "
        "a parameter is (is, in, id); leave that out, and tell parameters by their names (model.named_parameters())"
    )


def _bound(within: tuple[float, float], loss: float) -> float:
    return max(within[0] * abs(loss), within[1])


def _loss(job: Job, captured: Captured, seed: int | None = None) -> float:
    """The captured loss of the first step; with a seed that of numbers a little beside those of each operation."""
    draws = None if seed is None else torch.Generator().manual_seed(seed)
    with _Zeros():
        return _value(captured.module, len(captured.names), (*captured.state, *inputs_of(job)), draws)


def _beside(x: Any, draws: torch.Generator | None) -> Any:
    if draws is None or not isinstance(x, Tensor) or x.dtype is not torch.float32:
        return x
    return x * (1 + (torch.rand(x.shape, generator=draws) - 0.5) * 2.0**-21)


def _value(module: fx.GraphModule, number: int, inputs: tuple[Tensor, ...], draws: torch.Generator | None) -> float:
    """One result of a captured step, a number."""
    nodes = list(module.graph.nodes)
    result: Any = nodes[-1].args[0]
    wanted = _needed(nodes, result[number])
    given, values = iter(inputs), dict[fx.Node, Any]()
    for node in nodes[:-1]:
        if node.op == "placeholder":
            values[node] = _beside(next(given).clone(), draws)
        elif node in wanted:
            if node.op == "get_attr":
                value = getattr(module, str(node.target))
                values[node] = value.clone() if isinstance(value, Tensor) else value
            else:
                args, kwargs = map_arg((node.args, node.kwargs), values.__getitem__)
                values[node] = _beside(node.target(*args, **kwargs), draws)
    return float(values[result[number]].detach())


def _needed(nodes: list[fx.Node], result: fx.Node) -> set[fx.Node]:
    """What a result depends on, and what writes to it."""
    wanted = {result}
    for node in reversed(nodes[:-1]):
        schema = getattr(node.target, "_schema", None)
        if node in wanted or (schema is not None and schema.is_mutable and node.args[0] in wanted):
            wanted |= {node, *node.all_input_nodes}
    return wanted
