"""Workers on a funded deployment that tests move by hand, one look at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from offchain.chain.client import Chain
from offchain.chain.deployment import COIN
from offchain.chain.transactions import SendOptions
from offchain.dispute.falsified import Falsehood, FalsifiedExecutor
from offchain.dispute.replay import Ledger
from offchain.exec.base import Executor, Limits
from offchain.roles.policy import Policy
from offchain.store.fetch import FetchOptions
from offchain.store.taskfile import save_task
from offchain.task import Task
from offchain.worker.events import WorkerEvent
from offchain.worker.looks import Fetched, Looked
from offchain.worker.making import executor_factory
from offchain.worker.options import WorkerOptions
from offchain.worker.runner import Worker
from tests.support import tasks
from tests.support.deployment import Funded
from tests.support.lots import grant

Told = TypeVar("Told", bound=WorkerEvent)

PRICE = 10 * COIN
TERMS = {"max_price": PRICE, "interval_time": 10_000, "clock": 1_000}
SENDING = SendOptions(poll=0.05, receipt_timeout=20, estimate=True)
POLICY = Policy(hourly=0, audit_share=1.0)
PACE: Mapping[str, Any] = {"poll": 0.02, "slice": 0.2, "max_backoff": 0.2, "move_time": 0.05}
INLINE: Mapping[str, Any] = dict.fromkeys(("trials", "defence"), "inline")  # instead of processes, which take seconds
QUIET = 4  # rounds
BUSY = 10.0  # seconds
FETCH = FetchOptions(timeout=10, answer=2, window=2, schemes=frozenset({"http", "file"}), private=True)
HONEST = executor_factory("reference")


def lying(falsehood: Falsehood) -> Callable[[Ledger, Limits], Executor[Any]]:
    return lambda ledger, limits: FalsifiedExecutor(HONEST(ledger, limits), ledger, falsehood)


@dataclass
class Grants:
    """Fees that verifiers win for each checkpoint of a task. `done`: checkpoints whose draws are granted."""

    task: int
    fees: Mapping[str, int]
    secrets: Mapping[str, int]
    done: int = 0

    def catch_up(self, place: Funded) -> None:
        for checkpoint in range(self.done, place.quick("requester").call("log", "count", self.task)):
            grant(place, self.task, checkpoint, self.fees, self.secrets)
            self.done = checkpoint + 1


@dataclass
class Town(Funded):
    """A funded deployment with workers. Each looks at the chain when `until` has it do so."""

    folder: Path
    events: list[tuple[str, WorkerEvent]] = field(default_factory=list)
    workers: dict[str, Worker] = field(default_factory=dict)
    grants: list[Grants] = field(default_factory=list)

    def post(self, task: Task, **changes: Any) -> int:
        """Posts a task from a task file in `folder`; returns the task's id."""
        path = self.folder / "task.file"
        save_task(task, path)
        return tasks.post(self, task, **(TERMS | {"uri": f"file://{path}"} | changes))

    def worker(self, name: str, person: str, *roles: str, **options: Any) -> Worker:
        """Starts a worker for one of PEOPLE. It ends with `dismiss`, or at the end of the test."""
        executors = options.pop("executors", HONEST)
        replays = options.pop("replays", None)
        make = options.pop("make", Worker)
        made = WorkerOptions(self.folder / name, POLICY, **PACE, **INLINE, fetch=FETCH)
        account = partial(Chain, self.url, self.deployment, self.accounts[person], options.get("send", SENDING))
        more = {"connect": account} | ({"replays": replays} if replays else {})
        worker = make(account(), roles, replace(made, **options), executors, partial(self.note, name), **more)
        self.workers[name] = worker.__enter__()
        return worker

    def grant(self, task: int, fees: Mapping[str, int], secrets: Mapping[str, int]) -> None:
        """From now on each of these verifiers wins so many fees for each checkpoint of a task that has one attempt."""
        self.grants.append(Grants(task, fees, secrets))

    def cycle(self, worker: Worker) -> None:
        """Lets it look once; nobody else looks at what it has committed before everybody's draw is granted."""
        worker.cycle()
        for grants in self.grants:
            grants.catch_up(self)

    def note(self, who: str, event: WorkerEvent) -> None:
        if not isinstance(event, Looked | Fetched):  # pace, and no news
            self.events.append((who, event))

    def dismiss(self, name: str) -> None:
        self.workers.pop(name).__exit__(None, None, None)

    def told(self, kind: type[Told], who: str | None = None) -> list[Told]:
        """The events of a type that a worker, or any of them, has told so far."""
        return [event for name, event in self.events if isinstance(event, kind) and who in (None, name)]

    def until(self, condition: Callable[[], Any], seconds: float = 60, idle: int = 5) -> None:
        """Lets every worker look in turn and puts the chain's clock forward, until the condition holds.

        The clock goes on by `idle` seconds where no worker has reported anything for QUIET rounds, else by 5; it stands
        still, for BUSY seconds at most, while a worker fetches or tries something: that takes longer on a busy machine.
        """
        limit, quiet, moved = time.monotonic() + seconds, 0, time.monotonic()
        while not condition():
            assert time.monotonic() < limit, self.events[-30:]
            before = len(self.events)
            for worker in list(self.workers.values()):
                self.cycle(worker)
            quiet = quiet + 1 if len(self.events) == before else 0
            busy = any(worker.materials.busy for worker in self.workers.values())
            if busy and time.monotonic() < moved + BUSY:
                continue
            moved = time.monotonic()
            self.clock.travel(idle if quiet > QUIET else 5)

    def meanwhile(self, condition: Callable[[], Any], seconds: float = 60) -> None:
        """Lets every worker look in turn until the condition holds; the chain's clock only goes on as time does."""
        limit = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < limit, self.events[-30:]
            for worker in list(self.workers.values()):
                self.cycle(worker)

    def close(self) -> None:
        for name in list(self.workers):
            self.dismiss(name)
