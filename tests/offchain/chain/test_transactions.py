"""Transactions that nodes lose, that are too cheap, that another process replaces."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from offchain.chain.client import Chain
from offchain.chain.ganache import Ganache
from offchain.chain.outbox import Flight, Outbox
from offchain.chain.reader import Reader
from offchain.chain.transactions import Foreign, SendOptions, Waiting
from offchain.errors import ChainError, ChainUnavailable
from offchain.market.view import SOLVER, VERIFIER
from tests.support.deployment import QUICK, Funded
from tests.support.proxy import Lossy, lossy

FAST = replace(QUICK, receipt_timeout=0.8)


@pytest.fixture(scope="module")
def built(ganache: Ganache) -> Funded:
    return Funded.kept(ganache)


@pytest.fixture
def place(built: Funded, snapshot: None) -> Funded:
    return built


@pytest.fixture
def node(place: Funded) -> Iterator[Lossy]:
    with lossy(place.url) as node:
        yield node


@pytest.fixture
def stopped(place: Funded) -> Iterator[Callable[[], object]]:
    """No block is made until the test says so."""
    place.w3.provider.make_request("miner_stop", [])
    yield lambda: place.w3.provider.make_request("miner_start", [])
    place.w3.provider.make_request("miner_start", [])


def through(node: Lossy, place: Funded, options: SendOptions = FAST) -> tuple[Chain, list[Waiting | Foreign]]:
    """The solver's client at that node, and what it says of its transactions."""
    chain, said = Chain(node.url, place.deployment, place.accounts["solver"], options), list[Waiting | Foreign]()
    chain.stake_on(None, said.append)
    return chain, said


def test_what_the_node_has_dropped_is_sent_again(place: Funded, node: Lossy) -> None:
    chain, said = through(node, place)
    node.claims, node.swallow = False, 1
    receipt = chain.register(SOLVER, "x")
    assert "0x" + receipt.hash.hex() == node.lost[0]  # the same transaction
    (told,) = said
    assert isinstance(told, Waiting) and told.then == "sent again" and 0 < told.age < FAST.receipt_timeout


def test_what_the_node_pretends_to_have_is_replaced_at_a_higher_fee(place: Funded, node: Lossy) -> None:
    chain, said = through(node, place)
    node.swallow = 1
    chain.register(SOLVER, "x")
    (told,) = said
    assert isinstance(told, Waiting) and told.then == "replaced" and told.age > FAST.receipt_timeout
    assert chain.call("registry", "worker", chain.address)["endpoint"] == "x"


def test_what_stays_in_flight_gives_way_to_what_is_decided_next(place: Funded, stopped: Callable[[], object]) -> None:
    chain = place.chain("solver", replace(FAST, receipt_timeout=0.2))
    with pytest.raises(ChainUnavailable, match=r"not mined within 0\.3 s"):
        chain.register(SOLVER, "x")
    threading.Timer(0.1, stopped).start()
    for _ in range(20):  # a busy machine mines late, and each look decides again
        with suppress(ChainUnavailable):
            chain.register(SOLVER, "y")
            break
    assert chain.call("registry", "worker", chain.address)["endpoint"] == "y"


def test_what_a_reorganisation_took_away_does_not_hold_up_what_comes_after(
    place: Funded, stopped: Callable[[], object]
) -> None:
    """A solver lost a part of its stake: what was in flight had a later nonce, and waited for ever for those before."""
    chain = place.chain("solver", replace(FAST, receipt_timeout=0.2))
    ask = place.w3.provider.make_request
    taken = ask("evm_snapshot", [])["result"]  # type: ignore[arg-type]
    stopped()
    chain.register(SOLVER, "x")
    ask("miner_stop", [])  # type: ignore[arg-type]
    with pytest.raises(ChainUnavailable, match="not mined within"):
        chain.send("registry", "update", SOLVER, "y")
    ask("evm_revert", [taken])  # type: ignore[arg-type]
    stopped()
    for _ in range(20):
        with suppress(ChainUnavailable):
            chain.register(SOLVER, "z")
            break
    assert chain.call("registry", "worker", chain.address)["endpoint"] == "z"
    chain.send("registry", "update", SOLVER, "later")


def test_a_nonce_that_was_just_used_is_no_refusal(place: Funded, node: Lossy) -> None:
    """Between the count and the sending another one was mined: the next look decides anew."""
    chain, _ = through(node, place)
    chain.register(SOLVER, "x")
    node.uncounted = 1
    with pytest.raises(ChainUnavailable, match="is in flight"):
        chain.register(SOLVER, "y")
    node.uncounted = 0
    chain.register(SOLVER, "y")


