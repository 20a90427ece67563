"""How long each part of a task's life should last, reckoned from what the task takes.

A window that is too short costs honest workers their stakes; one that is too long keeps everybody waiting. So each one
holds what an ordinary worker must do in it, on a machine that is slower than this one, and no more. What "ordinary"
means is in the defaults of `Policy` and `WorkerOptions`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Final

from offchain.market.view import Terms
from offchain.roles.policy import Policy
from offchain.task import Task
from offchain.worker.fit import DISPUTES, MOVES, Figures
from offchain.worker.options import WorkerOptions

SLOWER: Final = 4  # how many times slower than here a machine may be
RATE: Final = 1 << 20  # bytes a second at which files are fetched, by several workers at once
KERNEL: Final = 0.03  # seconds of compiling for a node, by a worker that has kept no kernel of it
NOTICE: Final = 10.0  # seconds until a busy worker has seen that something is due, and has begun with it
LEAST_BIDDING: Final = 30
LEAST_HANDOVER: Final = 120  # a worker may be restarting
MOST_HANDOVER: Final = 3_600
MOVES_TO_REVEAL: Final = 20  # transactions before one's own reveal: a worker may have to show many bids at once
MOVES_TO_BID: Final = 4
ORDINARY: Final = Policy()
USUAL: Final = WorkerOptions(Path("home"))
PART: Final = 4  # of a window, in which files must be here: see `Materials`
TIMES: Final = ("bidding_time", "reveal_time", "challenge_window", "interval_time", "clock", "handover_time")


@dataclass(frozen=True, slots=True)
class Times:
    """What a task takes, in seconds on the machine where it was measured, and what of it is fetched, in bytes.

    Attributes:
        interval: of computing an interval and hashing the state at its end.
        dispute: of replaying an interval with hashes and tracing a step; the moves' transactions come on top.
        trial: until a worker that has the file knows these times: it starts a process, compiles and measures.
        file, state: bytes of the task file and of one state.
    """

    interval: float
    dispute: float
    trial: float
    file: int
    state: int

    @classmethod
    def of(cls, task: Task, figures: Figures, trial: float, file: int) -> Times:
        """From a trial that took so many seconds in all. It may have found its kernels compiled; others do not."""
        cost, state = figures.cost, sum(array.nbytes for array in task.state)
        compiling = KERNEL * len(task.graph.nodes)
        return cls(
            cost.interval_seconds(task.interval), cost.dispute_seconds(task.interval), trial + compiling, file, state
        )


@dataclass(frozen=True, slots=True)
class Window:
    """Seconds, and why as many."""

    seconds: int
    why: str


@dataclass(frozen=True, slots=True)
class _Case:
    """What the rules look at. `chosen`: the windows before, in the order of TIMES."""

    times: Times
    move_time: float
    chosen: Mapping[str, int]


def windows(
    times: Times,
    intervals: int,
    given: Mapping[str, int] | None = None,
    limits: Mapping[str, tuple[int, int]] | None = None,
    move_time: float = USUAL.move_time,
) -> dict[str, Window]:
    """The windows of a task with that many intervals, by the names of terms.

    Args:
        given: windows that the requester names itself.
        limits: the least and the most that a deployment takes, of each, and of "duration"; none where it is not known.
        move_time: seconds until a transaction is mined.
    """
    found: dict[str, Window] = {}
    for name in TIMES:
        if given and name in given:
            found[name] = Window(given[name], "you named it")
            continue
        case = _Case(times, move_time, {before: window.seconds for before, window in found.items()})
        needed, why = _RULES[name](case)
        least, most = (limits or {}).get(name, (0, 1 << 32))
        if name == "interval_time" and limits:
            most = min(most, limits["duration"][1] // intervals)
        found[name] = _within(ceil(needed), why, least, most)
    return found


def _within(needed: int, why: str, least: int, most: int) -> Window:
    if needed < least:
        return Window(least, f"this deployment's least; {needed} would do")
    if needed > most:
        return Window(most, f"this deployment's most; it should be {needed}: {why}")
    return Window(needed, why)


def _fetch(size: int) -> float:
    return size / RATE


def _bidding(case: _Case) -> tuple[float, str]:
    """A file must be here within half of the time for bids (`Materials._fetch`); then it is tried."""
    times, file = case.times, _fetch(case.times.file)
    tried = NOTICE + file + SLOWER * times.trial + MOVES_TO_BID * case.move_time
    return max(
        LEAST_BIDDING, 3 * file, tried
    ), f"fetch {_size(times.file)}, try the task ({times.trial:.2g} s here), bid"


def _revealing(case: _Case) -> tuple[float, str]:
    return NOTICE + MOVES_TO_REVEAL * case.move_time, "see that bidding is over, and show the bids made"


def _challenging(case: _Case) -> tuple[float, str]:
    """Who audits may have to fetch the file and to try it first. A state has a part of the window, in several tries."""
    times, file, state = case.times, _fetch(case.times.file), _fetch(case.times.state)
    audited = NOTICE + file + state + SLOWER * (times.trial + 2 * times.interval)  # half of the time may go to training
    least = max(ORDINARY.min_window, PART * file, PART * USUAL.max_failures * state)
    return max(least, audited), f"fetch {_size(times.state)}, replay an interval ({times.interval:.2g} s here)"


def _computing(case: _Case) -> tuple[float, str]:
    """Who takes over asks for the state before its interval for a part of the challenge window."""
    times, state = case.times, case.chosen["challenge_window"] / PART
    needed = NOTICE + state + times.trial + SLOWER * USUAL.headroom * times.interval
    return max(ORDINARY.min_interval_time, needed), f"find the state before it, compute ({times.interval:.2g} s here)"


def _thinking(case: _Case) -> tuple[float, str]:
    """As `require_fit` has it, for a slower machine, whose defence may still be coming up."""
    one = SLOWER * case.times.dispute + MOVES * case.move_time
    needed = 2 * NOTICE + DISPUTES * USUAL.headroom * one
    return max(
        ORDINARY.min_clock, needed
    ), f"{DISPUTES} replays ({case.times.dispute:.2g} s here) and {MOVES} moves each"


def _handing_over(case: _Case) -> tuple[float, str]:
    needed = min(max(LEAST_HANDOVER, case.chosen["interval_time"]), MOST_HANDOVER)
    return needed, "the runner-up sees it, or is back from a restart"


_RULES: Final[dict[str, Callable[[_Case], tuple[float, str]]]] = {
    "bidding_time": _bidding,
    "reveal_time": _revealing,
    "challenge_window": _challenging,
    "interval_time": _computing,
    "clock": _thinking,
    "handover_time": _handing_over,
}


def until_result(terms: Terms, interval: float) -> tuple[float, float]:
    """Seconds from the post until the last checkpoint is final, without disputes and with one solver.

    The first figure is for a solver that takes `interval` seconds for each, the second for one that is just in time.
    """
    auction = terms.bidding_time + terms.reveal_time
    apart = max(terms.interval_time // 16, promise(interval))  # CheckpointLog.LEAST_PROMISE
    each = interval + USUAL.lag
    spaced = each + (terms.intervals - 1) * max(each, apart) + terms.challenge_window
    return auction + spaced, auction + terms.intervals * terms.interval_time + terms.challenge_window


def promise(interval: float) -> int:
    """Whole seconds for an interval that an ordinary worker names which takes so long."""
    return max(1, ceil(USUAL.headroom * interval + USUAL.lag))


def _size(count: int) -> str:
    """Bytes as people read them."""
    for unit in ("bytes", "kB", "MB"):
        if count < 1_000:
            return f"{count:.3g} {unit}"
        count = -(-count // 1_000)
    return f"{count:,} GB"
