"""The counting that every attack ends with: gas counts, and so does every token wherever it lies."""

from __future__ import annotations

import pytest

from offchain.chain.deployment import COIN
from offchain.market.view import Status
from tests.support import tasks
from tests.support.deployment import GAS_PRICE, Funded

PRICE = 10 * COIN


def test_a_task_that_is_trained_moves_its_price_and_costs_gas(place: Funded) -> None:
    before = place.fortunes()
    task = tasks.train(place, max_price=PRICE, roots=[tasks.ROOT] * 3)
    assert before["solver"].locked == 0 < place.fortunes()["solver"].locked
    with pytest.raises(AssertionError, match="not over"):
        place.net(before)
    place.close_windows(task)
    gas = place.quick("stranger").collect(task).gas_used
    assert place.status(task) is Status.COMPLETED
    net = place.net(before)
    assert net["challenger"] == net["rival"] == 0
    assert -PRICE - COIN // 10 < net["requester"] < -PRICE
    assert PRICE - COIN // 10 < net["solver"] < PRICE
    assert -COIN // 10 < net["stranger"] <= -gas * GAS_PRICE


def test_money_that_waits_to_be_withdrawn_is_still_ones_own(place: Funded) -> None:
    before = place.fortunes()
    gas = place.quick("solver").request_withdrawal(PRICE).gas_used
    assert place.net(before)["solver"] == -gas * GAS_PRICE
