"""The assignment with the greatest total gain, by shortest augmenting paths (Kuhn 1955, Munkres 1957)."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf


def best_assignment(gains: Sequence[Sequence[float]]) -> list[int | None]:
    """For each row the column that it gets, each column once, so that the sum of gains is greatest.

    Gains that are not positive are as good as nothing: such a row gets None. Takes O(r² c) for r rows and c columns,
    r being the smaller of the two.
    """
    rows, columns = len(gains), len(gains[0]) if gains else 0
    if rows > columns:
        turned = best_assignment([[row[column] for row in gains] for column in range(columns)])
        found: list[int | None] = [None] * rows
        for column, row in enumerate(turned):
            if row is not None:
                found[row] = column
        return found
    costs = [[-max(0.0, gain) for gain in row] for row in gains]
    return [column if costs[row][column] < 0 else None for row, column in enumerate(_least(costs, columns))]


def _least(costs: Sequence[Sequence[float]], columns: int) -> list[int]:
    """For each row its column, so that the sum of costs is least; there are no more rows than columns."""
    of_row = [0.0] * len(costs)  # prices (dual variables) of rows and columns
    of_column = [0.0] * columns
    taken: list[int | None] = [None] * columns  # the row that has a column
    for row in range(len(costs)):
        _augment(costs, row, of_row, of_column, taken)
    found = [0] * len(costs)
    for column, owner in enumerate(taken):
        if owner is not None:
            found[owner] = column
    return found


def _augment(
    costs: Sequence[Sequence[float]], row: int, of_row: list[float], of_column: list[float], taken: list[int | None]
) -> None:
    """Find the cheapest path from a row to a free column, and shift the rows on it by one column."""
    open_columns = list(range(len(taken)))
    distance = [inf] * len(taken)
    came_from: list[int | None] = [None] * len(taken)
    visited = list[int]()
    here: int | None = None
    at: int | None = row
    so_far = 0.0
    while at is not None:
        line, level = costs[at], so_far - of_row[at]
        nearest, least = -1, inf
        for column in open_columns:
            far = level + line[column] - of_column[column]
            if far < distance[column]:
                distance[column], came_from[column] = far, here
            if distance[column] < least:
                nearest, least = column, distance[column]
        open_columns.remove(nearest)
        visited.append(nearest)
        here, at, so_far = nearest, taken[nearest], least
    of_row[row] += so_far
    for column in visited[:-1]:
        owner = taken[column]
        assert owner is not None
        of_row[owner] += so_far - distance[column]
        of_column[column] -= so_far - distance[column]
    while here is not None:
        previous = came_from[here]
        taken[here] = row if previous is None else taken[previous]
        here = previous
