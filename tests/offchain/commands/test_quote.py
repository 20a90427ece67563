"""`offchain task quote` and `task post` at a terminal."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from offchain.chain import verifiers
from offchain.commands import quote
from offchain.store.names import sealed
from offchain.store.taskfile import save_task, seal
from offchain.worker.quoting import measured
from offchain.worker.windows import TIMES
from tests.offchain.commands.conftest import Counter
from tests.support import tasks
from tests.support.bls import SECRETS
from tests.support.runs import run as trained
from tests.support.terminal import run
from tests.support.vouching import ROLES, enter
from tests.support.works import every_kind

WORK = every_kind(6, 3)
Terminal = Callable[..., tuple[int, str, str]]
once = cache(measured)  # a process of its own each time takes seconds


@pytest.fixture
def offchain(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Runs a command line; a task is measured once for all tests here."""
    monkeypatch.setattr(
        quote, "measured", lambda path, task, executors, options: once(FILES[0], WORK, executors, options)
    )
    return lambda *words: run(capsys, monkeypatch, *words)


FILES: list[Path] = []


@pytest.fixture(scope="module", autouse=True)
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("task") / "kinds.task"
    save_task(WORK, path)
    FILES[:] = [path]
    return path


def completed(counter: Counter, price: int) -> None:
    """Somebody's task with the same graph."""
    task = tasks.post(counter, WORK, max_price=10**18)
    tasks.auction(counter, task, {"solver": 0, "rival": price}, 10)
    for checkpoint in range(2):
        counter.quick("solver").commit(task, checkpoint, trained(WORK).checkpoint(checkpoint), "")
    counter.close_windows(task)
    counter.quick("solver").collect(task)


