"""One update by an optimizer's own `step`, recorded as the tensor operations that it called.

The step really runs, on copies of the parameters. What follows from the count of updates alone (counters, rates, bias
corrections) has its right value then, so that Python may branch on it. What depends on parameters or gradients has not:
after an operation was seen once, only the shape of its result is made.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from types import CodeType
from typing import Any, Final

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from offchain.errors import Unsupported
from offchain.lines import line_of_caller

aten = torch.ops.aten
_FRESH: Final = frozenset({aten.lift_fresh.default, aten.lift_fresh_copy.default})
_SAME: Final = frozenset({aten.detach.default, aten.alias.default})  # of which a tape says nothing: see `_key`
_LOOKS: Final = frozenset({torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape})
_MADE: Final = "_made_by_an_update"
_EACH: Final = "_foreach_"
_NAMED: Final = {  # of _foreach_ operations whose single form has another name
    "maximum.Scalar": aten.clamp_min,
    "maximum_.Scalar": aten.clamp_min_,
    "minimum.Scalar": aten.clamp_max,
    "minimum_.Scalar": aten.clamp_max_,
    "norm.Scalar": aten.linalg_vector_norm,
}


@dataclass(frozen=True)
class Var:
    """A tensor of a tape: an input, or a result."""

    number: int


@dataclass(frozen=True)
class Hole:
    """A number of Python, or a tensor of one number made of it (`dtype`), that may differ from update to update."""

    number: int
    dtype: torch.dtype | None = None


@dataclass(frozen=True)
class Call:
    """An operation: its arguments hold Vars and Holes, lists are tuples that begin with `list`."""

    operation: Any
    args: Any
    kwargs: tuple[tuple[str, Any], ...]
    results: tuple[int, ...]


@dataclass(frozen=True)
class Form:
    """What two updates have in common that differ only in numbers. `outputs` maps names to where their values are."""

    inputs: tuple[str, ...]
    calls: tuple[Call, ...]
    outputs: tuple[tuple[str, Any], ...]
    constants: tuple[tuple[torch.dtype, tuple[int, ...], bytes], ...]


@dataclass
class Tape:
    """A recorded update. `lines` has the requester's line of each call."""

    form: Form
    numbers: tuple[float, ...]
    constants: tuple[Tensor, ...]
    lines: tuple[str, ...]
    unknown: frozenset[str]  # outputs that depend on parameters, gradients or random numbers
    looked: bool  # whether Python saw the value of a tensor


Meta = tuple[tuple[int, ...], tuple[int, ...], torch.dtype]


