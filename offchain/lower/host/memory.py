"""How the content of objects that C made, as files and queues, is read and given back."""

from __future__ import annotations

import ctypes
import itertools
import os
from array import array
from mmap import mmap
from queue import Empty, SimpleQueue
from typing import Any, Final

_NEVER: Final = itertools.count(1)  # each number once


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


def position(thing: Any) -> int | None:
    """Where a file is read next; a number below 0, each time another, while its lines are iterated over."""
    try:
        return int(thing.tell())
    except OSError:
        return -next(_NEVER)
    except ValueError:  # closed since
        return None


def set_position(thing: Any, content: int | None) -> None:
    if content is not None and content >= 0:
        thing.seek(content)


def extent(thing: Any) -> tuple[int | None, int]:
    """Where a file that is read and written is read next, and its size."""
    if thing.closed:
        return None, 0
    thing.flush()
    return position(thing), os.fstat(thing.fileno()).st_size


def set_extent(thing: Any, content: tuple[int | None, int]) -> None:
    """Of a file that is appended to nothing is cut off: others may have written to it meanwhile."""
    if not thing.closed:
        if "a" not in getattr(thing, "mode", ""):
            thing.truncate(content[1])
        set_position(thing, content[0])


def queued(thing: SimpleQueue[Any]) -> list[Any]:
    """All that waits in a queue, which keeps it."""
    found = []
    try:
        for _ in range(thing.qsize()):
            found.append(thing.get_nowait())
    except Empty:  # another thread takes from it
        pass
    _put_all(thing, found)
    return found


def requeue(thing: SimpleQueue[Any], content: list[Any]) -> None:
    for _ in range(thing.qsize()):
        thing.get_nowait()
    _put_all(thing, content)


def _put_all(thing: SimpleQueue[Any], content: list[Any]) -> None:
    for item in content:
        thing.put(item)


def paused(thing: Any) -> Any:
    """Where a generator, or a coroutine, goes on, and its variables."""
    frame = thing.gi_frame if hasattr(thing, "gi_frame") else thing.cr_frame
    return None if frame is None else (frame.f_lasti, dict(frame.f_locals))
