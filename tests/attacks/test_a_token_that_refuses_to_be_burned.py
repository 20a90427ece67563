"""Attack 18: the token refuses the burn address, or its owner pauses it, when a verdict is due.

Who loses a dispute loses money to the burn address. If the token itself had to move, whoever controls it could stop
every verdict: a cheat would keep its stake, and an honest solver's clock would run out in a dispute that it has won.
Burning is an entry in the vault's books now; the tokens leave later, when anybody sweeps.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from web3.contract import Contract

from offchain.chain.deployment import COIN
from offchain.chain.ganache import Ganache
from offchain.dispute.falsified import Falsehood
from offchain.errors import ChainError
from offchain.market.view import Status
from tests.attacks.conftest import REAL
from tests.conftest import Deploy
from tests.support.arena import Arena
from tests.support.deployment import BURN_ADDRESS, OWNER, Funded
from tests.support.everything import INTERVAL, everything
from tests.support.players import CONCEDE, Mind

STEP = 2 * INTERVAL - 1
LIE = Falsehood(STEP, everything().names["new_w"], 133)


@pytest.fixture
def token(deploy: Deploy, snapshot: None) -> Contract:
    return deploy("StubbornToken", BURN_ADDRESS)


@pytest.fixture
def stuck(ganache: Ganache, token: Contract, one_thread: None) -> Iterator[Arena]:
    """An arena whose token refuses the burn address, and is paused from now on."""
    arena = Funded.build(ganache, REAL, {"token": token.address}).seen_as(Arena, work=everything(), price=10 * COIN)
    pause(arena, token, True)
    return arena


def pause(arena: Arena, token: Contract, paused: bool) -> None:
    token.functions.pause(paused).transact({"from": arena.address(OWNER)})


def test_an_honest_solver_is_acquitted_all_the_same(stuck: Arena, token: Contract) -> None:
    before = stuck.fortunes()
    stuck.commit(stuck.honest.root(1))
    dispute = stuck.open(stuck.challenger)
    stuck.play(dispute, (stuck.honest.defend, lambda view: CONCEDE))
    stuck.close_windows(stuck.task)
    stuck.stranger.chain.collect(stuck.task)
    assert stuck.status() is Status.COMPLETED
    net = stuck.net(before)
    assert net["challenger"] < -stuck.terms.bond < 0 < stuck.price < net["solver"]
    with pytest.raises(ChainError):
        stuck.stranger.chain.sweep()
    pause(stuck, token, False)
    with pytest.raises(ChainError):
        stuck.stranger.chain.sweep()
    token.functions.relent().transact({"from": stuck.address(OWNER)})
    burned = stuck.burned()
    stuck.stranger.chain.sweep()
    assert stuck.burned() == burned == stuck.quick(OWNER).balance(BURN_ADDRESS)


def test_a_cheat_is_convicted_all_the_same(stuck: Arena) -> None:
    before = stuck.fortunes()
    cheat = Mind(stuck.work, LIE)
    stuck.commit(cheat.root(1))
    stuck.play(stuck.open(stuck.challenger), (cheat.defend, stuck.honest.attack))
    assert stuck.status() is Status.SLASHED
    net = stuck.net(before)
    assert net["solver"] < -stuck.terms.stake // 2
    assert net["challenger"] > 0 and net["requester"] >= 0
