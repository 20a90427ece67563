"""A chain, a deployment, and workers that are moved by hand."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from eth_account import Account
from web3 import Web3

from offchain.chain.client import Chain
from offchain.chain.deployment import COIN, Deployment, Parameters, deploy
from offchain.chain.ganache import Ganache
from offchain.chain.transactions import SendOptions
from offchain.dispute.falsified import Falsehood, FalsifiedExecutor
from offchain.dispute.replay import Ledger
from offchain.exec.base import Executor, Limits
from offchain.ir.graph import Node, Slot, Source, TensorSpec
from offchain.ir.kinds import Kind
from offchain.ir.primitives import DType, Instr, Op
from offchain.market.view import SOLVER, Status, Terms
from offchain.roles.policy import Policy
from offchain.store.blobs import FetchOptions
from offchain.store.taskfile import save_task
from offchain.task import Task
from offchain.worker.events import WorkerEvent
from offchain.worker.materials import executor_factory
from offchain.worker.options import WorkerOptions
from offchain.worker.runner import Worker
from tests.contracts.runs import Job, every_kind, finish

Told = TypeVar("Told", bound=WorkerEvent)

PARAMETERS = Parameters(
    withdrawal_delay=1, detection_bps=5_000, bidding_time=60, interval_time=60, challenge_window=60, clock=60, bond=COIN
)
PRICE = 10 * COIN
POLICY = Policy(ask=Fraction(1), audit_share=1.0)
QUIET = 4  # rounds in which nobody says anything
FETCH = FetchOptions(timeout=10, idle=2, schemes=frozenset({"http", "file"}))
HONEST = executor_factory("reference")


def task_of(job: Job) -> Task:
    return Task(job.graph, (), tuple(job.datasets), tuple(job.state), job.steps, "test")


def task_of_every_kind() -> Task:
    return task_of(every_kind(6, 3))


def tall(length: int = 265_000) -> Job:
    """A slot of more than 256 chunks, written anew in every step."""
    wave = (Instr(Op.INDEX, 0), Instr(Op.TO_FLOAT, 0))
    nodes = [Node(Kind.MAP, DType.F32, (length,), (), program=wave)]
    slots = [
        Slot(TensorSpec("w", DType.F32, (length,)), Source.NODE, 0),
        Slot(TensorSpec("log", DType.F32, (1, 1)), Source.STATE, 1),
    ]
    return finish(nodes, slots, [np.zeros(length, np.float32), np.zeros(1, np.float32)], [], 1)


def lying(falsehood: Falsehood) -> Callable[[Ledger, Limits], Executor[Any]]:
    return lambda ledger, limits: FalsifiedExecutor(HONEST(ledger, limits), ledger, falsehood)


@dataclass
class Town:
    """A chain, a deployment, and workers that are moved by hand, one look at a time."""

    ganache: Ganache
    folder: Path
    deployment: Deployment
    events: list[tuple[str, WorkerEvent]] = field(default_factory=list)
    workers: dict[str, Worker] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.w3 = connected(self.ganache)
        self.requester = self.chain(0)

    @classmethod
    def build(cls, ganache: Ganache, folder: Path) -> Town:
        """A new deployment, four funded accounts, two of them registered."""
        w3 = connected(ganache)
        town = cls(ganache, folder, deploy(w3, w3.eth.accounts[0], PARAMETERS))
        for number in range(4):
            town.requester.mint(town.chain(number).address, 10_000 * COIN)
            town.chain(number).deposit(5_000 * COIN)
        for number in (1, 2):
            town.chain(number).register(SOLVER, "")
        return town

    def chain(self, account: int) -> Chain:
        options = SendOptions(poll=0.05, receipt_timeout=20)
        return Chain(self.ganache.url, self.deployment, Account.from_key(self.ganache.accounts[account]), options)

    def post(self, task: Task, **changes: Any) -> int:
        path = self.folder / "task.file"
        save_task(task, path)
        terms = Terms(
            graph_root=task.graph_root,
            state_root=task.state_root,
            steps=task.steps,
            interval=task.interval,
            max_price=PRICE,
            stake=self.requester.required_stake(PRICE),
            bond=COIN,
            bidding_time=60,
            interval_time=10_000,
            challenge_window=1_000,
            clock=1_000,
            uri=f"file://{path}",
        )
        return self.requester.post(replace(terms, **changes))

    def worker(self, name: str, account: int, *roles: str, **options: Any) -> Worker:
        """Entered; leaves with `dismiss` or at the end of the test."""
        executors = options.pop("executors", HONEST)
        replays = options.pop("replays", None)
        made = WorkerOptions(self.folder / name, POLICY, poll=0.02, slice=0.2, max_backoff=0.2, fetch=FETCH)
        more = {"replays": replays} if replays else {}
        worker = Worker(
            self.chain(account), roles, replace(made, **options), executors, partial(self.note, name), **more
        )
        self.workers[name] = worker.__enter__()
        return worker

    def note(self, who: str, event: WorkerEvent) -> None:
        self.events.append((who, event))

    def dismiss(self, name: str) -> None:
        self.workers.pop(name).__exit__(None, None, None)

    def told(self, kind: type[Told], who: str | None = None) -> list[Told]:
        """The events of a type that a worker, or any of them, has told so far."""
        return [event for name, event in self.events if isinstance(event, kind) and who in (None, name)]

    def until(self, condition: Callable[[], Any], seconds: float = 60, idle: int = 5) -> None:
        """Every worker looks in turn, and the chain's clock goes on, until the condition holds.

        By `idle` seconds where nobody has said anything for a while.
        """
        limit, quiet = time.monotonic() + seconds, 0
        while not condition():
            assert time.monotonic() < limit, self.events[-30:]
            before = len(self.events)
            for worker in list(self.workers.values()):
                worker.cycle()
            quiet = quiet + 1 if len(self.events) == before else 0
            self.travel(idle if quiet > QUIET else 5)

    def travel(self, seconds: int) -> None:
        self.w3.provider.make_request("evm_increaseTime", [seconds])
        self.w3.provider.make_request("evm_mine", [])

    def status(self, task: int) -> Status:
        return self.requester.task(task, self.requester.terms(task)).status

    def close(self) -> None:
        for name in list(self.workers):
            self.dismiss(name)


def connected(ganache: Ganache) -> Web3:
    return Web3(Web3.HTTPProvider(ganache.url, request_kwargs={"timeout": 60}))
