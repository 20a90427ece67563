"""Budgets of audits and the stake rule: the contracts' and the twin's."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from web3 import Web3
from web3.contract import Contract

from offchain.chain.client import Chain
from offchain.commit.logs import LogChunk
from offchain.commit.merkle import Tree
from offchain.economics.audits import StakeRule, audit_bill, audits_up
from tests.support.draws import examples
from tests.support.world import World

CASES = settings(max_examples=examples(60))
MOST = 2**96 - 1  # TermLimits.MAX_PRICE
rates = st.integers(1, 2**16 - 1)


@pytest.fixture(scope="module")
def world(ganache: Any, w3: Web3, artifacts: dict[str, Any]) -> World:
    return World.raw(ganache)


@pytest.fixture(scope="module")
def auditor(world: World) -> Contract:
    return world.contract("auditor")


@CASES
@given(st.one_of(st.integers(1, 300), st.integers(1, 2**31 - 1)), rates, st.integers(0, MOST))
def test_budgets(auditor: Contract, intervals: int, rate: int, fee: int) -> None:
    audits = audits_up(intervals, rate)
    assert auditor.functions.auditsUp(intervals, rate).call() == audits
    assert auditor.functions.bill(intervals, fee, rate).call() == audit_bill(intervals, fee, rate)
    expected = intervals * rate / 10_000
    least = expected + 3 * expected**0.5 + 1
    assert least - 1e-3 <= audits < least + 2


@CASES
@given(st.integers(0, MOST), st.integers(1, 2**31 - 1), st.data(), rates)
def test_stakes(world: World, price: int, steps: int, data: Any, rate: int) -> None:
    interval = data.draw(st.integers(1, steps))
    rule = stake_rule(world.quick("stranger"))
    assert world.limits.functions.requiredStake(price, steps, interval, rate).call() == rule.required(
        price, steps, interval, rate
    )


def stake_rule(chain: Chain) -> StakeRule:
    limits = chain.call("limits", "values")
    return StakeRule(limits["honestBps"], limits["marginBps"], limits["bounty"])


@CASES
@given(st.binary(max_size=64), st.integers(0, 2**160 - 1))
def test_commitments(auditor: Contract, end: bytes, account: int) -> None:
    verifier = Web3.to_checksum_address(f"0x{account:040x}")
    chunk = end.rjust(4_096)
    shown = LogChunk(chunk, (), 10, tuple(Tree([bytes(32)]).proof(0)), 1)
    assert auditor.functions.commitmentOf(verifier, chunk).call() == shown.commitment(verifier)
