"""`offchain economics`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.support.terminal import run

SMALL = ("economics", "market", "--machines", "5", "--tasks", "6", "--worlds", "1", "--loads", "0.5")


def test_a_table_of_80_columns_and_a_plot_that_is_the_same_each_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [tmp_path / "one.svg", tmp_path / "two.svg"]
    for file in files:
        code, out, _ = run(capsys, monkeypatch, *SMALL, "--plot", str(file))
        assert code == 0
        assert max(map(len, out.splitlines())) <= 80
        assert all(word in out for word in ("load 0.5", "burst, strangers", "score, one ahead", "crowd"))
    assert files[0].read_bytes() == files[1].read_bytes()


def test_json_has_a_row_for_each_rule_in_each_scenario(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, _ = run(capsys, monkeypatch, *SMALL, "--json")
    rows = json.loads(out)
    assert code == 0 and len(rows) == 3 * 6
    assert {"scenario", "rule", "optimum", "wait", "idle", "crowding"} <= set(rows[0])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--loads", "0.1,2"), "above 0 and at most 1"),
        (("--loads", "some"), "above 0 and at most 1"),
        (("--plot", "market.txt"), "ends in .svg, .png, .pdf"),
        (("--plot", "nowhere/market.svg"), "nowhere is not a folder"),
    ],
)
def test_nonsense_is_refused_before_anything_is_simulated(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], said: str
) -> None:
    code, out, err = run(capsys, monkeypatch, *SMALL, *options)
    assert (code, out) == (2, "") and said in err


@pytest.mark.parametrize(("missing", "options"), [("scipy.optimize", ()), ("matplotlib", ("--plot", "market.svg"))])
def test_what_is_not_installed_is_named_with_how_to_install_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, missing: str, options: tuple[str, ...]
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    code, _, err = run(capsys, monkeypatch, *SMALL, *options)
    assert code == 2 and "pip install '.[economics]'" in err and err.count("\n") == 1
