"""Python objects that can change: how each kind is read, compared, written back, and searched for further ones."""

from __future__ import annotations

import ctypes
import decimal
import hashlib
import os
import random
import sqlite3
import warnings
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextvars import Context, ContextVar
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from io import BytesIO, IOBase, StringIO
from logging import Handler, Logger
from mmap import mmap
from queue import SimpleQueue
from threading import Thread, local
from types import CellType, CoroutineType, FunctionType, GeneratorType, MethodType, ModuleType, WrapperDescriptorType
from typing import Any, Final, cast

import numpy as np
import torch
from torch import Tensor

from offchain.lower.host.memory import (
    digest,
    extent,
    paused,
    position,
    queued,
    requeue,
    rewind,
    set_array,
    set_extent,
    set_map,
    set_memory,
    set_position,
    set_view,
    written,
)

COPIED: Final = 1 << 26  # bytes: an array is copied, to be written back; of a larger one only a hash is kept
GENERATORS: Final = (random.Random, np.random.RandomState, np.random.Generator)  # of random numbers
ABSENT: Final = object()
_OPAQUE: Final = (ModuleType, type, Tensor, Logger, Handler, Thread)
_SIMPLE: Final = (str, bytes, int, float, complex, type(None), np.generic)  # types of numbers and text
Named = Iterable[tuple[str, Any]]


@dataclass(frozen=True)
class Kind:
    """A kind of object that can change.

    read    its content, as a copy, in which objects inside are the same ones
    write   gives an object such a content back; None where Python has no way to
    inside  the objects in a content, each with a name, from the name of the whole
    """

    read: Callable[[Any], Any]
    write: Callable[[Any, Any], None] | None
    inside: Callable[[Any, str], Named] = lambda content, name: ()


def _entries(content: dict[Any, Any], name: str) -> Named:
    return ((f"entry {key!r} of {name}" if _short(key) else name, value) for key, value in content.items())


def _attributes(content: dict[str, Any], name: str) -> Named:
    return ((f"attribute {key!r} of {name}", value) for key, value in content.items())


def _items(content: Iterable[Any], name: str) -> Named:
    return ((name, value) for value in content)


def _short(key: Any) -> bool:
    return isinstance(key, str | int) and len(str(key)) < 40


def _refill(thing: Any, content: Any) -> None:
    thing.clear()
    thing.update(content)


def _rewrite(thing: Any, content: Any) -> None:
    thing[:] = content


def _requeue(thing: deque[Any], content: Sequence[Any]) -> None:
    thing.clear()
    thing.extend(content)


def _set_attributes(thing: Any, content: dict[str, Any]) -> None:
    for name, value in content.items():
        if value is not ABSENT:
            setattr(thing, name, value)
        elif hasattr(thing, name):
            delattr(thing, name)


def attributes(names: Iterable[str]) -> Kind:
    """An object of which only these attributes count: one with slots."""
    chosen = tuple(names)
    return Kind(lambda thing: {name: getattr(thing, name, ABSENT) for name in chosen}, _set_attributes, _attributes)


def members(names: Iterable[str]) -> Kind:
    """The members of these names of a module of Python. Its own `__getattr__` is not asked."""
    chosen = tuple(names)
    return Kind(lambda thing: {name: vars(thing).get(name, ABSENT) for name in chosen}, _set_attributes, _attributes)


def variables(names: Iterable[str]) -> Kind:
    """The global variables of these names in a function's `__globals__`."""
    chosen = tuple(names)

    def write(thing: dict[str, Any], content: dict[str, Any]) -> None:
        for name, value in content.items():
            if value is not ABSENT:
                thing[name] = value
            else:
                thing.pop(name, None)

    return Kind(
        lambda thing: {name: thing.get(name, ABSENT) for name in chosen},
        write,
        lambda content, _: ((f"global variable {name!r}", value) for name, value in content.items()),
    )


def simple_members() -> Kind:
    """All numbers and texts that a namespace holds: the `__dict__` of a module, or a dictionary that it has."""

    def read(thing: Any) -> dict[Any, Any]:
        return {name: value for name, value in list(thing.items()) if isinstance(value, _SIMPLE)}

    def write(thing: Any, content: dict[Any, Any]) -> None:
        for name in read(thing).keys() - content.keys():
            del thing[name]
        thing.update({name: value for name, value in content.items() if thing.get(name, ABSENT) is not value})

    return Kind(read, write, _entries)


