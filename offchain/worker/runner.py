"""The runner acts: it looks at the chain, asks the roles what to do, does it, and looks again."""

from __future__ import annotations

import signal
from collections.abc import Callable, Collection, Hashable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from threading import Event, current_thread, main_thread
from types import TracebackType
from typing import Any, Final, Self

import structlog

from offchain.chain.client import Chain, Receipt
from offchain.chain.reader import Reader
from offchain.dispute.replay import Ledger, Replay
from offchain.errors import BadInput, ChainError, ChainUnavailable, OffchainError
from offchain.exec.base import UNLIMITED, Executor, Limits, Setting
from offchain.exec.make import make_executor
from offchain.ir.graph import Source
from offchain.market.actions import (
    Action,
    Audit,
    Award,
    Bid,
    Challenge,
    Collect,
    Commit,
    Defend,
    Dismiss,
    Fetch,
    OpenDispute,
    Stall,
    Timeout,
    Train,
)
from offchain.market.notes import Notes
from offchain.market.view import ChainView, DisputeView, TaskView
from offchain.roles import requester, solver, verifier
from offchain.store.blobs import BlobStore
from offchain.store.serve import BlobServer
from offchain.worker.background import Backoff
from offchain.worker.database import Database
from offchain.worker.disputes import Disputes
from offchain.worker.materials import ExecutorFactory, Materials, ReplayFactory, state_name
from offchain.worker.options import WorkerOptions
from offchain.worker.work import Work

ROLES: Final = ("solver", "verifier", "requester")
FIRST_BACKOFF: Final = 0.5  # seconds
REPORTED: Final = frozenset({"Awarded", "Cancelled", "Paid", "Completed", "Stalled"})  # of the market, after own moves

OnEvent = Callable[..., None]  # on_event(name, **fields)
Decide = Callable[[ChainView, Notes], list[Action]]


