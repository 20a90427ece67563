"""Whether a task fits this machine: arithmetic on what was counted and measured, without a clock of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from offchain.dispute.cost import DisputeCost
from offchain.errors import BadInput, OffchainError
from offchain.ir.graph import Graph, work_units
from offchain.market.notes import Needs
from offchain.market.view import Terms
from offchain.worker.options import WorkerOptions

MOVES: Final = 10  # that a dispute takes, and one more reveal than most
DISPUTES: Final = (
    4  # that fit the clock. Each about another checkpoint needs a replay, and adds a quarter: Clocks.FURTHER
)


class Unfit(BadInput):
    """This worker does not take a task, for a reason that is in the task."""


class NotNow(OffchainError):
    """This worker does not take a task now. The reason may lie elsewhere, so it is tried again later."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What a task takes on this machine: the cost of its steps, and bytes of a process that computes it."""

    cost: DisputeCost
    memory: int


def require_countable(graph: Graph, terms: Terms, options: WorkerOptions) -> None:
    """Raises Unfit for a task that no machine of this kind computes within its terms. Costs no computing."""
    work = work_units(graph)
    least = work / options.fastest
    for what, seconds, allowed in (
        ("a step", least, longest_step(terms, options)),
        ("an interval", least * terms.interval, min(terms.interval_time, terms.clock / DISPUTES)),
    ):
        if seconds > allowed:
            raise Unfit(
                f"{what} takes at least {seconds:,.1f} s here ({work:,} units of work a step, at most "
                f"{options.fastest:,.0f} a second); its terms allow {allowed:,.1f} s"
            )


def longest_step(terms: Terms, options: WorkerOptions) -> float:
    """Seconds that a step may take in a task that fits: the traced one is part of a dispute."""
    return min(terms.clock / DISPUTES, terms.interval_time) / options.headroom


def needs(figures: Figures, terms: Terms, options: WorkerOptions) -> Needs:
    """What holding the task asks for: two processes, one that computes and one that defends; times with headroom."""
    cost, steps = figures.cost, terms.interval
    kept = min(cost.budget, cost.state_bytes * steps)
    computing = cost.interval_seconds(steps) * options.headroom
    dispute = (cost.dispute_seconds(steps) + MOVES * options.move_time) * options.headroom
    return Needs(2 * figures.memory + kept, computing, dispute)


def require_fit(figures: Figures, terms: Terms, options: WorkerOptions) -> None:
    """Raises NotNow for a task that this machine computes or defends too slowly for its terms, as it was measured."""
    asked = needs(figures, terms, options)
    for what, seconds, allowed, of in (
        ("computing an interval", asked.interval_seconds, terms.interval_time, "interval time"),
        (
            "a dispute (hashed replay, traced step, moves)",
            asked.dispute_seconds,
            terms.clock / DISPUTES,
            "quarter of the clock",
        ),
    ):
        if seconds > allowed:
            raise NotNow(f"{what} needs {seconds:.1f} s here, with headroom; the {of} is {allowed:g} s")