def test_a_quote_says_all_that_a_requester_must_know(counter: Counter, offchain: Terminal, file: Path) -> None:
    words = ["task", "quote", str(file), *counter.options, "--max-price", "3"]
    code, out, _ = offchain(*words, "--json")
    assert code == 0
    said: dict[str, Any] = json.loads(out)
    assert (said["steps"], said["intervals"]) == (6, 2)
    assert said["work_units"] > 0 and said["seconds_here"]["interval"] > 0
    assert all(said[name]["seconds"] > 0 and said[name]["why"] for name in TIMES)
    assert 0 < said["result_in"]["expected"] < said["result_in"]["latest"]
    assert said["gas"]["solver"] > said["gas"]["each_other_bidder"] > 0
    price = counter.w3.eth.gas_price
    assert said["gas_costs"]["requester"] == str(said["gas"]["requester"] * price)
    unit = 10**18
    fee = int(said["audits"]["fee"])
    bill = {"all": 307 * unit // 100 + 8 * fee, "price": 3 * unit, "standby": 6 * unit // 100, "audits": 8 * fee}
    bill["keepers"] = 0
    assert said["bill"] == {name: str(amount) for name, amount in (bill | {"burned": unit // 100}).items()}
    stake = 48 * 3 * unit // 10  # half of the steps at once
    assert int(said["others_lock"]["stake"]) == stake
    assert fee > 0 and said["audits"]["rate_bps"] == 10_000  # no lower one makes a stake of the price enough
    assert [(row["rate_bps"], row["stake"]) for row in said["audits"]["at"]] == [
        (rate, str(stake * 10_000 // rate)) for rate in (500, 1_000, 2_500, 5_000, 10_000)
    ]
    assert [int(row["bill"]) // fee for row in said["audits"]["at"]] == [3, 3, 4, 5, 8]
    assert said["a_worker_like_this"]["refuses"] is None
    assert said["such_work_lately"] is None
    completed(counter, 7 * 10**17)
    code, out, _ = offchain(*words, "--json")
    assert json.loads(out)["such_work_lately"] == {
        "tasks": 1, "same_graph": True, **dict.fromkeys(("least", "median", "most"), str(7 * 10**17)),
    }  # fmt: skip


def test_keepers_are_part_of_the_bill(counter: Counter, offchain: Terminal, file: Path) -> None:
    words = ["task", "quote", str(file), *counter.options, "--max-price", "3"]
    _, out, _ = offchain(*words, "--json", "--keepers", "4", "--keeper-share", "10")
    bill, alone = json.loads(out)["bill"], json.loads(offchain(*words, "--json")[1])["bill"]
    assert int(bill["keepers"]) == 3 * 10**17 == int(bill["all"]) - int(alone["all"])
    said = json.loads(out)
    assert said["keepers"] == {
        "seats": 4, "share_bps": 1_000, "each_seat": str(75 * 10**15), "why": "you named it",
    }  # fmt: skip
    assert said["gas"]["each_keeper"] > 0
    assert alone["keepers"] == "0" and bill["standby"] == alone["standby"]
    assert "0.3 for keepers at most" in " ".join(offchain(*words, "--keepers", "4", "--keeper-share", "10")[1].split())
    people = " ".join(offchain(*words, "--keepers", "4", "--keeper-share", "10")[1].split())
    assert "4 seats (you named it) share 10 % of the pay, beside it: 0.075 at most for each" in people
    assert "keepers none (0 verifiers have a stake and an address): you fetch the model" in " ".join(
        offchain(*words)[1].split()
    )
    code, _, err = offchain(*words, "--keepers", "17")
    assert code == 2 and "0<=x<=16" in err


def test_keepers_are_asked_for_where_there_are_enough_of_them(counter: Counter, offchain: Terminal, file: Path) -> None:
    words = ["task", "quote", str(file), *counter.options, "--max-price", "3"]

    def quoted(*more: str) -> dict[str, Any]:
        return dict(json.loads(offchain(*words, *more, "--json")[1])["keepers"])

    people = ["solver", "rival", "challenger", "stranger", "requester"]
    for name, secret in zip(people, SECRETS, strict=False):
        assert quoted()["seats"] == 0
        enter(counter, {name: 1}, {name: secret})
        assert quoted()["why"].startswith(
            f"{people.index(name)} verifiers have a stake and an address"
        )  # nobody could reach it
        counter.quick(name).register(ROLES, f"http://{name}.example")
    assert quoted() == {
        "seats": 5, "share_bps": 200, "each_seat": str(12 * 10**15), "why": "5 verifiers have a stake and an address",
    }  # fmt: skip
    assert quoted("--keepers", "0")["seats"] == 0
    verifiers.stake(counter.quick("solver"), 4)
    assert quoted()["why"] == "5 verifiers have a stake and an address, but one of them has half of all that is staked"
    assert quoted()["seats"] == 0


def test_a_quote_for_people_fits_80_columns(counter: Counter, offchain: Terminal, file: Path) -> None:
    code, out, err = offchain("task", "quote", str(file), *counter.options, "--clock", "77")
    assert (code, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 80
    flat = " ".join(out.split())
    assert "clock 77 s: you named it" in flat
    assert "locked when you post: " in flat
    assert "no task of this size yet" in flat
    assert re.search(r"at 25 % stake \S+, bill \S+ at 50 %", flat)
    assert "would bid " in flat  # the price that nobody named leaves room


def test_without_a_chain_a_quote_says_what_is_not_known(offchain: Terminal, file: Path, tmp_path: Path) -> None:
    code, out, _ = offchain("task", "quote", str(file), "--deployment", str(tmp_path / "none.json"))
    assert code == 0
    flat = " ".join(out.split())
    assert "no chain not known are the present fee, stakes, bonds, the bill, and what such work cost: " in flat
    assert "run `offchain deploy` first" in flat
    assert re.search(r"bidding time \d+ s: fetch ", flat) and "bill" not in flat.split("no chain")[0]


def test_a_window_that_the_deployment_does_not_take_is_refused(
    counter: Counter, offchain: Terminal, file: Path
) -> None:
    for verb in ("quote", "post"):
        words = ["task", verb, str(file), *counter.options, "--max-price", "3", "--clock", "3"]
        assert offchain(*words) == (2, "", "error: terms: clock is 3; this deployment asks for 30 or more\n")


def test_a_task_that_cannot_be_measured_needs_named_windows(
    counter: Counter, offchain: Terminal, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quote, "machine_memory", lambda: 2_000)
    monkeypatch.setattr(quote, "measured", measured)
    words = ["task", "quote", str(file), *counter.options, "--max-price", "3"]
    named = [word for name in TIMES for word in (f"--{name.replace('_', '-')}", "200")]
    code, out, err = offchain(*words, *named[2:])
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "this machine gives 750); name --bidding-time" in err
    code, out, _ = offchain(*words, *named)
    assert code == 0
    assert "seconds here not known: a step touches " in " ".join(out.split())


def test_posting_says_what_is_locked_and_what_came_back(counter: Counter, offchain: Terminal, file: Path) -> None:
    """The requester cancels from elsewhere."""
    chain = counter.quick("requester")
    number = chain.task_count()

    def cancel() -> None:
        while chain.task_count() == number:
            pass
        chain.cancel(number)

    other = Thread(target=cancel, daemon=True)
    other.start()
    code, out, err = offchain("task", "post", str(file), *counter.options, "--max-price", "3", "--audit-fee", "0.5")
    other.join()
    lines = out.splitlines()
    assert lines[0].startswith(f"task {number} posted, http://127.0.0.1:")
    parts = "3 for solvers at most, 0.06 for standbys at most, 4 for audits at most, 0.01 burns"
    bill = f"7.07 locked when you post: {parts}"
    assert lines[1] == f"{bill}; what is left comes back in the end"
    assert lines[2].startswith("keepers: none (0 verifiers have a stake and an address): you fetch the model")
    assert re.fullmatch(r"bidding time \d+ s, reveal time 20 s, challenge window 1\d\d s, .*", lines[3])
    assert lines[4].startswith(f"`offchain task cancel {number}` takes it back, until a bid is shown, from ")
    said = [line for line in lines[5:] if not line.startswith("now taking sealed bids until ")]
    back = ["ended, cancelled: 3.06 came back, free in your vault", "4 of what was locked for audits came back"]
    assert said == [*back, f"task {number} is cancelled"]
    assert (code, err) == (1, f"error: task {number} is cancelled: it has no result\n")


def test_who_serves_the_file_itself_waits_for_nothing(counter: Counter, offchain: Terminal, file: Path) -> None:
    words = ["task", "post", str(file), *counter.options, "--max-price", "3", "--uri", "http://requester/a.task"]
    code, out, _ = offchain(*words, "--json")
    assert code == 0
    terms = counter.quick("requester").terms(json.loads(out)["task"])
    assert terms.uri == sealed("http://requester/a.task", seal(WORK)) and terms.bidding_time >= 30
    code, _, err = offchain(*words, "--stake", "0.1")
    assert code == 2 and err.startswith("error: terms: stake is ") and err.count("\n") == 1
