"""What training cost lately on a chain: the prices of tasks that were completed, found by their events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from offchain.chain.client import Call, Chain
from offchain.chain.decoding import task_from, terms_from
from offchain.errors import ChainError, ChainUnavailable
from offchain.market.money import part_up
from offchain.market.view import Status, TaskView

RANGE: Final = 2_000  # blocks in one request for events; fewer if the node refuses so many
BLOCKS: Final = 50_000  # that are looked at
TASKS: Final = 50  # the latest


@dataclass(frozen=True, slots=True)
class Completed:
    """A task that was trained to its end.

    Attributes:
        graph_root: of its step graph, which fixes the work of a step.
        price: of all its steps, the fee that burns included; of the last solver's price where there were several.
        seconds: that this solver promised for all steps.
    """

    task_id: int
    graph_root: bytes
    steps: int
    price: int
    seconds: int

    @classmethod
    def of(cls, task: TaskView) -> Completed:
        terms = task.terms
        left = terms.steps - task.first * terms.interval
        price = part_up(task.price, terms.steps, left)
        return cls(task.id, terms.graph_root, terms.steps, price, part_up(task.promised, terms.steps, terms.interval))


def completed(chain: Chain, most: int = TASKS, blocks: int = BLOCKS) -> list[Completed]:
    """The latest tasks that were completed, within so many blocks, the newest first. Raises ChainUnavailable."""
    ids, last = list[int](), chain.head().number
    first, width = max(chain.deployment.block, last - blocks + 1), RANGE
    while last >= first and len(ids) < most:
        begin = max(first, last - width + 1)
        try:
            events = chain.logs(("market",), begin, last)
        except (ChainError, ChainUnavailable):
            if begin == last:
                raise
            width = max(1, (last - begin) // 2)  # perhaps too many blocks
            continue
        ended = [event.args for event in reversed(events) if event.name == "Ended"]
        ids += [args["taskId"] for args in ended if args["how"] == Status.COMPLETED]
        last = begin - 1
    return _read(chain, ids[:most])


def _read(chain: Chain, ids: list[int]) -> list[Completed]:
    calls: list[Call] = [("market", "terms", task_id) for task_id in ids]
    answers = chain.calls([*calls, *(("market", "task", task_id) for task_id in ids)])
    rows = zip(ids, answers, answers[len(ids) :], strict=False)
    return [Completed.of(task_from(task_id, terms_from(task_id, terms), task)) for task_id, terms, task in rows]


# --- what that says of another task ------------------------------------------------------------------------------

ALIKE: Final = 10  # times as long, or as short, as a task that says something of another


@dataclass(frozen=True, slots=True)
class Lately:
    """What a task would have cost at the prices of others, in the token's smallest unit.

    `same`: they have its very step graph, and each step its price; else each promised second has.
    """

    tasks: int
    least: int
    median: int
    most: int
    same: bool


def lately(found: list[Completed], graph_root: bytes, steps: int, seconds: int) -> Lately | None:
    """What others say of a task with these steps, for which a worker promises so many seconds in all; None: nothing."""
    same = [part_up(task.price, steps, task.steps) for task in found if task.graph_root == graph_root]
    alike = [
        part_up(task.price, seconds, task.seconds)
        for task in found
        if task.seconds <= ALIKE * seconds and seconds <= ALIKE * task.seconds
    ]
    prices = sorted(same or alike)
    if not prices:
        return None
    return Lately(len(prices), prices[0], prices[len(prices) // 2], prices[-1], bool(same))
