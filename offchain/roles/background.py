"""Work that must not hold up the loop: downloads and their checks, in a few threads, asked after again and again."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, TypeVar

T = TypeVar("T")
THREADS: Final = 4  # of each kind


class Background:
    """Jobs by key, whose first part is their kind. A key is at work at most once.

    Each kind has threads of its own: whoever serves task files slowly does not hold up states.
    """

    def __init__(self) -> None:
        self._pools: dict[str, ThreadPoolExecutor] = {}
        self._jobs: dict[tuple[Hashable, ...], Future[Any]] = {}

    def poll(self, key: tuple[str, *tuple[Hashable, ...]], work: Callable[[], T]) -> T | None:
        """The result of `work`, or None while it is not there; the first call starts it. Raises what it raised."""
        job = self._jobs.get(key)
        if job is None:
            pool = self._pools.setdefault(key[0], ThreadPoolExecutor(THREADS, thread_name_prefix=key[0]))
            self._jobs[key] = pool.submit(work)
            return None
        if not job.done():
            return None
        del self._jobs[key]
        result: T = job.result()
        return result

    def close(self) -> None:
        """Forget what has not begun; what runs ends with the process."""
        for pool in self._pools.values():
            pool.shutdown(wait=False, cancel_futures=True)


@dataclass
class _Wait:
    until: float = 0.0
    seconds: float = 0.0


class Backoff:
    """What failed is tried again later, and later still."""

    def __init__(self, first: float, most: float) -> None:
        self._first, self._most = first, most
        self._waits: dict[Hashable, _Wait] = {}

    def ready(self, key: Hashable) -> bool:
        wait = self._waits.get(key)
        return wait is None or time.monotonic() >= wait.until

    def failed(self, key: Hashable) -> float:
        """Note a failure; returns the seconds to wait."""
        wait = self._waits.setdefault(key, _Wait())
        wait.seconds = min(max(self._first, 2 * wait.seconds), self._most)
        wait.until = time.monotonic() + wait.seconds
        return wait.seconds

    def succeeded(self, key: Hashable) -> None:
        self._waits.pop(key, None)
