"""Watches the requester's code while it runs: it may read a clock, or draw numbers that differ each time; and which of
its lines changes an object is found."""

from __future__ import annotations

import builtins
import cProfile
import datetime
import os
import random
import sys
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from socket import socket
from types import FrameType
from typing import Any, Final

import torch

from offchain.lines import foreign, of_python, ours, own
from offchain.lower.host.asks import ASKING, asked
from offchain.lower.host.world import Held, Sight

_CLOCKS: Final = {
    getattr(time, name)
    for name in dir(time)
    if name.partition("_ns")[0] in ("time", "monotonic", "perf_counter", "process_time", "thread_time", "clock_gettime")
    or name in ("asctime", "ctime", "localtime", "gmtime", "strftime")
}
_DATES: Final = ("now", "utcnow", "today")
_SYSTEMS: Final = {  # functions of C, by module and name
    (os.name, "urandom"): "random bytes of the system (os.urandom)",
    (os.name, "getrandom"): "random bytes of the system (os.getrandom)",
    (os.name, "times"): "the clock (os.times)",
    (os.name, "getloadavg"): "the clock (os.getloadavg)",
    (os.name, "read"): "what comes from outside (os.read)",
    (os.name, "pread"): "what comes from outside (os.pread)",
    (os.name, "system"): "another program (os.system)",
    ("_posixsubprocess", "fork_exec"): "another program (subprocess)",
    ("_uuid", "generate_time_safe"): "the clock (uuid.uuid1)",
    ("resource", "getrusage"): "the clock (resource.getrusage)",
    ("gc", "get_count"): "the state of Python's memory (gc.get_count)",
}
_SETTING: Final = ("manual_seed", "set_state")  # of torch's generators
_RECEIVING: Final = ("recv", "recv_into")  # of sockets
_TOLD: Final = frozenset(
    {
        *(function.__name__ for function in _CLOCKS),
        *(name for _, name in _SYSTEMS),
        *(*_DATES, *ASKING, *_SETTING, *_RECEIVING, "seed"),
    }
)
_FURTHER: Final = 0x1234_5678_9ABD  # odd, and no multiple of a small number: remainders change too
SEEDED: Final = "torch's random seed"  # what a sight of one begins with
_RANDOM: Final = torch.random.__file__
_SEEDING: Final = random.Random.seed.__code__


class _Files:
    """The files that a step opens: one that it reads and writes is state of the job. Python tells of every file."""

    def __init__(self) -> None:
        self.opened: dict[str, set[bool]] = {}  # by path, whether to be written
        self.watched: list[Sight] | None = None
        self.hooked = False

    def watch(self, found: list[Sight] | None) -> None:
        """From now on, what is opened adds to `found`; until it is None."""
        self.opened, self.watched = {}, found
        if not self.hooked:
            sys.addaudithook(self._hear)
            self.hooked = True

    def _hear(self, event: str, given: tuple[Any, ...]) -> None:
        if self.watched is None or event != "open" or not isinstance(given[0], str | os.PathLike):
            return
        path, how = os.path.abspath(given[0]), self.opened.setdefault(os.path.abspath(given[0]), set())
        how.add(bool(given[2] & (os.O_WRONLY | os.O_RDWR)))
        if len(how) == 2:
            line = _user_of(sys._getframe(1))
            if line is not None:
                self.watched.append(Sight(f"the file {path}, which a step reads and writes", line))


_FILES: Final = _Files()


@contextmanager
def sights() -> Iterator[list[Sight]]:
    """While open, the requester's code is watched; the list grows by every clock that it reads."""
    found: list[Sight] = []
    earlier = sys.getprofile()
    _FILES.watch(found)

    def profile(frame: FrameType, event: str, arg: Any) -> None:
        if event == "c_call":
            if arg.__name__ not in _TOLD:
                return  # at once: torch calls a hundred thousand others
            if arg.__name__ in ASKING:
                found.extend(Sight(*told) for told in [asked(arg, frame)] if told is not None)
                return
            what = _clock(arg)
        elif event == "call" and frame.f_code is _SEEDING and frame.f_locals.get("a") is None:
            what = "a random generator without a seed"
        else:
            return
        line = _user_of(frame) if what else None
        if line is not None:
            found.append(Sight(what, line))

    sys.setprofile(profile)
    try:
        yield found
    finally:
        _FILES.watch(None)
        if isinstance(earlier, cProfile.Profile):
            earlier.enable()
        else:
            sys.setprofile(earlier)


