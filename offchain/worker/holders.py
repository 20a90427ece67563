"""Who may have a task's files: its solver, its requester, and whoever else is in the register.

Whoever asks takes the first right answer. So nothing depends on anybody's good will while one of them has the file.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Final

from offchain.chain.client import Chain
from offchain.chain.register import Register
from offchain.chain.statement import scan
from offchain.errors import OffchainError
from offchain.market.view import CheckpointView, TaskView
from offchain.store.blobs import NAME
from offchain.store.names import without_seal
from offchain.store.race import Places
from offchain.worker.names import log_name, outputs_name, state_name, task_name

FRESH: Final = 60.0  # seconds for which the register's entries are taken as known
Endpoints = Mapping[str, str]  # account -> base address of what it serves


class Holders:
    """Where each file of a task may lie, the likeliest place first.

    Args:
        endpoints: of the workers in the register.
        me: the account that asks; it does not ask itself.
    """

    def __init__(self, endpoints: Callable[[], Endpoints] = dict, me: str = "") -> None:
        self._endpoints, self._me = endpoints, me

    def of_file(self, task: TaskView) -> Places:
        return self._places(task, task_name(task.terms), without_seal(task.terms.uri))

    def of_state(self, task: TaskView, point: CheckpointView) -> Places:
        return self._places(task, state_name(task.terms, point.root), point.uri)

    def of_log(self, task: TaskView, point: CheckpointView) -> Places:
        """A solver keeps it where the state was."""
        name = log_name(task.terms, point.root)
        return self._places(task, name, beside(point.uri, name))

    def of_outputs(self, task: TaskView, point: CheckpointView) -> Places:
        name = outputs_name(task.terms, point.root)
        return self._places(task, name, beside(point.uri, name))

    def _places(self, task: TaskView, name: str, named: str) -> Places:
        """`named`: the address on chain; none, where the node has not told it."""
        endpoints = {who: url for who, url in self._endpoints().items() if who != self._me}
        likely = [named, *(_at(endpoints[who], name) for who in (task.solver,) if who in endpoints)]
        likely.append(beside(without_seal(task.terms.uri), name))  # the requester's
        return Places(tuple(uri for uri in likely if uri), tuple(endpoints.values()))


def beside(uri: str, name: str) -> str:
    """The address of a blob in the folder of another one; "" where that is no blob's."""
    folder, _, other = uri.rpartition("/")
    return f"{folder}/{name}" if NAME.fullmatch(other) else ""


def _at(server: str, name: str) -> str:
    return f"{server.rstrip('/')}/{name}"


def registered(chain: Chain) -> Callable[[], Endpoints]:
    """The endpoints of the workers in a register, read when they are asked for. A node that does not answer knows none,
    or those of before."""
    known: dict[str, str] = {}
    read = -FRESH

    def endpoints() -> Endpoints:
        nonlocal known, read
        if time.monotonic() >= read + FRESH:
            read = time.monotonic()
            try:
                register = Register()
                for event in scan(chain, ("registry",), chain.deployment.block, chain.head().number):
                    register.take(event)
                known = dict(register.seen())
            except OffchainError:
                pass
        return known

    return endpoints
