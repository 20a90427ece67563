"""Keepers in a town: they fetch, check, keep, sign and serve; the solver attests; who kept is paid."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace
from typing import Any, Final

import pytest

from offchain.chain import keepers
from offchain.chain.books import Books, Kind
from offchain.chain.statement import Statement
from offchain.market.actions import Reward
from offchain.market.view import ChainView, Status
from offchain.worker import draining
from offchain.worker.events import CommitSent, Drained, Draining, Failed
from offchain.worker.kept import AttestSent, Keeps, RewardLeft, RewardSent, SeatSent
from offchain.worker.operate import register
from tests.support.bls import SECRETS
from tests.support.bookkeeping import require_balance
from tests.support.town import POLICY, PRICE, Town
from tests.support.vouching import enter
from tests.support.works import every_kind

TASK: Final = every_kind(6, 3)
STAKES: Final = {"challenger": 5, "stranger": 4, "rival": 3}
SECRET: Final = dict(zip(STAKES, SECRETS, strict=False))
KEEPERS: Final = {"keepers": 3, "keeper_bps": 300}
IDLE: Final = replace(POLICY, audit_share=0.0)  # it replays nothing


def posted(town: Town) -> int:
    """A task, its solver, and three verifiers who may be drawn to keep its checkpoints, all in the register."""
    enter(town, STAKES, SECRET)
    task = town.post(TASK, **KEEPERS)
    register(town.worker("solver", "solver", "solver"))
    return task


def keeper(town: Town, name: str, **options: Any) -> None:
    register(town.worker(name, name, "verifier", signing_key=SECRET[name], policy=IDLE, **options))


def test_checkpoints_are_kept_attested_paid_and_so_are_the_keepers(town: Town) -> None:
    before = town.wealth()
    task = posted(town)
    for name in STAKES:
        keeper(town, name)
    town.until(lambda: len(town.told(CommitSent)) == 2 and town.told(AttestSent))
    assert len(town.told(SeatSent)) == 1
    members = town.told(SeatSent)[0].members
    town.until(lambda: town.told(AttestSent)[-1].checkpoint == 1)
    assert len(town.told(Keeps)) == 2 * members
    views = {name: town.workers[name].reader.read() for name in STAKES}
    town.close_windows(task)
    town.until(lambda: town.status(task) is Status.COMPLETED and len(town.told(RewardSent)) == members)
    assert not town.told(Failed)
    leave_what_costs_more_than_it_is(town, task, views)
    gains = town.gains(before)
    paid = {name: gains.get(name, 0) + STAKES[name] for name in STAKES}
    assert sum(paid.values()) <= PRICE * 300 // 10_000 < sum(paid.values()) + len(STAKES)
    assert gains["solver"] == PRICE
    for name in ("requester", "solver", *STAKES):
        why = {(entry.kind, entry.why) for entry in books(town, name).entries}
        assert ((Kind.EARNED, "for keeping checkpoints") in why) == (paid.get(name, 0) > 0)
    assert (Kind.SPENT, "for keepers") in {(e.kind, e.why) for e in books(town, "requester").entries}


def test_who_enters_the_register_thousands_of_times_keeps_no_signature_from_a_solver(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker remembers the last entries. For some coins of gas keepers' addresses were none of them, and every solver
    stalled whose requester was away."""
    monkeypatch.setattr("offchain.chain.register.MOST", 0)
    posted(town)
    for name in STAKES:
        keeper(town, name)
    town.until(lambda: town.told(AttestSent))
    assert not town.workers["solver"].reader.endpoints()


def leave_what_costs_more_than_it_is(town: Town, task: int, views: dict[str, ChainView]) -> None:
    """A stranger's tasks may earn their keepers next to nothing: a worker knows what is due before it pays the gas."""
    for name, sent in ((who, event) for who, event in town.events if isinstance(event, RewardSent)):
        view, keeping, amount = views[name], town.workers[name].keeping, sent.amount
        sitting = [member.holder for member in view.committees[task, 0, 0]]
        place, terms = sitting.index(town.address(name)), view.task(task).terms
        assert keepers.earned(town.quick(name), (task, 0, 0), place, terms) == amount
        keeping._gas_cost = lambda gas, price, cost=amount: cost  # type: ignore[misc]
        keeping.table[Reward](view, Reward(task, 0, 0))
        assert town.told(RewardLeft, name) == [RewardLeft(task, 0, 0, amount)]
        keeping._gas_cost = lambda gas, price, cost=amount: cost - 1  # type: ignore[misc]
        keeping.table[Reward](view, Reward(task, 0, 0))  # which says that it has been paid
    assert len(town.told(RewardLeft)) == len(town.told(RewardSent))


