"""What `offchain status` and `offchain task why` say of keepers."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import pytest

from offchain.chain import keepers
from offchain.commands.money import Look
from offchain.market.duties import Duty
from offchain.market.keeping import Member, Service, gathered
from offchain.market.view import ChainView
from tests.offchain.commands.conftest import Counter
from tests.support import tasks
from tests.support.keeping import answers
from tests.support.terminal import run
from tests.support.vouching import enter
from tests.support.works import every_kind

WORK: Final = every_kind(6, 3)
PRICE: Final = 10**18
BPS: Final = 300
Terminal = Callable[..., tuple[int, str, str]]


@pytest.fixture
def offchain(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Terminal:
    return lambda *words: run(capsys, monkeypatch, *map(str, words))


@pytest.fixture
def task(counter: Counter) -> int:
    """In training, with three seats that all belong to the stranger."""
    enter(counter, {"stranger": 5})
    task = tasks.post(counter, WORK, max_price=PRICE, keepers=3, keeper_bps=BPS, interval_time=1_000)
    tasks.auction(counter, task, {"solver": 0}, 10)
    return task


def seat(counter: Counter, task: int) -> tuple[Member, ...]:
    keepers.seat(counter.quick("solver"), task)
    sitting = keepers.members(counter.quick("solver"), task, 0, 0)
    assert sitting is not None
    return sitting


def attest(counter: Counter, task: int, sitting: tuple[Member, ...], checkpoint: int) -> None:
    chain = counter.quick("solver")
    holding = keepers.holding(chain, task, 0, 0, checkpoint, tasks.ROOT)
    keepers.attest(chain, task, 0, checkpoint, sitting, gathered(answers({0: "stranger"}, holding)))


def test_why_names_who_keeps_what(counter: Counter, offchain: Terminal, task: int) -> None:
    words = ["task", "why", task, *counter.options]
    assert json.loads(offchain(*words, "--json")[1])["keepers"][-1] == "no committee of this attempt has sat down"
    sitting = seat(counter, task)
    counter.quick("solver").commit(task, 0, tasks.ROOT, "")
    code, out, err = offchain(*words)
    flat = " ".join(out.split())
    assert (code, err) == (0, "") and max(map(len, out.splitlines())) <= 80
    assert "keepers 3 seats: " in flat and "checkpoint 0 waits for its keepers, or its requester's word until " in flat
    assert f"{counter.address('stranger')[:10]}, 3 seats, has signed for 0 of 1 checkpoints" in flat
    attest(counter, task, sitting, 0)
    flat = " ".join(offchain(*words)[1].split())
    assert "has signed for 1 of 1 checkpoints" in flat and "waits for its keepers" not in flat


def test_without_keepers_why_says_nothing_of_them(counter: Counter, offchain: Terminal) -> None:
    task = tasks.post(counter, WORK)
    assert json.loads(offchain("task", "why", task, *counter.options, "--json")[1])["keepers"] == []


def test_a_keeper_sees_what_it_keeps_until_when_and_what_that_brought(
    counter: Counter, offchain: Terminal, task: int
) -> None:
    def status(*more: str) -> str:
        code, out, err = offchain("status", counter.address("stranger"), *counter.options[:4], *more)
        assert (code, err) == (0, "")
        return out

    sitting = seat(counter, task)
    solver = counter.quick("solver")
    for k in range(2):
        solver.commit(task, k, tasks.ROOT, "")
        attest(counter, task, sitting, k)
    (service,) = json.loads(status("--json"))["keeping"]
    assert service | {"until": 0} == {
        "task": task, "attempt": 0, "committee": 0, "seats": 3, "of": 3, "signed": 2, "committed": 2, "runs": True,
        "until": 0, "show_by": None,
    }  # fmt: skip
    assert service["until"] > counter.clock.now
    flat = " ".join(status().split())
    assert f"keeps task {task}, 3 of 3 seats: 2 of 2 checkpoints signed for, until " in flat
    counter.close_windows(task)
    solver.collect(task)
    assert "over, 2 signed for; its pay is due" in " ".join(status().split())
    keepers.reward(solver, task, 0, 0, sitting, 0)
    said = json.loads(status("--json"))
    paid = PRICE * BPS // 10_000
    assert said["keeping"] == [] and said["kept"] == {"earned": str(paid), "fined": "0"}
    assert "keeps earned 0.03, fined 0" in " ".join(status().split())


def test_what_must_be_shown_is_due() -> None:
    service = Service(7, 0, 0, 1, 3, 2, 2, runs=False, show_by=1_000)
    view = ChainView("0xMe", 900, 0, True, (), ())
    look = Look(None, view, [service, replace(service, show_by=None)], 0, (0, 0), 0)  # type: ignore[arg-type]
    assert look.duties() == [Duty(1_000, "show what it has signed for as a keeper", 7)]
