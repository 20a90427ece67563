"""A worker that is to end: it takes nothing new, ends what it holds, and then itself. A file in its home says so."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from offchain.errors import BadInput
from offchain.market.notes import Notes, TaskNotes
from offchain.market.view import ChainView
from offchain.worker.events import Drained, Draining, Tell

FILE: Final = "drain"


def request(folder: Path, linger: float) -> None:
    """Ask the worker of that home to end. `linger`: seconds for which it still serves its last checkpoints.

    Raises BadInput where the home cannot be written to.
    """
    try:
        partial = folder / f"{FILE}.tmp"
        partial.write_text(f"{linger}\n")
        partial.replace(folder / FILE)
    except OSError as error:
        raise BadInput(f"{folder / FILE}: {error.strerror}") from error


def withdraw(folder: Path) -> None:
    """Take the request back."""
    (folder / FILE).unlink(missing_ok=True)


def holds(view: ChainView, notes: Notes | None = None) -> tuple[str, ...]:
    """What this account must still see to its end; without notes, perhaps a seat for which it has signed nothing."""
    tasks = [f"task {task.id}" for task in view.tasks if view.engaged(task)]
    bids = [f"bid for task {task_id}" for task_id, _ in view.unshown()]
    disputes = [f"dispute {d.id}" for d in view.disputes if view.me in (d.solver, d.challenger)]
    return (*tasks, *bids, *disputes, *_keeps(view, notes))


def _keeps(view: ChainView, notes: Notes | None) -> Iterator[str]:
    """What it owes as a keeper: what it has signed for, and has not been paid for, and what it may have to show.

    A seat for which it has signed nothing binds nobody: who drains does not begin there.
    """
    about = {seat[0] for seat in view.seats if notes is None or not _vain(view, notes, *seat)}
    about |= {task_id for task_id, _ in (*view.objections, *view.denied)}
    yield from (f"keeping of task {task_id}" for task_id in sorted(about))


def _vain(view: ChainView, notes: Notes, task_id: int, attempt: int, committee: int) -> bool:
    """Whether that is the running committee, which notes are about, and nothing was signed for as a member of it."""
    if task_id not in view or not view.runs(task_id, attempt):
        return False
    keeping = view.task(task_id).keeping
    return keeping is not None and keeping.committee == committee and not notes.get(task_id, TaskNotes()).kept


class Drain:
    """Sees whether the operator has asked, and whether the worker may end.

    Attributes:
        over: nothing is held any more, and what was served has been served for long enough.
    """

    def __init__(self, folder: Path, tell: Tell) -> None:
        self._file, self._tell = folder / FILE, tell
        self._told = False
        self._idle_since: float | None = None
        self.over = False

    def asked(self, view: ChainView, notes: Notes) -> bool:
        """Whether nothing new is to be taken."""
        linger, held = self._linger(), holds(view, notes)
        if (linger is not None) is not self._told:
            self._told = linger is not None
            self._tell(Draining(self._told, held))
        if linger is None or held:
            self._idle_since = None
        elif self._idle_since is None:
            self._idle_since = time.monotonic()
        if linger is not None and self._idle_since is not None and time.monotonic() >= self._idle_since + linger:
            self._end()
        return linger is not None

    def _linger(self) -> float | None:
        """What the file says; None: there is none."""
        try:
            return float(self._file.read_text())
        except FileNotFoundError:
            return None
        except (OSError, ValueError):
            return 0.0

    def _end(self) -> None:
        if not self.over:
            self.over = True
            self._file.unlink(missing_ok=True)  # the next start is an ordinary one
            self._tell(Drained())