@dataclass
class Shapes:
    """Shapes of results that were seen before, by operation and shapes of the arguments."""

    seen: dict[Any, tuple[bool, tuple[Meta, ...]]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Traits:
    """What is asked of an operation in every call.

    numbers  places and names of arguments that may be a number of Python in place of a tensor
    writes   place and name of each argument that is written
    """

    silent: bool  # changes no number
    each: bool
    random: bool
    looks: bool
    view: bool
    numbers: frozenset[int | str]
    writes: tuple[tuple[int, str], ...]

    def written(self, args: Any, kwargs: Any) -> list[Tensor]:
        """The tensors that are written."""
        return _tensors([args[i] if i < len(args) else kwargs.get(name) for i, name in self.writes])


@cache
def _traits(func: Any) -> _Traits:
    arguments = list(enumerate(func._schema.arguments))
    kinds = [(i, a.name, str(a.type)) for i, a in arguments]
    numbers = [(i, name) for i, name, kind in kinds if "number" in kind or "Scalar" in kind or "Tensor" in kind]
    return _Traits(
        silent=func.namespace == "profiler" or func in _SAME or func is aten._linalg_check_errors.default,
        each=func._schema.name.startswith(f"aten::{_EACH}"),
        random=torch.Tag.nondeterministic_seeded in func.tags,
        looks=bool(_LOOKS & set(func.tags)),
        view=any(result.alias_info is not None for result in func._schema.returns),
        numbers=frozenset(place for pair in numbers for place in pair),
        writes=tuple((i, a.name) for i, a in arguments if a.alias_info and a.alias_info.is_write),
    )


def _key(tensor: Tensor) -> tuple[Any, ...]:
    """Equal for tensors that are the same elements in the same order, as `x` and `x.data`."""
    return storage_of(tensor), tensor.storage_offset(), tuple(tensor.shape), tensor.stride(), tensor.dtype


def storage_of(tensor: Tensor) -> int:
    """Equal for tensors that share memory."""
    return int(tensor.untyped_storage()._cdata)


class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While on, records operations. `unknown` names the inputs whose values a build does not know.

    The requester's lines are searched up to the frame of `end`; None: not at all.
    """

    def __init__(
        self, inputs: Mapping[str, Tensor], unknown: Iterable[str], shapes: Shapes, end: CodeType | None
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names, self.shapes, self.end = tuple(inputs), shapes, end
        self.calls: list[Call] = []
        self.numbers: list[float] = []
        self.constants: list[Tensor] = []
        self.lines: list[str] = []
        self._alive: list[Tensor] = []  # so that no storage is used twice
        self._vars: dict[Any, Any] = {}
        self._count = 0
        self._foreign: set[int] = set()  # storages of tensors from outside
        self.looked = False
        self._tainted = {storage_of(inputs[name]) for name in unknown}
        for tensor in inputs.values():
            self._name(tensor)

    def tape(self, outputs: Mapping[str, Tensor]) -> Tape:
        """What was recorded; `outputs` are the tensors at the end, by name."""
        ends = tuple((name, self._value(tensor)) for name, tensor in outputs.items())
        constants = tuple((c.dtype, tuple(c.shape), c.numpy().tobytes()) for c in self.constants)
        unknown = frozenset(name for name, tensor in outputs.items() if storage_of(tensor) in self._tainted)
        form = Form(self.names, tuple(self.calls), ends, constants)
        return Tape(form, tuple(self.numbers), tuple(self.constants), tuple(self.lines), unknown, self.looked)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, traits = kwargs or {}, _traits(func)
        if traits.silent:
            return func(*args, **kwargs)
        if traits.each:
            return self._each(func, args, kwargs)
        tensors = _tensors((*args, *kwargs.values()))
        known = not traits.random and self._tainted.isdisjoint(map(storage_of, tensors))
        if traits.looks:
            if known:
                self.looked = True
                return func(*args, **kwargs)
            raise RuntimeError("value out of a tracing tensor")  # as torch says it of a step that is traced
        written = traits.written(args, kwargs)
        shown = self._call(func, args, kwargs, written)
        result = func(*args, **kwargs) if known else self._shaped(func, args, kwargs, tensors, written)
        made = _tensors((result,))
        if not known:
            self._tainted.update(map(storage_of, (*made, *written)))
        self.calls.append(Call(func, *shown, tuple(self._name(tensor) for tensor in made)))
        for tensor in made:
            setattr(tensor, _MADE, True)
        self.lines.append(line_of_caller(self.end) if self.end else "")
        return result

    def _name(self, tensor: Tensor) -> int:
        self._alive.append(tensor)
        self._vars[_key(tensor)] = Var(self._count)
        self._count += 1
        return self._count - 1

    def _value(self, tensor: Tensor) -> Any:
        """Where the tape has a tensor; one that it does not know is a constant, or a number that may change."""
        found = self._vars.get(_key(tensor))
        if found is None:
            if getattr(tensor, _MADE, False):
                raise Unsupported("keeps a tensor where it is not found again; keep it in self.state[parameter]")
            self._alive.append(tensor)
            self._foreign.add(storage_of(tensor))
            if tensor.ndim == 0 and tensor.dtype is not torch.bool:
                found = Hole(len(self.numbers), tensor.dtype)
                self.numbers.append(tensor.detach().item())
            else:
                found = ("constant", len(self.constants))
                self.constants.append(tensor.detach().clone())
            self._vars[_key(tensor)] = found
        return found

    def _call(
        self, func: Any, args: Any, kwargs: Any, written: list[Tensor]
    ) -> tuple[Any, tuple[tuple[str, Any], ...]]:
        """The arguments with Vars and Holes."""
        numbers = _traits(func).numbers
        shown = tuple(self._shown(arg, i in numbers) for i, arg in enumerate(args))
        named = tuple((name, self._shown(arg, name in numbers)) for name, arg in sorted(kwargs.items()))
        if func in _FRESH:
            self._foreign.difference_update(map(storage_of, args))
        elif self._foreign and not self._foreign.isdisjoint(map(storage_of, written)):
            raise Unsupported(
                "writes to a tensor that is neither a parameter nor in the optimizer's state; keep it in "
                "self.state[parameter]"
            )
        return shown, named

    def _shown(self, arg: Any, number: bool) -> Any:
        if isinstance(arg, Tensor):
            return self._value(arg)
        if isinstance(arg, list | tuple):
            return ("list", *(self._shown(item, number) for item in arg))
        if number and isinstance(arg, int | float) and not isinstance(arg, bool):
            self.numbers.append(arg)
            return Hole(len(self.numbers) - 1)
        return arg

    def _shaped(self, func: Any, args: Any, kwargs: Any, tensors: list[Tensor], written: list[Tensor]) -> Any:
        """A result of the right shape; its values do not matter."""
        if written:
            return written[0] if len(func._schema.returns) == 1 else tuple(written)
        if _traits(func).view:
            return func(*args, **kwargs)
        others = [x for x in leaves((args, *kwargs.values())) if not isinstance(x, Tensor | float)]
        key = func, tuple(map(_meta, tensors)), tuple(map(repr, others))
        if key not in self.shapes.seen:
            result = func(*args, **kwargs)
            made = (result,) if isinstance(result, Tensor) else tuple(result)
            self.shapes.seen[key] = isinstance(result, Tensor), tuple(map(_meta, made))
            return result
        single, metas = self.shapes.seen[key]
        made = tuple(torch.empty_strided(size, stride, dtype=dtype) for size, stride, dtype in metas)
        for tensor in made:
            if not tensor.is_floating_point():
                tensor.zero_()  # it may be an index
        return made[0] if single else made

    def _each(self, func: Any, args: Any, kwargs: Any) -> Any:
        """An operation over lists as one operation for each element."""
        name, overload = func._schema.name.removeprefix(f"aten::{_EACH}"), func._schema.overload_name
        one = _NAMED.get(f"{name}.{overload}") or getattr(aten, name)
        count = max(len(arg) for arg in args if isinstance(arg, list | tuple))
        results = []
        for i in range(count):
            own = [arg[i] if isinstance(arg, list | tuple) else arg for arg in args]
            named = dict(kwargs)
            if name.startswith("addc") and len(own) == 4:
                named["value"] = own.pop()
            with self:
                results.append(one(*own, **named))
        return None if name.endswith("_") else results


def _tensors(values: Iterable[Any]) -> list[Tensor]:
    """The tensors among some values, and in lists of them."""
    found: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, list | tuple):
            found += _tensors(value)
    return found


def _meta(tensor: Tensor) -> Meta:
    return tuple(tensor.shape), tensor.stride(), tensor.dtype


def leaves(values: Iterable[Any]) -> Iterable[Any]:
    """The values within lists and tuples of any depth."""
    for value in values:
        if isinstance(value, list | tuple):
            yield from leaves(value)
        else:
            yield value
