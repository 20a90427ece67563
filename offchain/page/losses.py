"""Loss curves of tasks, from logs that solvers or others serve. All of it is fetched from strangers, in the background.

A curve is fetched when somebody looks at its task. Bytes, seconds and memory are bounded; each log is checked against
its checkpoint's root, by what a requester checks it with. Nobody waits for it: until it is here the page says so.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from math import isfinite
from threading import Lock, Thread
from typing import Any, Final

from offchain.errors import OffchainError, Unreachable
from offchain.market.view import TaskView
from offchain.page import words
from offchain.store.blobs import BlobStore
from offchain.store.fetch import FetchOptions
from offchain.text import printable
from offchain.worker.holders import Holders

MAX_FILE: Final = 256 << 20  # bytes of a task file that is fetched for its curves
PATIENCE: Final = 30.0  # seconds for all logs of a task that are fetched together
MISSES: Final = 3  # logs in a row that are not served, after which the others are not asked for
AGAIN: Final = 15.0  # seconds until what is new, or was not served, is asked for again
KEPT: Final = 8  # tasks, whose files stay on disk for their next logs
AT_ONCE: Final = 2  # fetches
DOTS: Final = 600  # points of a curve that are shown
METRICS: Final = 12


def limits(private: bool) -> FetchOptions:
    """Of a page's fetches, which have less time than a worker's."""
    return FetchOptions(max_bytes=MAX_FILE, timeout=20.0, answer=5.0, window=5.0, private=private)


@dataclass
class _Curves:
    """What is known of one task's. `logs`: checkpoint's root -> metric -> values of its interval."""

    file: str = ""  # the blob's name
    names: tuple[str, ...] = ()
    logs: dict[bytes, dict[str, list[float | None]]] = field(default_factory=dict)
    why: str = ""
    fetching: bool = False
    asked: float = float("-inf")


class Losses:
    """Curves of the tasks that somebody looks at. `blobs`: where files are kept meanwhile; `holders`: who has them."""

    def __init__(self, blobs: BlobStore, holders: Holders | None = None) -> None:
        self._blobs, self._holders = blobs, holders or Holders()
        self._known: OrderedDict[int, _Curves] = OrderedDict()
        self._lock = Lock()

    def of(self, task: TaskView) -> dict[str, Any]:
        """What is known now, as JSON; begins to fetch what is not."""
        with self._lock:
            curves = self._known.setdefault(task.id, _Curves())
            self._known.move_to_end(task.id)
            busy = sum(other.fetching for other in self._known.values())
            if self._is_due(task, curves) and busy < AT_ONCE:
                curves.fetching, curves.asked = True, time.monotonic()
                Thread(target=self._fetch, args=(task, curves), name="losses", daemon=True).start()
            self._forget()
            return _shown(task, curves)

    def _is_due(self, task: TaskView, curves: _Curves) -> bool:
        whole = all(point.root in curves.logs for point in task.checkpoints)
        return not curves.fetching and not whole and time.monotonic() > curves.asked + AGAIN

    def _forget(self) -> None:
        idle = [task_id for task_id, curves in self._known.items() if not curves.fetching]
        for task_id in idle[: max(0, len(self._known) - KEPT)]:
            if file := self._known.pop(task_id).file:
                self._blobs.remove(file)

    def _fetch(self, task: TaskView, curves: _Curves) -> None:
        try:
            self._fetch_all(task, curves)
        except Unreachable as error:  # of one of those who may have it
            curves.why = (
                f"its task file is not served now ({words.stranger(str(error).partition(': ')[2].partition(' (')[0])})"
            )
        except OffchainError as error:
            curves.why = words.stranger(str(error))
        except Exception as error:  # a thread that nobody watches: what a stranger's file did is said in the page
            curves.why = words.stranger(f"{type(error).__name__}: {error}")
        finally:
            curves.fetching = False

    def _fetch_all(self, view: TaskView, curves: _Curves) -> None:
        from offchain.store.taskfile import load_task
        from offchain.worker.names import log_name, task_name
        from offchain.worker.results import curves as of_logs

        terms = view.terms
        curves.file = task_name(terms)
        task = load_task(self._blobs.fetch(self._holders.of_file(view), curves.file, load_task, MAX_FILE))
        task.verify(terms.graph_root, terms.state_root)
        curves.names = tuple(task.graph.metrics[:METRICS])
        end, missed = time.monotonic() + PATIENCE, 0
        for point in view.checkpoints:
            if point.root in curves.logs or time.monotonic() > end or missed >= MISSES:
                continue
            found = of_logs(replace(view, checkpoints=(point,)), task, self._blobs, self._holders)
            served = any(value is not None for values in found.values() for value in values)
            missed = 0 if served else missed + 1
            if served:
                curves.logs[point.root] = found
                self._blobs.remove(log_name(terms, point.root))
        curves.why = "" if curves.logs or not view.checkpoints else "nobody serves a log of it now"


def _shown(task: TaskView, curves: _Curves) -> dict[str, Any]:
    """Curves as lists of [step, value], thinned out; null where a log is not served or a value is no number."""
    served = [point.root in curves.logs for point in task.checkpoints]
    state = "fetching" if curves.fetching else "here" if any(served) else "none"
    series = [
        {"name": printable(name, 40), "points": _thin(_values(task, curves, name))}
        for name in (curves.names if any(served) else ())
    ]
    return {"state": state, "why": curves.why, "missing": served.count(False), "series": series}


def _values(task: TaskView, curves: _Curves, name: str) -> list[tuple[int, float | None]]:
    found: list[tuple[int, float | None]] = []
    for k, point in enumerate(task.checkpoints):
        lo, hi = task.terms.steps_of(k)
        values = curves.logs.get(point.root, {}).get(name, [None] * (hi - lo))
        found += [(lo + n + 1, value) for n, value in enumerate(values[: hi - lo])]
    return found


def _thin(values: list[tuple[int, float | None]]) -> list[list[float | None]]:
    every = -(-len(values) // DOTS) or 1
    kept = values[::every] + (values[-1:] if values and (len(values) - 1) % every else [])
    return [[step, value if value is not None and isfinite(value) else None] for step, value in kept]
