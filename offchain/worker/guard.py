"""Starts the process of the defence, starts it again when it died, and ends it in order."""

from __future__ import annotations

from contextlib import suppress
from threading import Event, Thread
from typing import Any, Final, Protocol

import torch

from offchain.worker import defence
from offchain.worker.background import Backoff
from offchain.worker.defence import Party
from offchain.worker.events import DefenceLost, WorkerEvent
from offchain.worker.processes import Child, say
from offchain.worker.telling import unpacked

FIRST_REST: Final = 0.2  # seconds before a defence that died is started again
LONGEST_REST: Final = 5.0
PATIENCE: Final = 20.0  # seconds in which it must end: a transaction may be on its way


class Teller(Protocol):
    def __call__(self, event: WorkerEvent, traceback: bool | str = False) -> None: ...


class Guard:
    """Keeps one process of the defence running. Use as a context.

    Args:
        tell: is called with the defence's events, in another thread.
    """

    def __init__(self, party: Party, tell: Teller) -> None:
        self._party, self._tell = party, tell
        self._over = Event()
        self._child: Child | None = None
        # The system kills the process of the defence with the thread that started it.
        self._thread = Thread(target=self._watch, name="guard", daemon=True)

    def __enter__(self) -> Guard:
        return self

    def start(self) -> None:
        """Start the defence, unless that was done."""
        if self._thread.ident is None:
            self._thread.start()

    def __exit__(self, *ignored: object) -> None:
        self._over.set()
        if self._thread.ident is None:
            return
        child = self._child
        if child is not None:
            with suppress(OSError):
                say(child.connection, {"over": True})
        self._thread.join(PATIENCE)
        child = self._child
        if child is not None:
            child.process.kill()
            self._thread.join()

    def _watch(self) -> None:
        backoff = Backoff(FIRST_REST, LONGEST_REST)
        while not self._over.is_set():
            try:
                spoke, why = self._run()
            except OSError as error:  # there is no room for another process now
                spoke, why = False, str(error)
            if self._over.is_set():
                return
            if spoke:
                backoff.succeeded("")
            rest = backoff.failed("")
            self._tell(DefenceLost(why, rest))
            self._over.wait(rest)

    def _run(self) -> tuple[bool, str]:
        """Run a defence until it ends. Whether it told of anything, and how it ended."""
        with Child("defence", defence.main, self._party, torch.get_num_threads(), parent=True) as child:
            self._child = child
            try:
                return (False, "") if self._over.is_set() else (self._listen(child), child.ending())
            finally:
                self._child = None

    def _listen(self, child: Child) -> bool:
        """Tell of what the defence tells, until it is gone. Whether it told of anything."""
        told = False
        with suppress(EOFError, KeyError, TypeError, ValueError):
            while True:
                message: dict[str, Any] | None = child.hear()
                if message is not None:
                    self._tell(unpacked(message), message.get("traceback", False))
                    told = True
        return told
