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
from offchain.lower.optim.changing import changing, fits_rules
from offchain.lower.optim.functional import Functional, Tensors, named
from offchain.lower.optim.lookup import Table, looked_up, table_of
from offchain.lower.optim.rules import Options, Rate, Rule
from offchain.lower.optim.table import RULES
from offchain.lower.origin import within

_IGNORED: Final = frozenset({"foreach", "fused", "capturable"})  # they do not change the result


@dataclass(frozen=True)
class ByRule(Functional):
    """`table` has the factor by update where the schedule is a function that is not traced."""

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
        rates, options = self._rates(count), self._options(count)
        new_weights, new_slots = dict(weights), dict(slots)
        line = self.job.line_of("optimizer")
        for number, group in enumerate(self.groups):
            with within(f"optimizer {named(self.job, number)}", line):
                lr, own = rates[number], options[number]
                for name in group.names:
                    kept = {b: slots[f"{b}.{name}"] for b in self.rule.buffers(group.options, weights[name])}
                    updated = self.rule.update(weights[name], gradients[name], kept, own, lr, count)
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
            return [looked_up(columns["lr"], count) for columns in self.job.scheduled]
        with within("schedule", line_of(schedule)):
            by = looked_up(self.table, count) if self.table else schedule(count.to(torch.float32))
            return [rate * (by.reshape(()) if isinstance(by, Tensor) else by) for rate in rates]

    def _options(self, count: Tensor) -> list[Options]:
        """The options of each group in that update."""
        if not isinstance(self.job.schedule, LRScheduler):
            return [group.options for group in self.groups]
        return [
            {**group.options, **{name: changing(column, count) for name, column in columns.items() if name != "lr"}}
            for group, columns in zip(self.groups, self.job.scheduled, strict=True)
        ]


def has_rule(job: Job) -> bool:
    """Whether an optimizer has a rule, which can compute with the options that a scheduler changes."""
    rule = RULES.get(job.groups[0])
    if rule is None or not isinstance(job.schedule, LRScheduler):
        return rule is not None
    changed = [item for columns in job.scheduled for item in columns.items()]
    return all(name in rule.options and fits_rules(name, column) for name, column in changed if name != "lr")


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
