"""What a worker and its defence have in common: they read the chain, ask the roles, act, and read again."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Collection, Hashable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from threading import Event
from types import TracebackType
from typing import Any, ClassVar, Final, Self

import structlog

from offchain.chain.client import Chain
from offchain.chain.reader import Reader
from offchain.chain.register import endpoints_of
from offchain.chain.reverts import Reverted
from offchain.chain.transactions import Foreign, Waiting
from offchain.dispute.replay import Replay
from offchain.errors import BadInput, ChainError, ChainUnavailable, OffchainError
from offchain.market.actions import (
    Action,
    Award,
    Challenge,
    Collect,
    Defend,
    Denounce,
    Dismiss,
    ObjectTo,
    OpenDispute,
    Recall,
    Reopen,
    Seat,
    SettleBid,
    SettleObjection,
    Stall,
    Timeout,
)
from offchain.market.view import ChainView, TaskView
from offchain.roles.table import ROLES
from offchain.store.blobs import BlobStore
from offchain.worker.acts import Acts
from offchain.worker.background import Backoff
from offchain.worker.database import Database
from offchain.worker.display import write_line
from offchain.worker.disputes import Disputes
from offchain.worker.events import AccountShared, Failed, InFlight, Overtaken, Tell, WorkerEvent
from offchain.worker.gathering import Gatherer
from offchain.worker.holders import Holders
from offchain.worker.keeping import Keeping
from offchain.worker.looks import Fetched
from offchain.worker.making import ExecutorFactory
from offchain.worker.materials import Materials, ReplayFactory
from offchain.worker.options import WorkerOptions
from offchain.worker.work import Work

DATABASE: Final = "worker.db"  # in a worker's folder
FIRST_BACKOFF: Final = 0.5  # seconds
MOVES: Final = Defend | Challenge | Timeout | Dismiss  # in a dispute that runs
# How the contracts refuse what somebody else has done first. That is ordinary, and no failure.
RACES: Final[dict[Hashable, frozenset[str]]] = {
    Award: frozenset({"WrongStatus"}),
    SettleBid: frozenset({"NotCommitted"}),
    Reopen: frozenset({"WrongStatus"}),
    Collect: frozenset({"WrongStatus", "NothingFinal"}),
    Stall: frozenset({"WrongStatus"}),
    OpenDispute: frozenset({"WrongStatus"}),
    Seat: frozenset({"AlreadySeated", "BlockOpen", "NotRunning"}),
    Denounce: frozenset({"AlreadySettled"}),
    Recall: frozenset({"AlreadyCalled", "NotRunning"}),
    ObjectTo: frozenset({"AlreadyCalled", "NotRunning"}),
    SettleObjection: frozenset({"Undecided", "NoObjection"}),
    **dict.fromkeys((Challenge, Defend, Dismiss, Timeout), frozenset({"NotRunning"})),
}


class Loop:
    """Looks and acts, as a context in which its database is open.

    Args:
        chain: of the account that acts.
        roles: names out of `offchain.roles.table.ROLES`.
        executors: makes the executor of a task; `executor_factory` gives the usual one.
        on_event: is called with every event, after its line in the log.
        replays: makes a dispute's replay.
    """

    lane: ClassVar[str] = "work"  # names this process among those that send for the account

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
        self._policy = replace(options.policy, lag=options.lag, draws=options.signing_key is not None)
        self.reader = Reader(chain, audits="verifier" in roles)
        self._executors, self._replays, self._on_event = executors, replays, on_event
        self._stop = Event()
        self._stack = ExitStack()
        self._log = structlog.get_logger().bind(account=chain.address[:8])

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._begin(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _begin(self, stack: ExitStack) -> None:
        """Open everything; `stack` closes it."""
        folder = self.options.folder
        self.chain.share_account(folder / "outbox.json", self.lane)
        self.chain.stake_on(None, self._in_flight)
        self.db = stack.enter_context(Database(folder / DATABASE, self._identity()))
        blobs = BlobStore(folder / "blobs", None, self.options.fetch)
        blobs.heard = self._heard
        makers = self._executors, self._replays, self.options, self._tried
        holders = Holders(self.reader.endpoints, self.chain.address)
        self.materials = Materials(self.chain.address, blobs, *makers, holders)
        stack.callback(self.materials.close)
        self._secret = self.db.secret()
        self._backoff = Backoff(FIRST_BACKOFF, self.options.max_backoff)
        self._work = Work(self.materials, self.db, self.options, self.tell)
        self._disputes = Disputes(self.chain, self.reader, self.materials, self._work, self.db, self.tell)
        parts, key = (self.materials, self.db, self._work, self._disputes), self.options.signing_key
        gatherer = Gatherer(blobs, partial(endpoints_of, self.chain), self.chain.address)
        stack.callback(gatherer.close)
        more = self.reader.leave, key, self._policy.gas_cost
        self.keeping = Keeping(self.chain, self.materials, self.db, gatherer, self.tell, *more)
        self._acts = Acts(self.chain, *parts, self.tell, self.keeping, self.reader.settle_bid, key)
        self._told: dict[Hashable, str] = {}  # the last failure of each key
        self._look_seconds = 0.0  # of the latest look

    def _identity(self) -> str:
        genesis = self.chain.block(0).hash.hex()
        deployment = self.chain.deployment
        return f"account {self.chain.address} at market {deployment.market} of chain {deployment.chain_id}, {genesis}"

    def _tried(self, task: TaskView) -> bool:
        return self.db.notes(task).fit is True

    def tell(self, event: WorkerEvent, traceback: bool | str = False) -> None:
        """Write an event to the log, with a traceback (True: of the exception at hand), and hand it to `on_event`."""
        write_line(self._log, event, traceback)
        if self._on_event:
            self._on_event(event)

    def stop(self) -> None:
        """End after the action at hand. May be called from anywhere."""
        self._stop.set()

    def _look(self) -> ChainView:
        begun = time.monotonic()
        try:
            self.chain.settle()
            view = self.reader.read()
        except ChainError as error:  # no node may refuse to be read
            raise ChainUnavailable(str(error)) from error
        self.chain.stake_on(view.shortest_clock())
        self._look_seconds = time.monotonic() - begun
        return view

    def _in_flight(self, notice: Waiting | Foreign) -> None:
        if isinstance(notice, Foreign):
            self.tell(AccountShared(notice.nonce))
        else:
            self.tell(InFlight(notice.what, notice.nonce, notice.fee, notice.age, notice.then))

    def _heard(self, kind: str, came: bool, seconds: float, size: int) -> None:
        self.tell(Fetched(kind, came, seconds, size))

    def _actions(self, view: ChainView) -> list[Action]:
        """What all roles want, each action once. Moves in disputes come first: a clock runs there."""
        notes = self._work.notes(view)
        wanted: dict[Action, None] = {}
        for name, role in ROLES.items():
            if name in self.roles:
                decide = partial(role.decide, view, notes, self._policy, self._secret)
                wanted |= dict.fromkeys(self._attempt(("decide", name), decide) or [])
        return sorted(wanted, key=lambda action: not isinstance(action, Defend | Challenge | Timeout))

    def _attempt(self, key: Hashable, act: Callable[[], Any]) -> Any:
        """Call `act`. A failure is told, delays the next try of this key, and stops nothing else.

        What returns False waits for something, a file that is being fetched: it has neither failed nor come about.

        Raises ChainUnavailable, which concerns everything.
        """
        if not self._backoff.ready(key):
            return None
        try:
            result = act()
        except ChainUnavailable:
            raise
        except Reverted as error:
            if error.name in RACES.get(type(key), ()):
                self._backoff.failed(key)
                self.tell(Overtaken(str(key), str(error)))
            else:
                self._failed(key, str(error), traceback=False)
            return None
        except OffchainError as error:
            self._failed(key, str(error), traceback=False)
            return None
        except (OSError, sqlite3.Error) as error:  # a full disk, say: no fault of this program
            self._failed(key, f"{type(error).__name__}: {error}", traceback=False)
            return None
        except Exception as error:  # one task must not end a worker that has stakes in others
            self._failed(key, f"{type(error).__name__}: {error}", traceback=True)
            return None
        if result is not False:
            self._backoff.succeeded(key)
            self._told.pop(key, None)
        return result

    def _failed(self, key: Hashable, why: str, traceback: bool) -> float:
        """Tell of a failure, unless it was told. Returns the seconds until the next try."""
        wait = self._backoff.failed(key)
        if self._told.get(key) != why:  # not again at every try
            self._told[key] = why
            self.tell(Failed(str(key), why, wait), traceback)
        return wait