def stored(names: Iterable[str]) -> Kind:
    """The attributes of these names that an object has in its `__dict__`."""
    chosen = frozenset(names)

    def write(thing: Any, content: dict[str, Any]) -> None:
        _set_attributes(thing, {name: content.get(name, ABSENT) for name in chosen & vars(thing).keys()})

    return Kind(lambda thing: {n: v for n, v in vars(thing).items() if n in chosen}, write, _attributes)


def _data(thing: type) -> dict[str, Any]:
    """The attributes of a class that are no methods."""
    return {name: value for name, value in vars(thing).items() if not hasattr(value, "__get__")}


def _set_data(thing: type, content: dict[str, Any]) -> None:
    now = _data(thing)
    for name in now.keys() - content.keys():
        delattr(thing, name)
    for name, value in content.items():
        if now.get(name, ABSENT) is not value:
            setattr(thing, name, value)


def _set_environment(thing: Any, content: dict[str, str]) -> None:
    for name in thing.keys() - content.keys():
        del thing[name]
    thing.update({name: value for name, value in content.items() if thing.get(name) != value})


def _set_context(thing: ContextVar[Any], content: list[Any]) -> None:
    if content[0] is not ABSENT:  # else it stays set: nothing makes one forget
        thing.set(content[0])


def _cells(content: Any, name: str) -> Named:
    """What an array of Python's objects holds."""
    return _items(content.flat, name) if isinstance(content, np.ndarray) and content.dtype.hasobject else ()


def _cell(thing: CellType) -> list[Any]:
    try:
        return [thing.cell_contents]
    except ValueError:  # not yet assigned
        return []


def _set_cell(thing: CellType, content: list[Any]) -> None:
    if content:
        thing.cell_contents = content[0]


def _bytes(thing: np.ndarray[Any, Any]) -> Any:
    if thing.dtype.hasobject or thing.nbytes <= COPIED:
        return thing.copy()
    return sha256(np.ascontiguousarray(thing).tobytes()).digest()


def _set_state(thing: torch.Generator, content: bytes) -> None:
    thing.set_state(torch.tensor(list(content), dtype=torch.uint8))


def _set_bytes(thing: np.ndarray[Any, Any], content: Any) -> None:
    if not isinstance(content, bytes):
        thing[...] = content


class StandIn:
    """Stands for an object of a job while that is built, and has no state."""

    __slots__ = ()


def is_iterator(thing: Any) -> bool:
    """Whether this is an iterator that C made, or a generator: how far it has come may be told, not changed."""
    kind = type(thing)
    return isinstance(getattr(kind, "__next__", None), WrapperDescriptorType) and not isinstance(thing, IOBase)


