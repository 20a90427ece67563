"""A solver that lies about one float: a worker like any other, with one false part, as a process of the demo's.

python -m offchain.demo.cheat STEP NODE ELEMENT XOR RPC DEPLOYMENT ACCOUNT HOME
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from pathlib import Path

import torch

from offchain.chain.client import Chain
from offchain.chain.deployment import Deployment
from offchain.chain.ganache import local_account
from offchain.demo.stage import POLICY, POLL, THREADS
from offchain.dispute.falsified import Falsehood, FalsifiedExecutor, FalsifiedReplay
from offchain.dispute.replay import Ledger
from offchain.exec.base import Executor, Limits
from offchain.store.fetch import FetchOptions
from offchain.worker.display import configure_logging
from offchain.worker.making import ExecutorFactory, executor_factory
from offchain.worker.operate import operate
from offchain.worker.options import WorkerOptions
from offchain.worker.runner import Worker

CHEAP = replace(POLICY, hourly=0, risk=Fraction(0))  # it asks for its gas: what it is after is not pay


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
    """Work as a solver until stopped, and lie once."""
    step, node, element, xor = (int(value) for value in sys.argv[1:5])
    url, deployment, account, home = sys.argv[5:]

    configure_logging(json_lines=True)
    torch.set_num_threads(THREADS)
    operate(
        Account(url, Path(deployment), int(account)),
        ["solver"],
        WorkerOptions(Path(home), CHEAP, poll=POLL, fetch=FetchOptions(private=True)),
        Lying(executor_factory("fused"), Falsehood(step, node, element, xor)),
        make=partial(Worker, replays=FalsifiedReplay),
    )


if __name__ == "__main__":
    main()