def test_a_keeper_that_drains_ends_when_it_has_been_paid(town: Town) -> None:
    task = posted(town)
    for name in STAKES:
        keeper(town, name)
    town.until(lambda: town.told(Keeps))
    signed = next(name for name, event in town.events if isinstance(event, Keeps))
    draining.request(town.folder / signed, linger=0)
    town.until(lambda: len(town.told(CommitSent)) == 2 and [a.checkpoint for a in town.told(AttestSent)][-1:] == [1])
    assert town.told(Draining, signed) == [Draining(True, (f"keeping of task {task}",))]
    assert not town.told(Drained)
    town.close_windows(task)
    town.until(lambda: town.told(Drained, signed))
    (paid,) = town.told(RewardSent, signed)
    assert paid.amount > 0 and town.status(task) is Status.COMPLETED


def test_a_keeper_whose_disk_has_lost_something_has_it_again(town: Town) -> None:
    """What it has signed for is served, and can be shown, after a start on a damaged folder as before."""
    posted(town)
    for name in STAKES:
        keeper(town, name)
    town.until(lambda: len(town.told(CommitSent)) == 2 and len(town.told(Keeps)) == 2 * town.told(SeatSent)[0].members)
    name = next(who for who, event in town.events if isinstance(event, Keeps))
    town.dismiss(name)
    blobs = town.folder / name / "blobs"
    before = {path: path.read_bytes() for path in blobs.iterdir() if path.suffix in (".state", ".kept")}
    assert {path.suffix for path in before} == {".state", ".kept"} and len(before) == 4
    for path, body in before.items():
        path.write_bytes(body[: len(body) // 2])
    keeper(town, name)
    town.meanwhile(lambda: {path: path.read_bytes() if path.exists() else b"" for path in before} == before)


@pytest.mark.parametrize("held", [True, False])
def test_a_solver_whose_disk_has_lost_what_it_committed_has_it_again(town: Town, held: bool) -> None:
    """From its keepers; where nobody has it, by its steps. Else nobody who comes later could have it from there."""
    posted(town)
    for name in STAKES if held else ():
        keeper(town, name)
    town.until(lambda: len(town.told(CommitSent)) == 2)
    town.until(lambda: not held or len(town.told(Keeps)) == 2 * town.told(SeatSent)[0].members)
    town.dismiss("solver")
    before = {path: path.read_bytes() for path in (town.folder / "solver" / "blobs").glob("*.state")}
    assert len(before) == 2
    for path in before:
        path.write_bytes(b"")
    register(town.worker("solver", "solver", "solver"))
    town.meanwhile(lambda: {path: path.read_bytes() if path.exists() else b"" for path in before} == before)


def test_a_keeper_that_cannot_have_a_checkpoint_says_so_once_and_asks_less_and_less(town: Town) -> None:
    """Each try waits for a fetch in the background, which has not failed as long as it runs."""
    posted(town)
    town.until(lambda: len(town.told(CommitSent)) == 2)
    town.dismiss("solver")
    for name in STAKES:
        keeper(town, name, max_backoff=60)
    tried = list[str]()
    for name in STAKES:
        town.workers[name].materials.blobs.heard = lambda kind, came, *_: came or tried.append(kind)
    began = time.monotonic()
    town.meanwhile(lambda: town.told(Failed) and time.monotonic() > began + 5)
    failed = Counter(name for name, event in town.events if isinstance(event, Failed))
    assert set(failed.values()) == {1}
    assert len(tried) <= 5 * len(failed)  # after 0.5, 1, 2 and 4 s


def books(town: Town, name: str) -> Books:
    """Which agree with what token and vault have."""
    found = Statement(town.quick(name), town.address(name))
    found.update()
    require_balance(town, found)
    return found.books


def test_a_keeper_that_restarts_has_signed_already(town: Town) -> None:
    """What it has is here again, and the solver is served by what it signed before."""
    task = posted(town)
    for name in STAKES:
        keeper(town, name)
    town.until(lambda: len(town.told(CommitSent)) == 2 and len(town.told(Keeps)) == 2 * town.told(SeatSent)[0].members)
    for name in STAKES:
        town.dismiss(name)
        keeper(town, name)
    signed = len(town.told(Keeps))
    town.until(lambda: [sent.checkpoint for sent in town.told(AttestSent)][-1:] == [1])
    assert len(town.told(Keeps)) == signed and town.status(task) is Status.TRAINING
