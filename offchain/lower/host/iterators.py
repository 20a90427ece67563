"""Iterators that a job holds cannot be wound back by Python: while a job is built, others stand in their places.

A step that draws from one is refused before the iterator moves, so that whoever iterates over a DataLoader has all of
its batches afterwards.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final, NoReturn

from offchain.errors import Unsupported
from offchain.lines import at, line_of_caller
from offchain.lower.host.kinds import StandIn, is_iterator
from offchain.lower.host.world import Held, World

_DRAWN: Final = (
    "is drawn from in a step, and every step would use what it gave while the step was traced; put what it gives into "
    "the dataset, whose rows Job.order chooses"
)


@dataclass
class _Drawn:
    """What was drawn from first, and where; a job may catch the error that says so."""

    error: Unsupported | None = None


class _Guard(StandIn):
    __slots__ = ("drawn", "name")

    def __init__(self, name: str, drawn: _Drawn) -> None:
        self.name, self.drawn = name, drawn

    def __iter__(self) -> _Guard:
        return self

    def __next__(self) -> NoReturn:
        self.refuse()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        self.refuse()  # send, close and the like

    def refuse(self) -> NoReturn:
        error = Unsupported(f"{self.name}{at(line_of_caller())}: {_DRAWN}")
        self.drawn.error = self.drawn.error or error
        raise error


@contextmanager
def unmoved(world: World) -> Iterator[World]:
    """While open, what holds an iterator holds a stand-in. Gives the world as it is then.

    Raises Unsupported where a step drew from one, also if the job caught that error. Iterators in tuples are left.
    """
    drawn = _Drawn()
    guards: dict[int, _Guard] = {}

    def guarded(name: str, value: Any) -> Any:
        return guards.setdefault(id(value), _Guard(name, drawn)) if is_iterator(value) else value

    guarding = [(held, _with(held, guarded)) for held in world.held]
    changed = [(held, now) for held, now in guarding if now is not held]
    try:
        for held, now in changed:
            held.write(now.content)
        yield replace(world, held=tuple(now for _, now in guarding))
    finally:
        for held, _ in changed:
            held.write(held.content)
    if drawn.error is not None:
        raise drawn.error


def _with(held: Held, guarded: Any) -> Held:
    """The same object, with stand-ins in its content; itself where there is nothing to stand in for."""
    content = held.content
    if held.kind.write is None or not isinstance(content, dict | list) or not any(map(is_iterator, _values(content))):
        return held
    if isinstance(content, dict):
        new: Any = {key: guarded(held.name_of(key), value) for key, value in content.items()}
    else:
        new = [guarded(held.name, value) for value in content]
    return replace(held, content=new)


def _values(content: dict[Any, Any] | list[Any]) -> Iterable[Any]:
    return content.values() if isinstance(content, dict) else content
