"""What a kernel is: text, so that equal work in equal shapes is one kernel however many nodes do it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

import torch

from offchain.exec.fused.ir import Function

TYPES: Final = {"float": torch.float32, "double": torch.float64, "i32": torch.int32}  # what a kernel's text calls them


@dataclass(frozen=True)
class Kernel:
    """`name` is the hash of `text`, whose function has that name; `work` counts element operations."""

    name: str
    text: str
    tasks: int
    work: int


def kernel(parameters: Sequence[str], inner: Function, tasks: int, work: int, declared: str = "") -> Kernel:
    """Wraps a body that takes its tensors as parameters (and so may trust that they do not overlap)."""
    call = ["define void @NAME(ptr %args, i64 %lo, i64 %hi) nounwind {"]
    for n, parameter in enumerate(parameters):
        call.append(f"  %a{n} = getelementptr ptr, ptr %args, i64 {n}")
        call.append(f"  {parameter} = load ptr, ptr %a{n}")
    given = ", ".join([*(f"ptr {parameter}" for parameter in parameters), "i64 %lo", "i64 %hi"])
    call += [f"  call void @NAME_body({given})", "  ret void", "}"]
    text = f"{declared}{inner}\n" + "\n".join(call) + "\n"
    name = f"k{sha256(text.encode()).hexdigest()[:24]}"
    return Kernel(name, text.replace("NAME", name), tasks, work)


def body(written: Sequence[str], read: Sequence[str]) -> Function:
    out = [("ptr noalias", name) for name in written]
    return Function(
        "NAME_body", [*out, *(("ptr noalias readonly", name) for name in read), ("i64", "%lo"), ("i64", "%hi")]
    )
