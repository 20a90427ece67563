"""Runs a worker from its start to its end, for whoever starts the process."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from typing import TypeVar

import structlog

from offchain.chain.client import Chain
from offchain.chain.register import Entry, entry_of
from offchain.errors import ChainUnavailable
from offchain.roles.table import ROLES
from offchain.worker.display import Display, write_line
from offchain.worker.events import ChainSilent, Tell, WorkerEvent
from offchain.worker.making import ExecutorFactory
from offchain.worker.options import WorkerOptions
from offchain.worker.runner import Worker

T = TypeVar("T")


def operate(
    connect: Callable[[], Chain],
    roles: Collection[str],
    options: WorkerOptions,
    executors: ExecutorFactory,
    make: Callable[..., Worker] = Worker,
    listeners: Sequence[Tell] = (),
) -> None:
    """Connect, register, and act until stopped; shows progress on a terminal.

    Args:
        connect: gives the chain of the account that acts; called again while it raises ChainUnavailable. The defence
            has a connection of its own, so it can be pickled.
        roles, options, executors: see `Worker`.
        make: makes the worker. A cheat is one with a false part.
        listeners: hear every event, as metrics and notices do.

    Raises:
        OffchainError: whatever `connect`, `Worker` or the registration raises, other than ChainUnavailable.
    """
    chain = patiently(connect)
    with ExitStack() as stack:
        hear = all_of((stack.enter_context(Display()).on_event, *listeners))
        worker = stack.enter_context(make(chain, roles, options, executors, hear, connect=connect))
        patiently(lambda: register(worker))
        worker.run()


def all_of(listeners: Sequence[Tell]) -> Tell:
    """One listener that hands every event to each of these."""

    def hear(event: WorkerEvent) -> None:
        for listener in listeners:
            listener(event)

    return hear


def patiently(ask: Callable[[], T], wait: float = 2.0) -> T:
    """What `ask` returns; called again, every `wait` seconds, while it raises ChainUnavailable."""
    while True:
        try:
            return ask()
        except ChainUnavailable as error:
            write_line(structlog.get_logger(), ChainSilent(str(error), wait))
            time.sleep(wait)


def register(worker: Worker) -> None:
    """Enter the register with this worker's roles and address, unless it stands there with them."""
    mask = sum(role.mask for name, role in ROLES.items() if name in worker.roles)
    address = worker.materials.blobs.base or ""
    if mask and entry_of(worker.chain) != Entry(mask, address):
        worker.chain.register(mask, address)
