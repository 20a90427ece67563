"""A worker bids on what fits its machine beside what it holds, with a dispute about each."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offchain.market.actions import Bid, Decline
from offchain.market.notes import Needs, TaskNotes
from offchain.market.view import NOBODY, ChainView, Status, TaskView
from offchain.roles import solver
from offchain.roles.ledger import Ledger
from offchain.roles.policy import Policy
from tests.support.tasks import unposted

ME, OTHER = "0xMe", "0xOther"
MEMORY = 1_000
FILLING = Needs(400, 30.0, 25.0)  # of terms with a minute for everything


def bidding(number: int, clock: int = 60, interval_time: int = 60) -> TaskView:
    terms = unposted(steps=30, clock=clock, interval_time=interval_time)
    return TaskView(number, terms, OTHER, NOBODY, Status.BIDDING, 100, 0, 0, 0, ())


def decided(
    *tasks: TaskView, needs: Needs | None = FILLING, memory: int = MEMORY, held: int | None = None
) -> list[object]:
    """`held`: a task for which a bid is sealed."""
    notes = {task.id: TaskNotes(fit=True, needs=needs) for task in tasks}
    sealed = frozenset() if held is None else frozenset({(held, 0)})
    view = ChainView(ME, 50, 10**9, True, tasks, (), sealed=sealed)
    return list(solver.decide(view, notes, Policy(hourly=0, memory=memory)))


def test_twelve_tasks_that_each_fill_half_of_the_machine() -> None:
    """The bids of one look count together."""
    actions = decided(*map(bidding, range(12)))
    assert actions[:2] == [Bid(0, 5, 30), Bid(1, 5, 30)]
    assert {type(action) for action in actions[2:]} == {Decline}


@pytest.mark.parametrize(
    ("needs", "why"),
    [
        (Needs(501, 1.0, 1.0), r"needs 1,002 bytes; this worker has 1,000$"),
        (Needs(1, 31.0, 1.0), r"needs 103% of this machine's time, with headroom$"),
        (Needs(1, 1.0, 30.5), r"a dispute about each needs 61.0 s, with headroom; the least clock is 60 s$"),
    ],
    ids=["memory", "time", "defence"],
)
def test_a_refusal_names_the_figure(needs: Needs, why: str) -> None:
    held = bidding(0)
    (decline,) = decided(held, bidding(1, clock=100), needs=needs, held=0)
    assert isinstance(decline, Decline)
    assert decline.reason.why.startswith("with 1 tasks that are held or bid on ")
    assert re.search(why, decline.reason.why)


def test_nothing_is_bid_on_while_what_is_held_is_not_measured() -> None:
    held, offered = bidding(0), bidding(1)
    notes = {1: TaskNotes(fit=True, needs=FILLING)}
    view = ChainView(ME, 50, 10**9, True, (held, offered), (), sealed=frozenset({(0, 0)}))
    actions = solver.decide(view, notes, Policy())
    (decline,) = actions
    assert isinstance(decline, Decline)
    assert decline.reason.why == "what task 0 needs, which is held, is not measured yet"


def test_a_task_that_is_computed_takes_no_more_time_but_its_dispute_does() -> None:
    held = replace(bidding(0), solver=ME, status=Status.TRAINING)
    ledger = Ledger(MEMORY, [(replace(held, checkpoints=(None,) * held.terms.intervals), FILLING)])  # type: ignore[arg-type]
    assert ledger.refusal(bidding(1), Needs(1, 59.0, 1.0)) is None
    assert ledger.refusal(bidding(1), Needs(1, 1.0, 36.0))


needs_of = st.builds(Needs, st.integers(1, 600), st.floats(0.1, 70), st.floats(0.1, 70))
times = st.integers(20, 200)


@given(offered=st.lists(st.tuples(times, times, needs_of), min_size=1, max_size=12))
def test_what_is_bid_on_fits_together(offered: list[tuple[int, int, Needs]]) -> None:
    tasks = {n: (bidding(n, clock, interval), needs) for n, (clock, interval, needs) in enumerate(offered)}
    notes = {n: TaskNotes(fit=True, needs=needs) for n, (_, needs) in tasks.items()}
    view = ChainView(ME, 50, 10**9, True, tuple(task for task, _ in tasks.values()), ())
    everybody = Policy(hourly=0, memory=MEMORY, min_clock=1, min_interval_time=1)
    actions = solver.decide(view, notes, everybody)
    taken = [tasks[action.task_id] for action in actions if isinstance(action, Bid)]
    assert len(actions) == len(tasks)
    assert sum(needs.memory for _, needs in taken) <= MEMORY
    assert sum(needs.interval_seconds / task.terms.interval_time for task, needs in taken) <= 1 + 1e-9
    assert sum(needs.dispute_seconds for _, needs in taken) <= min((t.terms.clock for t, _ in taken), default=0)
