"""The optimizer of a job as a pure function of parameters, gradients and the tensors that it keeps."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler

from offchain.errors import Unsupported
from offchain.groups import ParameterGroup
from offchain.job import Job
from offchain.lines import at, line_of
from offchain.lower.optim.rules import RULES, Rate, Rule
from offchain.lower.optim.tables import Table, looked_up, table_of
from offchain.lower.origin import within
from offchain.lower.packs import Pack, packed

Tensors = dict[str, Tensor]
_SHOWN: Final = 4  # names of a group in a refusal
_IGNORED: Final = frozenset({"foreach", "fused", "capturable", "differentiable"})  # they do not change the result


@dataclass(frozen=True)
class Functional:
    """`initial(weights)` gives the slots, `step(weights, gradients, slots, t)` the next weights and slots.

    A slot is named BUFFER.PARAMETER, as torch names the buffer; `grad.PARAMETER` holds a gradient being accumulated.
    `table` has the schedule's values where it is not traced.
    """

    job: Job
    rule: Rule
    groups: tuple[ParameterGroup, ...]
    table: Table

    def packed(self, weights: Mapping[str, Tensor]) -> tuple[tuple[Pack, ...], Functional]:
        """The same for packs in place of single parameters: every update is elementwise, or of one number."""
        packs, groups = packed(self.groups, weights)
        return packs, replace(self, groups=groups)

    def initial(self, weights: Mapping[str, Tensor]) -> Tensors:
        """Initial slots: zeros, unless the optimizer starts from other values."""
        slots = {f"grad.{name}": torch.zeros_like(p) for name, p in weights.items()} if self.job.accumulate > 1 else {}
        for group in self.groups:
            for name in group.names:
                buffers = self.rule.buffers(group.options, weights[name])
                slots |= {f"{buffer}.{name}": value for buffer, value in buffers.items()}
        return slots

    def step(self, weights: Tensors, gradients: Tensors, slots: Tensors, t: Tensor) -> tuple[Tensors, Tensors]:
        """Next weights and slots; t is an int32 scalar. With `accumulate`, only every so many steps update them."""
        every = self.job.accumulate
        if every == 1:
            return self._updated(weights, gradients, slots, t)
        summed = {name: slots[f"grad.{name}"] + gradient for name, gradient in gradients.items()}
        due = t % every == every - 1
        new_weights, new_slots = self._updated(weights, summed, slots, t // every)
        new_slots |= {f"grad.{name}": torch.zeros_like(gradient) for name, gradient in summed.items()}
        old_slots = slots | {f"grad.{name}": gradient for name, gradient in summed.items()}
        return _either(due, new_weights, weights), _either(due, new_slots, old_slots)

    def _updated(self, weights: Tensors, gradients: Tensors, slots: Tensors, count: Tensor) -> tuple[Tensors, Tensors]:
        gradients, rates = self._clipped(gradients), self._rates(count)
        new_weights, new_slots = dict(weights), dict(slots)
        line = self.job.line_of("optimizer")
        for number, group in enumerate(self.groups):
            with within(f"optimizer {_named(self.job, number)}", line):
                lr = rates[number]
                for name in group.names:
                    kept = {b: slots[f"{b}.{name}"] for b in self.rule.buffers(group.options, weights[name])}
                    updated = self.rule.update(weights[name], gradients[name], kept, group.options, lr, count)
                    new_weights[name] = updated[0]
                    new_slots |= {f"{buffer}.{name}": value for buffer, value in updated[1].items()}
        return new_weights, new_slots

    def _clipped(self, gradients: Tensors) -> Tensors:
        """torch.nn.utils.clip_grad_norm_, then clip_grad_value_."""
        norm, value = self.job.clip_norm, self.job.clip_value
        if norm is not None:
            with within("clip_norm", self.job.line_of("clip_norm")):
                total = torch.stack([gradient.square().sum() for gradient in gradients.values()]).sum().sqrt()
                scale = (norm / (total + 1e-6)).clamp(max=1.0)
                gradients = {name: gradient * scale for name, gradient in gradients.items()}
        if value is not None:
            with within("clip_value", self.job.line_of("clip_value")):
                gradients = {name: gradient.clamp(-value, value) for name, gradient in gradients.items()}
        return gradients

    def _rates(self, count: Tensor) -> list[Rate]:
        """The learning rate of each group in the update after `count` others."""
        rates: list[Rate] = [group.options["lr"] for group in self.groups]
        schedule = self.job.schedule
        if schedule is None:
            return rates
        if isinstance(schedule, LRScheduler):
            return [looked_up(column, count) for column in self.table]
        with within("schedule", line_of(schedule)):
            by = looked_up(self.table[0], count) if self.table else schedule(count.to(torch.float32))
            return [rate * (by.reshape(()) if isinstance(by, Tensor) else by) for rate in rates]


def functional(job: Job) -> Functional:
    """The pure form of a job's optimizer. Raises Unsupported, naming the optimizer or the option."""
    kind, groups = job.groups
    if kind not in RULES:
        names = ", ".join(known.__name__ for known in RULES)
        raise Unsupported(f"job{at(job.line_of('optimizer'))}: optimizer {kind.__name__}; use one of: {names}")
    rule = RULES[kind]
    for number in range(len(groups)):
        _check_options(job, rule, number)
    return Functional(job, rule, groups, table_of(job))


def _named(job: Job, number: int) -> str:
    """The optimizer's class and one of its groups, by the names of its first parameters."""
    kind, groups = job.groups
    names = groups[number].names
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{kind.__name__}, group {number} ({', '.join(names[:_SHOWN])}{more})"


def _check_options(job: Job, rule: Rule, number: int) -> None:
    kind, groups = job.groups
    defaults = inspect.signature(kind).parameters
    for name, value in groups[number].options.items():
        known = name in rule.options or name in _IGNORED
        if not known and not (name in defaults and value == defaults[name].default):
            supported = ", ".join(sorted(rule.options))
            raise Unsupported(
                f"job{at(job.line_of('optimizer'))}: option {name}={value!r} of {_named(job, number)}; "
                f"leave it out, supported are: {supported}"
            )


def _either(condition: Tensor, yes: Tensors, no: Tensors) -> Tensors:
    return {name: torch.where(condition, value, no[name]) for name, value in yes.items()}
