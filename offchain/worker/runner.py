"""The loop of a worker: it reads the chain, asks its roles what to do, does it, and reads again."""

from __future__ import annotations

import signal
from collections.abc import Callable, Collection, Hashable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from threading import Event, current_thread, main_thread
from types import TracebackType
from typing import Any, Final, Self

import structlog

from offchain.chain.client import Chain
from offchain.chain.reader import Reader
from offchain.dispute.replay import Replay
from offchain.errors import BadInput, ChainError, ChainUnavailable, OffchainError
from offchain.market.actions import Action, Audit, Challenge, Defend, Timeout, Train
from offchain.market.view import ChainView, TaskView
from offchain.roles.table import ROLES
from offchain.store.blobs import BlobStore
from offchain.store.serve import BlobServer
from offchain.worker.acts import Acts
from offchain.worker.background import Backoff
from offchain.worker.database import Database
from offchain.worker.display import write_line
from offchain.worker.disputes import Disputes
from offchain.worker.events import ChainSilent, Enforced, Failed, Started, Stopped, Tell, WorkerEvent
from offchain.worker.home import locked
from offchain.worker.making import ExecutorFactory
from offchain.worker.materials import Materials, ReplayFactory
from offchain.worker.options import WorkerOptions
from offchain.worker.work import Work

FIRST_BACKOFF: Final = 0.5  # seconds


