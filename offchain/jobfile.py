"""Runs a requester's own file, which defines a `job`."""

from __future__ import annotations

import random
import runpy
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from traceback import extract_tb

import numpy as np
import torch

from offchain.errors import BadInput, OffchainError
from offchain.plainfile import read_plain
from offchain.program import Asked

MAX_FILE = 1 << 26  # bytes of source text


@contextmanager
def _as_a_program(path: str | Path) -> Iterator[None]:
    """While open, the generators of Python, NumPy and torch start from 0, and the command line is that of `python FILE`
    without arguments; afterwards they are as before."""
    words, sys.argv = sys.argv, [str(path)]
    states = random.getstate(), np.random.get_state(legacy=False), torch.get_rng_state()
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    try:
        yield
    finally:
        sys.argv = words
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


def load(path: str | Path) -> Asked:
    """Run a requester's own job file and return its Job or Program. Raises BadInput.

    It runs as `python FILE` would, with its folder in the path, but with seeded generators of random numbers: the same
    file makes the same job, even if it does not seed them.
    """
    try:
        read_plain(path, MAX_FILE)
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}") from error
    folder = str(Path(path).resolve().parent)
    if folder not in sys.path:  # the file may import its neighbours, also later, as `python FILE` lets it
        sys.path.insert(0, folder)
    try:
        with _as_a_program(path):
            job = runpy.run_path(str(path), run_name="__job__").get("job")
            if callable(job) and not isinstance(job, Asked):
                job = job()
    except OffchainError:
        raise
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # the requester's code may raise anything; the message names its line
        frames = [frame.lineno for frame in extract_tb(error.__traceback__) if frame.filename == str(path)]
        line = f", line {frames[-1]}" if frames else ""
        said = ": ".join([type(error).__name__, *str(error).splitlines()[:1]])
        raise BadInput(f"{path}{line}: {said}") from error
    if not isinstance(job, Asked):
        raise BadInput(
            f"{path}: must define `job = Job(...)`, or a Program, or a function `job()` that returns one, "
            'and not only where __name__ is "__main__"'
        )
    return job
