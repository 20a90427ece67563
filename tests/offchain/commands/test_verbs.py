"""What a requester may do by hand, what it is told of why, and how it comes back to a task."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from offchain.chain.deployment import COIN
from offchain.store.serve import BlobServer
from offchain.store.taskfile import save_task
from tests.offchain.commands.conftest import Counter
from tests.support import tasks
from tests.support.runs import run as trained
from tests.support.terminal import run
from tests.support.works import every_kind

WORK = every_kind(6, 3)
Terminal = Callable[..., tuple[int, str, str]]


@pytest.fixture
def offchain(counter: Counter, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Runs `offchain task …` as the requester."""
    return lambda *words: run(capsys, monkeypatch, "task", *map(str, words), *counter.options)


def posted(counter: Counter, **changes: object) -> int:
    return tasks.post(counter, WORK, **{"max_price": 900 * COIN, "attempts": 2, "interval_time": 1_000, **changes})


def training(counter: Counter, **changes: object) -> int:
    task = posted(counter, **changes)
    tasks.auction(counter, task, {"solver": 0, "rival": 800 * COIN}, 10)
    return task


def commit(counter: Counter, task: int, *checkpoints: int) -> None:
    for checkpoint in checkpoints:
        counter.quick("solver").commit(task, checkpoint, trained(WORK).checkpoint(checkpoint), "")


def refused(told: tuple[int, str, str]) -> str:
    """The one line of a refusal."""
    code, out, err = told
    assert (code, out, err.count("\n")) == (3, "", 1) and err.startswith("error: ")
    return err.removeprefix("error: ").strip()


def test_cancel(counter: Counter, offchain: Terminal) -> None:
    task = posted(counter)
    code, out, _ = offchain("cancel", task)
    assert code == 0
    assert out.splitlines()[0] == "ended, cancelled: 918 came back, free in your vault"
    assert out.splitlines()[1].endswith("gas; 0 locked")
    said = refused(offchain("cancel", task))
    assert said == f"task {task} cannot be changed by `cancel`: it is cancelled, and would have to be vacant"


def test_cancel_of_another_ones_task(counter: Counter, offchain: Terminal) -> None:
    task = counter.quick("stranger").post(tasks.terms(counter, WORK))
    assert f"only {counter.address('stranger')}, who posted it, may do that" in refused(offchain("cancel", task))
    assert refused(offchain("cancel", 10_000)) == "there is no task 10000 here; `offchain task status` lists them"


def test_award(counter: Counter, offchain: Terminal) -> None:
    task = posted(counter)
    sealed = tasks.bid(counter, task, "solver", 5 * COIN, 10)
    counter.clock.travel(60)
    counter.quick("solver").reveal(task, sealed)
    assert "bids are shown until " in refused(offchain("award", task))
    counter.clock.travel(60)
    code, out, _ = offchain("award", task)
    assert code == 0
    assert out.startswith(f"awarded to {counter.address('solver')[:10]} for 900 (all that you offered: nobody else")
    assert "it is training, and would have to be bidding" in refused(offchain("award", task))


def test_collect(counter: Counter, offchain: Terminal) -> None:
    task = training(counter)
    commit(counter, task, 0, 1)
    assert "checkpoint 0 is not there, can still be disputed, or is" in refused(offchain("collect", task))
    counter.close_windows(task)
    code, out, _ = offchain("collect", task, "--json")
    said = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [event["event"] for event in said] == ["Paid", "Paid", "Ended"]
    assert said[0]["amount"] == str(396 * COIN) and said[-1]["locked"] == "0"


def test_stall_and_reopen(counter: Counter, offchain: Terminal) -> None:
    task = training(counter)
    assert "it can be done from " in refused(offchain("stall", task))
    counter.clock.travel(1_100)
    code, out, _ = offchain("stall", task)
    assert code == 0
    assert "failed: it missed its deadline" in out and "may take over within 60 s; 918 locked" in out
    assert "it can be done from " in refused(offchain("reopen", task))
    counter.clock.travel(61)
    code, out, _ = offchain("reopen", task)
    assert code == 0 and out.startswith("bids for what is left are taken for 60 s; 918 locked")
    assert "it is bidding, and would have to be" in refused(offchain("stall", task))


def test_why_nobody_bid(counter: Counter, offchain: Terminal) -> None:
    task = posted(counter, max_price=200_000 * COIN, clock=40, bidding_time=10, reveal_time=10)
    assert offchain("why", task)[1].split()[:5] == ["task", str(task), "taking", "sealed", "bids"]
    tasks.lapse(counter, task)
    code, out, _ = offchain("why", task)
    flat = " ".join(out.split())
    assert code == 0 and max(map(len, out.splitlines())) <= 80
    assert ": nobody bid " in flat and flat.endswith("bids none")
    assert "usual workers leave it alone: clock of 40 s is below their minimum of 60 s" in flat
    assert "10 s for bids is short" in flat
    assert "of 2 registered solvers 0 have its stake and a bid's bond, 1,200,000.1, free now" in flat


