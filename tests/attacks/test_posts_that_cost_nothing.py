"""Attack 10, on the contracts' side: thousands of posts that nobody awards, checkpoints that nobody collects.

A post burns a fee, so that the list that everybody reads costs its author something; its gas is on top. No verb loops
over what strangers have made: to post, bid, award, commit and collect takes the same gas however much there is. A task
without bids can be ended by anybody, and gives the price back.
"""

from __future__ import annotations

import pytest

from offchain.market.notes import OwnBid
from offchain.market.view import Status
from tests.support import tasks
from tests.support.deployment import PARAMETERS, Funded

FLOOD = 40  # posts; contracts can't tell forty from thousands
CHECKPOINTS = 70  # more than one call of `collect` pays


def life(place: Funded) -> dict[str, int]:
    """Gas of each verb of a task with two intervals, from the post to the pay."""
    terms = tasks.terms(place, steps=2, interval=1, bidding_time=50)
    requester, solver = place.quick("requester"), place.quick("solver")
    posted = requester.send("market", "post", tuple(getattr(terms, name) for name in terms.__slots__))
    task = posted.event("Posted").args["taskId"]
    bid = OwnBid(0, 1_000, 1, bytes(32))
    gas = {"post": posted.gas_used, "bid": solver.bid(task, bid).gas_used}
    place.clock.travel(50)
    gas["reveal"] = solver.reveal(task, bid).gas_used
    place.clock.travel(60)
    gas["award"] = solver.award(task).gas_used
    for checkpoint in range(2):
        gas[f"commit {checkpoint}"] = solver.commit(task, checkpoint, tasks.ROOT, "").gas_used
    place.close_windows(task)
    gas["collect"] = solver.collect(task).gas_used
    assert place.status(task) is Status.COMPLETED
    return gas


@pytest.mark.slow
def test_a_flood_costs_its_author_and_nobody_else(place: Funded) -> None:
    life(place)  # accounts that had never held a thing pay more once
    alone = life(place)
    before = place.fortunes()
    wanted = tasks.terms(place, max_price=0)
    flood = [place.quick("rival").post(wanted) for _ in range(FLOOD)]
    busy = tasks.award(place, steps=CHECKPOINTS, interval=1, interval_time=10)
    for checkpoint in range(CHECKPOINTS):
        place.quick("solver").commit(busy, checkpoint, tasks.ROOT, "")
    among = life(place)
    assert {verb: gas - alone[verb] for verb, gas in among.items() if abs(gas - alone[verb]) > 200} == {}

    tasks.lapse(place, *flood)
    for task in flood:
        assert place.status(task) is Status.CANCELLED
    for _ in range(2):
        place.quick("stranger").collect(busy)
    assert place.status(busy) is Status.COMPLETED
    assert place.net(before)["rival"] < -FLOOD * PARAMETERS.post_fee


def test_a_task_without_bids_gives_the_price_back_and_keeps_the_fee(place: Funded) -> None:
    before = place.fortunes()
    task = tasks.post(place, max_price=10**18)
    place.clock.travel(120)
    gas = place.quick("stranger").award(task).gas_used
    net = place.net(before)
    assert net["requester"] < -PARAMETERS.post_fee
    assert net["requester"] > -PARAMETERS.post_fee - 10**16
    assert -(10**16) < net["stranger"] < 0 < gas
