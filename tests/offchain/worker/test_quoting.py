"""What a requester can know before it posts: gas, what a worker like this machine asks, and whether it would bid."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from offchain.chain.deployment import COIN
from offchain.dispute.cost import DisputeCost
from offchain.roles.policy import HOUR, Policy, keeping_gas
from offchain.store.taskfile import save_task
from offchain.worker.fit import Figures, Unfit
from offchain.worker.posting import Offer, post, terms_of
from offchain.worker.quoting import Measured, asked, enough, gas_of, measured
from offchain.worker.windows import TIMES, USUAL, Times
from tests.support.tasks import unposted
from tests.support.town import HONEST, INLINE, Town
from tests.support.works import every_kind

WORK = every_kind(6, 3)
COST = DisputeCost(plain=1.0, hashed=0.5, traced=2.0, state_bytes=100, budget=10_000)
FOUND = Measured(Figures(COST, 1_000), Times(10.5, 17.0, 5.0, 1_000, 100))
TERMS = unposted(steps=30, interval=10, interval_time=100, clock=1_000, max_price=COIN, stake=10 * COIN)


def test_what_a_worker_like_this_machine_asks() -> None:
    bid = asked(FOUND, TERMS, gas_price=0, fee_bps=0, options=USUAL)
    risk = Policy().risk
    seconds = 3 * 21 + 44 * risk
    assert bid.why is None
    assert bid.promised == 23  # 21 s of computing, 1.5 until it is on chain
    assert bid.price == pytest.approx(float(seconds * COIN / HOUR + TERMS.stake * risk), rel=1e-9)


def test_keepers_cost_their_solver_gas_which_it_asks_for() -> None:
    kept = replace(TERMS, keepers=4)
    alone, more = (asked(FOUND, terms, gas_price=10**9, fee_bps=0, options=USUAL).price for terms in (TERMS, kept))
    assert more - alone == keeping_gas(3, kept) * 10**9 > 0 == keeping_gas(3, TERMS)
    gas = gas_of(kept, "")
    assert gas["solver"] - gas_of(TERMS, "")["solver"] == keeping_gas(3, kept)
    assert gas["each keeper"] > 0 and "each keeper" not in gas_of(TERMS, "")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"clock": 59}, "clock of 59 s is below this worker's minimum of 60 s"),
        ({"clock": 100}, "a dispute .* needs 44.0 s here, with headroom; the quarter of the clock is 25 s"),
        ({"max_price": 10}, "it asks more than the highest price"),
    ],
)
def test_why_it_would_not_bid(changes: dict[str, int], why: str) -> None:
    said = asked(FOUND, replace(TERMS, **changes), 0, 0, USUAL).why
    assert said is not None
    with pytest.raises(AssertionError, match=why):
        raise AssertionError(said)


def test_a_price_that_nobody_named_leaves_room() -> None:
    def stake(price: int) -> int:
        return 5 * price

    price = enough(FOUND, TERMS, 10**9, 100, USUAL, stake)
    asks = asked(FOUND, replace(TERMS, max_price=price, stake=stake(price)), 10**9, 100, USUAL)
    assert asks.why is None
    assert 1.9 < price / asks.price < 2.3
    assert price == int(f"{price:.1e}".split("e")[0].replace(".", "")) * 10 ** (len(str(price)) - 2)


def test_the_requesters_gas_is_what_it_spends(town: Town) -> None:
    """With the deposit of the whole bill, and a URI as long as one that is served."""
    uri = "http://requester.example:8000/blobs/" + "0" * 64 + ".task"
    chain = town.chain("stranger")
    chain.request_withdrawal(chain.free())
    before = town.w3.eth.block_number
    offer = Offer(COIN, **dict.fromkeys(TIMES, 100))
    post(chain, terms_of(chain, WORK, offer, uri))
    spent = sum(town.w3.eth.get_block(n)["gasUsed"] for n in range(before + 1, town.w3.eth.block_number + 1))
    assert 0.9 * gas_of(TERMS, uri)["requester"] < spent <= gas_of(TERMS, uri)["requester"]


def test_a_task_is_measured_as_a_worker_tries_it(tmp_path: Path) -> None:
    file = tmp_path / "a.task"
    save_task(WORK, file)
    found = measured(file, WORK, HONEST, replace(USUAL, **INLINE))
    cost = found.figures.cost
    assert found.times.interval == cost.plain * 3 + cost.hashed > 0
    assert found.times.dispute > found.times.interval
    assert found.times.file == file.stat().st_size
    with pytest.raises(Unfit, match=r"a step touches [\d,]+ bytes; this machine gives 1,000"):
        measured(file, WORK, HONEST, replace(USUAL, max_memory=1_000, **INLINE))
