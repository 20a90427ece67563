"""`offchain status` and `offchain account history` at a terminal."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable

import pytest

from offchain.chain.deployment import COIN
from tests.offchain.commands.conftest import Counter
from tests.support import tasks
from tests.support.deployment import FREE, WEALTH
from tests.support.terminal import run
from tests.support.works import every_kind

WORK = every_kind(6, 3)
Terminal = Callable[..., tuple[int, str, str]]


@pytest.fixture
def offchain(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Terminal:
    return lambda *words: run(capsys, monkeypatch, *map(str, words))


def place(counter: Counter) -> list[str]:
    """Options that say where the chain is, and not who signs."""
    return counter.options[:4]


def training(counter: Counter) -> int:
    task = tasks.post(counter, WORK, max_price=900 * COIN, attempts=2, interval_time=1_000)
    tasks.auction(counter, task, {"solver": 0, "rival": 800 * COIN}, 10)
    counter.quick("solver").commit(task, 0, tasks.ROOT, "")
    return task


def test_what_a_solver_has_and_must_do(counter: Counter, offchain: Terminal) -> None:
    task = training(counter)
    counter.quick("solver").request_withdrawal(3 * COIN)
    solver, stake = counter.address("solver"), counter.quick("solver").terms(task).stake
    code, out, err = offchain("status", solver, *place(counter), "--json")
    said = json.loads(out)
    assert (code, err) == (0, "")
    assert said["locked"] == [{"task": task, "attempt": 0, "what": "stake", "amount": str(stake)}]
    assert said["free"] == str(FREE - stake - 3 * COIN)
    assert said["wallet"] == str(WEALTH - FREE)
    assert said["withdrawing"]["amount"] == str(3 * COIN)
    due = said["due"][0]
    assert (due["what"], due["task"], due["must"]) == ("commit checkpoint 1", task, True)
    assert 5 < said["gas"]["transactions"] <= said["gas"]["of"] and int(said["gas"]["paid"]) > 0
    assert said["moves"] > 1_000

    code, out, err = offchain("status", solver, *place(counter))
    assert (code, err) == (0, "") and max(map(len, out.splitlines())) <= 80
    flat = " ".join(out.split())
    assert f"task {task}: stake {stake // COIN:,}" in flat
    assert "being withdrawn 3, until " in flat and "(in " in flat
    assert f"due task {task}: commit checkpoint 1 by " in flat


def test_what_a_requester_has(counter: Counter, offchain: Terminal) -> None:
    task = training(counter)
    code, out, _ = offchain("status", *counter.options)
    flat = " ".join(out.split())
    assert code == 0 and f"task {task}: escrow 918" in flat and "due nothing" in flat
    assert "spent 0.01" in flat


def test_a_status_is_watched(counter: Counter) -> None:
    words = [sys.executable, "-m", "offchain", "status", "--watch", "--json", *counter.options]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        before = json.loads(process.stdout.readline())
        counter.quick("requester").deposit(5)
        after = before
        while after["free"] == before["free"]:  # the approval comes first
            after = json.loads(process.stdout.readline())
        assert int(after["free"]) == int(before["free"]) + 5
    finally:
        process.kill()
        process.wait()


def test_a_history_balances_and_names_its_reasons(counter: Counter, offchain: Terminal) -> None:
    task = training(counter)
    who = [counter.address("solver"), *place(counter)]
    code, out, _ = offchain("account", "history", *who, "--json")
    said = json.loads(out)
    assert code == 0
    sums = {name: int(amount) for name, amount in said["sums"].items()}
    assert (sums["wallet"], sums["free"]) == (WEALTH - FREE, counter.free("solver"))
    assert [entry["why"] for entry in said["entries"] if entry["task"] == task] == [
        "bid bond", "stake", "bid bond back",
    ]  # fmt: skip
    assert all(isinstance(entry["free"], str) and entry["time"] > 0 for entry in said["entries"])

    code, out, _ = offchain("account", "history", *who, "--task", task)
    lines = out.splitlines()
    assert code == 0 and max(map(len, lines)) <= 80
    stake = f"{counter.quick('solver').terms(task).stake // COIN:,}"
    assert [line.split()[2:] for line in lines[1:4]] == [
        [f"{task}:", "bid", "bond", "-0.1", "+0.1"],
        [f"{task}:", "stake", f"-{stake}", f"+{stake}"],
        [f"{task}:", "bid", "bond", "back", "+0.1", "-0.1"],
    ]
    assert lines[4].split() == ["all", "together", "0", f"-{stake}", "0", stake]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["status", "0xdeadbeef"], "0xdeadbeef: not an address: it needs 40 hex digits after 0x"),
        (["account", "history", "0xdeadbeef"], "0xdeadbeef: not an address"),
        (["account", "history", "1", "--task", "-1"], "-1 is not in the range x>=0"),
        (["status"], "no account: --account NAME"),
    ],
)
def test_refusals(counter: Counter, offchain: Terminal, words: list[str], why: str) -> None:
    code, out, err = offchain(*words, *place(counter))
    assert (code, out, err.count("\n")) == (2, "", 1) and why in err