class Worker:
    """One account that holds some roles, until it is stopped.

    Use as a context, in which its blobs are served and its database is open:

        with Worker(chain, ["solver"], options, executors) as worker:
            worker.run()

    Args:
        chain: of the account that acts.
        roles: names out of `offchain.roles.table.ROLES`.
        executors: makes the executor of a task; `executor_factory` gives the usual one.
        on_event: is called with every event, after its line in the log.
        replays: makes a dispute's replay.
    """

    def __init__(
        self,
        chain: Chain,
        roles: Collection[str],
        options: WorkerOptions,
        executors: ExecutorFactory,
        on_event: Tell | None = None,
        replays: ReplayFactory = Replay,
    ) -> None:
        if unknown := set(roles) - set(ROLES) or not roles:
            raise BadInput(f"roles {unknown or 'none'}: there are {', '.join(ROLES)}")
        self.chain, self.roles, self.options = chain, tuple(roles), options
        self.reader = Reader(chain)
        self._executors, self._replays, self._on_event = executors, replays, on_event
        self._stop = Event()
        self._stack = ExitStack()
        self._log = structlog.get_logger().bind(account=chain.address[:8])

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            folder = self.options.folder
            stack.enter_context(locked(folder))
            self.db = stack.enter_context(Database(folder / "worker.db", self._identity()))
            blobs = BlobStore(folder / "blobs", None, self.options.fetch)
            if self.options.listen:
                server = stack.enter_context(BlobServer(blobs.folder, *self.options.listen))
                blobs.base = self.options.public_url or server.url
            self.materials = Materials(
                self.chain.address, blobs, self._executors, self._replays, self.options, self._tried
            )
            stack.callback(self.materials.close)
            self._stack = stack.pop_all()
        self._secret = self.db.secret()
        self._backoff = Backoff(FIRST_BACKOFF, self.options.max_backoff)
        self._work = Work(self.materials, self.db, self.options, self.tell)
        self._disputes = Disputes(self.chain, self.reader, self.materials, self._work, self.db, self.tell)
        self._acts = Acts(self.chain, self.materials, self._work, self._disputes, self.tell)
        self._due: list[tuple[TaskView, Train | Audit]] = []
        self._now = 0  # timestamp of the block that was last looked at
        self._told: dict[Hashable, str] = {}  # the last failure of each key
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _identity(self) -> str:
        genesis = self.chain.block(0).hash.hex()
        deployment = self.chain.deployment
        return f"account {self.chain.address} at market {deployment.market} of chain {deployment.chain_id}, {genesis}"

    def _tried(self, task: TaskView) -> bool:
        return self.db.notes(task).fit is True

    def tell(self, event: WorkerEvent, traceback: bool = False) -> None:
        """Write an event to the log (with the traceback of the exception at hand), and hand it to `on_event`."""
        write_line(self._log, event, traceback)
        if self._on_event:
            self._on_event(event)

    def stop(self) -> None:
        """End `run` after the action at hand. May be called from anywhere."""
        self._stop.set()

    def run(self) -> None:
        """Act until stopped, by `stop`, SIGTERM or SIGINT."""
        with stopped_by_signals(self.stop):
            self.tell(Started(self.roles, self.materials.blobs.base or ""))
            while not self._stop.is_set():
                if not self.cycle():
                    self._stop.wait(self.options.poll)
            self.tell(Stopped())

    def cycle(self) -> bool:
        """Read the chain and act once. True if there is more to compute; waits a while if the chain does not answer."""
        try:
            view = self._look()
            self._now = view.now
            self._disputes.notice(view)
            self._work.tidy(view)
            actions = self._actions(view)
            self._due = [(view.task(a.task_id), a) for a in actions if isinstance(a, Train | Audit)]
            for action in actions:
                if not isinstance(action, Train | Audit) and not self._stop.is_set():
                    self._attempt(action, partial(self._acts.perform, view, action))
            self._enforce(view)
        except ChainUnavailable as error:
            wait = self._backoff.failed("chain")
            self.tell(ChainSilent(str(error), wait))
            if not self._compute():  # work that was decided before stays worth computing
                self._stop.wait(wait)
            return False
        self._backoff.succeeded("chain")
        return self._compute()

    def _look(self) -> ChainView:
        try:
            self.chain.settle()
            return self.reader.read()
        except ChainError as error:  # no node may refuse to be read
            raise ChainUnavailable(str(error)) from error

    def _actions(self, view: ChainView) -> list[Action]:
        """What all roles want, each action once. Moves in disputes come first: a clock runs there."""
        notes = self._work.notes(view, self.reader.opened_by(view.me))
        wanted: dict[Action, None] = {}
        for name, role in ROLES.items():
            if name in self.roles:
                decide = partial(role.decide, view, notes, self.options.policy, self._secret)
                wanted |= dict.fromkeys(self._attempt(("decide", name), decide) or [])
        return sorted(wanted, key=lambda action: not isinstance(action, Defend | Challenge | Timeout))

    def _attempt(self, key: Hashable, act: Callable[[], Any]) -> Any:
        """Call `act`. A failure is told, delays the next try of this key, and stops nothing else.

        Raises ChainUnavailable, which concerns everything.
        """
        if not self._backoff.ready(key):
            return None
        try:
            result = act()
        except ChainUnavailable:
            raise
        except OffchainError as error:
            self._failed(key, str(error), traceback=False)
            return None
        except Exception as error:  # one task must not end a worker that has stakes in others
            self._failed(key, f"{type(error).__name__}: {error}", traceback=True)
            return None
        self._backoff.succeeded(key)
        self._told.pop(key, None)
        return result

    def _failed(self, key: Hashable, why: str, traceback: bool) -> None:
        wait = self._backoff.failed(key)
        if self._told.get(key) != why:  # not again at every try
            self._told[key] = why
            self.tell(Failed(str(key), why, wait), traceback)

    def _compute(self) -> bool:
        """Compute for a slice of time; True if anything was computed.

        The most urgent training and the most urgent audit share it. What is later than they waits: so every deadline is
        kept of tasks whose shares of the machine fit it together, as the ledger has it.
        """
        trains = [due for due in self._due if isinstance(due[1], Train)]
        audits = [due for due in self._due if isinstance(due[1], Audit)]
        seconds = self.options.slice / max(1, bool(trains) + bool(audits))
        ran = [self._first(sorted(kind, key=self._deadline), seconds) for kind in (trains, audits)]
        return any(ran)

    def _first(self, due: list[tuple[TaskView, Train | Audit]], seconds: float) -> bool:
        """Compute the first of those that can be computed now."""
        for task, action in due:
            compute = self._work.train if isinstance(action, Train) else self._work.audit
            again = partial(compute, task, action.checkpoint, seconds)
            if not self._stop.is_set() and self._attempt(action, again):
                return True
        return False

    def _deadline(self, due: tuple[TaskView, Train | Audit]) -> tuple[bool, int]:
        """By when its root is needed; what is too late comes last."""
        task, action = due
        k = action.checkpoint
        at = task.deadline(k) if isinstance(action, Train) else task.checkpoints[k].challengeable_until
        return at < self._now, at

    def _enforce(self, view: ChainView) -> None:
        """Ask for the slash again where the market refused it after a conviction that this worker won."""
        for dispute, challenger in self.reader.convicted.items():
            if challenger == view.me:
                again = partial(self._disputes.end, Enforced, dispute, self.chain.enforce)
                self._attempt(("enforce", dispute), again)


@contextmanager
def stopped_by_signals(stop: Callable[[], None]) -> Iterator[None]:
    """SIGTERM and SIGINT call `stop`; a second one kills the process. In the main thread only, as Python demands."""
    if current_thread() is not main_thread():
        yield
        return

    def handle(number: int, frame: Any) -> None:
        stop()
        signal.signal(number, signal.SIG_DFL)

    before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
