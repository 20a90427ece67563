"""What a requester can know of a task before it posts it: times, gas, what a worker like this machine asks."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from offchain.market.money import BPS
from offchain.market.view import NOBODY, Status, TaskView, Terms
from offchain.roles import policy
from offchain.roles.policy import Policy
from offchain.task import Task
from offchain.worker.fit import Figures, NotNow, Unfit, needs, require_fit
from offchain.worker.making import ExecutorFactory
from offchain.worker.options import WorkerOptions
from offchain.worker.trial import Trials, step_bytes
from offchain.worker.windows import ORDINARY, TIMES, Times

LONG: Final = 10**9  # seconds: no term is too short while a task is measured
UNNAMED: Final = ("max_price", "stake", "bond", "urgency", "risk_bps", "audit_fee", "keepers", "keeper_bps")
SHORT_TEXT: Final = 31  # bytes that a contract keeps in one slot
SLOT: Final = 32  # bytes
ROOM: Final = 2  # times what a worker asks, where the requester names no price
ROUNDS: Final = 4  # the stake's share of risk grows with the price, and the price with it


@dataclass(frozen=True, slots=True)
class Measured:
    """A task as a worker's trial found it on this machine."""

    figures: Figures
    times: Times


def measured(path: Path, task: Task, executors: ExecutorFactory, options: WorkerOptions) -> Measured:
    """Try the task in a file as a worker does before it bids, in a process of its own.

    Raises:
        Unfit: no worker like this machine takes it, for a reason that is in the task.
        NotNow: it could not be measured here, for a reason that may lie elsewhere.
    """
    memory, given = step_bytes(task), options.max_memory
    if memory > given:
        raise Unfit(f"a step touches {memory:,} bytes; this machine gives {given:,}")
    terms = unpriced(task, dict.fromkeys(TIMES, LONG))
    trials, began = Trials(executors, options), time.monotonic()
    figures = trials.run(path, terms, memory)
    return Measured(figures, Times.of(task, figures, time.monotonic() - began, path.stat().st_size))


def unpriced(task: Task, times: Mapping[str, int]) -> Terms:
    """Terms with these windows, by their names, and without money."""
    fields: dict[str, Any] = {name: getattr(task, name) for name in ("graph_root", "state_root", "steps", "interval")}
    fields |= dict.fromkeys(UNNAMED, 0)
    return Terms(**(fields | dict(times)), attempts=1, audit_rate_bps=BPS, uri="")


def gas_of(terms: Terms, uri: str) -> dict[str, int]:
    """Party -> gas of all that it sends at most, if nothing goes wrong; then what a failure adds."""
    words = -(-len(uri.encode()) // SLOT) if len(uri.encode()) > SHORT_TEXT else 0
    bid = policy.SEAL_GAS + policy.REVEAL_GAS
    checkpoints = terms.intervals * (policy.COMMIT_GAS + policy.COLLECT_GAS)
    return {
        "requester": policy.DEPOSIT_GAS + policy.POST_GAS + words * policy.URI_GAS,
        "solver": bid + policy.AWARD_GAS + checkpoints + policy.keeping_gas(terms.intervals, terms),
        "each other bidder": bid,
        **({"each keeper": policy.REWARD_GAS} if terms.keepers else {}),
        "a takeover": policy.TAKEOVER_GAS,
        "a dispute": policy.DISPUTE_GAS,
    }


@dataclass(frozen=True, slots=True)
class Asked:
    """What a worker like this machine would bid: a price, and seconds per interval. `why`: why it would not bid."""

    price: int
    promised: int
    why: str | None = None


def asked(
    found: Measured, terms: Terms, gas_price: int, fee_bps: int, options: WorkerOptions, operator: Policy = ORDINARY
) -> Asked:
    """What the worker of that operator decides about these terms, if it holds nothing else. `gas_price` in wei."""
    task = TaskView(0, terms, NOBODY, NOBODY, Status.BIDDING, 0, 0, 0, 0, ())
    asks = needs(found.figures, terms, options)
    price, promised = replace(operator, lag=options.lag).bid(task, asks, gas_price, fee_bps)
    refusal = operator.refusal(terms)
    why = refusal.why if refusal else None
    try:
        require_fit(found.figures, terms, options)
    except NotNow as error:
        why = why or str(error)
    if why is None and price > terms.max_price:
        why = "it asks more than the highest price"
    return Asked(price, promised, why)


def enough(
    found: Measured, terms: Terms, gas_price: int, fee_bps: int, options: WorkerOptions, stake: Callable[[int], int]
) -> int:
    """A highest price that leaves room above what a worker like this machine asks, in two digits.

    `stake`: what the contracts ask for a price.
    """
    price = 1
    for _ in range(ROUNDS):
        priced = replace(terms, max_price=price, stake=stake(price))
        price = ROOM * asked(found, priced, gas_price, fee_bps, options).price
    unit = int("1".ljust(len(str(price)) - 1, "0"))
    return -(-price // unit) * unit
