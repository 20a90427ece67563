"""A command that goes on when its terminal is closed."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from offchain.errors import BadInput


class Detached:
    """The process that goes on. The one that was started waits until it leaves the terminal, and ends with it.

    Make it before there are threads: only the thread that calls goes on.
    """

    def __init__(self) -> None:
        if not os.access(Path.cwd(), os.W_OK):
            raise BadInput(f"{Path.cwd()}: cannot be written to, and a log must; go to another folder")
        sys.stdout.flush()
        sys.stderr.flush()
        reading, self._writing = os.pipe()
        child = os.fork()
        if child:
            os.close(self._writing)
            _wait(child, reading)
        os.close(reading)

    def leave(self, log: Path) -> None:
        """What is printed from now on goes to a file."""
        sys.stdout.flush()
        sys.stderr.flush()
        with log.open("ab") as out, open(os.devnull, "rb") as nothing:
            for number, file in ((0, nothing), (1, out), (2, out)):
                os.dup2(file.fileno(), number)
        os.setsid()
        os.write(self._writing, b".")
        os.close(self._writing)


def _wait(child: int, reading: int) -> None:
    """Ends this process: once the other one has left, well; if it ends before, as that did."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is for the other one to say what happens
    if os.read(reading, 1):
        os._exit(0)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    os._exit(code if code >= 0 else 128 - code)
