"""Auction: sealed bids, who leads, who is paid what, whose bond and stake are locked, and what is refused."""

from __future__ import annotations

from typing import Any, Final

import pytest

from offchain.market.notes import OwnBid
from offchain.market.view import NOBODY, Status
from tests.support.deployment import FREE, PARAMETERS
from tests.support.reverts import reverts
from tests.support.world import World

STAKE: Final = 4_320  # 4.8 · 900, the stake rule at q = 1/2
BOND: Final = PARAMETERS.bid_bond
FEE: Final = PARAMETERS.post_fee
SALT: Final = b"s" * 32
SEAL: Final = b"x" * 28


def bid(price: int, promised: int = 10, attempt: int = 0) -> OwnBid:
    return OwnBid(attempt, price, promised, SALT)


def committed(world: World, prices: dict[str, int], **changes: Any) -> int:
    """A task for which people have bid, at the end of bidding; each bid is `bid(price)`."""
    task = world.post(**changes)
    for name, price in prices.items():
        world.quick(name).bid(task, bid(price))
    world.clock.travel(world.task(task)["biddingEnds"] - world.clock.now)
    return task


def reveal(world: World, task: int, shown: OwnBid) -> Any:
    return world.auction.functions.reveal(task, shown.price, shown.promised, shown.salt)


def show(world: World, task: int, name: str, price: int) -> None:
    world.quick(name).reveal(task, bid(price))


def awarded(world: World, task: int) -> dict[str, Any]:
    terms = world.quick("stranger").terms(task)
    ends = world.task(task)["biddingEnds"] + terms.reveal_time
    world.send(world.market.functions.award(task), world.stranger, max(ends, world.clock.now + 1))
    return world.task(task)


# --- committing ------------------------------------------------------------------------------------------------------


def test_commit_locks_the_bond_and_nothing_else(market_world: World) -> None:
    world = market_world
    task = world.post()
    world.quick("solver").bid(task, bid(900))
    assert world.free("solver") == FREE - BOND
    assert world.quick("solver").sealed(task, 0) != bytes(28)
    assert world.quick("solver").bids(task, 0)["leader"]["bidder"] == NOBODY


def test_a_second_commit_replaces_the_first(market_world: World) -> None:
    world = market_world
    task = world.post()
    world.quick("solver").bid(task, bid(900))
    world.quick("solver").bid(task, bid(800))
    assert world.free("solver") == FREE - BOND
    world.clock.travel(PARAMETERS.bidding_time)
    with reverts(world.auction, "SealDiffers"):
        world.ask(reveal(world, task, bid(900)), world.solver)
    world.ask(reveal(world, task, bid(800)), world.solver)


def test_commit_after_the_end_reverts(market_world: World) -> None:
    world = market_world
    task = world.post()
    ends = world.task(task)["biddingEnds"]
    commit = world.auction.functions.commit(task, SEAL)
    world.clock.mine(ends - 1)
    world.ask(commit, world.solver)
    world.clock.mine(ends)
    with reverts(world.auction, "BiddingOver", ends, ends):
        world.ask(commit, world.solver)


def test_commit_of_the_wrong_people_reverts(market_world: World) -> None:
    world = market_world
    task = world.post()
    world.send(world.registry.functions.register(2, ""), world.stranger)
    world.send(world.registry.functions.register(3, ""), world.requester)
    commit = world.auction.functions.commit(task, SEAL)
    with reverts(world.auction, "NotASolver", world.stranger.lower()):
        world.ask(commit, world.stranger)
    with reverts(world.auction, "OwnTask", world.requester.lower()):
        world.ask(commit, world.requester)
    with reverts(world.auction, "ZeroSeal"):
        world.ask(world.auction.functions.commit(task, bytes(28)), world.solver)


