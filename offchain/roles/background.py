"""Work that must not hold up the loop: downloads and their checks, in a few threads, asked after again and again."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, TypeVar

T = TypeVar("T")
THREADS: Final = 2


class Background:
    """Jobs by key. A key is at work at most once."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="fetch")
        self._jobs: dict[Hashable, Future[Any]] = {}

    def poll(self, key: Hashable, work: Callable[[], T]) -> T | None:
        """The result of `work`, or None while it is not there; the first call starts it. Raises what it raised."""
        job = self._jobs.get(key)
        if job is None:
            self._jobs[key] = self._pool.submit(work)
            return None
        if not job.done():
            return None
        del self._jobs[key]
        result: T = job.result()
        return result

    def busy(self, key: Hashable) -> bool:
        return key in self._jobs

    def close(self) -> None:
        """Forget what has not begun; what runs ends with the process."""
        self._pool.shutdown(wait=False, cancel_futures=True)


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
