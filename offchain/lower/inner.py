"""Gradients inside of a loss, while a step is captured: torch.autograd.grad, functions with a backward of their own.

The step's own gradient is taken by functorch, which leaves both out although they work within it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch._C import _functorch as functorch

_APPLY = torch.autograd.Function.apply.__func__.__code__  # type: ignore[attr-defined]


def requires_grad_(x: Tensor, requires_grad: bool = True) -> Tensor:
    """Tensor.requires_grad_ in a step that is captured, for torch.autograd.grad with regard to x."""
    before = functorch.get_inplace_requires_grad_allowed()
    functorch.set_inplace_requires_grad_allowed(True)
    try:
        return torch.Tensor.requires_grad_(x, requires_grad)
    finally:
        functorch.set_inplace_requires_grad_allowed(before)


@contextmanager
def own_backwards() -> Iterator[None]:
    """While open, a torch.autograd.Function runs as in plain torch, its forward without and its backward with a trace.

    That is right where the step's own gradient is the only transform of functorch: within torch.func.grad or vmap,
    Function.apply goes its usual way, and is refused.
    """
    usual = torch._C._are_functorch_transforms_active

    def transforms_active() -> bool:
        if sys._getframe(1).f_code is not _APPLY or not _one_gradient():
            return usual()
        functorch.set_single_level_autograd_function_allowed(True)  # holds until the transform ends
        return False

    torch._C._are_functorch_transforms_active = transforms_active
    try:
        yield
    finally:
        torch._C._are_functorch_transforms_active = usual


def _one_gradient() -> bool:
    """Whether functorch takes one gradient, and does nothing else but make the step functional."""
    kinds = [level.key().name for level in functorch.get_interpreter_stack() or ()]
    return kinds[-1:] == ["Grad"] and kinds.count("Grad") == 1 and set(kinds) <= {"Grad", "Functionalize"}
