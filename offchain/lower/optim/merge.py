"""A first update that only makes its state first is the same as all others, from a state that a build can compute."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from offchain.lower.optim.play import played
from offchain.lower.optim.tape import Call, Form, Hole, Tape, Var, leaves


class _Differs(Exception):
    """The first update is another one."""


def merged(first: Tape, later: Tape, known: Mapping[str, Tensor]) -> tuple[tuple[float, ...], dict[str, Tensor]] | None:
    """The numbers of the first update in the holes of later ones, and initial values of the inputs that it lacks.

    `known` has the values of those inputs of the first update that a build knows. None where the updates differ.
    """
    try:
        return _Alignment(first, later, known).found()
    except _Differs:
        return None


class _Alignment:
    """Walks both tapes at once. `vars` and `numbers` say what of `first` stands for a Var or Hole of `later`."""

    def __init__(self, first: Tape, later: Tape, known: Mapping[str, Tensor]) -> None:
        self.first, self.later, self.known = first, later, known
        names = {name: Var(i) for i, name in enumerate(first.form.inputs)}
        inputs = enumerate(later.form.inputs)
        self.missing = {Var(i): name for i, name in inputs if name not in names}
        self.vars: dict[Var, Any] = {Var(i): names[n] for i, n in enumerate(later.form.inputs) if n in names}
        self.numbers: dict[int, float] = {}
        self.certain = {names[name] for name in known}  # Vars of `first` with values that a build can compute
        self.made: list[Call] = []  # the calls that compute them

    def found(self) -> tuple[tuple[float, ...], dict[str, Tensor]]:
        waiting = list(self.later.form.calls)
        for call in self.first.form.calls:
            before = dict(self.vars), dict(self.numbers)
            if waiting and self._fits(call, waiting[0]):
                self.vars.update(zip(map(Var, waiting.pop(0).results), map(Var, call.results), strict=True))
            else:
                self.vars, self.numbers = before
                if not self._is_certain(call):
                    raise _Differs
            self._follow(call)
        ends, wanted = dict(self.first.form.outputs), dict(self.later.form.outputs)
        same = ends.keys() == wanted.keys() and all(self._same(ends[name], wanted[name]) for name in wanted)
        if waiting or not same or len(self.numbers) != len(self.later.numbers):
            raise _Differs
        return tuple(self.numbers[i] for i in range(len(self.numbers))), self._initial()

    def _fits(self, call: Call, other: Call) -> bool:
        return call.operation is other.operation and self._same((call.args, call.kwargs), (other.args, other.kwargs))

    def _same(self, a: Any, b: Any) -> bool:
        """Whether `a` of the first update stands where `b` stands later."""
        if isinstance(b, Var):
            if b in self.missing and b not in self.vars and a in self.certain:
                self.vars[b] = a
            return isinstance(a, Var) and self.vars.get(b) == a
        if isinstance(b, Hole):
            if not isinstance(a, Hole) or a.dtype != b.dtype:
                return False
            return self.numbers.setdefault(b.number, self.first.numbers[a.number]) == self.first.numbers[a.number]
        if isinstance(b, tuple):
            if b[:1] == ("constant",):
                own, others = self.first.form.constants, self.later.form.constants
                return isinstance(a, tuple) and a[:1] == b[:1] and own[a[1]] == others[b[1]]
            return isinstance(a, tuple) and len(a) == len(b) and all(map(self._same, a, b))
        return bool(a == b)

    def _is_certain(self, call: Call) -> bool:
        """Whether a build can compute its results: nothing is written, and no parameter that has moved is read."""
        schema = call.operation._schema
        if torch.Tag.nondeterministic_seeded in call.operation.tags or schema.is_mutable:
            return False
        views = any(result.alias_info is not None for result in schema.returns)
        fresh = not views or "lift_fresh" in schema.name
        return fresh and all(x in self.certain for x in _vars(call))

    def _follow(self, call: Call) -> None:
        if self._is_certain(call):
            self.made.append(call)
            self.certain |= set(map(Var, call.results))
        elif call.operation._schema.is_mutable or any(r.alias_info for r in call.operation._schema.returns):
            self.certain -= set(_vars(call)[:1])  # written, or seen by a view that may be written

    def _initial(self) -> dict[str, Tensor]:
        bound = {name: self.vars[var] for var, name in self.missing.items() if var in self.vars}
        form = Form(self.first.form.inputs, tuple(self.made), tuple(bound.items()), self.first.form.constants)
        tape = replace(self.first, form=form, lines=("",) * len(self.made))
        inputs = {name: self.known.get(name, torch.zeros(())) for name in form.inputs}
        with torch.no_grad():
            values = played(tape, inputs, lambda hole: self.first.numbers[hole], lambda _: nullcontext())
        return {name: value.clone() for name, value in values.items()}


def _vars(call: Call) -> list[Var]:
    return [x for x in leaves((call.args, call.kwargs)) if isinstance(x, Var)]