class Worker:
    """One account that holds some roles, until it is stopped.

    Use as a context, in which its blobs are served and its database is open:

        with Worker(chain, ["solver"], options, executors) as worker:
            worker.run()

    Args:
        chain: of the account that acts.
        roles: out of ROLES.
        executors: makes the executor of a task; `executor_factory` gives the usual one.
        on_event: told of everything that is worth a line, beside the log.
        replays: makes a dispute's replay.
    """

    def __init__(
        self,
        chain: Chain,
        roles: Collection[str],
        options: WorkerOptions,
        executors: ExecutorFactory,
        on_event: OnEvent | None = None,
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
            self.db = stack.enter_context(Database(folder / "worker.db", self._identity()))
            blobs = BlobStore(folder / "blobs", None, self.options.fetch)
            if self.options.listen:
                server = stack.enter_context(BlobServer(blobs.folder, *self.options.listen))
                blobs.base = self.options.public_url or server.url
            self.materials = Materials(self.chain.address, blobs, self._executors, self._replays, self.options)
            stack.callback(self.materials.close)
            self._stack = stack.pop_all()
        self._backoff = Backoff(FIRST_BACKOFF, self.options.max_backoff)
        self._work = Work(self.materials, self.db, self.options, self.tell)
        self._disputes = Disputes(self.chain, self.reader, self.materials, self._work, self.db, self.tell)
        self._deciders = list(self._decide())
        self._acts = self._table()
        self._due: list[tuple[TaskView, Train | Audit]] = []
        self._told: dict[Hashable, str] = {}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def tell(self, name: str, **fields: Any) -> None:
        """One event: to the log, and to whoever asked for them."""
        if name != "progress":
            self._log.info(name, **{key: _shown(value) for key, value in fields.items()})
        if self._on_event:
            self._on_event(name, **fields)

    def stop(self) -> None:
        """End `run` after the action at hand. May be called from anywhere."""
        self._stop.set()

    def run(self) -> None:
        """Act until stopped, by `stop`, SIGTERM or SIGINT."""
        with self._signals():
            self.tell("started", roles=", ".join(self.roles), blobs=self.materials.blobs.base or "")
            while not self._stop.is_set():
                if not self.cycle():
                    self._stop.wait(self.options.poll)
            self.tell("stopped")

    def cycle(self) -> bool:
        """Look and act once; True if there is more to compute at once. Waits a while if the chain is silent."""
        try:
            view = self._look()
            self._disputes.notice(view)
            self._work.tidy(view)
            actions = self._actions(view)
            self._due = [(view.task(a.task_id), a) for a in actions if isinstance(a, Train | Audit)]
            for action in actions:
                if not isinstance(action, Train | Audit) and not self._stop.is_set():
                    self._attempt(action, partial(self._acts[type(action)], view, action))
            self._enforce(view)
        except ChainUnavailable as error:
            wait = self._backoff.failed("chain")
            self._log.warning("chain unavailable", error=str(error), retry_in=wait)
            if not self._compute():  # what was decided before the silence stays worth computing
                self._stop.wait(wait)
            return False
        self._backoff.succeeded("chain")
        return self._compute()

    def _look(self) -> ChainView:
        try:
            self.chain.settle()
            return self.reader.read()
        except ChainError as error:  # reading asks for nothing that a node could rightly refuse
            raise ChainUnavailable(str(error)) from error

    # deciding

    def _identity(self) -> str:
        genesis = self.chain.block(0).hash.hex()
        deployment = self.chain.deployment
        return f"account {self.chain.address} at market {deployment.market} of chain {deployment.chain_id}, {genesis}"

    def _decide(self) -> Iterator[Decide]:
        policy, secret = self.options.policy, self.db.secret()
        if "solver" in self.roles:
            yield lambda view, notes: solver.decide(view, notes, policy)
        if "verifier" in self.roles:
            yield lambda view, notes: verifier.decide(view, notes, policy, secret)
        if "requester" in self.roles:
            yield lambda view, notes: requester.decide(view)

    def _actions(self, view: ChainView) -> list[Action]:
        """What all roles want, each thing once, disputes first: there a clock runs."""
        notes = self._work.notes(view, self.reader.opened_by(view.me))
        decided = [self._attempt(decide, partial(decide, view, notes)) or [] for decide in self._deciders]
        wanted = dict.fromkeys(action for actions in decided for action in actions)
        return sorted(wanted, key=lambda action: not isinstance(action, Defend | Challenge | Timeout))

    # acting

    def _attempt(self, key: Hashable, act: Callable[[], Any]) -> Any:
        """Do one thing. Its failure is logged, delays its next try, and stops nothing else; a silent chain does."""
        if not self._backoff.ready(key):
            return None
        try:
            result = act()
        except ChainUnavailable:
            raise
        except OffchainError as error:
            self._failed(key, str(error), detailed=False)
            return None
        except Exception as error:  # one task must not take down a worker that has a stake in others
            self._failed(key, f"{type(error).__name__}: {error}", detailed=True)
            return None
        self._backoff.succeeded(key)
        self._told.pop(key, None)
        return result

    def _failed(self, key: Hashable, why: str, detailed: bool) -> None:
        wait = self._backoff.failed(key)
        if self._told.get(key) != why:  # once, not at every try
            self._told[key] = why
            self._log.warning("failed", action=str(key), error=why, retry_in=wait, exc_info=detailed)
            if self._on_event:
                self._on_event("failed", action=key, error=why)

    def _compute(self) -> bool:
        """A slice for everything there is to compute; True if there was something."""
        seconds = self.options.slice / max(1, len(self._due))
        computed = False
        for task, action in self._due:
            if not self._stop.is_set():
                compute = self._work.train if isinstance(action, Train) else self._work.audit
                computed |= bool(self._attempt(action, partial(compute, task, action.checkpoint, seconds)))
        return computed

    def _enforce(self, view: ChainView) -> None:
        """Slash again where the market refused after a conviction of mine."""
        for dispute, challenger in self.reader.convicted.items():
            if challenger == view.me:
                self._attempt(("enforce", dispute), partial(self._disputes.end, "enforce", dispute, self.chain.enforce))

    def _table(self) -> dict[type, Callable[[ChainView, Any], None]]:
        chain, disputes = self.chain, self._disputes
        return {
            Bid: lambda view, a: self._send(a, chain.bid(a.task_id, a.price)),
            Award: lambda view, a: self._send(a, chain.award(a.task_id)),
            Commit: self._commit,
            Collect: lambda view, a: self._send(a, chain.collect(a.task_id)),
            Stall: lambda view, a: self._send(a, chain.stall(a.task_id)),
            Fetch: lambda view, a: self._work.fetch(view.task(a.task_id)),
            OpenDispute: lambda view, a: disputes.open(view.task(a.task_id), a.checkpoint),
            Defend: lambda view, a: disputes.defend(view, _dispute(view, a.dispute_id)),
            Challenge: lambda view, a: disputes.challenge(view, _dispute(view, a.dispute_id)),
            Timeout: lambda view, a: disputes.end("timeout", a.dispute_id, chain.timeout),
            Dismiss: lambda view, a: disputes.end("dismiss", a.dispute_id, chain.dismiss),
        }

    def _commit(self, view: ChainView, action: Commit) -> None:
        uri = self.materials.blobs.uri(state_name(action.root))
        self._send(action, self.chain.commit(action.task_id, action.checkpoint, action.root, uri))

    def _send(self, action: Bid | Award | Commit | Collect | Stall, receipt: Receipt) -> None:
        """Tell of a transaction that went through, and of what the market said about it."""
        fields = {name: getattr(action, name) for name in action.__slots__ if name != "task_id"}
        self.tell(type(action).__name__.lower(), task=action.task_id, **fields, gas=receipt.gas_used)
        for event in receipt.events:
            if event.name in REPORTED and event.address == self.chain.deployment.market:
                self.tell(event.name.lower(), **{key: value for key, value in event.args.items() if key != "taskId"})

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """SIGTERM and SIGINT stop the worker; a second one kills it. Only where there may be handlers."""
        if current_thread() is not main_thread():
            yield
            return

        def handle(number: int, frame: Any) -> None:
            self.stop()
            signal.signal(number, signal.SIG_DFL)

        before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def executor_factory(name: str, device: str = "cpu") -> ExecutorFactory:
    """Executors by name, see `offchain.exec.make`."""

    def make(ledger: Ledger, limits: Limits = UNLIMITED) -> Executor[Any]:
        arrays = ledger.arrays
        setting = Setting(device, limits=limits)
        return make_executor(name, ledger.graph, arrays[Source.CONST], arrays[Source.DATA], setting)

    return make


def _dispute(view: ChainView, dispute_id: int) -> DisputeView:
    return next(dispute for dispute in view.disputes if dispute.id == dispute_id)


def _shown(value: Any) -> Any:
    return value.hex() if isinstance(value, bytes) else value