def _clock(function: Any) -> str:
    name, owner = getattr(function, "__name__", ""), getattr(function, "__self__", None)
    if owner is time and function in _CLOCKS:
        return f"the clock (time.{name})"
    if name in _DATES and isinstance(owner, type) and issubclass(owner, datetime.date):
        return f"the clock ({owner.__name__}.{name})"
    if name == "seed" and isinstance(owner, torch.Generator):
        return "random bytes of the system (torch.Generator.seed)"
    if name in _SETTING and isinstance(owner, torch.Generator):
        return f"{SEEDED} (torch.Generator.{name})"
    if name in _RECEIVING and isinstance(owner, socket):
        return f"what comes from outside (socket.{name})"
    return _SYSTEMS.get((getattr(owner, "__name__", ""), name), "")


def _user_of(frame: FrameType | None) -> str | None:
    """The requester's line that called, perhaps through Python's library or torch.random. None if torch did, or a log
    for its time."""
    while frame is not None and (of_python(frame.f_code.co_filename) or frame.f_code.co_filename == _RANDOM):
        if Path(frame.f_code.co_filename).parent.name == "logging":
            return None
        frame = frame.f_back
    if frame is None or ours(frame.f_code.co_filename):
        return None
    file = frame.f_code.co_filename
    return f"{file}:{frame.f_lineno}" if foreign(file) else ""


@contextmanager
def other_memory(number: int) -> Iterator[None]:
    """While open, new objects lie elsewhere than without: sets have another order, and texts show other addresses."""
    draws = random.Random(number)
    makers: list[Callable[[], object]] = [object, _Object, *(partial(bytes, 16 * size) for size in range(33))]
    held = [[make() for _ in range(256)] for make in makers]
    for objects in held:  # the gaps are what new objects fill, the last one first
        draws.shuffle(objects)
        del objects[draws.randrange(64) :]
    yield
    del held


class _Object:
    """As large as an object of a class of the requester's."""


@contextmanager
def other_addresses(known: Collection[int]) -> Iterator[None]:
    """While open, id() and hash() tell the requester's code other addresses of objects that a step makes than in a run
    before. `known` are those of objects that were there before it, which stay."""
    address, hashed = builtins.id, builtins.hash

    def told(thing: object, true: int) -> int:
        kept = address(thing) in known or not own(sys._getframe(2).f_code.co_filename)
        return true if kept else true + _FURTHER

    def told_id(thing: object, /) -> int:
        return told(thing, address(thing))

    def told_hash(thing: object, /) -> int:
        value = hashed(thing)
        return told(thing, value) if type(thing).__hash__ is object.__hash__ else value

    builtins.id, builtins.hash = told_id, told_hash
    try:
        yield
    finally:
        builtins.id, builtins.hash = address, hashed


def line_that_changes(held: Held, run: Callable[[], Any]) -> str:
    """`FILE:LINE` of the requester's line that changes an object first while `run` runs; "" if none of theirs does."""
    now, last, found = Held(held.name, held.thing, held.kind, held.now()), "", ""
    earlier = sys.gettrace()

    def trace(frame: FrameType, event: str, arg: Any) -> Any:
        nonlocal last, found
        if found or not own(frame.f_code.co_filename):
            return None
        if next(now.changed(), None) is not None:
            found = last
        now_at = frame if event == "line" else frame.f_back if event == "return" else None
        if now_at is not None and own(now_at.f_code.co_filename):
            last = f"{now_at.f_code.co_filename}:{now_at.f_lineno}"
        return trace

    sys.settrace(trace)
    try:
        with suppress(Exception):  # an iterator may have come to its end
            run()
        if not found and next(now.changed(), None) is not None:
            found = last
    finally:
        sys.settrace(earlier)
    return found
