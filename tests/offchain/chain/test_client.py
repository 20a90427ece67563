"""The client on a real chain: every verb, and what it is refused with."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from hexbytes import HexBytes
from web3 import Web3

from offchain.chain import reader as reader_module
from offchain.chain.client import Chain
from offchain.chain.deployment import DeploymentError
from offchain.chain.ganache import Ganache
from offchain.chain.reader import Reader
from offchain.chain.reverts import Reverted
from offchain.chain.transactions import MAX_GAS
from offchain.errors import BadInput, ChainError, ChainUnavailable
from offchain.market.actions import Move
from offchain.market.notes import OwnBid
from offchain.market.view import SOLVER, VERIFIER, Phase, Status
from tests.support.deployment import FREE, PARAMETERS, QUICK, Funded
from tests.support.place import HEADER, WORK, Place
from tests.support.runs import run
from tests.support.tasks import CLOCK, PRICE, URI, WINDOW


@pytest.fixture(scope="module")
def built(ganache: Ganache) -> Funded:
    return Funded.kept(ganache)


@pytest.fixture
def place(built: Funded, snapshot: None) -> Place:
    return built.seen_as(Place)


def refused(name: str, act: Callable[[], Any]) -> dict[str, Any]:
    """The arguments of the typed error that the call is refused with."""
    with pytest.raises(Reverted) as caught:
        act()
    assert caught.value.name == name, caught.value
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)
    return caught.value.arguments


# verbs


def test_mint(place: Place) -> None:
    before = place.solver.balance()
    place.owner.mint(place.solver.address, 5)
    assert place.solver.balance() == before + 5
    refused("OwnableUnauthorizedAccount", lambda: place.solver.mint(place.solver.address, 5))


def test_deposit_approves_what_is_missing(place: Place) -> None:
    before = place.solver.free()
    place.solver.deposit(10)
    assert place.solver.free() == before + 10
    allowance = place.solver.call("token", "allowance", place.solver.address, place.deployment.vault)
    assert allowance == 0
    refused("ERC20InsufficientBalance", lambda: place.solver.deposit(10**30))


def test_withdrawal(place: Place) -> None:
    place.solver.request_withdrawal(10)
    amount, ready_at = place.solver.pending_withdrawal()
    assert amount == 10
    assert refused("WithdrawalNotReady", place.solver.withdraw)["readyAt"] == ready_at
    place.clock.travel(PARAMETERS.withdrawal_delay + 1)
    before = place.solver.balance()
    place.solver.withdraw()
    assert place.solver.balance() == before + 10
    arguments = refused("InsufficientFree", lambda: place.solver.request_withdrawal(FREE))
    assert arguments["account"] == place.solver.address


def test_register_and_update(place: Place) -> None:
    place.solver.register(SOLVER | VERIFIER, "http://here")
    assert place.solver.roles_of() == 3
    refused("InvalidRoles", lambda: place.solver.register(9, ""))
    with pytest.raises(BadInput, match="512"):
        place.solver.register(SOLVER, "x" * 513)
    place.solver.deregister()
    assert place.solver.roles_of() == 0
    refused("NotRegistered", place.solver.deregister)


def test_post(place: Place) -> None:
    terms = place.terms(uri="http://task")
    task = place.requester.post(terms)
    assert place.requester.terms(task) == terms
    assert place.requester.task(task, terms).status is Status.BIDDING
    assert refused("TermTooSmall", lambda: place.requester.post(place.terms(stake=1)))["term"] == "stake"
    with pytest.raises(ChainError, match="no task"):
        place.requester.terms(task + 1)
    with pytest.raises(BadInput):
        place.requester.post(place.terms(steps=-1))


def test_bid_and_award(place: Place) -> None:
    task = place.requester.post(place.terms())
    bid = OwnBid(0, PRICE, 10, b"s" * 32)
    refused("NotASolver", lambda: place.challenger.bid(task, bid))
    place.solver.bid(task, bid)
    sealed = place.solver.sealed(task, 0)
    call = ("sealOf", task, 0, place.solver.address, bid.price, bid.promised, bid.salt)
    assert sealed == place.solver.call("auction", *call) != bytes(28)
    refused("BiddingOpen", lambda: place.solver.reveal(task, bid))
    place.clock.travel(61)
    refused("SealDiffers", lambda: place.solver.reveal(task, replace(bid, price=PRICE - 1)))
    place.solver.reveal(task, bid)
    assert place.solver.bids(task, 0)["leader"]["price"] == PRICE
    refused("RevealOpen", lambda: place.solver.award(task))
    place.clock.travel(61)
    receipt = place.solver.award(task)
    assert receipt.event("Awarded").args["solver"] == place.solver.address
    with pytest.raises(ChainError, match="no event"):
        receipt.event("Slashed")
    error = refused("WrongStatus", lambda: place.solver.award(task))
    assert error["actual"] is Status.TRAINING


def test_commit_collect_stall(place: Place) -> None:
    task = place.trained(1, interval_time=1_000)
    assert refused("WrongIndex", lambda: place.solver.commit(task, 0, b"r" * 32, ""))["expected"] == 1
    refused("NothingFinal", lambda: place.solver.collect(task))
    refused("NotStalled", lambda: place.requester.stall(task))
    place.clock.travel(WINDOW + 1)
    place.solver.collect(task)
    place.clock.travel(2_000)
    place.requester.stall(task)
    assert place.requester.task(task, place.terms()).status is Status.STALLED


def test_open_move_and_concede(place: Place) -> None:
    task = place.trained()
    refused("SelfChallenge", lambda: place.solver.open(task, 1, HEADER))
    refused("HashMismatch", lambda: place.challenger.open(task, 1, replace(HEADER, nodes=1)))
    dispute = place.challenger.open(task, 1, HEADER)
    roots = [run(WORK).state_root(t) for t in (4, 5, 6)]
    refused("RootCount", lambda: place.solver.move(dispute, Move("revealSteps", (roots[1:],))))
    refused("WrongTurn", lambda: place.challenger.move(dispute, Move("revealSteps", (roots,))))
    with pytest.raises(BadInput, match="no function"):
        place.solver.move(dispute, Move("giveUp", ()))
    with pytest.raises(BadInput, match="takes"):
        place.solver.move(dispute, Move("revealSteps", (roots, roots)))
    place.solver.move(dispute, Move("revealSteps", (roots,)))
    refused("ClockRunning", lambda: place.solver.timeout(dispute))
    refused("StillTraining", lambda: place.solver.dismiss(dispute))
    refused("NotRevealed", lambda: place.solver.move(dispute, Move("follow", ())))
    receipt = place.challenger.concede(dispute)
    assert receipt.event("Resolved").args["winner"] == place.solver.address


def test_timeout(place: Place) -> None:
    task = place.trained()
    dispute = place.challenger.open(task, 1, HEADER)
    other = place.requester.open(task, 0, HEADER)
    place.clock.travel(2 * CLOCK)  # two disputes gave a clock and a quarter
    place.challenger.timeout(dispute)
    assert place.requester.task(task, place.terms()).status is Status.SLASHED
    place.requester.dismiss(other)


# reading


def test_view_follows_the_chain(place: Place) -> None:
    reader = Reader(place.challenger)
    task = place.trained(1)
    view = reader.read()
    assert (view.me, view.free) == (place.challenger.address, place.challenger.free())
    assert not view.registered
    assert view.task(task).checkpoints[0].uri == URI
    assert view.opened == frozenset()
    dispute = place.challenger.open(task, 0, HEADER)
    view = reader.read()
    assert view.opened == {(task, 0, 0)}
    (seen,) = view.disputes
    assert (seen.id, seen.phase, seen.mover) == (dispute, Phase.REVEAL_STEPS, place.solver.address)
    assert view.task(task).checkpoints[0].holds == 1
    roots = [run(WORK).state_root(t) for t in (1, 2, 3)]
    place.solver.move(dispute, Move("revealSteps", (roots,)))
    assert reader.read().disputes[0].step_roots == tuple(roots)
    assert reader.read() == Reader(place.challenger).read()
    place.challenger.concede(dispute)
    assert reader.read().disputes == ()
    assert reader.outcome(dispute) == place.solver.address


def test_reorganisation_is_followed(place: Place) -> None:
    reader = Reader(place.challenger)
    task = place.trained(0)
    reader.read()
    with place.clock.undone():
        place.solver.commit(task, 0, b"a" * 32, "first")
        assert reader.read().task(task).checkpoints[0].uri == "first"
    assert reader.read().task(task).checkpoints == ()
    place.solver.commit(task, 0, b"b" * 32, "second")
    point = reader.read().task(task).checkpoints[0]
    assert (point.root, point.uri) == (b"b" * 32, "second")


def test_events_are_asked_for_in_bounded_ranges(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.trained()
    whole = Reader(place.challenger).read()
    asked: list[int] = []
    logs = place.challenger.logs

    def limited(parts: Any, first: int, last: int) -> Any:
        asked.append(last - first + 1)
        if last - first >= 8:
            raise ChainError("query returned more than 10000 results")
        return logs(parts, first, last)

    monkeypatch.setattr(place.challenger, "logs", limited)
    monkeypatch.setattr(reader_module, "RANGE", 20)
    assert Reader(place.challenger).read() == whole
    assert max(asked) <= 20


# transactions


def test_nonce_is_the_chains(place: Place) -> None:
    """Two clients of one account in turns, as after a restart."""
    again = place.chain("solver")
    for chain in (place.solver, again, place.solver):
        chain.register(SOLVER, "")


@pytest.fixture
def stopped(place: Place) -> Iterator[Callable[[], object]]:
    """No block is made until the test says so."""
    place.w3.provider.make_request("miner_stop", [])
    yield lambda: place.w3.provider.make_request("miner_start", [])
    place.w3.provider.make_request("miner_start", [])


def test_transaction_in_flight_is_waited_for(place: Place, stopped: Callable[[], object], tmp_path: Path) -> None:
    """By another process, too, that knows it from the outbox."""
    options = replace(QUICK, outbox=tmp_path / "outbox.json")
    with pytest.raises(ChainUnavailable, match="not mined within"):
        place.chain("solver", replace(options, receipt_timeout=0.3)).register(SOLVER, "slow")
    solver = place.chain("solver", options)
    timer = threading.Timer(0.3, stopped)
    timer.start()
    solver.settle()
    assert solver.call("registry", "worker", solver.address)["endpoint"] == "slow"
    timer.join()


def test_transaction_of_an_earlier_run_is_not_overtaken(place: Place, stopped: Callable[[], object]) -> None:
    with pytest.raises(ChainUnavailable, match="not mined within"):
        place.chain("solver", replace(QUICK, receipt_timeout=0.3)).register(SOLVER, "slow")
    with pytest.raises(ChainUnavailable, match="in flight"):
        place.chain("solver", replace(QUICK, receipt_timeout=0.3)).register(SOLVER, "fast")


def test_transaction_that_nobody_mines_is_replaced(place: Place, stopped: Callable[[], object]) -> None:
    solver = place.chain("solver", replace(QUICK, receipt_timeout=0.5))
    with pytest.raises(ChainUnavailable, match="not mined within"):
        solver.register(SOLVER, "first")
    threading.Timer(1.0, stopped).start()
    for _ in range(5):
        try:
            solver.register(SOLVER, "second")
            break
        except ChainUnavailable:
            pass
    assert solver.call("registry", "worker", solver.address)["endpoint"] == "second"


def test_fee_above_the_limit_is_refused(place: Place) -> None:
    with pytest.raises(ChainError, match="the limit is 1"):
        place.chain("solver", replace(QUICK, max_fee=1)).register(SOLVER, "")


def test_transaction_above_the_gas_limit_is_refused(place: Place) -> None:
    place.requester.w3.eth.estimate_gas = lambda *args: MAX_GAS + 1  # type: ignore[method-assign]
    with pytest.raises(ChainError, match="one transaction may use 4,000,000"):
        place.requester.register(SOLVER, "")


def test_ganache_is_asked_for_no_estimate(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where what is mined meanwhile makes the call fail, its estimate never ends and is never answered."""
    chain = place.chain("solver", replace(QUICK, estimate=None))
    monkeypatch.setattr(chain.w3.eth, "estimate_gas", lambda *args: pytest.fail("it was asked"))
    receipt = chain.register(SOLVER, "http://here")
    assert chain.w3.eth.get_transaction(HexBytes(receipt.hash))["gas"] == MAX_GAS
    refused("InvalidRoles", lambda: chain.register(9, ""))
    assert chain.w3.eth.get_transaction_count(chain.address) == chain.w3.eth.get_transaction_count(
        chain.address, "pending"
    )


def test_account_without_ether_is_refused(place: Place) -> None:
    poor = Chain(place.url, place.deployment, Account.create(), QUICK)
    with pytest.raises(ChainError, match="funds"):
        poor.register(SOLVER, "")


def test_reading_needs_no_account(place: Place) -> None:
    chain = Chain(place.url, place.deployment, None)
    assert chain.task_count() == place.solver.task_count()
    with pytest.raises(BadInput, match="needs an account"):
        chain.register(SOLVER, "")


def test_wrong_chain_id_is_refused(place: Place) -> None:
    wrong = replace(place.deployment, chain_id=1)
    chain = Chain(place.url, wrong, place.accounts["solver"], QUICK)
    with pytest.raises(DeploymentError, match="on chain 1, not 1337"):
        chain.check()
    with pytest.raises(ChainError):
        chain.register(SOLVER, "")  # signed for chain 1: worth nothing here
    place.solver.check()


def test_missing_contracts_are_refused(place: Place) -> None:
    nowhere = Web3.to_checksum_address("0x" + "12" * 20)
    with pytest.raises(DeploymentError, match="no contract"):
        Chain(place.url, replace(place.deployment, game=nowhere), None).check()