def test_what_is_urgent_is_replaced_within_its_call(place: Funded, node: Lossy) -> None:
    chain, said = through(node, place, replace(FAST, receipt_timeout=100))
    chain.stake_on(4, said.append)  # seconds of the clock: 2 for a transaction, 1 for an urgent one
    node.swallow = 1
    mined = chain.send("registry", "update", SOLVER, "z", urgent=True)
    sent = place.w3.eth.get_transaction("0x" + mined.hash.hex())  # type: ignore[arg-type]
    (told,) = said
    assert isinstance(told, Waiting) and told.then == "replaced" and 1 <= told.age < 2
    assert told.nonce == sent["nonce"]
    assert told.fee == sent["maxFeePerGas"]


def test_a_fee_above_the_limit_is_paid_only_in_disputes(place: Funded) -> None:
    chain = place.chain("solver", replace(FAST, max_fee=1, max_fee_dispute=10**12))
    with pytest.raises(ChainError, match="the limit is 1"):
        chain.send("registry", "update", SOLVER, "x")
    chain.send("registry", "update", SOLVER, "x", urgent=True)


def test_two_processes_share_an_account(place: Funded, tmp_path: Path, stopped: Callable[[], object]) -> None:
    """Neither waits for the other's receipt, and neither takes the other's nonce."""
    options = replace(QUICK, outbox=tmp_path / "outbox.json")
    lanes = [place.chain("solver", replace(options, lane=lane)) for lane in ("work", "defence")]
    ends: list[int] = []

    def update(chain: Chain, role: int) -> None:
        ends.append(chain.send("registry", "update", role, "").block)

    threads = [threading.Thread(target=update, args=pair) for pair in zip(lanes, (SOLVER, VERIFIER), strict=True)]
    for thread in threads:
        thread.start()
    while True:
        with Outbox(options.outbox).opened() as sent:
            if len(sent.flights) == 2:
                break
    stopped()
    for thread in threads:
        thread.join()
    assert len(ends) == 2
    with Outbox(options.outbox).opened() as sent:
        assert sent.flights == {}


def test_another_program_with_the_same_account_is_noticed(place: Funded) -> None:
    chain, said = place.chain("solver"), list[Waiting | Foreign]()
    chain.stake_on(None, said.append)
    chain.register(SOLVER, "here")
    assert said == []
    place.chain("solver").register(SOLVER, "elsewhere")
    chain.settle()
    (told,) = said
    assert isinstance(told, Foreign) and told.nonce == place.w3.eth.get_transaction_count(place.address("solver")) - 1
    chain.settle()
    assert len(said) == 1


def test_a_node_without_batches_is_asked_one_by_one(place: Funded, node: Lossy) -> None:
    chain, _ = through(node, place)
    node.deaf = True
    assert Reader(chain).read() == Reader(place.chain("solver")).read()


def test_a_damaged_outbox_counts_as_empty(tmp_path: Path) -> None:
    path = tmp_path / "outbox.json"
    flight = Flight(3, "main", "x", {}, 1, 1, 0.0, 0.0, "0x", ("0x1",))
    with Outbox(path).opened() as sent:
        sent.put(flight)
    with Outbox(path).opened() as sent:
        assert (sent.flights, sent.next) == ({3: flight}, 4)
    path.write_text("{")
    with Outbox(path).opened() as sent:
        assert (sent.flights, sent.next) == ({}, -1)


def test_what_cannot_be_written_is_kept_in_memory(tmp_path: Path) -> None:
    """Neither a full disk nor a folder that nobody may write to keeps a transaction from being sent."""
    path = tmp_path / "outbox.json"
    first, second = (Flight(nonce, "main", "x", {}, 1, 1, 0.0, 0.0, "0x", ("0x1",)) for nonce in (3, 4))
    box = Outbox(path)
    with box.opened() as sent:
        sent.put(first)
    path.with_suffix(".tmp").mkdir()
    with box.opened() as sent:
        sent.put(second)
    with box.opened() as sent:
        assert (sent.flights, sent.next) == ({3: first, 4: second}, 5)
        sent.forget(4)
    path.with_suffix(".tmp").rmdir()
    with box.opened() as sent:
        sent.forget(4)
    with Outbox(path).opened() as sent:
        assert (sent.flights, sent.next) == ({4: second}, 5)
