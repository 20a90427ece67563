"""What a worker remembers of a task beside the chain: read by roles, written by the runner, kept in its database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class TaskMemory:
    """`fit`: None until the file was fetched and checked, then whether the worker would take the task."""

    fit: bool | None = None
    trained: Mapping[int, bytes] = field(default_factory=dict)  # checkpoint -> root, by me
    audited: Mapping[int, bool] = field(default_factory=dict)  # checkpoint -> was it right
    disputed: frozenset[int] = frozenset()  # checkpoints that I opened a dispute about
    failures: int = 0  # of Fetch


Memory = Mapping[int, TaskMemory]
