"""Logs of an account's own checkpoints, which would show verifiers what to claim, until nobody can claim any more."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from offchain.market.view import ChainView, TaskView
from offchain.store.blobs import BlobStore
from offchain.worker.names import log_name


class Withheld:
    """A folder beside the blobs, which is not served.

    Args:
        me: the account.
        blobs: where logs are published in the end.
    """

    def __init__(self, me: str, blobs: BlobStore) -> None:
        self._me, self._blobs = me, blobs
        self._store = BlobStore(blobs.folder.with_name("withheld"))

    def put(self, name: str, write: Callable[[Path], object]) -> None:
        """Let `write` make the file of a log."""
        self._store.publish(name, write)

    def release(self, view: ChainView) -> None:
        """Publish the logs of checkpoints that nobody can claim any more. What is not available yet may be claimed
        longer."""
        kept = set(self._store.names())
        for task in view.tasks if kept else ():
            if self._is_own(task):
                self._release(task, view.now, kept)

    def _is_own(self, task: TaskView) -> bool:
        """Whether this account may have committed to any of it: not to thousands of tasks of strangers."""
        return task.solver == self._me or task.attempt > 0

    def _release(self, task: TaskView, now: int, kept: set[str]) -> None:
        for k, point in enumerate(task.checkpoints):
            name = log_name(task.terms, point.root)
            over = now > point.claimable_until and task.available(k)
            if name in kept and (task.status.ended or over):
                self._store.path(name).replace(self._blobs.path(name))
                kept.discard(name)
