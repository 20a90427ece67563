"""What a worker has noted about tasks, beside what the chain says: read by roles, kept in its database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class TaskNotes:
    """Notes about one task.

    Attributes:
        fit: whether this worker would take the task; None until its file was fetched and checked.
        trained: checkpoint -> root that this worker computed.
        audited: checkpoint -> whether the root on chain is right.
        disputed: checkpoints that this worker opened a dispute about.
        failures: how many fetches of the task's file failed.
    """

    fit: bool | None = None
    trained: Mapping[int, bytes] = field(default_factory=dict)
    audited: Mapping[int, bool] = field(default_factory=dict)
    disputed: frozenset[int] = frozenset()
    failures: int = 0


Notes = Mapping[int, TaskNotes]  # by the task's id
