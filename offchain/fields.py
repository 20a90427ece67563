"""What the fields of a job must be, so that nothing that builds is refused later: names, numbers, columns, models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from offchain.errors import BadInput
from offchain.ir.encoding import MAX_RANK
from offchain.text import printable

LONGEST: Final = 200  # characters of a name; files hold 256, and an optimizer's tensors have longer names
RESERVED: Final = "log"
_INTEGERS: Final = (torch.int64, torch.int32)


def shown(value: Any) -> str:
    """A value as Python writes it, in one short line; modules, tensors, and what holds any, by their kind."""
    if isinstance(value, nn.Module):
        return f"a {type(value).__name__}"
    if isinstance(value, Tensor) and (value.ndim or "\n" in repr(value)):  # those of torch.func are written in lines
        return f"a tensor of shape {tuple(value.shape)}"
    if isinstance(value, Mapping) and any(isinstance(held, Tensor | Mapping) for held in value.values()):
        return f"a dict of {printable(', '.join(map(repr, value)), 60)}"
    return printable(repr(value), 80)


def check_name(what: str, name: Any) -> None:
    """Raise BadInput unless `name` can stand in files and terminals."""
    if not isinstance(name, str):
        raise BadInput(f"{what} is named {shown(name)}, which is no text; give a name as text")
    if not name.isprintable() or len(name) > LONGEST:
        raise BadInput(f"{what} is named {printable(name, 40)!r}; give a name of up to {LONGEST} printable characters")


def check_number(what: str, value: Any, low: int, high: int) -> None:
    """Raise BadInput unless `value` is an integer from `low` to `high`."""
    if type(value) is not int:
        raise BadInput(f"{what} is {shown(value)}, must be an integer; write int(...) around it")
    if not low <= value <= high:
        raise BadInput(f"{what} is {value}, must be {low} to {high}")


def check_dataset(dataset: Any, what: str = "dataset") -> None:
    """Raise BadInput unless `dataset` is named tensors of equally many rows. `what` it is for."""
    if not isinstance(dataset, Mapping):
        raise BadInput(
            f"{what} is a {type(dataset).__name__}, must be a dict of named tensors, "
            '{"x": inputs, "y": labels}, or a tuple of tensors'
        )
    if not dataset:
        raise BadInput(f"{what} is empty; give at least one tensor")
    first, rows = "", 0
    for name, data in dataset.items():
        check_name(f"a tensor of the {what}", name)
        if not isinstance(data, Tensor):
            raise BadInput(f"{what} {name!r} is a {type(data).__name__}, must be a tensor; use torch.as_tensor")
        _check_layout(f"{what} {name!r}", data)
        if data.ndim == 0 or data.numel() == 0:
            raise BadInput(f"{what} {name!r} must be a tensor with at least one row")
        first, rows = first or name, rows or data.shape[0]
        if data.shape[0] != rows:
            raise BadInput(f"{what} {name!r} has {data.shape[0]} rows, but {first!r} has {rows}")
        _check_values(f"{what} {name!r}", data)


def check_model(model: Any) -> None:
    """Raise BadInput unless `model` is a module whose tensors have values that a task can hold."""
    if not isinstance(model, nn.Module):
        raise BadInput(f"model is {shown(model)}, must be a torch.nn.Module")
    if isinstance(model, torch.jit.ScriptModule):
        raise BadInput("model is a ScriptModule, which cannot be traced; give the module that it was made of")
    for what, tensors in (("parameter", model.named_parameters()), ("buffer", model.named_buffers())):
        for name, value in tensors:
            if name == RESERVED:
                raise BadInput(f"{what} name {RESERVED!r} is reserved for the metrics")
            check_name(f"a {what} of the model", name)
            if is_lazy(value):
                raise BadInput(f"{what} {name!r} has no shape yet; call the model on a batch once, before the job")
            if value.requires_grad and not value.numel():
                raise BadInput(f"{what} {name!r} has no elements; leave its layer out, or use .requires_grad_(False)")
            if value._backward_hooks or getattr(value, "_post_accumulate_grad_hooks", None):
                raise BadInput(
                    f"{what} {name!r} has hooks on its gradient, which no step would run; let an optimizer of your own "
                    "change parameter.grad in its step"
                )
            _check_layout(f"{what} {name!r}", value)
            _check_values(f"{what} {name!r}", value.detach())


def check_tensor(what: str, data: Tensor) -> None:
    """Raise BadInput unless a graph can hold the tensor."""
    _check_layout(what, data)
    if not data.numel():
        raise BadInput(f"{what} has no elements; leave it out")
    _check_values(what, data)


def _check_layout(what: str, data: Tensor) -> None:
    if data.is_meta:
        raise BadInput(f"{what} has no values (device 'meta'); make it on the CPU, or load values into it")
    if data.ndim > MAX_RANK:
        raise BadInput(f"{what} has {data.ndim} dimensions, at most {MAX_RANK} are supported; keep it in another shape")
    if data.is_nested or data.layout is not torch.strided:
        raise BadInput(f"{what} is {'nested' if data.is_nested else data.layout}; pad it, or use .to_dense()")


def _check_values(what: str, data: Tensor) -> None:
    if data.dtype is torch.float32:
        if not bool(torch.isfinite(data).all()):
            raise BadInput(f"{what} holds values that are not finite; replace or remove them")
    elif data.dtype in _INTEGERS:
        if data.numel() and (int(data.min()) < -(1 << 31) or int(data.max()) >= 1 << 31):
            raise BadInput(f"{what} holds integers that do not fit int32; use smaller ones, or float32")
    elif data.is_complex():
        if data.dtype is not torch.complex64 or not what.startswith("buffer"):
            raise BadInput(
                f"{what} is {data.dtype}; keep torch.view_as_real of it, and use torch.view_as_complex in the loss"
            )
        _check_values(what, torch.view_as_real(data.resolve_conj()))
    elif data.dtype is not torch.bool:
        raise BadInput(f"{what} is {data.dtype}; use float32 (.float()), or int64 for labels and indices")
