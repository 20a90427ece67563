"""The loop of a worker: it reads the chain, asks its roles what to do, does it, and reads again."""

from __future__ import annotations

import signal
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from math import inf
from threading import current_thread, main_thread
from typing import Any

from offchain.chain.client import Chain
from offchain.errors import BadInput, ChainUnavailable
from offchain.market.actions import Action, Audit, Train
from offchain.market.view import ChainView, TaskView
from offchain.roles.table import ROLES
from offchain.store.addresses import is_loopback_url
from offchain.worker import announced
from offchain.worker.alarms import AddressUnfit
from offchain.worker.defence import Party
from offchain.worker.draining import Drain
from offchain.worker.events import ChainSilent, SetAside, Started, Stopped
from offchain.worker.guard import Guard
from offchain.worker.home import locked
from offchain.worker.looks import Looked
from offchain.worker.loop import DATABASE, MOVES, Loop
from offchain.worker.losses import Losses
from offchain.worker.mirror import Mirror
from offchain.worker.order import LINGER, in_order
from offchain.worker.purse import Purse
from offchain.worker.spare import set_aside


class Worker(Loop):
    """One account that holds some roles, until it is stopped.

    Use as a context, in which its blobs are served and its database is open:

        with Worker(chain, ["solver"], options, executors, connect=connect) as worker:
            worker.run()

    Args:
        connect: gives the chain of the same account again, in the process of the defence; can be pickled, and so can
            `executors` and `replays` then. None: for `options.defence` "inline".
        more: see `Loop`.
    """

    def __init__(self, *more: Any, connect: Callable[[], Chain] | None = None, **named: Any) -> None:
        super().__init__(*more, **named)
        self._connect = connect
        self._view: ChainView | None = None  # of the last look
        self._due: list[tuple[TaskView, Train | Audit]] = []
        self._looked = 0
        self._turns: dict[Action, int] = {}  # in which look each was tried last, of what is still asked for
        self._computed = False  # whether anything was computed since then
        self._ahead: Future[ChainView] | None = None  # the next look, begun while the worker computes
        self._guard: Guard | None = None
        if self.options.defence == "process" and any(ROLES[name].mask for name in self.roles):
            if connect is None:
                raise BadInput("a defence in a process of its own needs a connection of its own")
            self._guard = Guard(self._party(connect), self.tell)

    def _party(self, connect: Callable[[], Chain]) -> Party:
        return Party(connect, self.roles, self.options, self._executors, self._replays)

    def _begin(self, stack: ExitStack) -> None:
        stack.enter_context(locked(self.options.folder))
        aside = set_aside(self.options.folder / DATABASE)
        if aside is not None:
            self.tell(SetAside(str(aside)))
        super()._begin(stack)
        blobs = self.materials.blobs
        if self.options.listen:
            blobs.base = self._serve(stack, self.options.listen)
        if self._guard:
            stack.enter_context(self._guard)
        self._looks = stack.enter_context(ThreadPoolExecutor(1, "look"))
        self._losses = Losses(self.chain, self.db, self.tell)
        self.reader.hear = self._losses.hear
        has_key = self.options.signing_key is not None
        self._purse = Purse(self.chain, self.roles, self.options.least_moves, self.tell, has_key)
        self._drain = Drain(self.options.folder, self.tell)
        self._mirror = Mirror(self.materials, self.db, self.options.keep, self.tell, signed=self.keeping.names)

    def _serve(self, stack: ExitStack, listen: tuple[str, int]) -> str:
        """The address at which blobs are served; a warning where others cannot reach it."""
        options = self.options
        server = announced.server(options.folder, self.materials.blobs.folder, listen, options.serve)
        stack.enter_context(server)
        url = options.public_url or server.url
        if why := announced.doubt(url, local=is_loopback_url(self.chain.wire.place)):
            self.tell(AddressUnfit(url, why))
        return url

    def run(self) -> None:
        """Act until stopped, by `stop`, SIGTERM or SIGINT."""
        with stopped_by_signals(self.stop):
            self.tell(Started(self.roles, self.materials.blobs.base or ""))
            while not self._stop.is_set():
                if not self.cycle():
                    self._stop.wait(self.options.poll)
            self.tell(Stopped())

    def cycle(self) -> bool:
        """Read the chain and act once. True if there is more to do at once: something was computed or sent.

        Waits a while if the chain does not answer.
        """
        before = self.chain.written
        if self._ahead and not self._ahead.done() and self._compute_on():  # a slow node holds nothing up
            return True
        try:
            view = self._view = self._look()
            if self._guard:
                self._guard.start()  # after the worker is in the register: it takes seconds
            else:
                self._disputes.notice(view)
            self._work.tidy(view)
            self._attempt(("mirror",), partial(self._mirror.look, view, not self.reader.behind))
            for kept in self.keeping.unread(view):
                self._attempt(("mend", *kept), partial(self.keeping.mend, view, *kept))
            self._watch_money(view)
            actions = [a for a in self._actions(view) if self._guard is None or not isinstance(a, MOVES)]
            self._plan(view, actions)
            self._act(view, [a for a in actions if not isinstance(a, Train | Audit)])
        except ChainUnavailable as error:
            wait = self._backoff.failed("chain")
            self.tell(ChainSilent(str(error), wait))
            if not self._compute_on():
                self._stop.wait(wait)
            return False
        except (OSError, sqlite3.Error) as error:  # its folder is full, or broken
            self._stop.wait(self._failed("folder", f"{type(error).__name__}: {error}", traceback=False))
            return False
        for key in ("chain", "folder"):
            self._backoff.succeeded(key)
        return self._compute() or self.chain.written > before  # what was sent asks for the next step

    def _act(self, view: ChainView, actions: Sequence[Action]) -> None:
        """All that has a deadline; of the rest what was tried longest ago first, as far as there is time."""
        urgent, *others = in_order(view, actions)
        self._looked += 1
        self._turns = {action: self._turns[action] for action in actions if action in self._turns}
        self._perform(view, urgent, inf)
        for group in others:
            self._perform(view, sorted(group, key=lambda action: self._turns.get(action, 0)), LINGER)

    def _perform(self, view: ChainView, actions: Sequence[Action], seconds: float) -> None:
        end = time.monotonic() + seconds
        for action in actions:
            if self._stop.is_set():
                return
            self._turns[action] = self._looked
            self._attempt(action, partial(self._acts.perform, view, action))
            if time.monotonic() > end:
                return

    def _watch_money(self, view: ChainView) -> None:
        """Tell of what was lost and of what is low; see whether the operator wants this worker to end."""
        self._losses.tell(view)
        self._purse.look(view)
        self.tell(Looked.of(view, self._look_seconds, self._purse.ether))
        self._policy = replace(self._policy, draining=self._drain.asked(view, self._work.notes(view)))
        if self._drain.over:
            self.stop()

    def _look(self) -> ChainView:
        """The look that was begun while the worker computed, if it did; otherwise one at this moment."""
        ahead, self._ahead = self._ahead, None
        if ahead is None:
            return super()._look()
        view = ahead.result()
        return view if self._computed else super()._look()

    def _plan(self, view: ChainView, actions: Sequence[Action]) -> None:
        self._due = [(view.task(a.task_id), a) for a in actions if isinstance(a, Train | Audit)]
        for task_id, attempt, k in self.keeping.unread(view):
            task = view.task(task_id)
            lost = ("mend", task_id, attempt, k) in self._told and not self.materials.has(task, k)
            if lost and task.solver == view.me:  # nobody else has it: its steps are made again
                self._due.append((task, Audit(task_id, k)))

    def _compute_on(self) -> bool:
        """Compute what is still to do by the last look: what was computed since is not computed again."""
        if self._view:
            self._plan(self._view, self._actions(self._view))
        return self._compute()

    def _compute(self) -> bool:
        """Compute for a slice of time, while another thread looks at the chain; True if anything was computed.

        The most urgent training and the most urgent audit share it. What is later than they waits: so every deadline is
        kept of tasks whose shares of the machine fit it together, as the ledger has it.
        """
        if self._due and self._ahead is None:
            self._ahead = self._looks.submit(super()._look)
        trains = [due for due in self._due if isinstance(due[1], Train)]
        audits = [due for due in self._due if isinstance(due[1], Audit)]
        seconds = self.options.slice / max(1, bool(trains) + bool(audits))
        ran = [self._first(sorted(kind, key=self._deadline), seconds) for kind in (trains, audits)]
        self._computed = any(ran)
        return self._computed

    def _first(self, due: list[tuple[TaskView, Train | Audit]], seconds: float) -> bool:
        """Compute the first of those that can be computed now."""
        for task, action in due:
            compute = self._work.train if isinstance(action, Train) else self._work.audit
            again = partial(compute, task, action.checkpoint, seconds)
            if not self._stop.is_set() and self._attempt(action, again):
                return True
        return False

    def _deadline(self, due: tuple[TaskView, Train | Audit]) -> tuple[bool, int, int]:
        """By when its root is needed; what is too late comes last. Audits go by the stake first.

        So tasks of little stake, which cost little to make up, cannot keep a verifier from the others.
        """
        task, action = due
        k, now = action.checkpoint, self._view.now if self._view else 0
        if isinstance(action, Train):
            return task.deadline(k) < now, 0, task.deadline(k)
        until = task.checkpoints[k].challengeable_until
        return until < now, -task.terms.stake, until


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
