"""`offchain bench`: rows of one schema for every verb, and what is refused in one line."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
import torch

from offchain.bench.timing import Row, Settings
from offchain.errors import BadInput
from tests import terminal

Capture, Patch = pytest.CaptureFixture[str], pytest.MonkeyPatch
QUICK = Settings(quick=True, threads=1)


def rows(capsys: Capture, monkeypatch: Patch, *args: str, unit: str = "s") -> list[dict[str, Any]]:
    """What `offchain bench … --quick --json` measures; every row has the same six fields."""
    code, out, err = terminal.run(capsys, monkeypatch, "bench", *args, "--quick", "--json")
    assert (code, err) == (0, "")
    found: list[dict[str, Any]] = json.loads(out)
    for row in found:
        assert list(row) == ["name", "bits", f"ours_{unit}", f"peer_{unit}", "ratio", "n"]
        assert row[f"ours_{unit}"] > 0 and row[f"peer_{unit}"] > 0 and row["ratio"] > 0 and row["n"] >= 1
    return found


def names(found: list[dict[str, Any]]) -> list[tuple[str, int]]:
    return [(row["name"], row["bits"]) for row in found]


# --- pairs -------------------------------------------------------------------------------------------------------


def test_pairs_alternate_after_a_warm_up() -> None:
    calls: list[str] = []
    pairs = QUICK.measure(lambda: calls.append("o"), lambda: calls.append("p"), 3, lambda *_: None, "")
    assert len(pairs) == 3
    assert "".join(calls) == "opop" + "op" + "po" + "op"


def test_ratio_is_the_median_of_the_pairs_own() -> None:
    """The machine is ten times slower during one pair: that changes no ratio."""
    row = Row.of("x", 21, [(2.0, 1.0), (20.0, 10.0), (3.0, 1.0)])
    assert (row.ours, row.peer, row.ratio, row.n) == (3.0, 1.0, 2.0, 3)


def test_seconds_are_those_of_the_calls() -> None:
    [pair] = QUICK.measure(lambda: time.sleep(0.03), lambda: None, 1, lambda *_: None, "")
    assert 0.03 <= pair[0] < 1 and pair[1] < 0.03


def test_threads_are_set_only_while_measuring() -> None:
    before, seen = torch.get_num_threads(), []
    with pytest.raises(ZeroDivisionError):
        Settings(threads=before + 1).measure(
            lambda: seen.append(torch.get_num_threads()), lambda: 1 // 0, 1, lambda *_: None, ""
        )
    assert (seen, torch.get_num_threads()) == ([before + 1], before)


# --- step --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("executor", ["reference", "torch"])
def test_step(capsys: Capture, monkeypatch: Patch, executor: str) -> None:
    found = rows(capsys, monkeypatch, "step", "--job", "gpt", "--bits", "21", "--executor", executor, "--threads", "1")
    assert names(found) == [("gpt", 21), ("gpt, deterministic", 21)]


def test_step_takes_each_job_at_each_precision(capsys: Capture, monkeypatch: Patch) -> None:
    found = rows(capsys, monkeypatch, "step", "--job", "gpt-sdpa", "--job", "mlp", "--n", "1")
    both = [(name, bits) for job in ("gpt-sdpa", "mlp") for bits in (21, 8) for name in (job, f"{job}, deterministic")]
    assert names(found) == both
    assert {row["n"] for row in found} == {1}


def test_memory_of_a_step(capsys: Capture, monkeypatch: Patch) -> None:
    found = rows(capsys, monkeypatch, "step", "--memory", "--job", "cnn", "--bits", "8", unit="bytes")
    assert names(found) == [("memory cnn", 8)]
    assert 1e6 < found[0]["peer_bytes"] < 1e8


def test_the_table_fits_a_terminal(capsys: Capture, monkeypatch: Patch) -> None:
    code, out, _ = terminal.run(capsys, monkeypatch, "bench", "step", "--job", "gpt", "--quick", "--bits", "8")
    assert code == 0
    assert out.split()[0] == "ratio"
    assert all(len(line) <= 80 for line in out.splitlines())


# --- refusals ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["step", "--device", "abacus"], "device 'abacus'"),
        (["step", "--device", "meta"], "device 'meta'"),
        (["step", "--executor", "reference", "--device", "cuda"], "device 'cuda'"),
    ],
)
def test_bad_options_are_one_line(capsys: Capture, monkeypatch: Patch, args: list[str], said: str) -> None:
    code, out, err = terminal.run(capsys, monkeypatch, "bench", *args, "--quick")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert said in err


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is one")
def test_no_gpu_is_one_line(capsys: Capture, monkeypatch: Patch) -> None:
    code, out, err = terminal.run(capsys, monkeypatch, "bench", "step", "--device", "cuda")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("error: device 'cuda': ")


@pytest.mark.parametrize(
    ("option", "said"), [(["--n", "0"], "x>=1"), (["--bits", "40"], "2<=x<=27"), (["--executor", "gpu"], "reference")]
)
def test_what_no_verb_takes(capsys: Capture, monkeypatch: Patch, option: list[str], said: str) -> None:
    code, out, err = terminal.run(capsys, monkeypatch, "bench", "step", *option)
    assert (code, out) == (2, "")
    assert said in err


def test_settings_refuse() -> None:
    with pytest.raises(BadInput, match="n is 0"):
        Settings(n=0)
    with pytest.raises(BadInput, match="no executor 'abacus'"):
        Settings(executor="abacus")
