"""What blobs are called: by everything that their content must equal, so that no file is judged by another's terms.

Two tasks may share a graph and a first state and differ in their number of steps, and a stranger may commit to a state
that is another task's. Each has files of its own.
"""

from __future__ import annotations

from hashlib import sha256

from offchain.store.blobs import blob_name


def task_name(graph_root: bytes, state_root: bytes, steps: int, interval: int) -> str:
    """Of a task's file."""
    return blob_name(_digest(graph_root, state_root, steps.to_bytes(32, "big"), interval.to_bytes(32, "big")), "task")


def state_name(task: str, root: bytes) -> str:
    """Of a state with this root, of the task whose file has that name: shapes of slots are the file's."""
    return blob_name(_digest(task.encode(), root), "state")


def _digest(*parts: bytes) -> bytes:
    return sha256(b"".join(sha256(part).digest() for part in parts)).digest()


def log_name(task: str, root: bytes) -> str:
    """Of the log of that state."""
    return blob_name(_digest(task.encode(), root), "log")
