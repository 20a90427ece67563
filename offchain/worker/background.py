"""Work that must not hold up the loop: downloads and their checks, in a few threads, asked after again and again."""

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
    """Jobs by key, whose first part is their kind. A key is at work at most once.

    Each kind has threads of its own: whoever serves task files slowly does not hold up states.
    """

    def __init__(self) -> None:
        self._places: dict[str, BoundedSemaphore] = {}
        self._jobs: dict[tuple[Hashable, ...], Future[Any]] = {}
        self._closed = False

    def poll(self, key: tuple[str, *tuple[Hashable, ...]], work: Callable[[], T]) -> T | None:
        """The result of `work`, or None while it is not there; the first call starts it. Raises what it raised."""
        job = self._jobs.get(key)
        if job is None:
            job = self._jobs[key] = Future()
            places = self._places.setdefault(key[0], BoundedSemaphore(THREADS))
            # A pool's threads would hold up the end of the process until the last download is done.
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
            except BaseException as error:  # it is raised where the result is asked for
                job.set_exception(error)

    def close(self) -> None:
        """Forget what has not begun; what runs ends with the process."""
        self._closed = True


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