def _progress(thing: Any) -> Any:
    """How far an iterator of Python's own has come."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # later versions of Python will not say
        try:
            parts = thing.__reduce__()
        except TypeError:
            return repr(thing)
    return [_told(part) for part in parts[1:]] if isinstance(parts, tuple) else repr(thing)


def _told(part: Any) -> Any:
    if isinstance(part, tuple):
        return [_told(item) for item in part]
    if isinstance(part, GeneratorType):
        return paused(part)
    return _progress(part) if is_iterator(part) else part


_KINDS: Final[tuple[tuple[Any, Kind], ...]] = (  # the first whose class fits
    (dict, Kind(lambda thing: dict(thing), _refill, _entries)),
    (list, Kind(lambda thing: list(thing), _rewrite, _items)),
    (set, Kind(lambda thing: set(thing), _refill, _items)),
    (deque, Kind(lambda thing: list(thing), _requeue, _items)),
    (bytearray, Kind(lambda thing: bytes(thing), _rewrite)),
    (tuple, Kind(lambda thing: thing, lambda thing, content: None, _items)),
    (CellType, Kind(_cell, _set_cell, _items)),
    (random.Random, Kind(lambda thing: thing.getstate(), lambda thing, content: thing.setstate(content))),
    (
        np.random.RandomState,
        Kind(lambda thing: thing.get_state(legacy=False), lambda thing, content: thing.set_state(content)),
    ),
    (
        np.random.Generator,
        Kind(
            lambda thing: thing.bit_generator.state,
            lambda thing, content: setattr(thing.bit_generator, "state", content),
        ),
    ),
    (torch.Generator, Kind(lambda thing: bytes(thing.get_state().tolist()), _set_state)),
    (
        np.random.BitGenerator,
        Kind(lambda thing: thing.state, lambda thing, content: setattr(thing, "state", content)),
    ),
    (np.random.SeedSequence, Kind(lambda thing: thing.n_children_spawned, None)),
    (np.ndarray, Kind(_bytes, _set_bytes, _cells)),
    (GeneratorType | CoroutineType, Kind(paused, None)),
    (Context, Kind(lambda thing: dict(thing.items()), None, lambda content, name: _items(content.values(), name))),
    (local, Kind(lambda thing: dict(vars(thing)), lambda thing, content: _refill(vars(thing), content), _attributes)),
    (array, Kind(lambda thing: thing.tobytes(), set_array)),
    (ctypes._SimpleCData.__mro__[1], Kind(bytes, set_memory)),  # the class of all of C's data
    (ContextVar, Kind(lambda thing: [thing.get(ABSENT)], _set_context, _items)),
    (BytesIO | StringIO, Kind(written, rewind)),
    (memoryview, Kind(bytes, set_view)),
    (mmap, Kind(lambda thing: None if thing.closed else thing[:], set_map)),
    (tuple({type(hashlib.new(name)) for name in ("md5", "blake2b", "blake2s")}), Kind(digest, None)),
    (SimpleQueue, Kind(queued, requeue)),
    (sqlite3.Connection, Kind(lambda thing: thing.total_changes, None)),
    (decimal.Context, attributes(("prec", "rounding", "Emin", "Emax", "capitals", "clamp"))),
    (
        os._Environ,
        Kind(dict, _set_environment, lambda content, _: ((f"environment variable {n}", v) for n, v in content.items())),
    ),
)
_READING: Final = Kind(position, set_position)
_WRITING: Final = Kind(extent, set_extent)
_ITERATOR: Final = Kind(_progress, None)
CACHE: Final = Kind(lambda function: function.cache_info(), None)
CLASS: Final = Kind(_data, _set_data, _attributes)
OBJECT: Final = Kind(lambda thing: dict(vars(thing)), lambda thing, content: _refill(vars(thing), content), _attributes)
FUNCTION: Final = attributes(("__defaults__", "__kwdefaults__", "__code__"))
_RAISED: Final = attributes(("args",))
_COMPLETE: Final = (local, os._Environ)  # have attributes that their kind reads


def kind_of(thing: Any) -> Kind | None:
    """The kind of an object; None where it cannot change, or what it holds is no state of a step."""
    if isinstance(thing, random.SystemRandom | StandIn):
        return None
    if isinstance(thing, IOBase) and _only_reads(thing):
        return _READING
    for classes, kind in _KINDS:
        if isinstance(thing, classes):
            return kind
    if isinstance(thing, _OPAQUE):
        return None
    if isinstance(thing, IOBase) and not thing.closed and thing.readable() and thing.seekable():
        return _WRITING
    if is_iterator(thing):
        return _ITERATOR
    if has_dict(thing) and not isinstance(thing, FunctionType | MethodType):
        return OBJECT
    slots = _slots(cast("Any", type(thing)))
    return attributes(slots) if slots else None


def further_kinds(thing: Any, kind: Kind) -> Iterator[Kind]:
    """What else of an object can change: attributes of one whose class derives from a list, slots beside a dict."""
    if kind is not OBJECT and has_dict(thing) and not isinstance(thing, _COMPLETE):
        yield OBJECT
    if has_dict(thing) and (slots := _slots(cast("Any", type(thing)))):
        yield attributes(slots)
    if isinstance(thing, BaseException):
        yield _RAISED


def _only_reads(thing: IOBase) -> bool:
    """Whether a file is open for reading alone; what is written to one is a log, which no step reads."""
    return not thing.closed and thing.readable() and not thing.writable()


def has_dict(thing: Any) -> bool:
    """Asked so that no code of the object's own runs."""
    try:
        object.__getattribute__(thing, "__dict__")
    except AttributeError:
        return False
    return True


@cache
def _slots(kind: type) -> tuple[str, ...]:
    found = []
    for base in kind.__mro__:
        slots = vars(base).get("__slots__", ()) if base.__module__ != "builtins" else ()
        for name in [slots] if isinstance(slots, str) else slots:
            private = name[:2] == "__" and name[-2:] != "__"
            if private or name[:2] != "__":
                found.append(f"_{base.__name__.lstrip('_')}{name}" if private else name)
    return tuple(found)
