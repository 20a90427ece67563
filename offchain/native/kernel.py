"""A kernel as LLVM's text: equal work in equal shapes is one kernel, however often it is needed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from hashlib import sha256
from typing import Final


class Care(IntEnum):
    """How fast a kernel must be. The more, the longer it takes to compile."""

    LEAST = 0
    LESS = 1
    MOST = 2


SHARES: Final = {Care.LEAST: 5e-5, Care.LESS: 0.002}  # of the work of a step, all that is done with so little care


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


def cares(kernels: Sequence[NativeKernel]) -> dict[str, Care]:
    """By name, how fast the kernels of a step's calls must be: those with the least work, of all calls, the least.

    Code that is as slow as can be takes a fifteenth of the time to compile, and up to fifty times as long to run.
    """
    work: Counter[str] = Counter()
    for kernel in kernels:
        work[kernel.name] += kernel.work
    total, so_far, found = sum(work.values()), 0, {}
    for name, count in sorted(work.items(), key=lambda item: (item[1], item[0])):
        so_far += count
        found[name] = next((care for care, share in SHARES.items() if so_far <= share * total), Care.MOST)
    return found