def test_commit_without_the_bond_reverts(market_world: World) -> None:
    world = market_world
    task = world.post()
    world.quick("solver").request_withdrawal(FREE - BOND + 1)
    with reverts(world.vault, "InsufficientFree", world.solver.lower(), BOND, BOND - 1):
        world.ask(world.auction.functions.commit(task, SEAL), world.solver)


def test_commit_to_what_is_not_for_bids_reverts(market_world: World) -> None:
    world = market_world
    task = world.award()
    for number, status in ((task, Status.TRAINING), (task + 1, Status.NONE)):
        with reverts(world.market, "WrongStatus", number, Status.BIDDING, status):
            world.ask(world.auction.functions.commit(number, SEAL), world.rival)


# --- revealing -------------------------------------------------------------------------------------------------------


def test_the_leader_locks_its_stake_and_the_beaten_frees_it(market_world: World) -> None:
    world = market_world
    task = committed(world, {"solver": 900, "rival": 899})
    show(world, task, "solver", 900)
    assert world.free("solver") == FREE - BOND - STAKE
    show(world, task, "rival", 899)
    assert (world.free("solver"), world.free("rival")) == (FREE - BOND, FREE - BOND - STAKE)
    found = world.quick("solver").bids(task, 0)
    assert [found[place]["bidder"] for place in ("leader", "standby")] == [world.rival, world.solver]


def test_who_is_third_gets_its_bond_back_at_once(market_world: World) -> None:
    world = market_world
    world.send(world.registry.functions.register(1, ""), world.stranger)
    task = committed(world, {"solver": 900, "rival": 899, "stranger": 898})
    for name, price in (("solver", 900), ("rival", 899), ("stranger", 898)):
        show(world, task, name, price)
    assert world.free("solver") == FREE
    again = committed(world, {"solver": 900, "rival": 899, "stranger": 898})
    for name, price in (("stranger", 898), ("rival", 899), ("solver", 900)):  # the other way round
        show(world, again, name, price)
    assert world.free("solver") == FREE


def test_of_equal_scores_the_first_commit_leads(market_world: World) -> None:
    world = market_world
    task = committed(world, {"rival": 800, "solver": 800})
    show(world, task, "solver", 800)
    show(world, task, "rival", 800)
    assert world.quick("solver").bids(task, 0)["leader"]["bidder"] == world.rival


def test_reveal_before_and_after_its_time_reverts(market_world: World) -> None:
    world = market_world
    task = world.post()
    world.quick("solver").bid(task, bid(900))
    ends = world.task(task)["biddingEnds"]
    world.clock.mine(ends - 1)
    with reverts(world.auction, "BiddingOpen", ends, ends - 1):
        world.ask(reveal(world, task, bid(900)), world.solver)
    last = ends + PARAMETERS.bidding_time
    world.clock.mine(last - 1)
    world.ask(reveal(world, task, bid(900)), world.solver)
    world.clock.mine(last)
    with reverts(world.auction, "RevealOver", last, last):
        world.ask(reveal(world, task, bid(900)), world.solver)


def test_reveal_of_another_bid_or_by_somebody_else_or_twice_reverts(market_world: World) -> None:
    world = market_world
    task = committed(world, {"solver": 900})
    for other in (bid(899), bid(900, promised=9), OwnBid(0, 900, 10, b"t" * 32)):
        with reverts(world.auction, "SealDiffers"):
            world.ask(reveal(world, task, other), world.solver)
    with reverts(world.auction, "NotCommitted", task, 0, world.rival.lower()):
        world.ask(reveal(world, task, bid(900)), world.rival)
    show(world, task, "solver", 900)
    with reverts(world.auction, "NotCommitted", task, 0, world.solver.lower()):
        world.ask(reveal(world, task, bid(900)), world.solver)


