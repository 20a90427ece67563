"""Processes that a worker starts for itself, and the lines that it exchanges with them.

They are spawned, not forked: a fork would share the parent's threads, locks and CUDA context. What goes to a child when
it starts is the operator's own configuration. Everything later is one JSON object a message, so that neither side
unpickles what the other was made to say.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, Final

ENDING: Final = 10.0  # seconds in which a process ends that has said its last word
MAX_MESSAGE: Final = 1 << 20  # bytes
_CONTEXT: Final = get_context("spawn")
_DEATH_OF_THE_PARENT: Final = 1  # PR_SET_PDEATHSIG


class Child:
    """A process that runs `main(connection, *arguments)`. Use as a context, which kills it at the end.

    Args:
        main: a function of a module.
        arguments: of this program's own making; they are pickled.
        parent: whether it may start processes of its own.
    """

    def __init__(self, name: str, main: Callable[..., None], *arguments: Any, parent: bool = False) -> None:
        ours, theirs = _CONTEXT.Pipe()
        self.connection: Connection = ours
        self.process: BaseProcess = _CONTEXT.Process(
            target=main, args=(theirs, *arguments), name=name, daemon=not parent
        )
        try:
            self.process.start()
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *ignored: object) -> None:
        if self.process.is_alive():
            self.process.kill()
        self.process.join()
        self.connection.close()

    def hear(self, seconds: float | None = None) -> dict[str, Any] | None:
        """The child's next message; None after so many seconds without one. Raises EOFError where the child is gone."""
        if not self.connection.poll(seconds):
            return None
        return hear(self.connection)

    def ending(self) -> str:
        """How the child ended, in words. It is killed if that takes long: it no longer speaks."""
        self.process.join(ENDING)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        code = self.process.exitcode or 0
        if code >= 0:
            return f"it ended with code {code}"
        with suppress(ValueError):
            return f"it died of {signal.Signals(-code).name}"
        return f"it died of signal {-code}"


def say(connection: Connection, message: Mapping[str, Any]) -> None:
    """Raises OSError where the other side is gone."""
    connection.send_bytes(json.dumps(message).encode())


def hear(connection: Connection) -> dict[str, Any]:
    """The other side's next message. Raises EOFError where there will be none."""
    try:
        message = json.loads(connection.recv_bytes(MAX_MESSAGE))
    except (OSError, ValueError) as error:
        raise EOFError(str(error)) from error
    if not isinstance(message, dict):
        raise EOFError("not a message")
    return message


def settle_in(threads: int, dies_with_parent: bool) -> None:
    """What every child does first. The signals that end a worker go to all of its processes at once; only the worker
    itself answers them, and ends its children in order."""
    import torch

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    if dies_with_parent and sys.platform == "linux":
        ctypes.CDLL(None).prctl(_DEATH_OF_THE_PARENT, signal.SIGKILL)
    torch.set_num_threads(threads)


def silence() -> None:
    """What the process writes to its standard streams from now on is dropped, be it from a library's abort."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nothing, stream)
