"""What a worker computes with: task files, executors, states, and replays for disputes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from offchain.commit.merkle import Tree
from offchain.commit.roots import state_root_of, state_tree
from offchain.dispute.replay import Ledger, Replay
from offchain.errors import BadBlob, BadInput, OffchainError, OutOfMemory
from offchain.exec.base import UNLIMITED, Executor, Limits, Setting
from offchain.exec.make import make_executor
from offchain.ir.arrays import Array
from offchain.ir.graph import Graph, Source
from offchain.market.view import TaskView, Terms
from offchain.store.blobs import BlobStore, blob_name
from offchain.store.checkpoint import read_state, save_state
from offchain.store.taskfile import load_task
from offchain.task import Task
from offchain.worker.background import Background
from offchain.worker.options import WorkerOptions

ExecutorFactory = Callable[[Ledger, Limits], Executor[Any]]
ReplayFactory = Callable[[Executor[Any], Ledger, int, Sequence[Array], Tree | None], Replay]

SLACK: Final = 1 << 20  # bytes of a state's file beside its tensors


@dataclass(frozen=True)
class Opened:
    """A task that was checked and can be computed."""

    task: Task
    ledger: Ledger
    executor: Executor[Any]
    step_seconds: float  # that the first step took on this machine


@dataclass(frozen=True, slots=True)
class Start:
    """The state before interval `checkpoint`, to compute from, with its tree."""

    checkpoint: int
    arrays: list[Array]
    tree: Tree


class Unfit(BadInput):
    """A task that is valid, but that this worker does not take."""


class Materials:
    """Opens tasks and finds states. Downloading and compiling run in the background; until they are done, a method
    returns None."""

    def __init__(
        self,
        me: str,
        blobs: BlobStore,
        executors: ExecutorFactory,
        replays: ReplayFactory,
        options: WorkerOptions,
    ) -> None:
        self.blobs = blobs
        self._me, self._executors, self._replays, self._options = me, executors, replays, options
        self._background = Background()
        self._opened: dict[int, Opened] = {}
        self._refused: dict[int, BadInput] = {}
        self._starved: set[int] = set()  # of those, the ones that found too little memory, and may find more later
        self._failures: dict[tuple[int, int], int] = {}  # of fetching a state from its solver, by task and checkpoint

    def open(self, view: TaskView) -> Opened | None:
        """The task, fetched if necessary, and checked against its terms.

        Raises:
            BadInput: its file is not what the terms say.
            Unfit: it is above this worker's limits, or does not fit into the memory that is free now.
            Unreachable: its file cannot be fetched now.
        """
        if view.id in self._refused:
            raise self._refused[view.id]
        if view.id not in self._opened:
            try:
                made = self._background.poll(("task", view.id), lambda: self._set_up(self._load(view.terms)))
                if made is None:
                    return None
                self._opened[view.id] = _timed(*made)
            except OutOfMemory as error:
                self._refused[view.id] = Unfit(str(error))
                self._starved.add(view.id)
                raise self._refused[view.id] from error
            except BadInput as error:
                self._refused[view.id] = error  # for good: it is never downloaded again
                raise
        return self._opened[view.id]

    def check_fit(self, view: TaskView, opened: Opened) -> None:
        """Raises Unfit for a task whose interval this machine cannot compute in time."""
        needed = opened.step_seconds * view.terms.interval * self._options.headroom
        allowed = min(view.terms.interval_time, view.terms.clock)
        if needed > allowed:
            raise Unfit(f"an interval needs {needed:.1f} s here, with headroom; its terms allow {allowed} s")

    def close_task(self, task_id: int) -> None:
        """Free the memory of a task. Tasks that were refused because they found too little can be opened again."""
        if self._opened.pop(task_id, None) is not None:
            for other in self._starved:
                del self._refused[other]
            self._starved.clear()

    def close(self) -> None:
        self._background.close()

    def _load(self, terms: Terms) -> Task:
        name = blob_name(sha256(terms.graph_root + terms.state_root).digest(), "task")
        loaded: list[Task] = []

        def check(path: Path) -> None:
            task = load_task(path)
            task.verify(terms.graph_root, terms.state_root)
            loaded.append(task)

        path = self.blobs.fetch(terms.uri, name, check)
        if not loaded:
            check(path)  # the file was here already, and was not checked
        task = loaded[0]
        if (task.steps, task.interval) != (terms.steps, terms.interval):
            raise BadBlob(f"{task.steps} steps, {task.interval} per interval; terms: {terms.steps}, {terms.interval}")
        return task

    def _set_up(self, task: Task) -> tuple[Task, Ledger, Executor[Any]]:
        """Raises BadInput or Unfit for a task above this worker's limits, OutOfMemory for one above the machine's."""
        needed, given = step_bytes(task), self._options.max_memory
        if needed > given:
            raise Unfit(f"a step touches {needed:,} bytes; this worker gives {given:,}")
        ledger = Ledger(task.graph, task.constants, task.datasets)
        return task, ledger, self._executors(ledger, Limits(given - needed, self._options.max_kernels))

    # states

    def store(self, graph: Graph, state: Sequence[Array], tree: Tree) -> None:
        """Store and publish a state, whose tree this is."""
        name = state_name(state_root_of(len(state), tree.root))
        self.blobs.publish(name, lambda path: save_state(path, graph, state, tree=tree))

    def start(self, view: TaskView, opened: Opened, checkpoint: int, own: dict[int, bytes]) -> Start | None:
        """The best state to compute interval `checkpoint` from; None while one is being fetched.

        That is the state just before it, from here or else from the solver. If neither has it, it is the latest
        earlier state that is here, at worst the initial one. `own`: checkpoint -> root, computed by this worker.
        """
        exact = self._kept(view, opened, checkpoint, own)
        if exact is not None:
            return exact
        theirs = view.solver != self._me and checkpoint <= len(view.checkpoints)
        served = view.checkpoints[checkpoint - 1].uri if theirs else ""
        if served and self._failures.get((view.id, checkpoint), 0) < self._options.max_failures:
            return self._served(view, opened, checkpoint, served)
        earlier = (self._kept(view, opened, k, own) for k in reversed(range(checkpoint)))
        return next(start for start in earlier if start is not None)

    def replay(self, opened: Opened, start: Start) -> Replay:
        """The steps from a state on, for a dispute."""
        first = start.checkpoint * opened.task.interval
        return self._replays(opened.executor, opened.ledger, first, start.arrays, start.tree)

    def forget_states(self, roots: Sequence[bytes]) -> None:
        """Remove the states that have these roots."""
        for root in roots:
            self.blobs.remove(state_name(root))

    def _kept(self, view: TaskView, opened: Opened, checkpoint: int, own: dict[int, bytes]) -> Start | None:
        """The state just before an interval, if it is here."""
        if checkpoint == 0:
            return Start(0, list(opened.task.state), state_tree(opened.task.state))
        committed = checkpoint <= len(view.checkpoints)
        root = view.checkpoints[checkpoint - 1].root if committed else own.get(checkpoint - 1)
        if root is None or state_name(root) not in self.blobs:
            return None
        path = self.blobs.path(state_name(root))
        try:
            return Start(checkpoint, *read_state(path, opened.task.graph, root))
        except BadBlob:
            path.unlink(missing_ok=True)  # it was checked before it got its name, so the disk has damaged it
            return None

    def _served(self, view: TaskView, opened: Opened, checkpoint: int, uri: str) -> Start | None:
        root, graph = view.checkpoints[checkpoint - 1].root, opened.task.graph
        limit = 4 * sum(slot.spec.length for slot in graph.slots) + SLACK + 256 * len(graph.slots)

        # A cheat that serves its state slowly must not hold up an audit until the challenge window ends. All tries
        # together may take a quarter of the window; then the replay starts from an earlier state.
        patience = view.terms.challenge_window / 4 / self._options.max_failures

        def fetch() -> Start:
            read: list[Start] = []

            def check(path: Path) -> None:
                read.append(Start(checkpoint, *read_state(path, graph, root)))

            path = self.blobs.fetch(uri, state_name(root), check, limit, patience)
            if not read:
                check(path)  # the file was here already, and was not checked
            return read[0]

        try:
            return self._background.poll(("state", view.id, checkpoint), fetch)
        except BadInput:
            self._failures[view.id, checkpoint] = self._options.max_failures  # it was the wrong file: do not try again
            raise
        except OffchainError:
            self._failures[view.id, checkpoint] = self._failures.get((view.id, checkpoint), 0) + 1
            raise


def executor_factory(name: str, device: str = "cpu") -> ExecutorFactory:
    """Executors by name, see `offchain.exec.make`."""

    def make(ledger: Ledger, limits: Limits = UNLIMITED) -> Executor[Any]:
        arrays = ledger.arrays
        setting = Setting(device, limits=limits)
        return make_executor(name, ledger.graph, arrays[Source.CONST], arrays[Source.DATA], setting)

    return make


def _timed(task: Task, ledger: Ledger, executor: Executor[Any]) -> Opened:
    state = executor.load(task.state)
    began = time.monotonic()
    executor.step(state, 0)
    return Opened(task, ledger, executor, time.monotonic() - began)


def state_name(root: bytes) -> str:
    return blob_name(root, "state")


def step_bytes(task: Task) -> int:
    """Bytes of all tensors of a step: those that the reference executor holds at its end.

    The same for every executor; what an executor needs beside them is limited when it is made.
    """
    tensors = [*task.constants, *task.datasets, *task.state, *task.state]
    return sum(array.nbytes for array in tensors) + 4 * sum(node.length for node in task.graph.nodes)
