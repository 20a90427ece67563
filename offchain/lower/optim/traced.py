"""An optimizer whose update is its own `step`, recorded as tensor operations."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from offchain.errors import Unsupported
from offchain.job import Job
from offchain.lines import at, raised_at
from offchain.lower.optim.functional import Functional, Tensors, either
from offchain.lower.optim.history import GRADIENT, PARAMETER, STATE, History, history_of
from offchain.lower.optim.lookup import looked_up
from offchain.lower.optim.play import played
from offchain.lower.optim.table import RULES
from offchain.lower.origin import Origins, within
from offchain.lower.refusals import refusal


@dataclass(frozen=True)
class Traced(Functional):
    """`history` has all updates; those of one form are one sequence of operations, with numbers from tables."""

    history: History

    @property
    def whole(self) -> bool:
        return True

    def buffers(self, weights: Mapping[str, Tensor]) -> Tensors:
        return dict(self.history.slots)

    def updated(self, weights: Tensors, gradients: Tensors, slots: Tensors, count: Tensor) -> tuple[Tensors, Tensors]:
        phases = self.history.phases
        place = count.clamp(max=len(phases) - 1)
        form = looked_up(phases, place)
        after = self._played(0, weights, gradients, slots, place)
        for number in range(1, len(self.history.tapes)):
            after = either(
                torch.as_tensor(form == number), self._played(number, weights, gradients, slots, place), after
            )
        return (
            {name: after[PARAMETER + name] for name in weights},
            slots | {name: after[STATE + name] for name in self.history.slots},
        )

    def _played(self, number: int, weights: Tensors, gradients: Tensors, slots: Tensors, place: Tensor) -> Tensors:
        """Parameters and state after an update of one form."""
        tape, columns = self.history.tapes[number], self.history.numbers[number]
        some = next((found for found in columns if found), ())
        table = list(zip(*(found or some for found in columns), strict=True))
        state = {STATE + name: slots[name].clone() for name in self.history.slots}
        inputs = {PARAMETER + name: value.clone() for name, value in weights.items()}
        inputs |= {GRADIENT + name: value.clone() for name, value in gradients.items()} | state
        name, line = f"optimizer {self.job.groups[0].__name__}", self.job.line_of("optimizer")
        mark = lambda own: within(name, own or line)  # noqa: E731
        return state | played(tape, inputs, lambda hole: looked_up(table[hole], place), mark)


def traced(job: Job) -> Traced:
    """The pure form of any optimizer whose step consists of tensor operations. Raises Unsupported and BadInput."""
    kind, groups = job.groups
    line = job.line_of("optimizer")
    closure = inspect.signature(kind.step).parameters.get("closure")
    if closure is not None and closure.default is inspect.Parameter.empty:
        raise _needs_a_closure(job)
    try:
        with within(f"optimizer {kind.__name__}", line), torch.enable_grad():
            history = history_of(job)
    except Unsupported as error:  # of ours
        frame = raised_at(error)
        place = f"{frame.filename}:{frame.lineno}" if frame else line
        raise Unsupported(f"optimizer {kind.__name__}{at(place)}: {error}") from error
    except Exception as error:
        if closure is not None and str(error) == "'NoneType' object is not callable":
            raise _needs_a_closure(job) from error
        raise refusal(error, Origins(), job.model) from error
    return Traced(job, groups, history)


def _needs_a_closure(job: Job) -> Unsupported:
    name, names = job.groups[0].__name__, ", ".join(known.__name__ for known in RULES)
    return Unsupported(
        f"job{at(job.line_of('optimizer'))}: optimizer {name} takes the loss several times in an update, by a closure; "
        f"use one of: {names}; the loss may take gradients itself, at other parameters too (torch.autograd.grad, "
        "torch.func.functional_call)"
    )
