"""An account's books: each coin with its reason, and the sums as token and vault have them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from offchain.bls.signing import sign
from offchain.chain import keepers
from offchain.chain.abi import Event
from offchain.chain.books import Kind
from offchain.chain.client import Chain, GraphHeader
from offchain.chain.ganache import Ganache
from offchain.chain.statement import Statement, scan
from offchain.errors import ChainError
from offchain.market.keeping import Signed, gathered, is_signed
from tests.support import tasks
from tests.support.bls import key_of
from tests.support.bookkeeping import require_balance
from tests.support.clock import Clock
from tests.support.deployment import FREE, PARAMETERS, WEALTH, Funded
from tests.support.vouching import SECRET, enter
from tests.support.works import every_kind

WORK = every_kind(6, 3)
PRICE = 900 * 10**18


@pytest.fixture(scope="module")
def built(ganache: Ganache) -> Funded:
    return Funded.kept(ganache, replace(PARAMETERS, fee_bps=100, standby_bps=200))


@pytest.fixture
def place(built: Funded) -> Any:
    with Clock(built.w3).undone():
        yield built


def statement(place: Funded, name: str) -> Statement:
    found = Statement(place.quick(name), place.address(name))
    found.update()
    require_balance(place, found)
    return found


def told(place: Funded, name: str, task: int | None = None) -> list[tuple[str, str]]:
    """Kinds and reasons of an account's movements."""
    return [(e.kind.value, e.why) for e in statement(place, name).books.entries if e.task == task or task is None]


def test_the_vault_and_the_wallet(place: Funded) -> None:
    chain = place.quick("stranger")
    chain.deposit(5)
    chain.request_withdrawal(7)
    place.clock.travel(PARAMETERS.withdrawal_delay + 1)
    chain.withdraw()
    chain.send("token", "transfer", place.address("rival"), 3)
    assert told(place, "stranger") == [
        ("moved", "minted"),
        ("moved", "deposited"),
        ("moved", "deposited"),
        ("moved", "withdrawal asked for"),
        ("moved", "withdrawn"),
        ("moved", f"sent to {place.address('rival')[:10]}"),
    ]
    assert told(place, "rival")[-1] == ("moved", f"from {place.address('stranger')[:10]}")
    assert statement(place, "stranger").books.sums() == {
        "wallet": WEALTH - FREE - 1, "free": FREE - 2, "pending": 0, "locked": 0,
    }  # fmt: skip


def trained(place: Funded, **changes: object) -> int:
    terms = {"max_price": PRICE, "attempts": 2, "interval_time": 1_000, **changes}
    task = tasks.post(place, WORK, **terms)
    tasks.auction(place, task, {"solver": 0, "rival": 800 * 10**18}, 10)
    return task


def test_a_task_that_is_paid(place: Funded) -> None:
    task = trained(place)
    for checkpoint in range(2):
        place.quick("solver").commit(task, checkpoint, tasks.ROOT, "")
    place.close_windows(task)
    place.quick("solver").collect(task)
    assert told(place, "solver", task) == [
        ("locked", "bid bond"),
        ("locked", "stake"),
        ("returned", "bid bond back"),
        ("earned", "pay for checkpoints 0 to 1"),
        ("returned", "stake back: all is delivered"),
    ]
    assert told(place, "rival", task) == [
        ("locked", "bid bond"),
        ("earned", "for standing by"),
        ("returned", "bid bond back"),
    ]
    solver, rival = place.address("solver")[:10], place.address("rival")[:10]
    assert told(place, "requester", task) == [
        ("locked", "escrow"),
        ("spent", "fee for posting"),
        ("spent", f"pay for checkpoints 0 to 1 to {solver}"),
        ("spent", "fee on pay"),
        ("spent", f"for standing by to {rival}"),
        ("returned", "what was left came back: completed"),
    ]
    books = statement(place, "solver").books
    assert books.total(Kind.EARNED) == 792 * 10**18 and books.total(Kind.LOST) == 0


