"""Chooses between ways to compute the same bits: the one that is known to be good, unless another is clearly faster.

A single measurement on a busy machine is a coin toss. So the ways are timed in turn, as neighbours in time; what counts
is the median of the ratios; and a way must win two series in a row by a tenth. What was chosen is kept beside the
kernels.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Final

from offchain.native.cache import keep, kept

ROUNDS: Final = 7  # of a series
SERIES: Final = 2
CLEAR: Final = 0.9  # of the time of the known one
WINS: Final = 6  # rounds of a series that a faster way must win
MOST: Final = 1_000  # choices that are kept

Run = Callable[[], object]
_anew = False


class Choices:
    """What was chosen in an environment: a processor, libraries and a number of threads."""

    def __init__(self, environment: str) -> None:
        self._environment = f"ways to compute: {environment}"
        self._chosen = _read(self._environment)

    def choose(self, key: str, known: str, ways: Mapping[str, Callable[[], Run]]) -> str:
        """The name of a way. `ways` make what is timed, and are called only where nothing was chosen yet."""
        found = self._chosen.get(key, "")
        if found in ways:
            return found
        chosen = faster(known, {name: make() for name, make in ways.items()}) if len(ways) > 1 else known
        self._chosen = dict(list((_read(self._environment) | {key: chosen}).items())[-MOST:])
        if not _anew:
            keep(self._environment, json.dumps(self._chosen).encode())
        return chosen


@contextmanager
def anew() -> Iterator[None]:
    """Within the block nothing that was chosen before is known, and nothing is kept."""
    global _anew
    before, _anew = _anew, True
    try:
        yield
    finally:
        _anew = before


def faster(known: str, ways: Mapping[str, Run]) -> str:
    """The known way, or the fastest of those that win every series against it."""
    left = [name for name in ways if name != known]
    ratios: dict[str, float] = {}
    for run in ways.values():
        run()
    for _ in range(SERIES):
        times = _series({name: ways[name] for name in (known, *left)})
        pairs = {name: [a / b for a, b in zip(times[name], times[known], strict=True)] for name in left}
        ratios = {name: statistics.median(pairs[name]) for name in left}
        left = [n for n in left if ratios[n] < CLEAR and sum(ratio < 1 for ratio in pairs[n]) >= WINS]
    return min(left, key=ratios.__getitem__, default=known)


def _series(ways: Mapping[str, Run]) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {name: [] for name in ways}
    for n in range(ROUNDS):
        for name in [*ways][:: 1 if n % 2 else -1]:
            start = time.perf_counter()
            ways[name]()
            times[name].append(time.perf_counter() - start)
    return times


def _read(environment: str) -> dict[str, str]:
    """What was kept, or nothing."""
    entry = None if _anew else kept(environment)
    with suppress(ValueError):
        found = json.loads(entry) if entry else {}
        if isinstance(found, dict):
            return {str(key): str(value) for key, value in found.items()}
    return {}
