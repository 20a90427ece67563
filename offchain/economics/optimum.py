"""What assignments reach that know every machine's true cost and hold no auctions, and what none can exceed."""

from __future__ import annotations

import heapq
from typing import Any

import numpy as np

from offchain.economics.simulation import Outcome
from offchain.economics.world import World
from offchain.errors import BadInput


def optimum(world: World, may_wait: bool = False) -> Outcome:
    """Whenever a task is posted or done, all that wait are assigned anew so that the total cost is least.

    Tasks go to machines that are idle; with `may_wait` a task may also be kept for one that is busy now. Neither knows
    which tasks will come. Raises BadInput without scipy.
    """
    assign = _assign()
    outcome, waiting = Outcome.empty(len(world.tasks)), list[int]()
    free_at = np.zeros(len(world.machines))
    moments = [task.at for task in world.tasks]
    heapq.heapify(moments)
    posted = 0
    while moments:
        now = heapq.heappop(moments)
        while posted < len(world.tasks) and world.tasks[posted].at <= now:
            waiting.append(posted)
            posted += 1
        usable = np.arange(len(free_at)) if may_wait else np.flatnonzero(free_at <= now)
        if not waiting or not len(usable):
            continue
        delay = np.maximum(0, free_at[usable] - now)[:, None]
        until_done = delay + world.seconds[usable][:, waiting]
        cost = world.cost[usable][:, waiting] + world.urgency[waiting] * until_done
        rows, columns = assign(cost - np.array([world.value(task) for task in waiting]))
        chosen = [(int(usable[row]), waiting[column]) for row, column in zip(rows, columns, strict=True)]
        for machine, task in chosen:
            if free_at[machine] <= now:
                free_at[machine] = now + float(world.seconds[machine, task])
                outcome.machine[task], outcome.began[task], outcome.ended[task] = machine, now, float(free_at[machine])
                heapq.heappush(moments, float(free_at[machine]))
                waiting.remove(task)
    return outcome


def least_cost(world: World) -> float:
    """What all tasks cost if each could be done at once by its best machine, in units: no schedule costs less."""
    return float((world.cost + world.urgency * world.seconds).min(axis=0).sum())


def total_cost(world: World, outcome: Outcome) -> float:
    """What all work costs its machines, and waiting for results costs requesters, in units. Payments cancel out."""
    tasks = np.arange(len(world.tasks))
    posted = np.array([task.at for task in world.tasks])
    return float((world.cost[outcome.machine, tasks] + world.urgency * (np.array(outcome.ended) - posted)).sum())


def _assign() -> Any:
    try:
        from scipy.optimize import linear_sum_assignment
    except ImportError as error:
        raise BadInput("the optimum needs scipy: pip install '.[economics]' in the checkout") from error
    return linear_sum_assignment
