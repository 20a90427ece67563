"""Attack 9: terms of 136 years of window or clock, intervals without end, a bond of 2^127.

Whoever wins such a task would have its pay and its stake locked for ever while it serves the model; with a bond that
nobody has, nobody could dispute. Every term has a maximum beside its minimum, and stake and bond a ratio to the price.
The worst that is left: the longest task that this deployment takes ends, and everybody has its money.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from offchain.chain.deployment import COIN, DAY, HOUR, PRESETS
from offchain.chain.ganache import Ganache
from offchain.chain.reverts import Reverted
from offchain.errors import BadTerms
from offchain.market.view import Status
from offchain.worker.posting import Offer, terms_of
from tests.support import tasks
from tests.support.deployment import Funded
from tests.support.works import every_kind

PUBLIC = PRESETS["public"]
PRICE = 100 * COIN
TIMES = dict.fromkeys(("bidding_time", "reveal_time", "handover_time", "interval_time", "clock"), HOUR)
EASY = TIMES | {"max_price": PRICE, "challenge_window": 6 * HOUR, "bond": 10 * COIN}
CENTURY = 2**32 - 1  # seconds
LONGEST = PUBLIC.max_duration // PUBLIC.max_interval_time  # intervals


@pytest.fixture(scope="module")
def _public(ganache: Ganache, artifacts: dict[str, Any]) -> Funded:
    return Funded.kept(ganache, PUBLIC)


@pytest.fixture
def public(_public: Funded, snapshot: None) -> Funded:
    """Contracts with the limits that `offchain deploy --preset public` sets."""
    return _public


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"challenge_window": CENTURY}, "TermTooLarge(term=challengeWindow"),
        ({"clock": CENTURY}, "TermTooLarge(term=clock"),
        ({"bidding_time": CENTURY}, "TermTooLarge(term=biddingTime"),
        ({"interval_time": CENTURY}, "TermTooLarge(term=intervalTime"),
        ({"steps": 2**31 - 1, "interval": 1}, "TermTooLarge(term=duration"),
        ({"bond": 2**127}, "TermTooLarge(term=bond"),
        ({"bond": 0}, "TermTooSmall(term=bond"),
        ({"stake": 2**127}, "TermTooLarge(term=stake"),
        ({"stake": 100_000 * COIN}, "TermTooLarge(term=stake"),
        ({"stake": PRICE}, "TermTooSmall(term=stake"),
        ({"stake": 4_000 * COIN, "bond": 79 * COIN}, "TermTooSmall(term=bond"),  # to drain a clock must cost something
        ({"max_price": 0, "stake": 5 * COIN - 1, "bond": 2 * COIN}, "TermTooSmall(term=stake"),
    ],
)
def test_such_terms_are_refused(public: Funded, changes: dict[str, int], error: str) -> None:
    before = public.fortunes()
    wanted = replace(tasks.terms(public, **EASY), **changes)
    with pytest.raises(Reverted) as refused:
        public.quick("requester").post(wanted)
    assert error in str(refused.value)
    assert all(gain <= 0 for gain in public.net(before).values())


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"clock": CENTURY}, "clock is 4294967295; this deployment allows 172800 at most"),
        ({"bidding_time": HOUR - 1}, "bidding_time is 3599; this deployment asks for 3600 or more"),
        ({"bond": 2**127}, "bond is .* allows"),
        ({"stake": 2**127}, "stake is .* allows"),
        ({"interval_time": DAY + 1}, "interval_time is .* allows"),
    ],
)
def test_offchain_says_so_before_it_locks_money(public: Funded, changes: dict[str, int], why: str) -> None:
    offer = replace(Offer(max_price=PRICE, challenge_window=6 * HOUR, **TIMES), **changes)
    with pytest.raises(BadTerms, match=why):
        terms_of(public.quick("requester"), every_kind(6, 3), offer, "memory://task")


def test_the_worst_terms_that_are_left_end(public: Funded) -> None:
    """The longest windows and intervals, all committed at the last moment: ends within a year and some weeks."""
    before = public.fortunes()
    terms = tasks.terms(
        public, max_price=PRICE, steps=3, interval=1, bidding_time=PUBLIC.max_bidding_time, clock=PUBLIC.max_clock,
        reveal_time=PUBLIC.max_bidding_time, handover_time=PUBLIC.max_bidding_time,
        interval_time=PUBLIC.max_interval_time, challenge_window=PUBLIC.max_challenge_window,
    )  # fmt: skip
    task = public.quick("requester").post(terms)
    posted = public.clock.now
    tasks.auction(public, task, {"solver": 0})
    for checkpoint in range(3):
        public.clock.travel(terms.interval_time - HOUR)
        public.quick("solver").commit(task, checkpoint, tasks.ROOT, "")
    public.close_windows(task)
    public.quick("solver").collect(task)
    assert public.status(task) is Status.COMPLETED
    assert public.clock.now - posted < (7 + 7 + 3 + 7) * DAY
    assert LONGEST <= 365
    net = public.net(before)
    assert net["requester"] < -PRICE and net["solver"] > PRICE * 99 // 100 - COIN // 10
