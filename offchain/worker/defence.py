"""The defence: the part of a worker that plays its disputes, in a process of its own.

Nothing that strangers post, serve or ask delays a move: whatever the worker does meanwhile, be it that it parses,
tries, trains or serves, this process has its own interpreter, its own executors and its own connection. It opens only
tasks that this account has committed to or challenges, from the worker's blobs, and checks them again.
"""

from __future__ import annotations

import time
import traceback as tracebacks
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing.connection import Connection
from threading import Lock, Thread
from typing import Final

from offchain.chain.client import Chain
from offchain.errors import ChainUnavailable
from offchain.market.view import ChainView, Status
from offchain.worker.events import ChainSilent, DefenceStarted, WorkerEvent
from offchain.worker.loop import MOVES, Loop
from offchain.worker.making import ExecutorFactory
from offchain.worker.materials import ReplayFactory
from offchain.worker.options import WorkerOptions
from offchain.worker.processes import hear, say, settle_in
from offchain.worker.telling import packed

PACE: Final = 0.25  # seconds between two looks while a dispute waits for this account


@dataclass(frozen=True, slots=True)
class Party:
    """Whom the process defends, and with what. All of it comes from the operator, and is pickled."""

    connect: Callable[[], Chain]
    roles: tuple[str, ...]
    options: WorkerOptions
    executors: ExecutorFactory
    replays: ReplayFactory


class Defence(Loop):
    """Plays the disputes in which its account is solver or challenger, until it is stopped."""

    lane = "defence"

    def run(self) -> None:
        """Act until stopped."""
        while not self._stop.is_set():
            self._stop.wait(min(PACE, self.options.poll) if self.cycle() else self.options.poll)

    def cycle(self) -> bool:
        """Read the chain and move once in each dispute. True if there are moves to make; waits a while if the chain
        does not answer."""
        try:
            view = ours(self._look())
            self._disputes.notice(view)
            moves = [action for action in self._actions(view) if isinstance(action, MOVES)]
            for action in moves:
                if not self._stop.is_set():
                    self._attempt(action, partial(self._acts.perform, view, action))
            if not moves:
                self._warm(view)
        except ChainUnavailable as error:
            wait = self._backoff.failed("chain")
            self.tell(ChainSilent(str(error), wait))
            self._stop.wait(wait)
            return False
        self._backoff.succeeded("chain")
        return bool(moves)

    def _warm(self, view: ChainView) -> None:
        """Open the tasks that this account has committed to before anybody disputes, and close those that are over;
        prepare what is to be said next in disputes that run."""
        for task in view.tasks:
            if task.status is not Status.TRAINING:
                self.materials.close_task(task)
            elif task.solver == view.me and task.checkpoints:
                self._attempt(("open", task.id), partial(self._work.prepare, task))
        for dispute in view.disputes:
            if dispute.challenger == view.me:
                self._attempt(("prepare", dispute.id), partial(self._disputes.prepare, view, dispute))


def ours(view: ChainView) -> ChainView:
    """What this account has to do with: nobody else's tasks take time here."""
    disputes = tuple(dispute for dispute in view.disputes if view.me in (dispute.solver, dispute.challenger))
    disputed = {dispute.task_id for dispute in disputes}
    tasks = tuple(task for task in view.tasks if task.solver == view.me or task.id in disputed)
    return replace(view, tasks=tasks, disputes=disputes)


class _Told(Defence):
    """Tells the worker of its events, which writes them into the log."""

    connection: Connection
    speaking: Lock  # fetches tell from threads of their own

    def tell(self, event: WorkerEvent, traceback: bool | str = False) -> None:
        message = packed(event) | ({"traceback": tracebacks.format_exc()} if traceback else {})
        with self.speaking, suppress(OSError):  # the worker is gone, and the end of this process is on its way
            say(self.connection, message)


def main(connection: Connection, party: Party, threads: int) -> None:
    """The process of the defence. Ends when the worker says so, or is gone."""
    settle_in(threads, dies_with_parent=True)
    chain = _connected(connection, party)
    with _made(chain, connection, party) as defence:
        Thread(target=_obey, args=(connection, defence), daemon=True).start()
        defence.tell(DefenceStarted())
        defence.run()


def _made(chain: Chain, connection: Connection, party: Party) -> _Told:
    defence = _Told(chain, party.roles, party.options, party.executors, replays=party.replays)
    defence.connection, defence.speaking = connection, Lock()
    return defence


def _connected(connection: Connection, party: Party) -> Chain:
    while True:
        try:
            return party.connect()
        except ChainUnavailable as error:
            try:
                say(connection, packed(ChainSilent(str(error), 1.0)))
            except OSError:  # the worker is gone
                raise SystemExit from None
            time.sleep(1.0)


def _obey(connection: Connection, defence: Defence) -> None:
    """The one thing that the worker ever says is that it is over."""
    with suppress(EOFError):
        hear(connection)
    defence.stop()
