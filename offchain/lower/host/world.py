"""Everything of a job's Python code that a step could change: found, compared, and put back as it was."""

from __future__ import annotations

import decimal
import dis
import gc
import os
import random
import re
import sys
import types
import weakref
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import _lru_cache_wrapper, partial
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from offchain.lines import line_of, own
from offchain.lower.host.alike import differing
from offchain.lower.host.kinds import (
    CACHE,
    CLASS,
    FUNCTION,
    OBJECT,
    Kind,
    Named,
    further_kinds,
    has_dict,
    kind_of,
    members,
    simple_members,
    stored,
    variables,
)
from offchain.lower.host.record import bare
from offchain.lower.origin import modules_of
from offchain.program import Asked

_MOST: Final = 200_000  # objects that are looked at
_NUMPY: Final = np.random.mtrand._rand  # the one behind numpy.random's functions
_BY_NAME: Final = {"setattr", "delattr", "__dict__", "vars", "__setattr__"}  # whoever writes to any attribute uses one


_CONSTANT: Final = frozenset({str, int, float, bytes, bool, type(None), torch.dtype, torch.Size})
_EVALUATING: Final = {"eval", "exec", "globals", "getattr"}
_WORD: Final = re.compile(r"[^\W\d]\w*")
_ORDERING: Final = {"set", "frozenset", "WeakSet", "repr", "str", "format", "object", "hash", "__hash__", "__repr__"}


@dataclass(frozen=True)
class Held:
    """An object that can change, by a name that a person would give it, and its content at one moment."""

    name: str
    thing: Any
    kind: Kind
    content: Any

    def now(self) -> Any:
        return self.kind.read(self.thing)

    def changed(self) -> Iterator[str]:
        """Names of those parts of its content that are no longer as they were."""
        for key in differing(self.content, self.now()):
            yield self.name if key is None else self.name_of(key)

    def name_of(self, key: Any) -> str:
        """The name of the part of its content that has this key."""
        return next(iter(dict(self.kind.inside({key: None}, self.name))), self.name)

    def put_back(self) -> None:
        if self.kind.write is not None and not _identical(self.content, self.now()):
            self.kind.write(self.thing, self.content)

    def write(self, content: Any) -> None:
        assert self.kind.write is not None
        self.kind.write(self.thing, content)


@dataclass(frozen=True)
class Sight:
    """Something that a step read and that differs each time: what, and the requester's line."""

    what: str
    line: str


@dataclass(frozen=True)
class World:
    """What can change, as it is at one moment, and the functions that remember results."""

    held: tuple[Held, ...]
    remembering: tuple[tuple[Any, int], ...]  # made by functools.cache and lru_cache, and how often they computed
    known: frozenset[int]  # the addresses of all objects that can be reached
    clocks: tuple[Sight, ...]  # that functions read, seen by their text alone
    ordering: bool  # whether a function may depend on the order, or on the addresses, of new objects

    @staticmethod
    def of(job: Asked) -> World:
        """All that a job's or a program's model and functions, and the functions that these call, can reach."""
        return _Search(job).world()

    def put_back(self) -> None:
        """Give every object the content that it had."""
        for held in self.held:
            held.put_back()
        for function, misses in self.remembering:
            if function.cache_info().misses != misses:
                function.cache_clear()  # it may remember tensors of a trace

    def places(self) -> dict[tuple[str, int], Tensor]:
        """The tensors that are held, without torch.func's wrapping, by where: a name, and a number among its parts."""
        return {
            (name, i): bare(value)
            for held in self.held
            for i, (name, value) in enumerate(held.kind.inside(held.content, held.name))
            if isinstance(value, Tensor)
        }

    def holder(self, tensor: Tensor) -> str:
        """The name of what holds a tensor, or torch.func's wrapping of it; "" if nothing does."""
        for held in self.held:
            for name, value in held.kind.inside(held.content, held.name):
                if isinstance(value, Tensor) and bare(value) is tensor:
                    return name
        return ""


@contextmanager
def kept(job: Asked) -> Iterator[World]:
    """At the end, whatever happened, the job's model and the objects of its functions are as they were.

    Not put back are arrays of more than `kinds.COPIED` bytes.
    """
    world = World.of(job)
    try:
        yield world
    finally:
        world.put_back()


