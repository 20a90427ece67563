"""What a worker computes with: task files, executors, states, and replays for disputes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any, Final, TypeVar

from offchain.commit.merkle import Tree
from offchain.commit.roots import state_root_of, state_tree
from offchain.dispute.replay import Ledger, Replay
from offchain.errors import BadBlob, BadInput, NoRoom, OffchainError, OutOfMemory
from offchain.exec.base import Executor, Limits
from offchain.ir.arrays import Array
from offchain.ir.graph import Graph
from offchain.ir.log import is_needed
from offchain.market.view import ChainView, Status, TaskView, Terms
from offchain.store.addresses import host_of
from offchain.store.blobs import BlobStore
from offchain.store.checkpoint import read_state, save_log, save_outputs, save_state
from offchain.store.graphfile import MAX_GRAPH_BYTES
from offchain.store.race import Places
from offchain.store.taskfile import load_task, read_graph, require_seal
from offchain.task import Task
from offchain.worker.background import Background, Key, Shares
from offchain.worker.claims import KIND, Claims
from offchain.worker.fit import Figures, NotNow, Unfit, require_countable
from offchain.worker.holders import Holders
from offchain.worker.making import ExecutorFactory
from offchain.worker.names import log_name, outputs_name, state_name, task_name
from offchain.worker.options import WorkerOptions
from offchain.worker.room import ROOM, state_bytes
from offchain.worker.trial import Trials, step_bytes
from offchain.worker.withheld import Withheld

ReplayFactory = Callable[[Executor[Any], Ledger, int, Sequence[Array], Tree | None], Replay]

T = TypeVar("T")
_Served = tuple[int, int, int, bytes]  # what `_served` returns
ALONE: Final = Shares(1, 1, 1)  # of trials: no other may run beside one that is measured


@dataclass(frozen=True)
class Opened:
    """A task that was checked and can be computed."""

    task: Task
    ledger: Ledger
    executor: Executor[Any]


@dataclass(frozen=True, slots=True)
class Start:
    """The state before interval `checkpoint`, to compute from, with its tree."""

    checkpoint: int
    arrays: list[Array]
    tree: Tree

    @property
    def root(self) -> bytes:
        return state_root_of(len(self.arrays), self.tree.root)


class Materials:
    """Tries and opens tasks, and finds states. Downloading and compiling run in the background; until they are done, a
    method returns None.

    Args:
        tried: whether a task's trial went well before.
        holders: who may have a file.
    """

    def __init__(
        self,
        me: str,
        blobs: BlobStore,
        executors: ExecutorFactory,
        replays: ReplayFactory,
        options: WorkerOptions,
        tried: Callable[[TaskView], bool] = lambda view: False,
        holders: Holders | None = None,
    ) -> None:
        self.blobs, self._holders = blobs, holders or Holders()
        self._tried = tried
        self._withheld = Withheld(me, blobs)
        self._me, self._executors, self._replays, self._options = me, executors, replays, options
        shares = dict.fromkeys(("file", "state", "mirror", KIND), options.downloads) | {"trial": ALONE}
        self._background = Background(shares)
        self._trials = Trials(executors, options)
        self.claims = Claims(self.blobs, self._holders, self._background)
        self._checking = Lock()  # files are read one at a time: each may fill the memory
        self._needed: frozenset[str] = frozenset()  # names of task files that must not be removed
        self._opened: dict[int, Opened] = {}
        self._sound: set[str] = set()  # states to keep that were checked, and not only lie here
        self._refused: dict[tuple[int, Terms], BadInput] = {}  # for good
        self._failures: dict[_Served, int] = {}  # of fetching a state from its solver
        self._wanted: dict[_Served, float] = {}  # likewise, since when

    def judge(self, view: TaskView) -> Figures | None:
        """What a task takes here, after a trial in a process of its own.

        Raises:
            Unfit: this worker does not take it, for a reason that is in the task.
            NotNow, Unreachable, OSError: it was not found out, for a reason that may lie elsewhere.
        """
        return self._once("trial", view, lambda: self._try(view)) if self._fetched(view) else None

    def open(self, view: TaskView) -> Opened | None:
        """The task, fetched if necessary, checked against its terms, and tried if that was not done before.

        A task that this account solves was tried before it bid. Raises what `judge` raises.
        """
        if view.id not in self._opened:
            if not self._fetched(view):
                return None
            known = view.solver == self._me or self._tried(view)
            made = self._once("task", view, lambda: self._set_up(view.terms, known))
            if made is None:
                return None
            self._opened[view.id] = made
        return self._opened[view.id]

    def _once(self, kind: str, view: TaskView, work: Callable[[], T]) -> T | None:
        """Does it in the background; what is refused for good is not tried again."""
        key = (view.id, view.terms)
        if key in self._refused:
            raise self._refused[key]
        try:
            return self._background.poll((kind, *key), work, view.requester)
        except Unfit as error:
            self._refused[key] = error
            raise

    def close_task(self, view: TaskView) -> None:
        """Free the memory of a task, and what is being made of it."""
        self._opened.pop(view.id, None)
        self.claims.forget(view)
        self._background.drop(("task", view.id, view.terms))

    def need(self, terms: Iterable[Terms]) -> None:
        """These tasks' files must stay, whatever room there is: they may not be served any more."""
        self._needed = frozenset(map(task_name, terms))

    def forget_file(self, terms: Terms) -> None:
        """Remove the file of a task that is over, or that this worker never takes."""
        if task_name(terms) not in self._needed:
            self.blobs.remove(task_name(terms))

    @property
    def busy(self) -> bool:
        """Whether something is still being fetched or tried."""
        return self._background.busy

    def close(self) -> None:
        self._background.close()
        self._trials.close()

    def _try(self, view: TaskView) -> Figures:
        path, memory = self._counted(view.terms)[1:]
        yields = partial(self._background.yields, ("trial", view.id, view.terms))
        return self._trials.run(path, view.terms, memory, yields)

    def _counted(self, terms: Terms) -> tuple[Task, Path, int]:
        """A task whose file is here, whose roots are right, and whose work and memory could fit."""
        path = self.blobs.path(task_name(terms))
        try:
            task = self._load(terms, path)
        except BadInput as error:  # removed to make room, or damaged
            self.blobs.remove(path.name)
            raise NotNow(str(error)) from error
        require_countable(task.graph, terms, self._options)
        needed, given = step_bytes(task), self._options.max_memory
        if needed > given:
            raise Unfit(f"a step touches {needed:,} bytes; this worker gives {given:,}")
        return task, path, needed

    # task files

    def _fetched(self, view: TaskView) -> bool:
        """Whether a task's file is here, which is fetched if necessary.

        Nothing that a stranger serves decides about a task for good: it may be another's answer, or half of one.
        """
        if task_name(view.terms) in self.blobs:
            return True
        key, fetch = ("file", view.id, view.terms), partial(self._fetch, view)
        try:
            return self._background.poll(key, fetch, view.requester, host_of(view.terms.uri)) is not None
        except BadInput as error:
            raise NotNow(str(error)) from error

    def _fetch(self, view: TaskView) -> Path:
        """A file must be here well before the bidding, or the window of what it is needed for, ends."""
        terms, most = view.terms, self._options.max_memory + MAX_GRAPH_BYTES  # a step touches all that is in it
        patience = terms.bidding_time / 2 if view.status is Status.BIDDING else terms.challenge_window / 4
        check = partial(self._load, terms)
        key: Key = ("file", view.id, terms)
        return self._bring(key, self._holders.of_file(view), task_name(terms), check, most, patience)

    def _bring(
        self, key: Key, places: Places, name: str, check: Callable[[Path], object], most: int, patience: float
    ) -> Path:
        """Fetch a blob, as the job of this key. Of what nothing hangs on, task files make room for the next try."""
        try:
            return self.blobs.fetch(places, name, check, most, patience, partial(self._background.yields, key))
        except NoRoom:
            self._make_room(ROOM)
            raise

    def _make_room(self, wanted: int) -> bool:
        """Whether so many bytes are free beside the reserve, after files that may go have gone."""
        return self.blobs.make_room("task", self._needed, wanted)

    def _set_up(self, terms: Terms, tried: bool) -> Opened:
        task, path, needed = self._counted(terms)
        if not tried:
            self._trials.run(path, terms, needed)
        ledger = Ledger(task.graph, task.constants, task.datasets)
        try:
            limits = Limits(self._options.max_memory - needed, self._options.max_kernels)
            return Opened(task, ledger, self._executors(ledger, limits))
        except BadInput as error:
            raise Unfit(str(error)) from error
        except OutOfMemory as error:
            raise NotNow(str(error)) from error

    def _load(self, terms: Terms, path: Path) -> Task:
        """What is in a file. Raises BadInput where that is not the task of these terms."""
        with self._checking:
            task = load_task(path)
            task.verify(terms.graph_root, terms.state_root)
        have, wanted = (task.steps, task.interval), (terms.steps, terms.interval)
        if have != wanted:
            raise BadBlob(f"{have[0]} steps, {have[1]} per interval; terms: {wanted[0]}, {wanted[1]}")
        require_seal(task, terms.uri)
        return task

    # states

    def store(self, terms: Terms, graph: Graph, state: Sequence[Array], tree: Tree, solved: Task | None = None) -> None:
        """Store and publish a state of a task, whose tree this is, without its log: that shows who replayed.

        `solved`: the task, for its solver, who keeps log and outputs too, which no state's end takes away, so that the
        requester can have all of them. `Withheld` publishes the log. Who only looked at it stores it where there
        is room: strangers' states must not fill the disk on which an own one has to be written in time.
        """
        root, needed = state_root_of(len(state), tree.root), is_needed(graph)
        if not self._make_room(state_bytes(graph)) and solved is None:
            return
        self.blobs.publish(state_name(terms, root), lambda path: save_state(path, graph, state, tree=tree, log=needed))
        if solved is not None and solved.outputs:
            name = outputs_name(terms, root)
            self.blobs.publish(name, lambda path: save_outputs(path, solved, state, tree))
        if solved is not None:
            self._withheld.put(log_name(terms, root), lambda path: save_log(path, graph, state[-1], tree))

    def start(self, view: TaskView, opened: Opened, checkpoint: int, own: dict[int, bytes]) -> Start | None:
        """The best state to compute interval `checkpoint` from; None while one is being fetched.

        That is the state just before it, from here or else from whoever has it. If nobody does, it is the latest
        earlier state that is here, at worst the initial one. `own`: checkpoint -> root, computed by this worker.
        """
        exact = self._kept(view, opened, checkpoint, own)
        if exact is not None:
            return exact
        others = view.solver != self._me or checkpoint <= view.first  # who committed the state
        theirs = others and 0 < checkpoint <= len(view.checkpoints)
        if theirs and self._patient(view, checkpoint):
            places = self._holders.of_state(view, view.checkpoints[checkpoint - 1])
            if places.first or places.servers:
                return self._served(view, opened, checkpoint, places)
        earlier = (self._kept(view, opened, k, own) for k in reversed(range(checkpoint)))
        return next(start for start in earlier if start is not None)

    def tidy(self, view: ChainView) -> None:
        """Remove what is of no use any more."""
        self._withheld.release(view)
        self.claims.tidy(view)

    def ready(self, view: TaskView, opened: Opened, accused: int) -> bool:
        """Whether the interval that this account challenges can be replayed: False while kernels for it compile."""
        return self.claims.ready(view, opened.task, opened.executor, accused)

    def replay(self, view: TaskView, opened: Opened, start: Start, accused: int | None) -> Replay:
        """The steps from a state on, for a dispute. `accused`: the interval, where this account challenges it."""
        first = start.checkpoint * opened.task.interval
        made = self._replays(opened.executor, opened.ledger, first, start.arrays, start.tree)
        if accused == start.checkpoint:
            made.told = self.claims.taken(view, opened.task, accused)
        return made

    def forget_states(self, terms: Terms, roots: Sequence[bytes]) -> None:
        """Remove the states of a task that have these roots."""
        for root in roots:
            self.blobs.remove(state_name(terms, root))

    def _kept(self, view: TaskView, opened: Opened, checkpoint: int, own: dict[int, bytes]) -> Start | None:
        """The state just before an interval, if it is here."""
        if checkpoint == 0:
            return Start(0, list(opened.task.state), state_tree(opened.task.state))
        committed = checkpoint <= len(view.checkpoints)
        root = view.checkpoints[checkpoint - 1].root if committed else own.get(checkpoint - 1)
        if root is None or state_name(view.terms, root) not in self.blobs:
            return None
        path = self.blobs.path(state_name(view.terms, root))
        try:
            return Start(checkpoint, *read_state(path, opened.task.graph, root))
        except BadBlob:
            path.unlink(missing_ok=True)  # it was checked before it got its name, so the disk has damaged it
            return None

    def mirror(self, view: TaskView, checkpoint: int) -> bool:
        """Whether a committed state is here and was checked, and the task's file; they are fetched if necessary.

        Raises NotNow, Unreachable, NoRoom, BadBlob, OSError.
        """
        if not self._fetched(view):
            return False
        point = view.checkpoints[checkpoint]
        name = state_name(view.terms, point.root)
        if name in self._sound and name in self.blobs:
            return True

        def fetch() -> Path:
            graph = read_graph(self.blobs.path(task_name(view.terms)), view.terms.graph_root)
            check = partial(read_state, graph=graph, expected=point.root)
            if name in self.blobs:
                with suppress(BadInput):
                    check(self.blobs.path(name))
                    return self.blobs.path(name)
                self.blobs.remove(name)  # the disk has lost a part of it
            places, patience = self._holders.of_state(view, point), view.terms.challenge_window / 4
            return self._bring(key, places, name, check, state_bytes(graph), patience)

        key: Key = ("mirror", view.id, view.attempt, checkpoint, point.root)
        here = self._background.poll(key, fetch, view.solver, host_of(point.uri)) is not None and name in self.blobs
        if here:
            self._sound.add(name)
        return here

    def has(self, view: TaskView, checkpoint: int) -> bool:
        """Whether a file of the state of a checkpoint is here, read or not."""
        return state_name(view.terms, view.checkpoints[checkpoint].root) in self.blobs

    def keep_on(self, terms: Terms, root: bytes) -> None:
        """A task is over, and this is its last state: both count as new among what is kept of such tasks."""
        for name in (task_name(terms), state_name(terms, root)):
            self.blobs.touch(name)

    def _patient(self, view: TaskView, checkpoint: int) -> bool:
        """Whether to ask for a served state, still. A cheat that serves it slowly, or many at once, must not hold up an
        audit until the window ends: after a quarter of it the replay starts from an earlier state."""
        key = _served(view, checkpoint)
        since, failures = self._wanted.setdefault(key, time.monotonic()), self._failures.get(key, 0)
        return failures < self._options.max_failures and time.monotonic() < since + view.terms.challenge_window / 4

    def _served(self, view: TaskView, opened: Opened, checkpoint: int, places: Places) -> Start | None:
        point, graph, key = view.checkpoints[checkpoint - 1], opened.task.graph, _served(view, checkpoint)
        root, limit = point.root, state_bytes(graph)
        patience = view.terms.challenge_window / 4 / self._options.max_failures

        def fetch() -> Start:
            read: list[Start] = []

            def check(path: Path) -> None:
                read.append(Start(checkpoint, *read_state(path, graph, root)))

            path = self._bring(("state", *key), places, state_name(view.terms, root), check, limit, patience)
            if not read:
                check(path)  # the file was here already, and was not checked
            return read[0]

        try:
            return self._background.poll(("state", *key), fetch, view.solver, host_of(point.uri))
        except BadInput:
            self._failures[key] = self._options.max_failures  # all had the wrong file: do not try again
            raise
        except OffchainError:
            self._failures[key] = self._failures.get(key, 0) + 1
            raise


def _served(view: TaskView, checkpoint: int) -> _Served:
    """Names the state just before an interval as one attempt's solver serves it: the next one may commit to another."""
    return view.id, view.attempt, checkpoint, view.checkpoints[checkpoint - 1].root