def test_reveal_of_what_is_not_allowed_reverts(market_world: World) -> None:
    world = market_world
    task = world.post(interval_time=20)
    world.quick("solver").bid(task, bid(901))
    world.quick("rival").bid(task, bid(900, promised=21))
    world.clock.travel(PARAMETERS.bidding_time)
    with reverts(world.auction, "PriceTooHigh", 900, 901):
        world.ask(reveal(world, task, bid(901)), world.solver)
    with reverts(world.auction, "PromiseOutOfRange", 20, 21):
        world.ask(reveal(world, task, bid(900, promised=21)), world.rival)


def test_reveal_without_the_stake_reverts_where_it_would_lead(market_world: World) -> None:
    world = market_world
    task = committed(world, {"solver": 1, "rival": 2}, max_price=FREE // 10, stake=FREE)
    for name in ("solver", "rival"):
        with reverts(world.vault, "InsufficientFree", world.address(name).lower(), FREE, FREE - BOND):
            world.ask(reveal(world, task, bid(1 if name == "solver" else 2)), world.address(name))
    world.quick("solver").deposit(BOND)
    show(world, task, "solver", 1)
    show(world, task, "rival", 2)  # does not lead, so needs no stake


# --- the award -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prices", "paid"),
    [({"solver": 100}, 900), ({"solver": 100, "rival": 700}, 700), ({"solver": 500, "rival": 500}, 500)],
)
def test_the_winner_is_paid_the_second_best_price(market_world: World, prices: dict[str, int], paid: int) -> None:
    world = market_world
    task = committed(world, prices)
    for name, price in prices.items():
        show(world, task, name, price)
    found = awarded(world, task)
    assert (found["status"], found["solver"], found["price"]) == (Status.TRAINING, world.solver, paid)
    assert found["awardedAt"] == world.clock.now
    assert world.pots(task) == (900, STAKE)  # the escrow stays whole
    assert (world.free("solver"), world.free("rival")) == (FREE - STAKE, FREE)


def test_time_counts_as_urgency_says(market_world: World) -> None:
    """25 steps, 10 an interval: 10 s an interval are 25 s, 2 s are 5 s. 20 s less are worth 40."""
    world = market_world
    task = world.post(urgency=2)
    slow, fast = bid(500, promised=10), bid(530, promised=2)
    world.quick("solver").bid(task, slow)
    world.quick("rival").bid(task, fast)
    world.clock.travel(PARAMETERS.bidding_time)
    world.quick("solver").reveal(task, slow)
    world.quick("rival").reveal(task, fast)
    found = awarded(world, task)
    assert (found["solver"], found["promised"], found["price"]) == (world.rival, 2, 500 + 2 * 25 - 2 * 5)


def test_a_record_counts_as_risk_says(market_world: World) -> None:
    """Without a record the failure share is a tenth; with 800 failed it is 890 of 1,700."""
    world = market_world
    failed = world.award()  # at 900
    world.clock.travel(PARAMETERS.interval_time)
    world.send(world.market.functions.stall(failed), world.stranger)
    assert tuple(world.registry.functions.record(world.solver).call()) == (0, 800)
    task = world.post(risk_bps=2_000)
    burden = world.auction.functions.burden
    assert burden(task, world.rival, 10).call() == 18  # 900 · 20 % · 10 %
    assert burden(task, world.solver, 10).call() == 95  # 900 · 20 % · (800 + 90) / (800 + 900), rounded up


def test_award_without_a_reveal_ends_the_task(market_world: World) -> None:
    world = market_world
    task = committed(world, {"solver": 1})
    found = awarded(world, task)
    assert found["status"] == Status.CANCELLED
    assert (world.free("requester"), world.pots(task)) == (FREE - FEE, (0, 0))


def test_award_before_revealing_is_over_reverts(market_world: World) -> None:
    world = market_world
    task = committed(world, {"solver": 1})
    ends = world.task(task)["biddingEnds"] + PARAMETERS.bidding_time
    show(world, task, "solver", 1)
    world.clock.mine(ends - 1)
    with reverts(world.market, "RevealOpen", ends, ends - 1):
        world.ask(world.market.functions.award(task))


