"""Follows a deployment for everybody who looks at the page: one reader, however many look."""

from __future__ import annotations

import time
from threading import Event as Flag
from threading import Lock, Thread
from typing import Any, Final

from offchain.chain.client import Call, Chain
from offchain.chain.reader import RANGE, Reader
from offchain.errors import BadInput, ChainError, ChainUnavailable
from offchain.market.view import ChainView, TaskView
from offchain.page import rows, words
from offchain.page.board import Board
from offchain.page.chronicle import Chronicle
from offchain.page.details import dispute_detail, task_detail
from offchain.page.gas import GasBook
from offchain.page.losses import Losses
from offchain.page.walk import Shape

PEOPLE: Final = 200  # whose balances are read: those with the most tasks and bids
GAS_BUDGET: Final = 0.3  # seconds of a look for reading what transactions used
REGISTERS: Final = ("registry", "verifiers")


class Watcher:
    """Reads the chain every `poll` seconds, and keeps a board and everything that details are made of."""

    def __init__(self, chain: Chain, losses: Losses, poll: float = 1.0, board: Board | None = None) -> None:
        self.board = board or Board()
        self._chain, self._losses, self._poll = chain, losses, poll
        self._told, self._gas = Chronicle(), GasBook()
        self._reader = Reader(chain, ended=True)
        self._reader.hear = self._told.take
        self._view: ChainView | None = None
        self._whole: ChainView | None = None  # the last view of which also the registers and people were read
        self._shown: tuple[ChainView | None, int] = (
            None,
            0,
        )  # what the tables show: a view, and the gas of how many
        self._facts: dict[str, Any] = {}
        self._known: dict[str, tuple[int, int, int]] = {}  # account -> free, done, failed
        self._known_at, self._entries, self._begun = (-1, -1), -1, 0
        self._trouble = "reading the chain"
        self._shapes: dict[int, tuple[int, Shape]] = {}  # dispute -> number of its moves, and what was to be named
        self._lock, self._stop = Lock(), Flag()
        self._thread = Thread(target=self._run, name="watcher", daemon=True)
        self.board.put({"trouble": self._trouble}, {})

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()

    def _run(self) -> None:
        while not self._stop.is_set():
            began = time.monotonic()
            self.look()
            self._stop.wait(max(0.05, began + self._poll - time.monotonic()))

    def look(self) -> None:
        """Read what is new, and put it on the board. Where the node does not answer the board says so."""
        try:
            self._look()
            self._trouble = ""
        except (ChainError, ChainUnavailable) as error:
            self._trouble = words.stranger(str(error))
        self._show()

    def _look(self) -> None:
        with self._lock:
            self._view = self._reader.read()
        if self._whole is not None:
            self._show()  # tasks and disputes first: people are asked for after that
        with self._lock:
            if self._view is not self._whole:  # it is the same while there is no new block
                self._read_entries()
                if self._known_at != self._told.latest:
                    self._read_people()
                    self._known_at = self._told.latest
                self._whole = self._view
        self._show()  # gas may take longer
        began = time.monotonic()
        while self._gas.read(self._chain, list(self._told.sent)) and not self._stop.is_set():
            if time.monotonic() > began + GAS_BUDGET:
                break

    def _read_entries(self) -> None:
        """Events of the registers since the last look."""
        head, width = self._chain.head().number, RANGE
        if self._begun != self._told.begun:  # the chain has changed, and what was told of it is gone
            self._begun, self._entries = self._told.begun, -1
        while self._entries < head:
            first = max(self._entries + 1, self._chain.deployment.block)
            last = min(first + width - 1, head)
            try:
                events = self._chain.logs(REGISTERS, first, last)
            except (ChainError, ChainUnavailable):
                if first >= last:
                    raise
                width = max(1, (last - first) // 2)  # perhaps too many blocks
                continue
            for event in events:
                self._told.take_entry(event)
            self._entries = last

    def _read_people(self) -> None:
        people = sorted(self._told.people.values(), key=lambda person: person.wins + person.bids, reverse=True)
        chosen = [person.address for person in people[:PEOPLE]]
        calls: list[Call] = [("vault", "freeOf", address) for address in chosen]
        answers = self._chain.calls([*calls, *(("registry", "record", address) for address in chosen)])
        for address, free, record in zip(chosen, answers, answers[len(chosen) :], strict=False):
            self._known[address] = int(free), int(record["done"]), int(record["failed"])

    def _show(self) -> None:
        view, told = self._view, self._told
        if view is None:
            self.board.put({"trouble": self._trouble}, {})
            return
        if self._shown[0] is self._whole is view and self._shown[1] == self._gas.known:
            self.board.put(self._facts | {"trouble": self._trouble}, {})
            return
        with self._lock:
            self._shown = self._whole, self._gas.known
            self._facts = rows.facts(view, told, self._entries, self._chain.deployment.chain_id)
            tables = {
                "tasks": rows.task_rows(view, told),
                "disputes": rows.dispute_rows(view, told),
                "people": rows.people_rows(view, told, self._known),
                "gas": self._gas.rows(),
            }
        self.board.put(self._facts | {"trouble": self._trouble}, tables)

    # --- details

    def task(self, task_id: int) -> dict[str, Any]:
        """Raises BadInput for a task that is not there."""
        with self._lock:
            return task_detail(self._task(task_id), self._seen(), self._told, self._gas)

    def losses(self, task_id: int) -> dict[str, Any]:
        """Raises BadInput for a task that is not there."""
        with self._lock:
            task = self._task(task_id)
        return self._losses.of(task)

    def dispute(self, dispute_id: int) -> dict[str, Any]:
        """Raises BadInput for a dispute that is not there."""
        with self._lock:
            view, dispute = self._seen(), self._told.disputes.get(dispute_id)
            if dispute is None:
                raise BadInput(f"there is no dispute {dispute_id}")
            running = next((one for one in view.disputes if one.id == dispute_id), None)
            task, moves = self._task(dispute.task_id), len(dispute.moves)
        shape = self._shape(dispute_id, moves)
        with self._lock:
            return dispute_detail(dispute, task, running, shape, self._told, self._gas, view.now)

    def _shape(self, dispute_id: int, moves: int) -> Shape:
        """What there is to name in a dispute; read again after each of its moves."""
        known = self._shapes.get(dispute_id)
        if known is None or known[0] != moves:
            try:
                known = moves, Shape.of(self._chain.call("game", "dispute", dispute_id))
            except (ChainError, ChainUnavailable):
                return known[1] if known else Shape()
            self._shapes[dispute_id] = known
        return known[1]

    def _seen(self) -> ChainView:
        if self._view is None:
            raise BadInput("the chain has not been read yet")
        return self._view

    def _task(self, task_id: int) -> TaskView:
        return self._seen().task(task_id)
