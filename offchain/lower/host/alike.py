"""Whether two values that Python keeps are alike, and where two contents are not."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from functools import partial
from types import BuiltinFunctionType, CellType, FunctionType, MethodType, ModuleType
from typing import Any, Final
from weakref import ref

import numpy as np
import torch
from torch import Tensor, nn

from offchain.lower.host.kinds import ABSENT, kind_of

_FEW: Final = 8  # levels into which two values are compared
_PLAIN: Final = (int, str, bytes, complex, frozenset, set, bytearray, np.generic, torch.Size, torch.dtype, range, slice)


def same(a: Any, b: Any, depth: int = _FEW) -> bool:
    """Whether two values are alike: equal numbers and text, equal shapes of tensors, alike contents of others."""
    if a is b:
        return True
    if type(a) is not type(b) or depth == 0:
        return type(a) is type(b)
    if isinstance(a, Tensor):
        return a.shape == b.shape and a.dtype is b.dtype
    if isinstance(a, nn.Module) and next(a.parameters(), None) is not None:
        return False  # another one has other weights
    if isinstance(a, np.ndarray):
        return bool(a.shape == b.shape and a.tobytes() == b.tobytes())
    if isinstance(a, float | np.floating):
        return bool(a == b or (a != a and b != b))
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(value, b[key], depth - 1) for key, value in a.items())
    if isinstance(a, list | tuple | deque):
        return len(a) == len(b) and all(same(x, y, depth - 1) for x, y in zip(a, b, strict=True))
    if isinstance(a, _PLAIN):
        return bool(a == b)
    parts = _parts(a)
    if parts is not None:
        return same(parts, _parts(b), depth - 1)
    kind = kind_of(a)
    if kind is None:
        compares: Any = type(a).__eq__
        return compares is object.__eq__ or _equal(a, b)
    return same(kind.read(a), kind.read(b), depth - 1)


def _parts(thing: Any) -> list[Any] | None:
    """What tells a function, a method or a class from others of its type; None for everything else."""
    if isinstance(thing, FunctionType):
        cells = [cell.cell_contents for cell in thing.__closure__ or () if cell != CellType()]
        return [thing.__code__, thing.__defaults__, thing.__kwdefaults__, cells]  # code is compared by its content
    if isinstance(thing, MethodType):
        return [thing.__func__, thing.__self__]
    if isinstance(thing, partial):
        return [thing.func, thing.args, thing.keywords]
    if isinstance(thing, BuiltinFunctionType):
        return [thing.__name__, thing.__self__]
    if isinstance(thing, ModuleType):
        return [thing.__name__]
    if isinstance(thing, ref):
        return [thing()]
    return [thing.__module__, thing.__qualname__] if isinstance(thing, type) else None


def _equal(a: Any, b: Any) -> bool:
    try:
        return bool(a == b)
    except Exception:  # of an object of another library, which cannot be compared
        return True


def differing(a: Any, b: Any) -> Iterator[Any]:
    """The keys at which two contents of an object with named parts are not alike."""
    if isinstance(a, dict) and isinstance(b, dict):
        keys = [key for key in {**b, **a} if not same(a.get(key, ABSENT), b.get(key, ABSENT))]
        return iter(keys or ([] if list(a) == list(b) else [None]))  # their order may be asked for, too
    return iter(() if same(a, b) else (None,))
