"""Downloads and other slow jobs run in a few threads, so that they do not hold up the loop, which polls them."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass
from threading import BoundedSemaphore, Thread
from typing import Any, Final, TypeVar

T = TypeVar("T")
THREADS: Final = 4  # of each kind


class Background:
    """Jobs by key; the first part of a key is the job's kind. There is at most one job of a key at a time.

    Each kind has threads of its own, so that slow downloads of task files do not hold up those of states.
    """

    def __init__(self) -> None:
        self._places: dict[str, BoundedSemaphore] = {}
        self._jobs: dict[tuple[Hashable, ...], Future[Any]] = {}
        self._closed = False

    def poll(self, key: tuple[str, *tuple[Hashable, ...]], work: Callable[[], T]) -> T | None:
        """The result of `work`, or None until it is there. The first call starts it. Raises what `work` raised."""
        job = self._jobs.get(key)
        if job is None:
            job = self._jobs[key] = Future()
            places = self._places.setdefault(key[0], BoundedSemaphore(THREADS))
            # Not a pool: the process would not end before the last download of its threads.
            Thread(target=self._run, args=(job, places, work), name=key[0], daemon=True).start()
            return None
        if not job.done():
            return None
        del self._jobs[key]
        result: T = job.result()
        return result

    def _run(self, job: Future[Any], places: BoundedSemaphore, work: Callable[[], Any]) -> None:
        with places:
            if self._closed:
                return
            try:
                job.set_result(work())
            except BaseException as error:  # `poll` raises it
                job.set_exception(error)

    def close(self) -> None:
        """Drop the jobs that have not begun; those that run end with the process."""
        self._closed = True


@dataclass
class _Wait:
    until: float = 0.0
    seconds: float = 0.0


class Backoff:
    """Waits before what failed is tried again; they double, from `first` seconds to `most`."""

    def __init__(self, first: float, most: float) -> None:
        self._first, self._most = first, most
        self._waits: dict[Hashable, _Wait] = {}

    def ready(self, key: Hashable) -> bool:
        wait = self._waits.get(key)
        return wait is None or time.monotonic() >= wait.until

    def failed(self, key: Hashable) -> float:
        """Note a failure. Returns the seconds until the next try."""
        wait = self._waits.setdefault(key, _Wait())
        wait.seconds = min(max(self._first, 2 * wait.seconds), self._most)
        wait.until = time.monotonic() + wait.seconds
        return wait.seconds

    def succeeded(self, key: Hashable) -> None:
        self._waits.pop(key, None)
