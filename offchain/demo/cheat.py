"""A cheat: a worker like any other, with one false part, as a process of the demo's.

python -m offchain.demo.cheat NAME RPC DEPLOYMENT ACCOUNT HOME [TASK]     a cheat of the catalogue
python -m offchain.demo.cheat STEP,NODE,ELEMENT,XOR RPC DEPLOYMENT ACCOUNT HOME

A requester serves TASK, or what it makes of that. In the second form it is a solver that flips bits of one float.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch

from offchain.chain.client import Chain
from offchain.chain.deployment import COIN, Deployment
from offchain.chain.ganache import local_account
from offchain.chain.signingkeys import public_signing_key
from offchain.demo.cheats.catalogue import CHEATS, Cheat
from offchain.demo.cheats.cheater import Cheater
from offchain.demo.stage import POLICY, POLL, THREADS
from offchain.dispute.falsified import Falsehood, FalsifiedExecutor, FalsifiedReplay
from offchain.dispute.replay import Ledger
from offchain.errors import ChainError
from offchain.exec.base import Executor, Limits
from offchain.store.blobs import BlobStore
from offchain.store.fetch import FetchOptions
from offchain.store.names import task_name
from offchain.store.serve import BlobServer
from offchain.store.taskfile import load_task
from offchain.worker.display import configure_logging
from offchain.worker.making import ExecutorFactory, executor_factory
from offchain.worker.operate import operate
from offchain.worker.options import WorkerOptions
from offchain.worker.posting import Offer, follow, post, terms_of
from offchain.worker.runner import Worker

CHEAP: Final = replace(POLICY, hourly=0, risk=Fraction(0))  # it asks for its gas: what it is after is not pay
LOOKING: Final = replace(CHEAP, audit_share=1.0)
ON_DEMAND: Final = replace(CHEAP, audit_share=0.0)
HONEST: Final = executor_factory("fused")


@dataclass(frozen=True)
class Lying:
    """Makes executors with the bits of `honest` ones, but for the falsehood and what follows from it."""

    honest: ExecutorFactory
    falsehood: Falsehood

    def __call__(self, ledger: Ledger, limits: Limits) -> Executor[object]:
        return FalsifiedExecutor(self.honest(ledger, limits), ledger, self.falsehood)


@dataclass(frozen=True)
class Account:
    """Connects to a local chain."""

    url: str
    deployment: Path
    number: int

    def __call__(self) -> Chain:
        chain = Chain(self.url, Deployment.read(self.deployment), local_account(self.number))
        chain.check()
        return chain


def main() -> None:
    """Work until stopped, and cheat once."""
    what, url, deployment, account, home, *task = sys.argv[1:]
    connect = Account(url, Path(deployment), int(account))
    configure_logging(json_lines=True)
    torch.set_num_threads(THREADS)
    if what not in CHEATS:
        step, node, element, xor = (int(value) for value in what.split(","))
        lie_once(connect, Path(home), Falsehood(step, node, element, xor))
    elif CHEATS[what].file is not None:
        request(connect(), CHEATS[what], Path(home), Path(task[0]))
    else:
        work(connect, CHEATS[what], Path(home))


def lie_once(connect: Callable[[], Chain], home: Path, falsehood: Falsehood) -> None:
    """A solver with a false executor, whose defence is a process of its own."""
    options = WorkerOptions(home, CHEAP, poll=POLL, fetch=FetchOptions(private=True))
    operate(connect, ["solver"], options, Lying(HONEST, falsehood), make=partial(Worker, replays=FalsifiedReplay))


def work(connect: Account, cheat: Cheat, home: Path) -> None:
    """A worker with the cheat's false part, all in one process."""
    policy = CHEAP if cheat.role == "solver" else ON_DEMAND if cheat.claims else LOOKING
    inline: dict[str, Any] = dict.fromkeys(("trials", "defence"), "inline")
    key = public_signing_key(local_account(connect.number)) if cheat.claims or cheat.keeps else None
    options = WorkerOptions(home, policy, key, poll=POLL, fetch=FetchOptions(private=True), **inline)
    operate(connect, [cheat.role], options, HONEST, make=partial(Cheater, cheat.part))


def request(chain: Chain, cheat: Cheat, home: Path, file: Path) -> None:
    """Post a task, serve what the cheat makes of its file, and follow it to its end."""
    task = load_task(file)
    assert cheat.file is not None
    with BlobServer(BlobStore(home).folder, "127.0.0.1", 0) as server:
        blobs = BlobStore(home, server.url)
        name = task_name(task.graph_root, task.state_root, task.steps, task.interval)
        cheat.file(task, blobs.path(name))
        times = {"bidding_time": 30, "reveal_time": 20, "handover_time": 20, "interval_time": 60}
        offer = Offer(100 * COIN, **times, challenge_window=60, clock=60)
        task_id = post(chain, terms_of(chain, task, offer, blobs.uri(name)))
        print(json.dumps({"task": task_id}), flush=True)
        with suppress(ChainError):  # it has ended, and is followed no more
            for view in follow(chain, task_id):
                if view.task(task_id).status.ended:
                    return


if __name__ == "__main__":
    main()
