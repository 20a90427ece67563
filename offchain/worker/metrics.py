"""A worker in numbers, for Prometheus: read from its events, served at /metrics, with /healthz beside it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from socket import AF_INET6
from socketserver import ThreadingMixIn
from threading import Lock, Thread
from types import TracebackType
from typing import Any, Final, Self, get_args
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from offchain import __version__
from offchain.errors import BadInput
from offchain.market.money import DECIMALS
from offchain.store.addresses import is_loopback
from offchain.worker.alarms import LossKind, Lost
from offchain.worker.events import (
    Audited,
    Computing,
    DefenceLost,
    DefenceStarted,
    DisputeOver,
    DisputeSeen,
    Failed,
    InFlight,
    Moved,
    Progress,
    Started,
    TaskUnfit,
    WorkerEvent,
)
from offchain.worker.kept import Keeps, RewardSent
from offchain.worker.looks import Fetched, Looked

LATE: Final = 60.0  # seconds without a look at the chain after which a worker is not well
PATIENCE: Final = 10.0  # seconds that a caller may take to ask
LOOKS: Final = (0.01, 0.03, 0.1, 0.3, 1, 3, 10)  # seconds
FETCHES: Final = (0.1, 0.3, 1, 3, 10, 30, 100)
ONE: Final = 10**DECIMALS
LOSSES: Final = get_args(LossKind)

Answer = tuple[str, str, bytes]  # status, type of the content, content


class Metrics:
    """Counts what a worker tells; `on_event` is one of its listeners, and may be called from any thread.

    Amounts are in whole tokens or coins, as floats: for curves and alarms, not for accounts.
    """

    def __init__(self, roles: Sequence[str]) -> None:
        self.registry = CollectorRegistry()
        self._lock = Lock()
        self._make(roles)
        self._at: dict[tuple[str, int], tuple[int, float]] = {}  # purpose and task -> steps, and when
        self._looked: float | None = None
        self._defended = True
        self._readers: dict[type[WorkerEvent], Callable[[Any], None]] = {
            Looked: self._look,
            Fetched: self._fetch,
            Lost: self._loss,
            Audited: lambda e: self._replays.labels("right" if e.right else "wrong").inc(),
            Computing: lambda e: self._begin(e.purpose, e.task, e.from_step),
            Progress: self._progress,
            Moved: lambda e: self._moves.inc(),
            DisputeSeen: lambda e: self._disputes.labels(e.side).inc(),
            DisputeOver: lambda e: self._ended.labels("dismissed" if e.dismissed else "won" if e.won else "lost").inc(),
            Failed: lambda e: self._failures.inc(),
            TaskUnfit: lambda e: self._unfit.inc(),
            InFlight: lambda e: self._replaced.inc(),
            DefenceStarted: lambda e: self._defence(True),
            DefenceLost: lambda e: self._defence(False),
            Keeps: lambda e: self._kept.inc(),
            RewardSent: lambda e: self._rewards.inc(e.amount / ONE),
            Started: lambda e: self._started.set_to_current_time(),
        }

    def _make(self, roles: Sequence[str]) -> None:
        def counter(name: str, what: str, *labels: str) -> Counter:
            return Counter(f"offchain_{name}", what, labels, registry=self.registry)

        def gauge(name: str, what: str, *labels: str) -> Gauge:
            return Gauge(f"offchain_{name}", what, labels, registry=self.registry)

        gauge("worker_info", "Always 1.", "version", "roles").labels(__version__, ",".join(roles)).set(1)
        self._started = gauge("started_timestamp_seconds", "When this worker started.")
        self._missed = counter("deadlines_missed", "Checkpoints that were not committed in time.")
        self._lost = counter("lost_tokens", "Stakes and bonds that are gone.", "how")
        for how in LOSSES:
            self._lost.labels(how)
        self._free = gauge("free_tokens", "Free in the vault: for stakes and bonds.")
        self._ether = gauge("ether", "The account's coins, which pay for gas.")
        self._due = gauge("moves_due", "Disputes that wait for a move of this account.")
        self._held = gauge("tasks_held", "Tasks that this account bids for, solves, or stands by for.")
        self._tasks = gauge("tasks_followed", "Tasks in which something is left to do for somebody.")
        self._replays = counter("replays", "Checkpoints that were replayed and judged.", "verdict")
        self._steps = counter("steps", "Training steps that were computed.", "purpose")
        self._rate = gauge("steps_per_second", "In the latest slice of computing.", "purpose")
        self._looks = Histogram("offchain_look_seconds", "Reading the chain.", buckets=LOOKS, registry=self.registry)
        self._block = gauge("chain_timestamp_seconds", "Time of the latest block that was read.")
        self._fetches = counter("fetches", "Files that were asked for.", "kind", "outcome")
        self._bytes = counter("fetched_bytes", "Of files that came and were right.", "kind")
        self._slow = Histogram("offchain_fetch_seconds", "Fetches.", buckets=FETCHES, registry=self.registry)
        self._moves = counter("moves", "Moves in disputes.")
        self._disputes = counter("disputes", "Disputes that began.", "side")
        self._ended = counter("disputes_ended", "Disputes that are over.", "outcome")
        self._seats = gauge("seats", "Committees of keepers on which this account sits, and was not paid for yet.")
        self._kept = counter("kept_checkpoints", "Checkpoints that it has signed for as a keeper.")
        self._rewards = counter("keeping_tokens", "Earned by keeping checkpoints.")
        self._failures = counter("failures", "Actions that failed, for a reason that was not told before.")
        self._unfit = counter("unfit_tasks", "Tasks that do not fit this worker, now or for good.")
        self._replaced = counter("transactions_replaced", "Transactions that were not mined in time.")
        self._restarts = counter("defence_lost", "Times that the process of the defence died.")
        self._gas = counter("gas", "Gas of this worker's transactions.")

    def on_event(self, event: WorkerEvent) -> None:
        """Count an event. Those without a row count by their gas, where they have any."""
        with self._lock:
            self._gas.inc(getattr(event, "gas", 0))
            if read := self._readers.get(type(event)):
                read(event)

    def _look(self, event: Looked) -> None:
        self._looked = time.monotonic()
        self._looks.observe(event.seconds)
        self._block.set(event.chain_time)
        self._free.set(event.free / ONE)
        self._ether.set(event.ether / ONE)
        self._tasks.set(event.tasks)
        self._held.set(event.held)
        self._due.set(event.moves_due)
        self._seats.set(event.seats)

    def _fetch(self, event: Fetched) -> None:
        self._fetches.labels(event.kind, "came" if event.came else "failed").inc()
        self._bytes.labels(event.kind).inc(event.size)
        self._slow.observe(event.seconds)

    def _loss(self, event: Lost) -> None:
        self._lost.labels(event.kind).inc(event.amount / ONE)
        if event.kind == "deadline":
            self._missed.inc()

    def _begin(self, purpose: str, task: int, step: int) -> None:
        self._at[purpose, task] = step, time.monotonic()

    def _progress(self, event: Progress) -> None:
        now = time.monotonic()
        before, since = self._at.pop((event.purpose, event.task), (event.steps, now))
        if event.steps < event.of:
            self._at[event.purpose, event.task] = event.steps, now
        if event.steps > before:
            self._steps.labels(event.purpose).inc(event.steps - before)
            self._rate.labels(event.purpose).set((event.steps - before) / max(now - since, 1e-9))

    def _defence(self, runs: bool) -> None:
        self._defended = runs
        if not runs:
            self._restarts.inc()

    def text(self) -> bytes:
        """Everything in Prometheus's text format."""
        return generate_latest(self.registry)

    def health(self) -> tuple[bool, dict[str, Any]]:
        """Whether the worker reads the chain and can move in disputes, and why not."""
        age = None if self._looked is None else time.monotonic() - self._looked
        wrong = []
        if age is None or age > LATE:
            wrong.append(f"no look at the chain for {LATE:g} s" if age else "no look at the chain yet")
        if not self._defended:
            wrong.append("the process of the defence is down")
        return not wrong, {"ok": not wrong, "look_age": None if age is None else round(age, 1), "wrong": wrong}


