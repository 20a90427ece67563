"""Windows from a task's own times: as short as they can be, and so that an ordinary worker still bids."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from offchain.chain.deployment import COIN, PRESETS
from offchain.dispute.cost import DisputeCost
from offchain.market.actions import Bid
from offchain.market.notes import TaskNotes
from offchain.market.view import NOBODY, ChainView, Fees, Status, TaskView
from offchain.roles import solver
from offchain.roles.policy import Policy
from offchain.store.taskfile import save_task
from offchain.worker.fit import Figures, needs, require_fit
from offchain.worker.posting import time_limits
from offchain.worker.quoting import measured
from offchain.worker.windows import SLOWER, TIMES, USUAL, Times, until_result, windows
from tests.support.tasks import unposted
from tests.support.town import HONEST, INLINE, Town
from tests.support.works import every_kind

SMALL = Times(interval=0.0025, dispute=0.004, trial=4.5, file=12_000, state=3_000)  # a job of 0.02 s in 8 intervals


def limits(preset: str) -> dict[str, tuple[int, int]]:
    """What `time_limits` reads from a deployment of these parameters."""
    set_ = PRESETS[preset]
    bidding = set_.bidding_time, set_.max_bidding_time
    return dict.fromkeys(("bidding_time", "reveal_time", "handover_time"), bidding) | {
        "interval_time": (set_.interval_time, set_.max_interval_time),
        "challenge_window": (set_.challenge_window, set_.max_challenge_window),
        "clock": (set_.clock, set_.max_clock),
        "duration": (0, set_.max_duration),
    }


def seconds(times: Times, intervals: int = 8, preset: str = "local", **given: int) -> dict[str, int]:
    return {name: window.seconds for name, window in windows(times, intervals, given, limits(preset)).items()}


def test_a_job_of_two_hundredths_of_a_second_is_done_in_about_two_minutes() -> None:
    terms = unposted(steps=80, interval=10, **seconds(SMALL))
    expected, latest = until_result(terms, SMALL.interval)
    assert expected < 130
    assert latest < 6 * 60  # it was 11 minutes with a solver that is at once


def test_a_named_window_wins_and_the_others_follow_it() -> None:
    found = windows(SMALL, 8, {"challenge_window": 4_000}, limits("local"))
    assert (found["challenge_window"].seconds, found["challenge_window"].why) == (4_000, "you named it")
    assert found["interval_time"].seconds > 1_000  # who takes over may ask a quarter of the window for the state


def test_a_deployments_limits_hold_and_are_named() -> None:
    least = windows(SMALL, 8, {}, limits("public"))
    assert least["clock"].seconds == PRESETS["public"].clock
    assert least["clock"].why.startswith("this deployment's least; ")
    slow = replace(SMALL, interval=50_000.0)
    most = windows(slow, 8, {}, limits("public"))["interval_time"]
    assert most.seconds == PRESETS["public"].max_interval_time
    assert most.why.startswith("this deployment's most; it should be ")
    long = windows(replace(SMALL, interval=5_000.0), 1_000, {}, limits("public"))["interval_time"]
    assert long.seconds == PRESETS["public"].max_duration // 1_000


@st.composite
def costs(draw: st.DrawFn) -> DisputeCost:
    """Of tasks that take from microseconds to minutes a step."""
    plain = 10.0 ** draw(st.floats(-6, 1.5))
    hashed, traced = plain * draw(st.floats(0.01, 5)), plain * draw(st.floats(1, 20))
    state = int(10 ** draw(st.floats(2, 9)))
    return DisputeCost(plain, hashed, traced, state, budget=2 << 30, outputs_bytes=state)


@given(
    cost=costs(), interval=st.integers(1, 600), intervals=st.integers(1, 40), slower=st.floats(1, SLOWER),
    file=st.integers(1_000, 1 << 30), move_time=st.floats(0.1, 15), preset=st.sampled_from(sorted(PRESETS)),
)  # fmt: skip
def test_an_ordinary_worker_bids(
    cost: DisputeCost, interval: int, intervals: int, slower: float, file: int, move_time: float, preset: str
) -> None:
    """Also one whose machine is slower: by its own decision, with its own check of what fits."""
    times = Times(cost.interval_seconds(interval), cost.dispute_seconds(interval), 5.0, file, cost.state_bytes)
    found = windows(times, intervals, {}, limits(preset), move_time)
    assume(not any("'s most" in window.why for window in found.values()))
    chosen = {name: window.seconds for name, window in found.items()}
    price = 10**9 * COIN
    terms = unposted(steps=interval * intervals, interval=interval, max_price=price, stake=COIN, **chosen)
    slow = replace(cost, plain=slower * cost.plain, hashed=slower * cost.hashed, traced=slower * cost.traced)
    theirs, options = Figures(slow, 1_000), replace(USUAL, move_time=move_time)
    require_fit(theirs, terms, options)
    task = TaskView(0, terms, "0xRequester", NOBODY, Status.BIDDING, 1_000, 0, 0, 0, ())
    notes = {0: TaskNotes(fit=True, needs=needs(theirs, terms, options))}
    view = ChainView("0xMe", 50, 2 * COIN, True, (task,), (), fees=Fees())
    (action,) = solver.decide(view, notes, Policy())
    assert isinstance(action, Bid)
    assert action.promised <= terms.interval_time


@pytest.mark.parametrize("name", TIMES)
def test_each_window_grows_with_the_task(name: str) -> None:
    large = Times(interval=100.0, dispute=200.0, trial=60.0, file=1 << 30, state=1 << 28)
    assert seconds(large)[name] > seconds(SMALL)[name] or name == "reveal_time"


def test_a_worker_trains_a_task_with_reckoned_windows(town: Town) -> None:
    """Measured as `task quote` does; the worker has the usual demands."""
    work = every_kind(6, 3)
    file = town.folder / "measured.task"
    save_task(work, file)
    found = measured(file, work, HONEST, replace(USUAL, **INLINE))
    reckoned = windows(found.times, len(work.points), {}, time_limits(town.quick("requester")))
    number = town.post(work, **{name: window.seconds for name, window in reckoned.items()})
    town.worker("solver", "solver", "solver")
    town.until(lambda: town.status(number) is Status.COMPLETED)
