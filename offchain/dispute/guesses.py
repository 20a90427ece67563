"""States that a challenger reaches many steps at once, by what their solver said that they output.

They are guesses: nobody has made their steps one by one. A guess counts only where the solver itself revealed its root.
Then it is the very state of which the dispute speaks, and what the next step makes of it, one by one, is right or not
whatever the guess was worth.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import Final

from offchain.dispute.points import Point
from offchain.exec.ahead import Told

RUNS: Final = 4  # through an interval, at most, until a dispute goes on step by step
NEAR: Final = 8  # this part of the interval takes no longer step by step than a run through all of it
MOST: Final = 15  # states at once


class Guesses:
    """Of the states of one interval.

    Args:
        first: the state before it.
        end: how many steps of the task are done after it.
        room: how many states may be kept at a time, beside two.
    """

    def __init__(self, first: Point, told: Told, end: int, room: int) -> None:
        self._first, self._told, self._end = first, told, end
        self._room = max(1, min(room, MOST))
        self._runs = 0
        self._wrong: int | None = None  # the first step that does not output what is said, as far as was looked

    def agreed(self, ends: Sequence[int], roots: Sequence[bytes]) -> tuple[int, Point]:
        """How many pieces of the interval lead to a guess whose root the solver has revealed as well, and that guess.

        Perhaps one that is a few pieces before the last: those cost less step by step than another run. 0 and the state
        before the interval, where few runs find none.
        """
        first, reach = self._first.count, self._told.ahead.steps
        least, most, best = 0, bisect_right(ends, first + (self._end - first) // reach * reach), self._first
        tried, differ = self._between(least, most), False
        while most - least > len(ends) // NEAR and self._runs < RUNS:
            points = self.at([ends[count - 1] for count in tried])
            same = bisect_left(range(len(points)), True, key=lambda i: points[i].root != roots[tried[i] - 1])
            if same:
                least, best = tried[same - 1], points[same - 1]
            if same < len(points):
                most, differ = tried[same] - 1, True
            if self._wrong is not None:
                most = min(most, bisect_right(ends, self._wrong))
            tried = self._between(least, most) if differ or self._wrong is None else [most]
        return least, best

    def at(self, counts: Sequence[int]) -> list[Point]:
        """After these numbers of steps, ascending, as far as what was output before is what is said. One run."""
        self._runs += 1
        point, found, reach = self._first, list[Point](), self._told.ahead.steps
        while len(found) < len(counts) and point.count + reach <= self._end:
            wanted = [count - point.count for count in counts[len(found) :] if count <= point.count + reach]
            passed = sorted({*wanted, reach})
            states, right = self._told.ahead.passing(point.state, point.count, self._told.outputs, passed)
            if right < reach:
                self._wrong = point.count + right
            points = [point.later(state, by) for by, state in zip(passed, states, strict=True) if by <= right]
            found += points[: len(wanted)]
            if right < reach:
                break
            point = points[-1]
        return found

    def _between(self, least: int, most: int) -> list[int]:
        """Numbers above `least`, up to `most`, evenly spread."""
        parts = self._room + 1
        return sorted({least + -(-(most - least) * i // parts) for i in range(1, parts)} - {least})
