"""Wraps the body of a function as a kernel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch

from offchain.exec.fused.function import Function
from offchain.native.kernel import NativeKernel

TYPES: Final = {"float": torch.float32, "double": torch.float64, "i32": torch.int32}  # what a kernel's text calls them


def kernel(parameters: Sequence[str], inner: Function, tasks: int, work: int, declared: str = "") -> NativeKernel:
    """Wraps a body that takes its tensors as parameters, so that the compiler may assume that they do not overlap.

    The body is compiled once, on its own: inlined it would keep what is known of its parameters, at twice the time.
    """
    call = ["define void @NAME(ptr %args, i64 %lo, i64 %hi) nounwind {"]
    for n, parameter in enumerate(parameters):
        call.append(f"  %a{n} = getelementptr ptr, ptr %args, i64 {n}")
        call.append(f"  {parameter} = load ptr, ptr %a{n}")
    given = ", ".join([*(f"ptr {parameter}" for parameter in parameters), "i64 %lo", "i64 %hi"])
    call += [f"  call void @NAME_body({given})", "  ret void", "}"]
    return NativeKernel.of(f"{declared}{inner}\n" + "\n".join(call) + "\n", tasks, work)


def body(written: Sequence[str], read: Sequence[str]) -> Function:
    out = [("ptr noalias", name) for name in written]
    given = [*out, *(("ptr noalias readonly", name) for name in read), ("i64", "%lo"), ("i64", "%hi")]
    return Function("NAME_body", given, inner=True)
