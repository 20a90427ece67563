"""How a worker process runs: its pace, its limits, how long it waits."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from offchain.chain.transactions import SendOptions
from offchain.roles.policy import Policy
from offchain.store.blobs import FetchOptions

GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """Options of a `Worker`.

    Attributes:
        folder: of its database and its blobs.
        policy: prices, audits, minimal terms.
        listen: host and port at which blobs are served (port 0: a free one). None: not served, and URIs are file://.
        public_url: where others reach that server, if not at `listen`.
        poll: seconds between two readings of the chain while there is nothing to compute.
        slice: seconds of computing between two readings.
        max_backoff: most seconds between two tries of what fails.
        max_failures: failed fetches after which a task, or a served state, is given up.
        max_memory: bytes that a step of a task may take: state, constants, datasets, outputs of all nodes, and what
            the executor needs beside them.
        max_kernels: kernels that an executor may compile for a task.
        headroom: how many times the computing of an interval, on this machine, must fit into the interval time and
            into the dispute clock of a task that is taken.
        fetch: of blobs.
        send: of transactions.
    """

    folder: Path
    policy: Policy = field(default_factory=Policy)
    listen: tuple[str, int] | None = ("127.0.0.1", 0)
    public_url: str | None = None
    poll: float = 1.0
    slice: float = 2.0
    max_backoff: float = 30.0
    max_failures: int = 5
    max_memory: int = 16 * GIB
    max_kernels: int = 4096
    headroom: float = 2.0
    fetch: FetchOptions = field(default_factory=FetchOptions)
    send: SendOptions = field(default_factory=SendOptions)
