"""An optimizer whose update is a rule of ours."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler

from offchain.errors import Unsupported
from offchain.job import Job
from offchain.lines import at, line_of
from offchain.lower.optim.functional import Functional, Tensors, named
from offchain.lower.optim.lookup import Table, looked_up, table_of
from offchain.lower.optim.rules import Rate, Rule
from offchain.lower.optim.table import RULES
from offchain.lower.origin import within

_IGNORED: Final = frozenset({"foreach", "fused", "capturable"})  # they do not change the result


@dataclass(frozen=True)
class ByRule(Functional):
    """`table` has the schedule's values where it is not traced."""

    rule: Rule
    table: Table

    @property
    def whole(self) -> bool:
        return self.rule.whole

    def buffers(self, weights: Mapping[str, Tensor]) -> Tensors:
        slots: Tensors = {}
        for group in self.groups:
            for name in group.names:
                buffers = self.rule.buffers(group.options, weights[name])
                slots |= {f"{buffer}.{name}": value for buffer, value in buffers.items()}
        return slots

    def updated(self, weights: Tensors, gradients: Tensors, slots: Tensors, count: Tensor) -> tuple[Tensors, Tensors]:
        rates = self._rates(count)
        new_weights, new_slots = dict(weights), dict(slots)
        line = self.job.line_of("optimizer")
        for number, group in enumerate(self.groups):
            with within(f"optimizer {named(self.job, number)}", line):
                lr = rates[number]
                for name in group.names:
                    kept = {b: slots[f"{b}.{name}"] for b in self.rule.buffers(group.options, weights[name])}
                    updated = self.rule.update(weights[name], gradients[name], kept, group.options, lr, count)
                    new_weights[name] = updated[0]
                    new_slots |= {f"{buffer}.{name}": value for buffer, value in updated[1].items()}
        return new_weights, new_slots

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


def by_rule(job: Job) -> ByRule:
    """The pure form of an optimizer that has a rule. Raises Unsupported, naming an option that it lacks."""
    kind, groups = job.groups
    rule = RULES[kind]
    for number in range(len(groups)):
        _check_options(job, rule, number)
    return ByRule(job, groups, rule, table_of(job))


def _check_options(job: Job, rule: Rule, number: int) -> None:
    kind, groups = job.groups
    defaults = inspect.signature(kind).parameters
    for name, value in groups[number].options.items():
        known = name in rule.options or name in _IGNORED
        if not known and not (name in defaults and value == defaults[name].default):
            supported = ", ".join(sorted(rule.options))
            raise Unsupported(
                f"job{at(job.line_of('optimizer'))}: option {name}={value!r} of {named(job, number)}; "
                f"leave it out, supported are: {supported}"
            )