def test_a_solver_that_stalls_and_a_bid_that_is_not_shown(place: Funded) -> None:
    task = tasks.post(place, WORK, max_price=PRICE, attempts=2, interval_time=1_000)
    tasks.bid(place, task, "rival", 5)
    tasks.auction(place, task, {"solver": 0}, 10)
    place.quick("stranger").settle_bid(task, 0, place.address("rival"))
    place.clock.travel(3_000)
    place.quick("requester").stall(task)
    stake = place.quick("solver").terms(task).stake
    assert told(place, "rival", task) == [("locked", "bid bond"), ("lost", "bid bond burned: not revealed")]
    assert told(place, "solver", task)[3:] == [
        ("returned", "stake back: what a stall leaves"),
        ("lost", "stake burned: a deadline was missed"),
    ]
    assert statement(place, "solver").books.total(Kind.LOST) == -(-stake // 10)
    place.quick("requester").cancel(task)
    assert told(place, "requester", task)[-1] == ("returned", "what was left came back: cancelled")


def test_a_cheat_its_challengers_and_a_standby_that_does_not_come(place: Funded) -> None:
    task = trained(place)
    place.quick("solver").commit(task, 0, tasks.ROOT, "")
    header = GraphHeader.of(WORK.graph)
    first = place.quick("challenger").open(task, 0, header)
    second = place.quick("stranger").open(task, 0, header)
    place.quick("solver").concede(first)
    place.quick("stranger").dismiss(second)
    place.clock.travel(100)
    place.quick("requester").reopen(task)
    assert {entry for entry in told(place, "solver", task) if entry[0] == "lost"} == {
        ("lost", f"stake lost to {place.address('challenger')[:10]}"),
        ("lost", "stake kept for challengers"),
        ("lost", "stake burned: convicted"),
    }
    assert told(place, "challenger", task) == [
        ("locked", "bond for disputing checkpoint 0"),
        ("earned", "reward: its solver was convicted"),
        ("returned", "bond for disputing checkpoint 0 back"),
    ]
    assert told(place, "stranger", task)[1:] == [
        ("earned", "bounty: was right in a dispute"),
        ("returned", "bond for disputing checkpoint 0 back"),
    ]
    assert told(place, "rival", task)[-1] == ("lost", "bid bond burned: did not take over")


def test_a_false_accusation(place: Funded) -> None:
    task = trained(place)
    place.quick("solver").commit(task, 0, tasks.ROOT, "")
    dispute = place.quick("challenger").open(task, 0, GraphHeader.of(WORK.graph))
    place.quick("challenger").concede(dispute)
    assert told(place, "challenger", task)[1:] == [
        ("lost", "bond for disputing checkpoint 0 burned"),
        ("lost", f"bond for disputing checkpoint 0 lost to {place.address('solver')[:10]}"),
    ]
    assert told(place, "solver", task)[-1] == ("earned", "won a challenger's bond")


class Narrow:
    """A chain whose node answers only for a few blocks at a time."""

    def __init__(self, chain: Chain, most: int) -> None:
        self._chain, self._most = chain, most
        self.asked: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._chain, name)

    def logs(self, parts: Sequence[str], first: int, last: int, topics: Sequence[Any] = ()) -> list[Event]:
        self.asked.append(last - first + 1)
        if last - first >= self._most:
            raise ChainError("reading events: the node says: block range is too wide")
        return self._chain.logs(parts, first, last, topics)


def test_a_node_that_answers_for_few_blocks_is_asked_for_fewer(place: Funded) -> None:
    trained(place)
    chain = place.quick("solver")
    first, last = chain.deployment.block, chain.head().number
    narrow: Any = Narrow(chain, 7)
    found = list(scan(narrow, ("vault", "market"), first, last))
    assert found == chain.logs(("vault", "market"), first, last)
    assert max(narrow.asked[-3:]) <= 7
    with pytest.raises(ChainError, match="too wide"):
        list(scan(Narrow(chain, 0), ("vault",), first, last))  # type: ignore[arg-type]


def test_what_comes_later_is_added_and_gas_is_that_of_own_transactions(place: Funded) -> None:
    chain = place.chain("solver")
    found = Statement(chain, chain.address)
    found.update()
    count, before, ether = len(found.books.entries), found.gas(), found.ether()
    assert before.found == 3 <= before.sent  # approve, deposit, register
    chain.deposit(5)
    found.update()
    assert len(found.books.entries) == count + 1
    after = found.gas()
    assert (after.found, after.sent) == (before.found + 2, before.sent + 2)
    assert after.wei - before.wei == ether - found.ether()
    last = found.books.entries[-1].event.block
    assert found.time_of(last) == chain.block(last).timestamp


def test_a_chain_that_was_reorganised_is_read_again(place: Funded) -> None:
    chain = place.quick("solver")
    found = Statement(chain, chain.address)
    with Clock(place.w3).undone():
        chain.deposit(5)
        found.update()
        assert found.books.sums()["free"] == FREE + 5
    place.quick("solver").deposit(8)
    place.clock.travel(5)
    found.update()
    require_balance(place, found)


def test_a_keeper_that_objects_and_is_paid(place: Funded) -> None:
    enter(place, {"stranger": 5})
    task = tasks.award(place, WORK, max_price=PRICE, price=800 * 10**18, keepers=4, keeper_bps=1_000)
    keeper, solver = place.quick("stranger"), place.quick("solver")
    for checkpoint in range(2):
        solver.commit(task, checkpoint, tasks.ROOT, "")
    keepers.seat(solver, task)
    members = keepers.members(keeper, task, 0, 0)
    assert members
    keepers.object_to(keeper, task, 1, members, 0)
    keepers.acknowledge(place.quick("requester"), task, 0, 1)
    place.close_windows(task)
    solver.collect(task)
    keepers.settle(solver, task, 0)
    assert told(place, "stranger", task) == [
        ("locked", "bond of an objection"),
        ("returned", "bond of an objection back"),
    ]
    assert ("returned", "what was left came back: completed") in told(place, "requester", task)


def test_a_keeper_that_signs(place: Funded) -> None:
    enter(place, {"stranger": 5})
    task = tasks.award(place, WORK, max_price=PRICE, price=800 * 10**18, keepers=4, keeper_bps=1_000)
    keeper, solver = place.quick("stranger"), place.quick("solver")
    for checkpoint in range(2):
        solver.commit(task, checkpoint, tasks.ROOT, "")
    keepers.seat(solver, task)
    members = keepers.members(keeper, task, 0, 0)
    assert members
    message = keepers.holding(keeper, task, 0, 0, 1, tasks.ROOT).message()
    signed = Signed(key_of(SECRET["stranger"]).twin, sign(SECRET["stranger"], message))
    assert is_signed(members[0], message, signed) and not is_signed(members[0], message[1:], signed)
    keepers.attest(solver, task, 0, 1, members, gathered({0: signed}))
    place.close_windows(task)
    solver.collect(task)
    keepers.reward(solver, task, 0, 0, members, 0)
    assert told(place, "stranger", task) == [("earned", "for keeping checkpoints")]
    assert statement(place, "stranger").books.total(Kind.EARNED) == 80 * 10**18
    assert ("spent", "for keepers") in told(place, "requester", task)