def test_why_says_that_nobody_can_have_the_file_and_what_to_do(
    counter: Counter, offchain: Terminal, tmp_path: Path
) -> None:
    """Nothing spoke against a task whose requester served its file no more, and nobody bid."""
    with socket.create_server(("127.0.0.1", 0)) as taken:  # where nobody answers afterwards
        nowhere = f"http://127.0.0.1:{taken.getsockname()[1]}/a"
    task = posted(counter, uri=nowhere)
    said = json.loads(offchain("why", task, "--json")[1])
    assert said["file"].startswith(f"cannot be had from here: {nowhere}: cannot be fetched (ClientConnectorError")
    assert said["file"].endswith(f"; serve it again, as `offchain task follow {task} --serve FILE` does")
    assert said["next"] == f"`offchain task cancel {task}` gets it back, as long as nobody has shown a bid"
    flat = " ".join(offchain("why", task)[1].split())
    assert f"file {said['file'][:60]}" in flat and f"next {said['next']}" in flat
    with BlobServer(tmp_path) as server:
        name = f"{'ab' * 32}.task"
        (tmp_path / name).write_bytes(b"of a task")
        task = posted(counter, uri=f"{server.url}/{name}")
        assert json.loads(offchain("why", task, "--json")[1])["file"] == ""
    counter.quick("requester").cancel(task)
    said = json.loads(offchain("why", task, "--json")[1])
    assert (said["file"], said["next"]) == ("", "")


def test_numbers_that_no_task_has(
    counter: Counter, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for verb in ("why", "cancel", "status"):
        for number in ("-1", str(1 << 256)):
            code, _, err = run(capsys, monkeypatch, "task", verb, *counter.options, "--", number)
            assert (code, err.count("\n")) == (2, 1) and f"{number} is not in the range 0<=x<=" in err, verb


def test_why_says_who_bid_and_who_did_not_show_it(counter: Counter, offchain: Terminal) -> None:
    task = posted(counter)
    tasks.bid(counter, task, "rival", 5)
    tasks.auction(counter, task, {"solver": 5 * COIN}, 10)
    code, out, _ = offchain("why", task, "--json")
    said = json.loads(out)
    assert code == 0
    assert said["now"].startswith("training for checkpoint 0")
    assert said["terms"] == ["no usual worker refuses them, and they are within this deployment's limits"]
    by = {bid["bidder"]: bid for bid in said["bids"]}
    assert by[counter.address("rival")]["outcome"] == "sealed"
    won = by[counter.address("solver")]
    assert (won["outcome"], won["price"], won["promised"]) == ("solver", str(5 * COIN), 10)
    counter.clock.travel(1_100)
    counter.quick("requester").stall(task)
    counter.quick("requester").cancel(task)
    flat = " ".join(offchain("why", task)[1].split())
    assert "cancelled, " in flat and "its requester took it back" in flat
    assert "sealed a bid, and has not shown it: its bond is locked" in flat
    counter.quick("stranger").settle_bid(task, 0, counter.address("rival"))
    flat = " ".join(offchain("why", task)[1].split())
    assert "sealed a bid, and did not show it, or did not take over: its bond burned" in flat


def test_why_tells_of_a_bond_that_came_back(counter: Counter, offchain: Terminal) -> None:
    task = posted(counter)
    tasks.bid(counter, task, "rival", 5)
    counter.quick("requester").cancel(task)
    assert "its bond is locked" in " ".join(offchain("why", task)[1].split())
    counter.quick("rival").settle_bid(task, 0, counter.address("rival"))
    assert "got its bond back, as the task was cancelled" in " ".join(offchain("why", task)[1].split())


def test_why_of_a_task_that_failed_for_good(counter: Counter, offchain: Terminal) -> None:
    task = training(counter, attempts=1)
    counter.clock.travel(1_100)
    counter.quick("requester").stall(task)
    flat = " ".join(offchain("why", task)[1].split())
    assert "stalled, " in flat and "it missed its deadline" in flat and "no attempt was left" in flat
    assert refused(offchain("why", 10_000)) == "there is no task 10000 here; `offchain task status` lists them"


def test_a_task_is_taken_up_again(counter: Counter, offchain: Terminal, tmp_path: Path) -> None:
    """Somebody follows a task whose time has come: it awards, and says how it ended."""
    task = posted(counter)
    counter.clock.travel(120)
    code, out, err = offchain("follow", task)
    lines = out.splitlines()
    assert lines[0].startswith("now to be awarded; result about ")
    assert lines[1:] == ["ended, cancelled: 918 came back, free in your vault", f"task {task} is cancelled"]
    assert (code, err) == (1, f"error: task {task} is cancelled: it has no result\n")


def test_following_refuses_another_tasks_file_and_a_port_that_nobody_named(
    counter: Counter, offchain: Terminal, tmp_path: Path
) -> None:
    task, file, other = posted(counter), tmp_path / "a.task", tmp_path / "b.task"
    save_task(WORK, file)
    save_task(every_kind(4, 2), other)
    code, _, err = offchain("follow", task, "--serve", other)
    assert (code, err.count("\n")) == (2, 1) and "root is " in err
    code, _, err = offchain("follow", task, "--serve", file)
    assert (code, err.count("\n")) == (2, 1) and "say where to serve the file with --listen" in err
    code, _, err = offchain("follow", task, "-o", tmp_path / "none" / "model")
    assert (code, err.count("\n")) == (2, 1) and str(tmp_path / "none") in err
