"""A worker's part in disputes: it opens them, moves, and ends them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from offchain.chain.client import Chain, GraphHeader, Receipt
from offchain.chain.reader import Reader
from offchain.commit.roots import graph_counts
from offchain.dispute import challenger, defender
from offchain.dispute.challenger import NothingWrong
from offchain.dispute.replay import Replay
from offchain.market.actions import Move
from offchain.market.view import ChainView, DisputeView, TaskView
from offchain.worker.claimed import NotAhead
from offchain.worker.database import Database
from offchain.worker.events import (
    Challenged,
    Conceded,
    DisputeEnded,
    DisputeOver,
    DisputeSeen,
    Moved,
    NothingToName,
    Tell,
)
from offchain.worker.materials import Materials
from offchain.worker.work import Work

DOUBTS: Final = 3  # readings of the chain that must all show nothing wrong before the bond is given up


class Disputes:
    """All disputes of one account. Those about one interval share its replay, which is kept while one of them runs."""

    def __init__(
        self, chain: Chain, reader: Reader, materials: Materials, work: Work, db: Database, tell: Tell
    ) -> None:
        self._chain, self._reader, self._materials = chain, reader, materials
        self._work, self._db, self._tell = work, db, tell
        self._replays: dict[tuple[int, int, int], Replay] = {}  # by task, attempt and checkpoint
        self._running: set[int] = set()
        self._doubts: dict[int, int] = {}

    def notice(self, view: ChainView) -> None:
        """Tell of disputes that began or ended; drop the replays of the latter."""
        running = {d.id: d for d in view.disputes if view.me in (d.solver, d.challenger)}
        for new in running.keys() - self._running:
            d = running[new]
            self._tell(DisputeSeen(new, d.task_id, d.checkpoint, "solver" if d.solver == view.me else "challenger"))
        for over in self._running - running.keys():
            winner = self._reader.outcome(over)
            self._tell(DisputeOver(over, won=winner == view.me, dismissed=winner == ""))
        self._running = set(running)
        disputed = {(d.task_id, d.attempt, d.checkpoint) for d in running.values()}
        self._replays = {key: replay for key, replay in self._replays.items() if key in disputed}

    def prepare(self, view: ChainView, dispute: DisputeView) -> bool:
        """Make ready, while the other is on the move, to answer it. False while that waits for something."""
        return self._replay(view, dispute) is not None

    def open(self, task: TaskView, checkpoint: int) -> None:
        """Challenge a checkpoint."""
        opened = self._materials.open(task)
        if opened is None:
            return
        header = GraphHeader(*graph_counts(opened.task.graph), opened.ledger.tree.root)
        dispute = self._chain.open(task.id, checkpoint, header, task.checkpoints[checkpoint].root)
        self._db.add_disputed(task, checkpoint, dispute)
        self._tell(Challenged(task.id, checkpoint, dispute))

    def defend(self, view: ChainView, dispute: DisputeView) -> None:
        """The solver's next move."""
        replay = self._replay(view, dispute)
        if replay is not None:
            self._move(dispute, defender.move(dispute, replay))

    def challenge(self, view: ChainView, dispute: DisputeView) -> None:
        """The challenger's next move. Concedes after DOUBTS readings of the chain that show nothing wrong."""
        replay = self._replay(view, dispute)
        if replay is None:
            return
        try:
            move = challenger.move(dispute, replay)
        except NothingWrong:
            move = None
        if replay.failed:
            self._tell(NotAhead(dispute.task_id, dispute.checkpoint, replay.failed))
            replay.failed = ""
        if move is None:
            self._doubt(dispute)
        else:
            self._move(dispute, move)

    def end(self, ended: type[DisputeEnded], dispute_id: int, send: Callable[[int], Receipt]) -> None:
        """Send a transaction that ends a dispute, and tell that event of it."""
        self._tell(ended(dispute_id, send(dispute_id).gas_used))

    def _move(self, dispute: DisputeView, move: Move) -> None:
        receipt = self._chain.move(dispute.id, move)
        self._doubts.pop(dispute.id, None)
        phase, span = dispute.phase.name, (dispute.lo, dispute.hi)
        self._tell(Moved(dispute.id, phase, move.function, *span, receipt.gas_used))

    def _doubt(self, dispute: DisputeView) -> None:
        """Read the chain again before conceding: a node that hides events makes a right challenge look wrong."""
        doubts = self._doubts[dispute.id] = self._doubts.get(dispute.id, 0) + 1
        self._tell(NothingToName(dispute.id, dispute.phase.name, doubts))
        self._reader.forget()
        if doubts >= DOUBTS:
            self.end(Conceded, dispute.id, self._chain.concede)

    def _replay(self, view: ChainView, dispute: DisputeView) -> Replay | None:
        """From the nearest state before the disputed interval; None while it is being prepared."""
        key = (dispute.task_id, dispute.attempt, dispute.checkpoint)
        if key not in self._replays:
            task = view.task(dispute.task_id)
            opened = self._materials.open(task)
            accused = dispute.checkpoint if dispute.challenger == view.me else None
            if opened is None or (accused is not None and not self._materials.ready(task, opened, accused)):
                return None
            own = self._work.own_roots(task)
            start = self._materials.start(task, opened, dispute.checkpoint, own)
            if start is None:
                return None
            self._replays[key] = self._materials.replay(task, opened, start, accused)
        return self._replays[key]
