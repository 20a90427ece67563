"""How the content of objects that C made is read and given back."""

from __future__ import annotations

import ctypes
from array import array
from mmap import mmap
from typing import Any


def set_view(thing: memoryview, content: bytes) -> None:
    if not thing.readonly:
        thing.cast("B")[:] = content


def set_map(thing: mmap, content: bytes) -> None:
    if thing[:] != content:
        thing[:] = content


def written(thing: Any) -> Any:
    """All of a file in memory, and where it is read next."""
    return None if thing.closed else (thing.getvalue(), thing.tell())


def rewind(thing: Any, content: Any) -> None:
    if content is not None:
        thing.seek(0)
        thing.truncate()
        thing.write(content[0])
        thing.seek(content[1])


def digest(thing: Any) -> bytes:
    try:
        return bytes(thing.digest())
    except TypeError:  # of a function whose digest has any length
        return bytes(thing.digest(32))


def set_array(thing: array[Any], content: bytes) -> None:
    thing[:] = array(thing.typecode, content)


def set_memory(thing: Any, content: bytes) -> None:
    ctypes.memmove(ctypes.addressof(thing), content, len(content))
