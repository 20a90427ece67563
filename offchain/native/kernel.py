"""A kernel as LLVM's text: equal work in equal shapes is one kernel, however often it is needed."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256


@dataclass(frozen=True)
class NativeKernel:
    """`text`, LLVM's, defines the function `name(ptr arguments, i64 first, i64 end)`: it does some of the tasks.

    `name` is the hash of the text; `work` counts element operations.
    """

    name: str
    text: str
    tasks: int
    work: int

    @classmethod
    def of(cls, text: str, tasks: int = 1, work: int = 0) -> NativeKernel:
        """From a text that calls its function NAME."""
        name = f"k{sha256(text.encode()).hexdigest()[:24]}"
        return cls(name, text.replace("NAME", name), tasks, work)
