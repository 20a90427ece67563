"""`offchain economics strategies`, `stake` and `network`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.terminal import run

SMALL = {
    "strategies": ("economics", "strategies", "--games", "500"),
    "stake": ("economics", "stake", "--lengths", "50", "--honest", "0.05,0.5"),
    "network": ("economics", "network", "--solvers", "20", "--verifiers", "20", "--tasks", "40"),
}


@pytest.mark.parametrize("command", SMALL)
def test_a_table_of_80_columns_and_a_plot_that_is_the_same_each_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    files = [tmp_path / "one.svg", tmp_path / "two.svg"]
    for file in files:
        code, out, _ = run(capsys, monkeypatch, *SMALL[command], "--plot", str(file))
        assert code == 0 and max(map(len, out.splitlines())) <= 80
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize("preset", ["local", "public"])
def test_rows_of_strategies(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, preset: str) -> None:
    code, out, _ = run(capsys, monkeypatch, *SMALL["strategies"], "--preset", preset, "--json")
    rows = json.loads(out)
    assert code == 0 and {row["role"] for row in rows} == {"solver", "verifier", "keeper", "requester", "challenger"}
    assert all(row["ev"] < 0 < row["honest_ev"] and row["holds"] for row in rows)
    assert {"strategy", "mean", "low", "high", "agrees"} <= set(rows[0])


def test_what_pays_is_said(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    _, out, _ = run(capsys, monkeypatch, *SMALL["strategies"], "--as-designed")
    (line,) = (line for line in out.splitlines() if "grind keys" in line)
    assert line.rstrip().endswith("pays")


def test_stakes_as_rows(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, _ = run(capsys, monkeypatch, *SMALL["stake"], "--rates", "0.25", "--json")
    few, half = json.loads(out)
    assert code == 0 and (few["pays"], half["pays"]) == (True, False)
    assert few["stake"] == half["stake"] == pytest.approx(0.768)


def test_a_network_as_json(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, _ = run(capsys, monkeypatch, *SMALL["network"], "--json")
    shown = json.loads(out)
    assert code == 0 and {"pay_by_work", "idle", "found", "honest_lost", "cheats_lost"} <= set(shown)


@pytest.mark.parametrize(
    ("command", "options", "said"),
    [
        ("strategies", ("--quorum", "17"), "17 of 16 keepers"),
        ("strategies", ("--max-price", "0"), "nothing at stake"),
        ("strategies", ("--plot", "out.txt"), "ends in .svg, .png, .pdf"),
        ("stake", ("--rates", "0"), "above 0"),
        ("stake", ("--lengths", "2.5"), "whole numbers"),
        ("network", ("--load", "0"), "0"),
    ],
)
def test_nonsense_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: str, options: tuple[str, ...],
    said: str,
) -> None:  # fmt: skip
    code, out, err = run(capsys, monkeypatch, *SMALL[command], *options)
    assert (code, out) == (2, "") and said in err
