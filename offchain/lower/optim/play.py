"""Recorded updates as part of a step that is traced: the same operations on other tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

from offchain.errors import Unsupported
from offchain.lower.optim.tape import Call, Hole, Tape, Var, leaves

Numbers = Callable[[int], float | Tensor]  # what is in a hole


class _Filled:
    """The values of a tape's tensors, as far as they were computed."""

    def __init__(self, tape: Tape, inputs: Mapping[str, Tensor], numbers: Numbers) -> None:
        self.tape, self.numbers = tape, numbers
        self.values: dict[int, Tensor] = {i: inputs[name] for i, name in enumerate(tape.form.inputs)}

    def __call__(self, shown: Any) -> Any:
        """An argument with tensors and numbers in place of Vars and Holes."""
        match shown:
            case Var(number):
                return self.values[number]
            case Hole(number, None):
                return self.numbers(number)
            case Hole(number, dtype):
                return torch.as_tensor(self.numbers(number)).to(dtype)
            case ("list", *items):
                return [self(item) for item in items]
            case ("constant", int(number)):
                return self.tape.constants[number].clone()
        return shown


def played(
    tape: Tape, inputs: Mapping[str, Tensor], numbers: Numbers, mark: Callable[[str], AbstractContextManager[None]]
) -> dict[str, Tensor]:
    """The outputs of a recorded update for other inputs, and other numbers in its holes.

    `mark(line)` is open around the operations of a line. Raises Unsupported where a number that is a tensor now cannot
    be put in its place.
    """
    filled = _Filled(tape, inputs, numbers)
    for call, line in zip(tape.form.calls, tape.lines, strict=True):
        with mark(line):
            args, kwargs = [filled(arg) for arg in call.args], {name: filled(arg) for name, arg in call.kwargs}
            result = _applied(call, args, kwargs)
        made = [x for x in leaves((result,)) if isinstance(x, Tensor)]
        filled.values.update(zip(call.results, made, strict=True))
    return {name: filled(shown) for name, shown in tape.form.outputs}


def _applied(call: Call, args: list[Any], kwargs: dict[str, Any]) -> Any:
    """The operation, where tensors may stand for numbers that are looked up."""
    shown, given = (*call.args, *(arg for _, arg in call.kwargs)), (*args, *kwargs.values())
    looked_up = (
        isinstance(a, Hole) and a.dtype is None and isinstance(b, Tensor) for a, b in zip(shown, given, strict=True)
    )
    if not any(looked_up):
        return call.operation(*args, **kwargs)
    packet = call.operation.overloadpacket
    name: str = packet.__name__
    if "alpha" in kwargs:  # of add and sub
        return packet(args[0], args[1] * kwargs["alpha"])
    if "value" in kwargs and name.removesuffix("_") in ("addcmul", "addcdiv"):
        x, a, b = args
        move = (a * b if "mul" in name else a / b) * kwargs["value"]
        return x.add_(move) if name.endswith("_") else x + move
    if name == "full":
        return args[1].to(kwargs.get("dtype") or torch.float32).expand(args[0]).clone()
    if name == "full_like":
        return args[1].to(kwargs.get("dtype") or args[0].dtype).expand(args[0].shape).clone()
    try:
        return packet(*args, **kwargs)
    except (TypeError, RuntimeError) as error:
        raise Unsupported(
            "takes a number that changes from update to update; keep it in a tensor of the optimizer's state"
        ) from error
