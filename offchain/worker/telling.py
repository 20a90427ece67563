"""Events between the processes of a worker, as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from offchain.worker.events import WorkerEvent


def packed(event: WorkerEvent) -> dict[str, Any]:
    """A message that says what the event says."""
    return {"event": type(event).__name__, "facts": {name: _plain(value) for name, value in event.facts().items()}}


def unpacked(message: Mapping[str, Any]) -> WorkerEvent:
    """The event of a message. Raises KeyError or TypeError for a message that is none."""
    facts = {name: _rich(value) for name, value in message["facts"].items()}
    return _classes()[message["event"]](**facts)


def _plain(value: Any) -> Any:
    return {"hex": value.hex()} if isinstance(value, bytes) else value


def _rich(value: Any) -> Any:
    if isinstance(value, dict):
        return bytes.fromhex(value["hex"])
    return tuple(value) if isinstance(value, list) else value


@cache
def _classes() -> dict[str, type[WorkerEvent]]:
    return {kind.__name__: kind for kind in _below(WorkerEvent)}


def _below(kind: type[WorkerEvent]) -> Iterator[type[WorkerEvent]]:
    for each in kind.__subclasses__():
        yield each
        yield from _below(each)