def test_award_twice_reverts(market_world: World) -> None:
    world = market_world
    task = world.award()
    with reverts(world.market, "WrongStatus", task, Status.BIDDING, Status.TRAINING):
        world.ask(world.market.functions.award(task))


# --- bonds -----------------------------------------------------------------------------------------------------------


def test_who_does_not_reveal_loses_its_bond(market_world: World) -> None:
    world = market_world
    task = committed(world, {"solver": 1, "rival": 2})
    show(world, task, "rival", 2)
    settle = world.auction.functions.settle(task, 0, world.solver)
    ends = world.task(task)["biddingEnds"] + PARAMETERS.bidding_time
    with reverts(world.auction, "RevealOpen", ends):
        world.ask(settle)
    awarded(world, task)
    world.send(settle, world.stranger)
    assert (world.free("solver"), world.burned()) == (FREE - BOND, FEE + BOND)
    with reverts(world.auction, "NotCommitted", task, 0, world.solver.lower()):
        world.ask(settle)
    with reverts(world.auction, "NotCommitted", task, 0, world.rival.lower()):
        world.ask(world.auction.functions.settle(task, 0, world.rival))  # it revealed


def test_a_cancelled_task_gives_the_bonds_back(market_world: World) -> None:
    world = market_world
    task = world.post()
    world.quick("solver").bid(task, bid(1))
    world.quick("requester").cancel(task)
    assert world.status(task) is Status.CANCELLED
    world.quick("stranger").settle_bid(task, 0, world.solver)
    assert (world.free("solver"), world.free("requester")) == (FREE, FREE - FEE)


def test_nobody_but_the_requester_cancels_and_not_after_a_reveal(market_world: World) -> None:
    world = market_world
    task = committed(world, {"solver": 1})
    cancel = world.market.functions.cancel(task)
    with reverts(world.market, "NotRequester", world.requester.lower(), world.solver.lower()):
        world.ask(cancel, world.solver)
    world.ask(cancel, world.requester)
    show(world, task, "solver", 1)
    with reverts(world.auction, "AlreadyRevealed", task, 0, world.solver.lower()):
        world.ask(cancel, world.requester)


def test_only_the_auction_says_who_leads(market_world: World) -> None:
    world = market_world
    task = committed(world, {"solver": 1})
    with reverts(world.market, "NotAuction", world.solver.lower()):
        world.ask(world.market.functions.lead(task, NOBODY, world.solver), world.solver)


@pytest.mark.parametrize("verb", ["close", "cancel", "dismiss"])
def test_only_the_market_ends_an_auction(market_world: World, verb: str) -> None:
    world = market_world
    task = committed(world, {"solver": 1})
    arguments = (task, 0, world.solver, True) if verb == "dismiss" else (task, 0)
    with reverts(world.auction, "NotMarket", world.solver.lower()):
        world.ask(world.auction.functions[verb](*arguments), world.solver)


def test_connect_only_the_deployer_and_once(market_world: World) -> None:
    world = market_world
    connect = world.auction.functions.connect(world.market.address)
    with reverts(world.auction, "NotDeployer", world.solver.lower()):
        world.ask(connect, world.solver)
    with reverts(world.auction, "AlreadyConnected"):
        world.ask(connect, world.owner)


def test_no_bid_moves_at_the_price_of_what_others_hold(market_world: World) -> None:
    """The vault holds what it held before, after every kind of bid: nothing appears, nothing is lost."""
    world = market_world
    before = world.fortunes()
    task = committed(world, {"solver": 1, "rival": 2})
    show(world, task, "solver", 1)
    awarded(world, task)
    tasks_of = world.quick("stranger")
    tasks_of.settle_bid(task, 0, world.rival)
    assert sum(world.net(before, ended=False)[name] > 0 for name in ("solver", "rival", "requester")) == 0
