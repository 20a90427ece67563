"""A program's step as a function of tensors: what it returns is held to the state and the outputs that were named."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import torch
from torch import Tensor

from offchain.errors import BadInput
from offchain.fields import check_name, shown
from offchain.ir.encoding import MAX_RANK
from offchain.lines import at, line_of
from offchain.lower.capture import Form, OutputSpec, Told, batch_of
from offchain.lower.origin import within
from offchain.program import Program, filled, leaves

_HELD: Final = (torch.float32, torch.int64, torch.int32, torch.bool)
_RETURNED: Final = "return state, metrics or state, metrics, outputs"


def program_form(program: Program, plain: bool = False) -> Form:
    """The step of a program, which gets tensors of its own: it may write to them. `plain`: for eager torch alone."""
    state, told = program.tensors, Told()

    def step(*flat: Tensor) -> tuple[Tensor, ...]:
        columns = dict(zip(program.dataset, flat[len(state) :], strict=False))
        batch = _batch(program, columns, flat[-1])

        def beside(nothing: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
            own = {name: tensor.clone() for name, tensor in zip(state, flat, strict=False)}
            return nothing, results(program, own, batch, flat[-1].clone(), told)

        nothing, (name, function) = torch.zeros(()), program.theirs
        with within(name, line_of(function)):
            if plain:
                return beside(nothing)[1]
            # while a step is captured, torch.autograd.grad works within a gradient of functorch alone
            _, found = torch.func.grad(beside, has_aux=True)(nothing)
        made: tuple[Tensor, ...] = found
        return made

    return Form(program, state, step, told)


def results(
    program: Program, own: Mapping[str, Tensor], batch: Mapping[str, Tensor], t: Tensor, told: Told
) -> tuple[Tensor, ...]:
    """The next values of the state, then metrics, then outputs; `told` hears of which."""
    where = f"{program.kind}: {program.theirs[0]}{at(line_of(program.theirs[1]))}"
    returned = program.step(filled(program.state, iter(own.values())), program.given(batch), t)
    after, metrics, outputs = _parts(returned, where)
    named = _next(after, own, where)
    metrics, outputs = _metrics(metrics, where), _outputs(program, outputs, where)
    told.metrics = tuple(metrics)
    told.outputs = tuple(OutputSpec(name, tuple(value.shape), value.dtype) for name, value in outputs.items())
    return (*named.values(), *metrics.values(), *outputs.values())


def _batch(program: Program, columns: dict[str, Tensor], t: Tensor) -> dict[str, Tensor]:
    if program.batch_size is not None:
        return batch_of(program, columns, t)
    return {name: column.to(program.dataset[name].dtype).clone() for name, column in columns.items()}


def _parts(returned: Any, where: str) -> tuple[Any, Any, Any]:
    if not isinstance(returned, tuple | list) or len(returned) not in (2, 3):
        many = f"{len(returned)} things" if isinstance(returned, tuple | list) else shown(returned)
        raise BadInput(f"{where} returns {many}; {_RETURNED}")
    after, metrics = returned[:2]
    return after, metrics, returned[2] if len(returned) == 3 else {}


def _next(after: Any, state: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    """The next state, which must have the tensors of the one before."""
    named = dict(leaves(after)) if isinstance(after, Mapping) else {}
    if not isinstance(after, Mapping):
        raise BadInput(f"{where} returns a {type(after).__name__} as its next state, must be a dict; {_RETURNED}")
    for name in (*(name for name in state if name not in named), *(name for name in named if name not in state)):
        what = "leaves out" if name in state else "adds"
        raise BadInput(f"{where} {what} state {name!r}; the next state has the tensors of the state before")
    for name, before in state.items():
        value = named[name]
        if not isinstance(value, Tensor):
            raise BadInput(f"{where} returns {shown(value)} as state {name!r}, must be a tensor")
        if (value.dtype, value.shape) != (before.dtype, before.shape):
            raise BadInput(
                f"{where} returns state {name!r} as {_kind(value)}, but got {_kind(before)}; a state keeps its shapes "
                "and dtypes: write into it by index, or convert with .to()"
            )
    return {name: named[name].detach() for name in state}


def _metrics(metrics: Any, where: str) -> dict[str, Tensor]:
    if not isinstance(metrics, Mapping) or not metrics:
        raise BadInput(
            f"{where} returns {shown(metrics)} as metrics, must be a dict of at least one number; they are the log, "
            "which shows that a step was computed"
        )
    for name, value in metrics.items():
        check_name("a metric", name)
        if not isinstance(value, Tensor) or value.numel() != 1 or value.dtype not in _HELD:
            raise BadInput(f"{where}: metric {name!r} is {_kind(value)}, must be one number as a tensor of float32")
    return {name: value.detach().reshape(()) for name, value in metrics.items()}


def _outputs(program: Program, outputs: Any, where: str) -> dict[str, Tensor]:
    if not isinstance(outputs, Mapping):
        raise BadInput(f"{where} returns {shown(outputs)} as outputs, must be a dict of named tensors; {_RETURNED}")
    if set(outputs) != set(program.outputs):
        raise BadInput(f"{where} outputs {_listed(outputs)}, but outputs= names {_listed(program.outputs)}")
    for name, value in outputs.items():
        if not isinstance(value, Tensor) or value.dtype not in _HELD or not 1 <= value.ndim < MAX_RANK:
            raise BadInput(
                f"{where}: output {name!r} is {_kind(value)}, must be rows: a tensor of float32, int64, int32 or bool "
                "whose first axis counts them"
            )
        if not value.numel():
            raise BadInput(f"{where}: output {name!r} has no elements; leave it out")
        kept, rows = program.outputs[name], program.steps * value.shape[0]
        if kept is not None and kept > rows:
            raise BadInput(f"{where}: output {name!r} has {rows} rows in all steps, fewer than the {kept} to be kept")
    return {name: outputs[name].detach() for name in program.outputs}


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names)) or "nothing"


def _kind(value: Any) -> str:
    if not isinstance(value, Tensor):
        return shown(value)
    return f"{str(value.dtype).removeprefix('torch.')} of shape {tuple(value.shape)}"