class MetricsServer:
    """Serves /metrics and /healthz while the context is open, from a thread of its own.

    Args:
        host, port: where to listen; port 0 picks a free one. At a loopback address it answers to names of this machine
            only, so that no web page can read it through a browser.

    Raises BadInput where it cannot listen there.
    """

    def __init__(self, metrics: Metrics, host: str, port: int) -> None:
        self._metrics, self._local = metrics, is_loopback(host)
        try:
            self._server = make_server(host, port, self._answer, _Server6 if ":" in host else _Server, _Quiet)
        except (OSError, OverflowError) as error:
            why = getattr(error, "strerror", None) or error
            raise BadInput(f"cannot serve metrics at {host}:{port}: {why}; name another --metrics") from error
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{self._server.server_port}"
        self._thread = Thread(target=self._server.serve_forever, name="metrics", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _answer(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        status, kind, body = self._page(environ)
        start(status, [("Content-Type", kind), ("Content-Length", str(len(body))), ("Cache-Control", "no-store")])
        return [body]

    def _page(self, environ: dict[str, Any]) -> Answer:
        asked = environ.get("HTTP_HOST", "").rpartition(":")[0] or environ.get("HTTP_HOST", "")
        if self._local and not is_loopback(asked.strip("[]")):
            return "403 Forbidden", "text/plain", b"this is served to this machine\n"
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return "405 Method Not Allowed", "text/plain", b"nothing here can be changed\n"
        if environ["PATH_INFO"] == "/metrics":
            return "200 OK", CONTENT_TYPE_LATEST, self._metrics.text()
        if environ["PATH_INFO"] == "/healthz":
            well, said = self._metrics.health()
            return "200 OK" if well else "503 Service Unavailable", "application/json", json.dumps(said).encode()
        return "404 Not Found", "text/plain", b"there are /metrics and /healthz\n"


class _Quiet(WSGIRequestHandler):
    timeout = PATIENCE

    def log_message(self, format: str, *args: Any) -> None:
        """The log is about the market."""


class _Server(ThreadingMixIn, WSGIServer):
    """A slow caller keeps nobody waiting, and is cut off."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller that left is no event."""


class _Server6(_Server):
    address_family = AF_INET6
