"""Downloads and other slow jobs run in a few threads, so that they do not hold up the loop, which polls them."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from math import inf
from threading import Lock, Thread
from typing import Any, Final, TypeVar

T = TypeVar("T")
Key = tuple[str, *tuple[Hashable, ...]]
HALF: Final = 600.0  # seconds after which half of the time that somebody took is forgotten
FORGOTTEN: Final = 600.0  # seconds after which a job that nobody asks for any more is dropped


@dataclass(frozen=True, slots=True)
class Shares:
    """How many jobs of a kind run at a time, and how many of those wait for one person, or for one host.

    So neither a slow host nor one person with many slow hosts keeps the others' jobs waiting.
    """

    total: int = 16
    person: int = 2
    host: int = 4


PLAIN: Final = Shares(4, 4, 4)  # of jobs that wait for nobody


@dataclass(eq=False)
class _Job:
    key: Key
    work: Callable[[], Any]
    person: str
    host: str
    asked: float  # when its result was last asked for
    dropped: bool = False  # nobody wants its result
    began: float = inf
    future: Future[Any] = field(default_factory=Future)


class Background:
    """Jobs by key; the first part of a key is the job's kind. There is at most one job of a key at a time.

    Each kind has threads of its own, so that slow downloads of task files do not hold up those of states. Of the jobs
    that may begin, that of the person begins who has had least of the kind's time so far.

    Args:
        shares: of the kinds whose jobs wait for strangers.
    """

    def __init__(self, shares: Mapping[str, Shares] | None = None) -> None:
        self._shares = dict(shares or {})
        self._lock = Lock()
        self._jobs: dict[Key, _Job] = {}
        self._waiting: dict[str, dict[_Job, None]] = defaultdict(dict)  # in the order in which they came
        self._stuck = set[str]()  # kinds of which no job that waits may begin before another one ends
        self._running: dict[str, list[_Job]] = defaultdict(list)
        self._taken: dict[tuple[str, str], tuple[float, float]] = {}  # kind and person -> seconds of threads, and when
        self._swept = time.monotonic()
        self._closed = False

    def poll(self, key: Key, work: Callable[[], T], person: str = "", host: str = "") -> T | None:
        """The result of `work`, or None until it is there. The first call starts it. Raises what `work` raised.

        Args:
            person, host: whom it waits for.
        """
        with self._lock:
            self._sweep()
            if key not in self._jobs:
                self._jobs[key] = _Job(key, work, person, host, 0.0)
                self._await(self._jobs[key])
            job = self._jobs[key]
            job.asked, job.dropped = time.monotonic(), False
            self._start(key[0])
            if not job.future.done():
                return None
            del self._jobs[key]
        result: T = job.future.result()
        return result

    def drop(self, key: Key) -> None:
        """Free the result of a job: now, or once it is there. A job that has not begun does not begin."""
        with self._lock:
            job = self._jobs.get(key)
            if job is not None:
                job.dropped = True
                self._discard(job)

    @property
    def busy(self) -> bool:
        """Whether a job is not done yet."""
        with self._lock:
            return any(not job.future.done() for job in self._jobs.values())

    def close(self) -> None:
        """Drop the jobs that have not begun; those that run end with the process."""
        with self._lock:
            self._closed = True
            self._waiting.clear()

    def yields(self, key: Key) -> bool:
        """Whether a job that runs should make place: one waits for nothing but that, for a person who has had less than
        half of the time that this one's has had. So two that take turns take twice as long each time, and both end.
        """
        with self._lock:
            kind, job = key[0], self._jobs.get(key)
            if job is None or len(self._running[kind]) < self._shares.get(kind, PLAIN).total:
                return False
            had = self._had(kind, job.person) + time.monotonic() - job.began
            return any(self._had(kind, other.person) < had / 2 for other in self._free(kind))

    def _had(self, kind: str, person: str) -> float:
        """Seconds of threads that jobs for a person took, of which half is forgotten again and again: who has worked
        here for a year does not wait behind whoever takes a new name."""
        seconds, since = self._taken.get((kind, person), (0.0, 0.0))
        return float(seconds * 0.5 ** ((time.monotonic() - since) / HALF))

    def _await(self, job: _Job) -> None:
        """Have a new job wait; where the others may not begin, it may."""
        kind = job.key[0]
        self._waiting[kind][job] = None
        if kind in self._stuck and any(self._free(kind, [job])):
            self._stuck.discard(kind)

    def _free(self, kind: str, jobs: Iterable[_Job] | None = None) -> Iterator[_Job]:
        """Those that wait, or of these, whose people and hosts have not their shares."""
        shares, running = self._shares.get(kind, PLAIN), self._running[kind]
        people, hosts = Counter(job.person for job in running), Counter(job.host for job in running)
        for job in self._waiting[kind] if jobs is None else jobs:
            if people[job.person] < shares.person and hosts[job.host] < shares.host:
                yield job

    def _start(self, kind: str) -> None:
        """Begin what may begin. Thousands that wait are not looked at again before something has changed."""
        running, waiting = self._running[kind], self._waiting[kind]
        while waiting and len(running) < self._shares.get(kind, PLAIN).total and not self._closed:
            if kind in self._stuck:
                return
            people = Counter(job.person for job in running)
            least = min(
                self._free(kind), key=lambda job: (people[job.person], self._had(kind, job.person)), default=None
            )
            if least is None:
                self._stuck.add(kind)
                return
            del waiting[least]
            running.append(least)
            # Not a pool: the process would not end before the last download of its threads.
            Thread(target=self._run, args=(least,), name=kind, daemon=True).start()

    def _run(self, job: _Job) -> None:
        kind, job.began = job.key[0], time.monotonic()
        try:
            job.future.set_result(job.work())
        except BaseException as error:  # `poll` raises it
            job.future.set_exception(error)
        with self._lock:
            self._running[kind].remove(job)
            self._stuck.discard(kind)
            if job.dropped:
                self._discard(job)
            now = time.monotonic()
            self._taken[kind, job.person] = self._had(kind, job.person) + now - job.began, now
            self._start(kind)

    def _sweep(self) -> None:
        """Drop what nobody asks for any more: a task that has ended, a block that was replaced."""
        now = time.monotonic()
        if now < self._swept + FORGOTTEN / 10:
            return
        self._swept = now
        self._taken = {who: taken for who, taken in self._taken.items() if self._had(*who) > 1}
        for job in list(self._jobs.values()):
            if job.asked < now - FORGOTTEN:
                self._discard(job)

    def _discard(self, job: _Job) -> None:
        """Forget a job, unless it runs: there is one of a key at a time."""
        kind = job.key[0]
        if job in self._running[kind]:
            return
        self._jobs.pop(job.key, None)
        self._waiting[kind].pop(job, None)


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