def _identical(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return list(a) == list(b) and all(value is b[key] for key, value in a.items())
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(x is y for x, y in zip(a, b, strict=True))
    return not isinstance(a, np.ndarray) and bool(a == b)


class _Search:
    """A search from a job's model and functions, nearest objects first."""

    def __init__(self, job: Asked) -> None:
        self.modules = {id(module): f"module {path}" if path else "the model" for path, module in modules_of(job.model)}
        self.seen: dict[int, Any] = {}  # the objects, so that no other gets the number of one of them
        self.held: list[Held] = []
        self.remembering: list[Any] = []
        self.closed: list[
            tuple[str, Any]
        ] = []  # tensors and others of which only `given` attributes are state of a job
        self.clocks: list[Sight] = []
        self.ordering = False
        self.counting = False  # whether a function asks how often a cache was
        self.given: set[str] = set()  # attributes that the requester's own functions give to objects
        self.waiting: deque[tuple[str, Any]] = deque(
            [
                ("Python's random numbers", random._inst),
                ("NumPy's random numbers", _NUMPY),
                ("torch's random seed", torch.default_generator),
                ("the environment", os.environ),
                ("decimal's context", decimal.getcontext()),
                *job.hosts,
            ]
        )
        self.leave = {id(tensor) for tensor in job.columns.values()} | {id(job), id(job.dataset)}

    def world(self) -> World:
        while self.waiting and len(self.seen) < _MOST:
            name, thing = self.waiting.popleft()
            if id(thing) not in self.seen and id(thing) not in self.leave:
                self.seen[id(thing)] = thing
                self._look(self.modules.get(id(thing), name), thing)
        for name, thing in self.closed:
            if has_dict(thing) and self.given & vars(thing).keys():
                self.held.append(Held(name, thing, kind := stored(self.given), kind.read(thing)))
        if self.counting:
            self.held += [Held(f"the cache of {f.__name__}", f, CACHE, CACHE.read(f)) for f in self.remembering]
        held, clocks = tuple(self.held), tuple(self.clocks)
        remembering = tuple((function, function.cache_info().misses) for function in self.remembering)
        return World(held, remembering, frozenset(self.seen), clocks, self.ordering)

    def _look(self, name: str, thing: Any) -> None:
        if type(thing) in _CONSTANT:
            return
        if isinstance(thing, types.BuiltinMethodType | types.MethodWrapperType):
            self._bound(name, thing.__self__)
            return
        if isinstance(thing, Tensor):
            self.closed.append((name, thing))
            return
        if isinstance(thing, type):
            self._class(thing)
        elif isinstance(thing, types.FunctionType):
            self._function(name, thing)
        elif isinstance(thing, types.MethodType):
            self._later([(name, thing.__self__), (name, thing.__func__)])
        elif isinstance(thing, partial):
            self._later([(name, thing.func), (name, thing.args), (name, thing.keywords)])
        elif isinstance(thing, staticmethod | classmethod):
            self._later([(name, thing.__func__)])
        elif isinstance(thing, weakref.ref):
            self._later([(name, thing())])
        elif isinstance(thing, property):
            self._later([(name, thing.fget), (name, thing.fset)])
        elif isinstance(thing, _lru_cache_wrapper):
            self.remembering.append(thing)
            self._later([(name, thing.__wrapped__)])
            self._later((f"what {thing.__name__} remembers", kept) for kept in _remembered(thing))
        else:
            kind = kind_of(thing)
            self._later([(name, type(thing))])
            if kind is None:
                self.closed.append((name, thing))
                return
            self._hold(name, thing, kind)
            for further in further_kinds(thing, kind):
                self._hold(name, thing, further)

    def _bound(self, name: str, owner: Any) -> None:
        """What a method in C belongs to, as `deque.popleft` or `itertools.count().__next__`."""
        if not isinstance(owner, types.ModuleType | type | None):
            self._later([(name, owner)])

    def _hold(self, name: str, thing: Any, kind: Kind) -> None:
        content = kind.read(thing)
        self.held.append(Held(name, thing, kind, content))
        self._later(kind.inside(content, name))

    def _later(self, named: Named) -> None:
        self.waiting.extend(named)

    def _class(self, kind: type) -> None:
        """What the requester's own classes keep, and their methods."""
        for base in kind.__mro__:
            if not _is_own_class(base) or (id(base) in self.seen and base is not kind):
                continue
            self.seen[id(base)] = base
            self._hold(f"class {base.__qualname__}", base, CLASS)
            self._later((f"class {base.__qualname__}", value) for value in dict(vars(base)).values())
        if type(kind) is not type:
            self._later([(f"class {type(kind).__qualname__}", type(kind))])

    def _function(self, name: str, function: types.FunctionType) -> None:
        """Its attributes, defaults and closure; if it is the requester's own, also global variables that it names."""
        self._hold(name, function, OBJECT)
        self._later((name, default) for default in (function.__defaults__, function.__kwdefaults__) if default)
        code = function.__code__
        for variable, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
            self._later([(f"variable {variable!r}", cell)])
        if not own(code.co_filename):
            return
        self._hold(name, function, FUNCTION)
        names, globals_ = _names(code), function.__globals__
        used = sorted(name for name in names if name in globals_ or name in _assigned(code))
        if used:
            self._hold("global variables", globals_, variables(used))
        if "datetime64" in names and _constants(code) & {"now", "today"}:  # a type, whose calls Python does not tell of
            self.clocks.append(Sight("the clock (numpy.datetime64)", line_of(function)))
        self.counting = self.counting or "cache_info" in names
        self.ordering = self.ordering or not names.isdisjoint(_ORDERING) or _makes_sets(code)
        given = _stored(code)
        self.given |= given
        if "globals" in names:
            self._hold("global variables", globals_, simple_members())
        known = [globals_.get(name, sys.modules.get(name)) for name in sorted(names)]
        known += [cell.cell_contents for cell in function.__closure__ or () if _is_filled(cell)]
        known += [sys.modules[text] for text in sorted(_constants(code) & sys.modules.keys())]  # of import_module
        for module in _modules(known, names):
            self._module(module, names, given)

    def _module(self, module: types.ModuleType, names: set[str], given: set[str]) -> None:
        """What a function that uses these names, and gives objects these attributes, can change of a module."""
        name, mine = f"module {module.__name__}", _is_own_module(module)
        used = names & vars(module).keys()
        if (used if mine else set()) | given:
            self._hold(name, module, members(sorted((used if mine else set()) | given)))
        if names & _BY_NAME:
            self._hold(name, vars(module), simple_members())
        for kept in () if mine else sorted(used):
            if type(vars(module)[kept]) is dict:
                self._hold(f"attribute {kept!r} of {name}", vars(module)[kept], simple_members())


def _is_own_module(module: types.ModuleType) -> bool:
    return own(getattr(module, "__file__", None) or "")


def _modules(things: Iterable[Any], names: set[str]) -> list[types.ModuleType]:
    """The modules among these, and those that modules of the requester's hold by one of the names."""
    waiting, found = deque(things), dict[int, types.ModuleType]()
    while waiting:
        thing = waiting.popleft()
        if isinstance(thing, types.ModuleType) and id(thing) not in found:
            found[id(thing)] = thing
            if _is_own_module(thing):
                waiting.extend(vars(thing)[name] for name in sorted(names & vars(thing).keys()))
    return list(found.values())


def _remembered(function: Any) -> list[Any]:
    """What functools.cache or lru_cache keeps of a function: CPython names it, then the cache, then the function."""
    parts = gc.get_referents(function)
    place = next((i for i, part in enumerate(parts) if part is function.__wrapped__), 0)
    cache = parts[place - 1] if place and isinstance(parts[place - 1], dict) else {}
    return [*parts[: max(place - 1, 0)], *cache.values()]


def _is_filled(cell: types.CellType) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:  # not yet assigned
        return False


def _is_own_class(kind: type) -> bool:
    """Whether a class is the requester's. That of a job file, or of a notebook, is in no module that has a file."""
    if kind.__module__.partition(".")[0] in sys.stdlib_module_names:
        return kind.__module__ == "__main__"
    file = getattr(sys.modules.get(kind.__module__), "__file__", None)
    return file is None or own(file)


def _names(code: types.CodeType) -> set[str]:
    """The names that a function, and the functions inside it, read or write; also in texts, where it evaluates some."""
    inner = [_names(constant) for constant in code.co_consts if isinstance(constant, types.CodeType)]
    names = set(code.co_names).union(*inner)
    return names if names.isdisjoint(_EVALUATING) else names.union(*map(_WORD.findall, _constants(code)))


def _constants(code: types.CodeType) -> set[Any]:
    """The texts in a function, and in those inside it."""
    inner = [_constants(constant) for constant in code.co_consts if isinstance(constant, types.CodeType)]
    return {constant for constant in code.co_consts if isinstance(constant, str)}.union(*inner)


def _makes_sets(code: types.CodeType) -> bool:
    made = any(step.opname in ("BUILD_SET", "FORMAT_VALUE") for step in dis.get_instructions(code))
    return made or any(_makes_sets(inner) for inner in code.co_consts if isinstance(inner, types.CodeType))


def _assigned(code: types.CodeType) -> set[str]:
    """The global variables that a function, or a function inside it, assigns."""
    return _written(code, "STORE_GLOBAL")


def _stored(code: types.CodeType) -> set[str]:
    """The attributes that a function, or a function inside it, gives to any object."""
    return _written(code, "STORE_ATTR")


def _written(code: types.CodeType, instruction: str) -> set[str]:
    inner = [_written(constant, instruction) for constant in code.co_consts if isinstance(constant, types.CodeType)]
    return {step.argval for step in dis.get_instructions(code) if step.opname == instruction}.union(*inner)
