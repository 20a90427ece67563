"""Who holds which unit of all stakes, now and before, and what members have signed for, against plain lists."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from web3.contract import Contract

from tests.support.draws import examples
from tests.support.reverts import reverts

CASES = settings(max_examples=examples(30), deadline=None)
GAS = {"gas": 29_000_000}
amounts = st.one_of(st.integers(0, 5), st.integers(0, 2**90))


@pytest.fixture(scope="module")
def harness(deploy: Any) -> Contract:
    return deploy("KeepingHarness")


@CASES
@given(st.lists(st.tuples(st.integers(0, 9), amounts, st.booleans()), min_size=1, max_size=24), st.data())
def test_holders(harness: Contract, wanted: list[tuple[int, int, bool]], data: st.DataObject) -> None:
    """A holder comes with its first change; whoever looks at an older root sees what was then."""
    stakes: list[int] = []
    changes, history = [], []
    for who, amount, removing in wanted:
        holder = min(who, len(stakes))
        if holder == len(stakes):
            stakes.append(0)
        removed = min(amount, stakes[holder]) if removing else 0
        added = 0 if removing else amount
        stakes[holder] += added - removed
        changes.append((holder, added, removed))
        history.append(list(stakes))
    at, ranks, expected = [], [], []
    for number, then in enumerate(history):
        ends = [sum(then[: place + 1]) for place in range(len(then))]
        if ends[-1]:
            edges = {0, ends[-1] - 1} | {rank for end in ends for rank in (end - 1, end) if 0 <= rank < ends[-1]}
            rank = data.draw(st.sampled_from(sorted(edges)))
            at.append(number)
            ranks.append(rank)
            expected.append(next(place for place, end in enumerate(ends) if rank < end))
    sums, holders = harness.functions.rank(changes, at, ranks).call(GAS)
    assert sums == [sum(then) for then in history]
    assert holders == expected


def test_more_than_fits(harness: Contract) -> None:
    most = 2**96 - 1
    sums, _ = harness.functions.rank([(0, most, 0), (1, 0, 0), (0, 0, 1), (1, 1, 0)], [], []).call(GAS)
    assert sums == [most, most, most - 1, most]
    with reverts(harness, "SumTooLarge", most, most + 1):
        harness.functions.rank([(0, most, 0), (1, 1, 0)], [], []).call(GAS)


@CASES
@given(st.lists(st.integers(1, 16), min_size=1, max_size=16), st.data())
def test_what_members_have_signed_for(harness: Contract, seats: list[int], data: st.DataObject) -> None:
    some = st.tuples(st.integers(0, 2 ** len(seats) - 1), st.one_of(st.integers(0, 9), st.integers(0, 2**28 - 1)))
    calls = data.draw(st.lists(some, max_size=8))
    news, held, up_to = harness.functions.keep(seats, [s for s, _ in calls], [k for _, k in calls]).call(GAS)
    known = [0] * len(seats)
    for number, (signers, checkpoint) in enumerate(calls):
        before = list(known)
        known = [max(had, checkpoint) if signers >> i & 1 else had for i, had in enumerate(known)]
        assert news[number] == (known != before)
        assert held[number] == sum(seats[i] for i, had in enumerate(known) if had >= checkpoint)
    assert up_to == known
