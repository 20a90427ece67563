"""Tells an operator who is not looking at the log: of losses and of fraud, by mail, chat or whatever apprise speaks."""

from __future__ import annotations

import time
from collections.abc import Sequence
from queue import Empty, Full, Queue
from threading import Event, Thread
from types import TracebackType
from typing import Any, Final, Self

import structlog

from offchain.errors import BadInput
from offchain.worker.alarms import FraudUnanswered, Lost
from offchain.worker.display import readable
from offchain.worker.events import Audited, DefenceLost, DisputeOver, WorkerEvent

WAITING: Final = 100  # notices; what comes beyond is dropped
AGAIN: Final = 3600.0  # seconds until the same thing is told again
ENDING: Final = 5.0  # seconds for what is still to be sent when the worker ends
EVERY: Final = (Lost, FraudUnanswered, DefenceLost)  # kinds that are told of whatever they say


def is_worth(event: WorkerEvent) -> bool:
    """Whether somebody should be told: money is lost, or somebody lies."""
    if isinstance(event, Audited):
        return not event.right
    if isinstance(event, DisputeOver):
        return not event.won and not event.dismissed
    return isinstance(event, EVERY)


def title_of(event: WorkerEvent) -> str:
    """What happened, in a few words."""
    if isinstance(event, Audited):
        return f"checkpoint {event.checkpoint} of task {event.task} is false"
    if isinstance(event, Lost):
        return f"lost {readable(event)['amount']} tokens in task {event.task}"
    if isinstance(event, FraudUnanswered):
        return f"fraud in task {event.task}, and no bond to dispute it"
    return f"dispute {event.dispute} is lost" if isinstance(event, DisputeOver) else event.name


class Notices:
    """Sends to every address, in a thread of its own, so that no service can hold the worker up. Use as a context.

    Args:
        urls: as apprise reads them. They may hold passwords, and are never shown.
        who: the account, for the notice's first words.

    Raises BadInput where apprise is not installed, or does not know an address.
    """

    def __init__(self, urls: Sequence[str], who: str) -> None:
        self._sender, self._who = _sender(urls), who
        self._queue: Queue[tuple[str, str]] = Queue(WAITING)
        self._told: dict[tuple[Any, ...], float] = {}
        self._over, self._failing = Event(), False
        self._thread = Thread(target=self._send_all, name="notices", daemon=True)

    def on_event(self, event: WorkerEvent) -> None:
        """A listener of a worker's events."""
        if not is_worth(event) or self._repeated(event):
            return
        body = "\n".join(f"{name.replace('_', ' ')}: {value}" for name, value in readable(event).items())
        try:
            self._queue.put_nowait((f"offchain {self._who}: {title_of(event)}", body or event.name))
        except Full:
            self._complain("too many notices wait")

    def _repeated(self, event: WorkerEvent) -> bool:
        facts = event.facts()
        key = (event.name, *(facts.get(name) for name in ("task", "checkpoint", "dispute", "kind")))
        now = time.monotonic()
        if now < self._told.get(key, -AGAIN) + AGAIN:
            return True
        self._told = {known: told for known, told in self._told.items() if now < told + AGAIN} | {key: now}
        return False

    def _send_all(self) -> None:
        while not (self._over.is_set() and self._queue.empty()):
            try:
                title, body = self._queue.get(timeout=0.2)
            except Empty:
                continue
            try:
                sent = bool(self._sender.notify(title=title, body=body))
            except Exception:  # a service's own plug-in
                sent = False
            if sent:
                self._failing = False
            else:
                self._complain("a service took no notice")

    def _complain(self, why: str) -> None:
        if not self._failing:
            self._failing = True
            structlog.get_logger().warning("not notified", why=why)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join(ENDING)


def _sender(urls: Sequence[str]) -> Any:
    try:
        from apprise import Apprise  # an optional dependency, and slow to import
    except ImportError as error:
        raise BadInput("--notify needs apprise: pip install '.[notify]' in the checkout") from error
    sender = Apprise()
    for number, url in enumerate(urls, 1):
        if not sender.add(url):
            scheme = url.partition("://")[0]
            raise BadInput(
                f"--notify, address {number} ({scheme}://…): apprise does not know it; see its list of services"
            )
    return sender
