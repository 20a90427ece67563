"""How a worker process runs: its pace, its limits, how long it waits."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from offchain.chain.transactions import SendOptions
from offchain.roles.policy import Policy
from offchain.store.fetch import FetchOptions
from offchain.store.serve import ServeOptions
from offchain.worker.background import Shares

GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """Options of a `Worker`.

    Attributes:
        folder: of its database and its blobs.
        policy: prices, audits, minimal terms.
        signing_key: the secret that signs a verifier's tickets; None: it takes part in no draws.
        listen: host and port at which blobs are served (port 0: the one of the last start, or a free one). None: not
            served, and URIs are file://.
        public_url: where others reach that server, if not at `listen`.
        poll: seconds between two readings of the chain while there is nothing to compute.
        slice: seconds of computing between two readings.
        max_backoff: most seconds between two tries of what fails.
        max_failures: failed fetches after which a served state is given up.
        max_memory: bytes that a step of a task may take: state, constants, datasets, outputs of all nodes, and what
            the executor needs beside them.
        max_kernels: kernels that an executor may compile for a task.
        headroom: how many times the computing of an interval, on this machine, must fit into the interval time of a
            task that is taken, and a dispute into its clock.
        move_time: seconds from a look at the chain until a move in a dispute is mined.
        fastest: units of work (`ir.graph.work_units`) a second that no machine of this kind exceeds. A task that would
            take too long at this speed is refused without a trial.
        trials: where strange tasks are tried: in a "process" of their own, or "inline", in this one, which is only for
            tests of what does not concern trials.
        defence: who plays the disputes: a "process" of its own, or the worker "inline", between two slices of its
            computing, which is only for tests that move workers by hand.
        making_time: seconds in which a trial must have read a task's file and compiled its kernels.
        trial_time: most seconds that a step may take in a trial, whatever the terms allow.
        least_moves: moves in disputes that the account's ether must pay for; below that a warning is told.
        fetch: limits of fetching a blob.
        downloads: how many of a kind are fetched at a time, and how many of those from one host, or for one person.
        keep: bytes on the disk for files of tasks that are over, which are served on.
        serve: limits of serving blobs.
        send: of transactions.
    """

    folder: Path
    policy: Policy = field(default_factory=Policy)
    signing_key: int | None = field(default=None, repr=False)
    listen: tuple[str, int] | None = ("127.0.0.1", 0)
    public_url: str | None = None
    poll: float = 1.0
    slice: float = 2.0
    max_backoff: float = 30.0
    max_failures: int = 5
    max_memory: int = 16 * GIB
    max_kernels: int = 4096
    headroom: float = 2.0
    move_time: float = 0.5
    fastest: float = 1e12
    trials: Literal["process", "inline"] = "process"
    defence: Literal["process", "inline"] = "process"
    making_time: float = 300.0
    trial_time: float = 60.0
    least_moves: int = 30
    fetch: FetchOptions = field(default_factory=FetchOptions)
    downloads: Shares = field(default_factory=Shares)
    keep: int = 10 * GIB
    serve: ServeOptions = field(default_factory=ServeOptions)
    send: SendOptions = field(default_factory=SendOptions)

    @property
    def lag(self) -> float:
        """Seconds from a computed checkpoint until it is on chain: to the next look, and until the commit is mined."""
        return self.poll + self.move_time
