"""Bars appear on a terminal and nowhere else, and show what was reported."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from offchain import progress
from offchain.progress import bars, unwatched, watching
from offchain.worker.display import Display
from offchain.worker.events import Progress, Trained


def screen(terminal: bool) -> tuple[Console, StringIO]:
    told = StringIO()
    return Console(file=told, force_terminal=terminal, width=80), told


@pytest.mark.parametrize(
    ("terminal", "shown", "seen"), [(True, True, True), (True, False, False), (False, True, False)]
)
def test_bars_are_for_terminals(terminal: bool, shown: bool, seen: bool) -> None:
    console, told = screen(terminal)
    with bars(console, shown=shown) as progress:
        progress.add_task("kernels", total=4, completed=3)
    assert ("kernels" in told.getvalue(), "3/4" in told.getvalue()) == (seen, seen)
    assert bool(told.getvalue()) == seen


def test_a_watch_says_what_and_how_much(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # as rich is told of a terminal that it cannot see
    with watching("measuring") as watch:
        watch("step gpt", 2, 7)
        watch("step cnn", 3, 9)
    out, err = capsys.readouterr()
    assert out == ""
    assert "step cnn" in err
    assert "3/9" in err


def test_nothing_is_said_where_nobody_looks(capsys: pytest.CaptureFixture[str]) -> None:
    with watching("measuring") as watch:
        watch("step gpt", 2, 7)
    unwatched("step gpt", 2, 7)
    unwatched(2, 7)
    assert capsys.readouterr() == ("", "")


def test_where_no_terminal_is_a_line_says_how_far_it_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`offchain bench engines` took eleven minutes, and said nothing in a log."""
    clock = iter([0.0, 0.0, 4.0, 12.0, 14.0, 50.0, 90.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    with watching("measuring") as watch:
        for done in range(2):
            watch("step gpt", done, 10)
        watch("step gpt", 3, 10)
        watch("step gpt", 4, 10)
        watch("step gpt [x]", 0, 2_000)
    assert capsys.readouterr() == (
        "",
        "step gpt: 3 of 10 after 0:00:12, 0:00:28 left\nstep gpt [x]: 0 of 2,000 after 0:00:00\n",
    )
    with watching("bidding", lines=False) as watch:
        watch("bidding", 1, 2)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("terminal", [True, False])
def test_a_worker_shows_a_bar_for_every_course(terminal: bool) -> None:
    console, told = screen(terminal)
    with Display(console) as display:
        display.on_event(Trained(5, 1, bytes(32)))
        for task, steps in ((5, 1), (6, 4), (5, 2), (6, 8)):
            display.on_event(Progress(task, "train", steps, 8))
    assert ("train task 5" in told.getvalue()) == terminal
    assert ("2/8" in told.getvalue()) == terminal
