"""What blobs are called: by everything that their content must equal, so that no file is judged by another's terms.

Two tasks may share a graph and a first state and differ in their number of steps, and a stranger may commit to a state
that is another task's. Each has files of its own.

The roots on chain bind what steps compute, and not what the model's tensors are called, nor those that no step reads.
So the address of a task's file ends with a part of the file's seal: whoever serves the file, it must be that one.
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import Final

from offchain.store.blobs import blob_name

SEAL: Final = 32  # hexadecimal digits of a seal that an address has: it goes on chain
_SEALED: Final = re.compile(rf"([^#]*)#([0-9a-f]{{{SEAL}}})")


def task_name(graph_root: bytes, state_root: bytes, steps: int, interval: int, seal: str = "") -> str:
    """Of a task's file. `seal`: the file's, or the part of it that its address has; "" for an address without one."""
    numbers = steps.to_bytes(32, "big"), interval.to_bytes(32, "big")
    more = (seal[:SEAL].encode(),) if seal else ()
    return blob_name(_digest(graph_root, state_root, *numbers, *more), "task")


def sealed(uri: str, seal: str) -> str:
    """The address of a task's file with the seal that the file must have."""
    return f"{uri.partition('#')[0]}#{seal[:SEAL]}"


def seal_in(uri: str) -> str:
    """The part of a seal that an address ends with; "" where it has none."""
    found = _SEALED.fullmatch(uri)
    return found[2] if found else ""


def without_seal(uri: str) -> str:
    """The address as it is asked for."""
    found = _SEALED.fullmatch(uri)
    return found[1] if found else uri


def state_name(task: str, root: bytes) -> str:
    """Of a state with this root, of the task whose file has that name: shapes of slots are the file's."""
    return blob_name(_digest(task.encode(), root), "state")


def _digest(*parts: bytes) -> bytes:
    return sha256(b"".join(sha256(part).digest() for part in parts)).digest()


def log_name(task: str, root: bytes) -> str:
    """Of the log of that state."""
    return blob_name(_digest(task.encode(), root), "log")


def outputs_name(task: str, root: bytes) -> str:
    """Of what the interval before that state output."""
    return blob_name(_digest(task.encode(), root), "outputs")
