"""A task outlives the terminal that posted it: detached, or left by Ctrl-C."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from offchain.store.taskfile import save_task
from offchain.worker.windows import TIMES
from tests.offchain.commands.conftest import Counter
from tests.support.terminal import run
from tests.support.works import every_kind

WORK = every_kind(6, 3)
PATIENCE = 60.0  # seconds for a process, on a busy machine
WINDOWS = [word for name in TIMES for word in (f"--{name.replace('_', '-')}", "200")]


def words(counter: Counter, *more: str) -> list[str]:
    save_task(WORK, counter.file("kinds.task"))
    options = [*counter.options, "--max-price", "3", *WINDOWS, *more]
    return [sys.executable, "-m", "offchain", "task", "post", str(counter.file("kinds.task")), *options]


def alive(process: int) -> bool:
    """Whether a process runs: one that has ended may still wait for somebody to hear of it."""
    try:
        return Path(f"/proc/{process}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


def ended(process: int) -> bool:
    end = time.monotonic() + PATIENCE
    while alive(process) and time.monotonic() < end:
        time.sleep(0.1)
    return not alive(process)


def test_a_detached_post_goes_on_alone_and_logs(counter: Counter, capfd: pytest.CaptureFixture[str]) -> None:
    chain = counter.quick("requester")
    number = chain.task_count()
    done = subprocess.run(words(counter, "--detach", "--json"), cwd=counter.folder, capture_output=True, text=True,
                          check=True, timeout=PATIENCE)  # fmt: skip
    said: list[dict[str, Any]] = [json.loads(line) for line in done.stdout.splitlines()]
    assert said[0] == {"task": number}
    process, log = said[1]["process"], counter.file(said[1]["log"])
    assert log.name == f"task-{number}.log"
    assert alive(process), "the command has ended, and somebody goes on"
    chain.cancel(number)
    assert ended(process)
    events = [json.loads(line)["event"] for line in log.read_text().splitlines() if "event" in line]
    assert events[-2:] == ["Ended", "Refunded"]
    assert f"error: task {number} is cancelled" in log.read_text()


def test_a_detached_post_that_fails_says_so_before_it_leaves(counter: Counter) -> None:
    failing = words(counter, "--detach", "--stake", "0.1")
    done = subprocess.run(failing, cwd=counter.folder, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: terms: stake is 0.1; this deployment asks for ")


def test_ctrl_c_says_what_stays_locked_and_how_to_get_it_back(counter: Counter) -> None:
    chain = counter.quick("requester")
    number = chain.task_count()
    pipe = subprocess.PIPE
    process = subprocess.Popen(words(counter), cwd=counter.folder, stdout=pipe, stderr=pipe, text=True)
    assert process.stdout is not None and process.stderr is not None
    line = ""
    while not line.startswith("now taking sealed bids until "):
        line = process.stdout.readline()
        assert line, process.stderr.read()
    assert "; result about " in line
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert [line for line in err.splitlines() if line] == [
        f"task {number} goes on, and 3.06 stays locked in it",
        f"`offchain task cancel {number}` gets it back, as long as nobody has shown a bid",
        "its file is served no more: workers that do not have it cannot bid",
        f"`offchain task follow {number} --serve {counter.file('kinds.task')}` takes this up again",
        "stopped",
    ]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_who_stops_right_after_the_post_hears_the_same(counter: Counter, number: signal.Signals) -> None:
    """Between the post and the first look the command ended without a word, and SIGTERM killed it."""
    task, pipe = counter.quick("requester").task_count(), subprocess.PIPE
    process = subprocess.Popen(words(counter), cwd=counter.folder, stdout=pipe, stderr=pipe, text=True)
    assert process.stdout is not None and process.stdout.readline().startswith(f"task {task} posted")
    process.send_signal(number)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    said = [line for line in err.splitlines() if line]
    assert re.fullmatch(rf"task {task} goes on, and (what it locks|3\.06) stays locked in it", said[0])
    assert f"`offchain task cancel {task}` gets it back, as long as nobody has shown a bid" in said
    assert said[-2:] == [
        f"`offchain task follow {task} --serve {counter.file('kinds.task')}` takes this up again",
        "stopped",
    ]


def test_who_stops_while_the_post_is_sent_or_the_model_is_fetched_hears_what_is_left(
    counter: Counter, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("offchain.commands.post.post", stop)
    code, _, err = run(capsys, monkeypatch, *words(counter)[3:])
    assert (code, err.splitlines()[0].partition(":")[0]) == (130, "the post may be mined yet")
    monkeypatch.setattr("offchain.commands.post.post", lambda *_: 7)
    for part in ("Follower.run", "require_completed", "registered", "Teller.of", "Requested"):
        monkeypatch.setattr(f"offchain.commands.post.{part}", lambda *_: Mock())
    monkeypatch.setattr("offchain.commands.post.save_result", stop)
    code, _, err = run(capsys, monkeypatch, *words(counter, "-o", str(counter.file("model")))[3:])
    rest = f"`offchain task result 7 -o {counter.file('model')}` fetches its model"
    assert (code, err.splitlines()[0]) == (130, f"task 7 is completed; {rest}")


def test_where_the_model_goes_is_looked_at_before_money_moves(
    counter: Counter, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    number, free = counter.quick("requester").task_count(), counter.free("requester")
    nowhere = str(counter.file("none") / "model")
    code, out, err = run(capsys, monkeypatch, *words(counter, "-o", nowhere)[3:])
    assert (code, out, err.count("\n")) == (2, "", 1) and str(counter.file("none")) in err
    assert (counter.quick("requester").task_count(), counter.free("requester")) == (number, free)
