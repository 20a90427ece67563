"""Ten tests that a Brownie developer would write: a task from its posting to each of its ends."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import brownie
from brownie import chain

from offchain.chain.client import GraphHeader
from offchain.chain.deployment import COIN
from offchain.market.view import Status, Terms
from offchain.task import Task
from scripts.bid import commit, reveal, wait_until
from scripts.post_task import post
from tests.brownie.conftest import PRICE, WEALTH, field

Auctioned = Callable[..., int]
FALSE = b"\x01" * 32  # the root of nothing


def header(task: Task) -> tuple[object, ...]:
    of = GraphHeader.of(task.graph)
    return of.nodes, of.constants, of.slots, of.datasets, of.tree


def pass_time(seconds: int) -> None:
    chain.mine(timestamp=chain.time() + seconds)


def test_posting_locks_the_whole_bill(market: SimpleNamespace, terms: Terms) -> None:
    before = market.vault.freeOf(market.requester)
    number = post(market.parts, terms, market.requester)
    escrow, _ = market.limits.bill(PRICE, terms.keeper_bps)
    audits = market.auditor.bill(terms.intervals, terms.audit_fee, terms.audit_rate_bps)
    assert field(market, number, "status") == Status.BIDDING
    assert market.vault.potOf(market.market, market.market.escrowPot(number)) == escrow > PRICE
    assert market.vault.potOf(market.auditor, market.market.escrowPot(number)) == audits > 0
    assert market.vault.freeOf(market.requester) == before  # `post` deposits what it locks


def test_a_bid_is_sealed_until_it_is_shown(market: SimpleNamespace, terms: Terms) -> None:
    number = post(market.parts, terms, market.requester)
    bid = commit(market.parts, number, 50 * COIN, 10, market.solver)
    assert market.auction.bids(number, 0)[0][0] == brownie.ZERO_ADDRESS
    wait_until(market.market.bidding(number)[1])
    reveal(market.parts, number, bid, market.solver)
    assert market.auction.bids(number, 0)[0][0] == market.solver


def test_another_bid_than_the_sealed_one_is_refused(market: SimpleNamespace, terms: Terms) -> None:
    number = post(market.parts, terms, market.requester)
    bid = commit(market.parts, number, 50 * COIN, 10, market.solver)
    wait_until(market.market.bidding(number)[1])
    with brownie.reverts():
        market.auction.reveal(number, bid.price - 1, bid.promised, bid.salt, {"from": market.solver})


def test_the_winner_is_paid_the_second_price(market: SimpleNamespace, auctioned: Auctioned) -> None:
    number = auctioned(solver=(40 * COIN, 10), rival=(70 * COIN, 10))
    assert field(market, number, "solver") == market.solver
    assert field(market, number, "price") == 70 * COIN
    assert field(market, number, "standby") == market.rival


def test_an_honest_solver_is_paid(market: SimpleNamespace, terms: Terms, auctioned: Auctioned) -> None:
    number = auctioned(solver=(40 * COIN, 10))
    for checkpoint in range(2):
        market.log.commit(number, checkpoint, FALSE, "", {"from": market.solver})  # nobody looks
    pass_time(2 * terms.challenge_window)
    market.market.collect(number, {"from": market.solver})
    assert field(market, number, "status") == Status.COMPLETED
    assert market.vault.freeOf(market.solver) == WEALTH + PRICE * 99 // 100  # one in a hundred burns


def test_a_cheat_is_slashed(market: SimpleNamespace, terms: Terms, task: Task, auctioned: Auctioned) -> None:
    """It commits what it has not computed, is challenged, and has nothing to reveal."""
    number = auctioned(solver=(40 * COIN, 10), rival=(70 * COIN, 10))
    market.log.commit(number, 0, FALSE, "", {"from": market.solver})
    opened = market.game.open(number, 0, FALSE, header(task), {"from": market.challenger})
    dispute = opened.events["Opened"]["id"]
    pass_time(terms.clock + 1)
    before = market.vault.freeOf(market.challenger)
    market.game.timeout(dispute, {"from": market.challenger})
    assert market.vault.freeOf(market.solver) == WEALTH - terms.stake
    assert market.vault.freeOf(market.challenger) > before + terms.bond
    assert field(market, number, "status") == Status.VACANT


def test_the_runner_up_takes_over(market: SimpleNamespace, terms: Terms, auctioned: Auctioned) -> None:
    number = auctioned(solver=(40 * COIN, 10), rival=(70 * COIN, 10))
    pass_time(terms.interval_time + 1)
    market.market.stall(number, {"from": market.requester})
    market.market.takeOver(number, {"from": market.rival})
    assert field(market, number, "solver") == market.rival
    assert field(market, number, "price") == 70 * COIN


def test_a_solver_who_misses_its_deadline_loses_a_tenth(
    market: SimpleNamespace, terms: Terms, auctioned: Auctioned
) -> None:
    number = auctioned(solver=(40 * COIN, 10))
    with brownie.reverts():
        market.market.stall(number, {"from": market.requester})
    pass_time(terms.interval_time + 1)
    market.market.stall(number, {"from": market.requester})
    assert market.vault.freeOf(market.solver) == WEALTH - terms.stake // 10


def test_who_does_not_reveal_loses_its_bond(market: SimpleNamespace, terms: Terms) -> None:
    number = post(market.parts, terms, market.requester)
    commit(market.parts, number, 50 * COIN, 10, market.solver)
    pass_time(terms.bidding_time + terms.reveal_time)
    market.market.award(number, {"from": market.requester})
    market.auction.settle(number, 0, market.solver, {"from": market.requester})
    assert field(market, number, "status") == Status.CANCELLED
    assert market.vault.freeOf(market.solver) == WEALTH - market.auction.bidBond()


def test_a_requester_cancels_before_anybody_has_shown_a_bid(market: SimpleNamespace, terms: Terms) -> None:
    number = post(market.parts, terms, market.requester)
    commit(market.parts, number, 50 * COIN, 10, market.solver)
    with brownie.reverts():
        market.market.cancel(number, {"from": market.rival})
    market.market.cancel(number, {"from": market.requester})
    market.auction.settle(number, 0, market.solver, {"from": market.solver})
    assert market.vault.freeOf(market.solver) == WEALTH
