"""What solvers say that the steps of an interval output: an auditor who is told that makes many steps at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from offchain.errors import OffchainError
from offchain.exec.ahead import Ahead, Told, ahead_of
from offchain.exec.base import Executor
from offchain.ir.arrays import Array
from offchain.market.view import ChainView, CheckpointView, TaskView, Terms
from offchain.store.addresses import host_of
from offchain.store.blobs import BlobStore
from offchain.store.checkpoint import load_state, output_slots, read_outputs
from offchain.task import Task
from offchain.worker.background import Background
from offchain.worker.holders import Holders
from offchain.worker.names import outputs_name, state_name
from offchain.worker.room import state_bytes

KIND: Final = "outputs"  # of the jobs that wait for solvers
PATIENCE: Final = 1 / 16  # of the challenge window: an audit that is not told makes its steps one by one, in time


@dataclass(frozen=True, slots=True)
class Claim:
    """Of an interval: the root after it, and what its steps are said to output.

    Attributes:
        outputs: what the slots of outputs hold at its end; {} where nobody has said it.
        ahead: what makes many steps at once; None where nothing can.
    """

    root: bytes
    outputs: Mapping[int, Array]
    ahead: Ahead[Any] | None


class Unplanned:
    """In place of what makes many steps at once, where making that failed: whoever would use it goes step by step, and
    tells why."""

    steps = 1

    def __init__(self, error: Exception) -> None:
        self._error = error

    def ahead(self, *_: Any) -> Any:
        raise self._error

    passing = ahead


class Claims:
    """Fetches what is claimed, in the background.

    It is kept until the interval is found right: whoever challenges it replays by the same claim, in another process.
    """

    def __init__(self, blobs: BlobStore, holders: Holders, background: Background) -> None:
        self._blobs, self._holders, self._background = blobs, holders, background
        self._kept = BlobStore(blobs.folder.with_name("claims"), None, blobs.options)  # served to nobody
        self._kept.heard = blobs.heard
        self._aheads: dict[tuple[int, Terms], Ahead[Any] | None] = {}
        self._silent: set[tuple[int, int, int, bytes]] = set()  # nobody has these outputs

    def of(self, view: TaskView, task: Task, executor: Executor[Any], checkpoint: int) -> Claim | None:
        """What is claimed of an interval; None while that is being found out."""
        point = view.checkpoints[checkpoint]
        key = view.id, view.attempt, checkpoint, point.root
        made = self._made(view, task, executor)
        if made is None:
            return None
        (ahead,) = made
        if ahead is None or key in self._silent:
            return Claim(point.root, {}, ahead)
        try:
            outputs = self._background.poll(
                (KIND, *key), lambda: self._fetch(view, task, point), view.solver, host_of(point.uri)
            )
        except (OffchainError, OSError):
            self._silent.add(key)
            return Claim(point.root, {}, ahead)
        return None if outputs is None else Claim(point.root, outputs, ahead)

    def end(self, view: TaskView, task: Task, checkpoint: int) -> list[Array] | None:
        """The state that is claimed at the end of an interval, without its log; [] where nobody shows it in time, None
        while that is being found out. It is not kept: nobody who wants the right one should be served it."""
        point = view.checkpoints[checkpoint]
        name, store, patience = state_name(view.terms, point.root), self._kept, PATIENCE * view.terms.challenge_window
        found: list[list[Array]] = []

        def check(path: Path) -> None:
            found.append(load_state(path, task.graph, point.root))

        def fetch() -> list[Array]:
            if name in self._blobs:
                check(self._blobs.path(name))
            else:
                store.fetch(self._holders.of_state(view, point), name, check, state_bytes(task.graph), patience)
                store.remove(name)
            return found[-1]

        try:
            key = "state", "end", view.id, view.attempt, checkpoint, point.root
            return self._background.poll(key, fetch, view.solver, host_of(point.uri))
        except (OffchainError, OSError):
            return []

    def ready(self, view: TaskView, task: Task, executor: Executor[Any], checkpoint: int) -> bool:
        """Whether `taken` need not wait: False while many steps at once are being compiled for it."""
        name = outputs_name(view.terms, view.checkpoints[checkpoint].root)
        return name not in self._kept or self._made(view, task, executor) is not None

    def taken(self, view: TaskView, task: Task, checkpoint: int) -> Told | None:
        """What was claimed of an interval when it was audited, if that is still here, once it is `ready`.

        It is here once only: should a process die of it, the next one goes step by step.
        """
        root, ahead = view.checkpoints[checkpoint].root, self._aheads.get((view.id, view.terms))
        name = outputs_name(view.terms, root)
        if ahead is None or name not in self._kept:
            return None
        try:
            return Told(_read(self._kept.path(name), task, root), ahead)
        except (OffchainError, OSError):  # the disk has damaged it
            return None
        finally:
            self._kept.remove(name)

    def tidy(self, view: ChainView) -> None:
        """Remove what was claimed of intervals that are in no task any more."""
        left = {*self._kept.names()}
        for task in view.tasks if left else ():
            left -= {outputs_name(task.terms, point.root) for point in task.checkpoints}
        for name in left:
            self._kept.remove(name)

    def drop(self, view: TaskView, checkpoint: int) -> None:
        """Remove what was claimed of an interval."""
        self._kept.remove(outputs_name(view.terms, view.checkpoints[checkpoint].root))

    def forget(self, view: TaskView) -> None:
        """Free the memory of a task."""
        self._aheads.pop((view.id, view.terms), None)

    def _made(self, view: TaskView, task: Task, executor: Executor[Any]) -> tuple[Ahead[Any] | None] | None:
        """What makes many of the task's steps at once, where anything can; None while it is being compiled."""
        key = view.id, view.terms
        if task.outputs and key not in self._aheads:
            made = self._background.poll(("ahead", *key), lambda: (_ahead_of(executor, task),))
            if made is None:
                return None
            (self._aheads[key],) = made
        return (self._aheads.get(key),)

    def _fetch(self, view: TaskView, task: Task, point: CheckpointView) -> dict[int, Array]:
        """A solver has the file of its own already."""
        name, store = outputs_name(view.terms, point.root), self._kept
        found: dict[int, Array] = {}

        def check(path: Path) -> None:
            found.update(_read(path, task, point.root))

        places, patience = self._holders.of_outputs(view, point), PATIENCE * view.terms.challenge_window
        most = state_bytes(task.graph)
        path = self._blobs.path(name) if name in self._blobs else store.fetch(places, name, check, most, patience)
        if not found:
            check(path)
        return found


def _read(path: Path, task: Task, root: bytes) -> dict[int, Array]:
    """What the slots of outputs held in the state with that root. Raises BadBlob."""
    outputs, _ = read_outputs(path, task, root)
    return dict(zip(output_slots(task), (outputs[output.name] for output in task.outputs), strict=True))


def _ahead_of(executor: Executor[Any], task: Task) -> Ahead[Any] | None:
    """No audit depends on it."""
    try:
        return ahead_of(executor, output_slots(task))
    except (OffchainError, MemoryError):
        return None
    except Exception as error:  # a stranger's graph has met an error in planning
        return Unplanned(error)
