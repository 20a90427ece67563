"""How a worker process runs: pace, limits, patience."""

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
        listen: host and port to serve blobs at (port 0: a free one); None serves none, and URIs are file://.
        public_url: where others reach that server, if that is not where it listens.
        poll: seconds between two looks at the chain while there is nothing to compute.
        slice: seconds of computing between two looks.
        max_backoff: most seconds between two tries of what fails.
        max_failures: fetches of a task file until the task is left alone.
        max_memory: bytes that one step of a task may take: state, constants, datasets and every node's output, and what
            the executor has beside them.
        max_kernels: kernels that an executor may compile for a task.
        headroom: a task is taken only if its interval, replayed here, fits its interval time and its dispute clock
            this many times.
        fetch, send: see there.
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
