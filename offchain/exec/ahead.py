"""Many steps at once, for whoever is told what they output; where an executor can."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from offchain.exec.base import Executor
from offchain.ir.arrays import Array

S = TypeVar("S")


class Ahead(Protocol[S]):
    """Runs `steps` steps at once, with the bits that they have one after the other."""

    steps: int

    def ahead(self, state: S, t: int, claimed: Mapping[int, Array]) -> tuple[S, int]:
        """The state after the steps from t on, all of one interval; and how many of them output what is claimed, before
        the first that does not. If any does not, the state is worth nothing.

        Args:
            claimed: for each slot of outputs, what it is said to hold at the end of the interval. It may be false.
        """

    def passing(self, state: S, t: int, claimed: Mapping[int, Array], counts: Sequence[int]) -> tuple[list[S], int]:
        """Likewise, with the states after so many of these steps, as ascending numbers from 1 to `steps`. A state is
        worth nothing if more steps lead to it than output what is claimed."""


@dataclass(frozen=True, slots=True)
class Told:
    """What the steps of an interval are said to output (`claimed` of `Ahead.ahead`), and what makes many of them at
    once by it."""

    outputs: Mapping[int, Array]
    ahead: Ahead[Any]


def ahead_of(executor: Executor[Any], outputs: Sequence[int]) -> Ahead[Any] | None:
    """For the states of an executor; None where it cannot, or little is gained.

    Args:
        outputs: the slots that hold what steps output.
    """
    from offchain.exec.fused.executor import FusedExecutor  # imports torch
    from offchain.exec.fused.spans import spans_of

    if type(executor) is not FusedExecutor or not executor.alone:  # a subclass may compute something else
        return None
    return spans_of(executor, outputs)
