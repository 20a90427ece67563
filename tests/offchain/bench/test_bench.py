"""`offchain bench`: rows of one schema for every verb, and what is refused in one line."""

from __future__ import annotations

import json
import runpy
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from offchain.adjudicate import court
from offchain.bench import chain as bench_chain
from offchain.bench import dispute as bench_dispute
from offchain.bench import growth as bench_growth
from offchain.bench.alone import computing, updating
from offchain.bench.dispute import Size, play
from offchain.bench.jobs import JOBS, job
from offchain.bench.machine import machine
from offchain.bench.map import gelu
from offchain.bench.programs import PROGRAMS
from offchain.bench.replay import BEFORE, Player
from offchain.bench.timing import Row, Settings
from offchain.chain.client import Chain
from offchain.chain.ganache import Ganache
from offchain.commands import bench as command
from offchain.commit.roots import state_root
from offchain.commit.trace import Trace
from offchain.errors import BadInput
from offchain.exec.base import state_after
from offchain.exec.make import EXECUTORS
from offchain.ir.kinds import Kind
from tests.support import terminal

Capture, Patch = pytest.CaptureFixture[str], pytest.MonkeyPatch
QUICK = Settings(quick=True, threads=1)
MEASURED = ("step", "gemm", "engines", "map", "hash", "replay", "dispute")  # verbs that run something of torch's


@pytest.fixture(scope="module")
def chain(ganache: Ganache, module_snapshot: None) -> Iterator[Chain]:
    """The contracts on the tests' own node."""
    with court(ganache.url) as chain:
        yield chain


@pytest.fixture
def same_court(chain: Chain, monkeypatch: Patch) -> None:
    """Verbs use the contracts of this module, which live on a node as theirs would."""
    for module in (bench_chain, bench_dispute, bench_growth):
        monkeypatch.setattr(module, "court", lambda: nullcontext(chain))


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


# --- step --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("executor", list(EXECUTORS))
def test_step(capsys: Capture, monkeypatch: Patch, executor: str) -> None:
    args = ("--job", "gpt", "--bits", "21", "--executor", executor, "--threads", "1", "--n", "1")
    assert names(rows(capsys, monkeypatch, "step", *args)) == [("gpt", 21), ("gpt, deterministic", 21)]


@pytest.mark.slow
def test_step_takes_each_job_at_each_precision(capsys: Capture, monkeypatch: Patch) -> None:
    found = rows(capsys, monkeypatch, "step", "--job", "gpt-sdpa", "--job", "gpt", "--n", "1")
    both = [(name, bits) for job in ("gpt-sdpa", "gpt") for bits in (13, 21) for name in (job, f"{job}, deterministic")]
    assert names(found) == both
    assert {row["n"] for row in found} == {1}


@pytest.mark.slow
def test_memory_of_a_step(capsys: Capture, monkeypatch: Patch) -> None:
    [row] = rows(capsys, monkeypatch, "step", "--memory", "--job", "cnn", "--bits", "8", "--n", "1", unit="bytes")
    assert (row["name"], row["bits"]) == ("memory cnn", 8)
    assert 1e6 < row["peer_bytes"] < 1e8
    assert 1e6 < row["ours_bytes"] < 1e8


# --- tables ------------------------------------------------------------------------------------------------------


def test_a_table_fits_a_terminal(capsys: Capture) -> None:
    """The longest names of each verb, and quantities of the most digits: one line a row."""
    found = [
        Row("gpt-sdpa, deterministic", 21, 0.8888, 0.4444, 2.111, 10),
        Row("state root gpt-sdpa", 0, 0.0204, 0.02576, 0.7967, 10, notes={"GB/s": "1.94", "MB": "39.9"}),
        Row("commit gpt-sdpa", 21, 0.02429, 85.42, 0.000284, 10),
        Row("map, 4,194,304 elements", 21, 10.923, 0.000123, 88_804.8, 3, notes={"moves": "10", "gas": "1,458,527"}),
    ]
    for row in found:
        command.report(lambda watch, row=row: iter([row]), False, "peer: torch")  # type: ignore[misc]
        head, line, about, on = capsys.readouterr().out.splitlines()
        assert head.split()[0] == "ratio"
        assert (row.name in line, about.strip()) == (True, "peer: torch")
        assert on == f"on {machine()}"
        assert all(value in line for value in row.notes.values())
        assert max(map(len, (head, line))) <= 80


@pytest.mark.parametrize(
    ("ratio", "text"), [(0.000284, "0.028 %"), (0.0123, "0.0123"), (2.1149, "2.11"), (999, "999"), (6743.2, "6,740")]
)
def test_a_ratio_as_people_read_it(ratio: float, text: str) -> None:
    assert command.ratio_shown(ratio) == text


# --- operations --------------------------------------------------------------------------------------------------


def test_gemm(capsys: Capture, monkeypatch: Patch) -> None:
    found = rows(capsys, monkeypatch, "gemm", "--n", "3")
    kinds = [f"dot / {peer} BLAS" for peer in ("float32", "float64")]
    assert names(found) == [(name, bits) for bits in (13, 21) for name in kinds]
    assert {row["n"] for row in found} == {3}


@pytest.mark.parametrize(("bits", "extent"), [(21, 70), (8, 1500), (4, 70)])
def test_what_gemm_multiplies_is_one_dot(bits: int, extent: int) -> None:
    """By each executor the same bits, and the product up to what `bits` leave. Longer than a slice of K, too."""
    random = torch.Generator().manual_seed(0)
    a, b = torch.randn(6, extent, generator=random), torch.randn(extent, 5, generator=random)
    task = computing(torch.matmul, a, b, bits=bits)
    [dot] = (node for node in task.graph.nodes if node.kind is not Kind.MAP)
    assert (dot.kind, dot.bits, dot.extent) == (Kind.DOT, bits, extent)
    results = []
    for name in EXECUTORS:
        executor = Settings(executor=name).runs(task)
        state = executor.dump(executor.step(executor.load(task.state), 0))
        [result] = (array for array in state if array.size == 30)
        results.append(result)
    for result in results[1:]:
        np.testing.assert_array_equal(result.view(np.int32), results[0].view(np.int32))
    np.testing.assert_allclose(results[0], (a @ b).numpy().reshape(-1), atol=2.0 ** (3 - bits) * extent)


@pytest.mark.slow
def test_engines(capsys: Capture, monkeypatch: Patch) -> None:
    found = rows(capsys, monkeypatch, "engines", "--job", "gpt", "--bits", "21", "--n", "2")
    assert names(found) == [(f"engines gpt{of}", 21) for of in ("", ": seconds", ": torch's seconds")]
    assert all(row["n"] == 2 and 1 <= row["ratio"] < 2 for row in found)  # of two, to the mean of both


def test_map(capsys: Capture, monkeypatch: Patch) -> None:
    kinds = ["GELU / eager", "GELU / kernel", "softmax / eager", "Adam / eager", "Adam / kernel"]
    assert names(rows(capsys, monkeypatch, "map")) == [(name, 0) for name in kinds]


def test_an_operation_alone_does_what_torch_does() -> None:
    x = torch.linspace(-3, 3, 128)
    executor = QUICK.runs(task := computing(gelu, x))
    state = executor.dump(executor.step(executor.load(task.state), 0))
    np.testing.assert_allclose(state[1], gelu(x).numpy(), atol=1e-6)
    executor = QUICK.runs(task := updating(x, torch.optim.Adam, lr=0.5))
    moved = executor.dump(executor.step(executor.load(task.state), 0))[0]
    np.testing.assert_allclose(moved, -0.5 * np.sign(x.numpy()), rtol=1e-5)
    assert all(node.kind is Kind.MAP for node in task.graph.nodes)


# --- hash and replay ---------------------------------------------------------------------------------------------


def test_hash(capsys: Capture, monkeypatch: Patch) -> None:
    found = rows(capsys, monkeypatch, "hash", "--threads", "1", "--bits", "21")
    assert names(found) == [("state root gpt", 0), ("commit gpt", 21)]
    assert all(row["ratio"] > 0 for row in found)


def test_replay(capsys: Capture, monkeypatch: Patch) -> None:
    found = rows(capsys, monkeypatch, "replay", "--job", "gpt", "--bits", "21", "--bits", "8")
    assert names(found) == [(f"{what} gpt", bits) for bits in (21, 8) for what in ("interval", "replay")]


def test_what_replay_measures_is_the_trace_that_a_solver_commits_to() -> None:
    player = Player.of("gpt", 21, QUICK)
    executor = player.executor
    outputs = list(executor.outputs(executor.load(player.state), BEFORE))
    trace = Trace(outputs, state_after(player.ledger.graph, player.state, outputs))
    assert player.trace_root() == trace.root
    assert player.roots()[0] == trace.state_root
    assert player.roots()[-1] == state_root(executor.dump(player.train()))


# --- on a chain --------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.usefixtures("same_court")
def test_dispute(capsys: Capture, monkeypatch: Patch) -> None:
    found = rows(capsys, monkeypatch, "dispute", "--bits", "21", "--n", "1")
    assert names(found) == [("map, 16 steps", 21), ("dot, 16 steps", 21)]


@pytest.mark.slow
@pytest.mark.usefixtures("same_court")
def test_gas_of_a_dispute(capsys: Capture, monkeypatch: Patch) -> None:
    found = rows(capsys, monkeypatch, "dispute", "--gas", "--bits", "21", "--n", "1", unit="gas")
    assert [5e5 < row["ours_gas"] < 5e6 and 2e4 < row["peer_gas"] < 6e4 for row in found] == [True] * 2


@pytest.mark.slow
def test_a_dispute_does_not_grow_with_what_it_is_about(chain: Chain) -> None:
    """Its moves, and what it opens: ten times the steps, nodes and elements cost two moves more at most."""
    settings = Settings(executor="torch", threads=1, n=1)
    small = play(chain, Size(steps=2, layers=1, width=8), 21, Kind.MAP, settings)
    large = play(chain, Size(steps=20, layers=10, width=30), 21, Kind.MAP, settings)
    assert large.nodes > 5 * small.nodes and large.elements > 10 * small.elements
    [first], [second] = small.trials, large.trials
    assert 5 < first.moves <= second.moves <= first.moves + 2
    assert 4096 < small.proof < large.proof < 3 * small.proof


@pytest.mark.slow
def test_chain(capsys: Capture, monkeypatch: Patch) -> None:
    """On a node of the verb's own."""
    found = rows(capsys, monkeypatch, "chain", "--gas", "--n", "1", unit="gas")
    auction, disputed = ["commit a bid", "reveal it"], ["open", "concede"]
    honest = ["post", *auction, "award", "commit, first", "commit", "collect"]
    assert names(found) == [(verb, 0) for verb in (*honest, "whole task", *disputed)]
    gas = {row["name"]: row["ours_gas"] for row in found}
    assert gas["whole task"] == sum(gas[verb] for verb in honest) + gas["commit"]  # of three commitments
    assert all(21_000 < gas[verb] < 1_000_000 for verb in disputed)


@pytest.mark.slow
@pytest.mark.usefixtures("same_court")
def test_seconds_on_a_chain(capsys: Capture, monkeypatch: Patch) -> None:
    found = {row["name"]: row for row in rows(capsys, monkeypatch, "chain", "--n", "1")}
    assert found["whole task"]["ratio"] > 3  # seven transactions to one


# --- growth ------------------------------------------------------------------------------------------------------

SCRIPT = Path(__file__).resolve().parents[3] / "scripts" / "growth.py"


def growth(capsys: Capture, monkeypatch: Patch, docs: Path, *args: str) -> tuple[int, str]:
    """Exit code and stderr of the script, run in this process: importing torch again would take most of the time."""
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), "--docs", str(docs), *args])
    code = 0
    try:
        runpy.run_path(str(SCRIPT), run_name="__main__")
    except SystemExit as leave:
        code = int(leave.code or 0)
    return code, capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.usefixtures("same_court")
def test_growth_measures_draws_and_writes(capsys: Capture, monkeypatch: Patch, tmp_path: Path) -> None:
    """Piece by piece: the document has all that was measured so far, and drawing again changes nothing."""
    pieces, small = (
        ("model", "steps", "gemm"),
        ("--quick", "--n", "1", "--bits", "21", "--threads", "1", "--executor", "torch"),
    )
    for piece in pieces:
        assert growth(capsys, monkeypatch, tmp_path, *small, "--only", piece) == (0, "")
    figures = tmp_path / "figures"
    rows = {piece: json.loads((figures / f"{piece}.json").read_text())["points"] for piece in pieces}
    assert [point["series"] for point in rows["model"]] == ["21 bits"] * 2
    assert rows["model"][0]["x"] < rows["model"][1]["x"]
    assert [(point["x"], point["series"]) for point in rows["steps"]] == [
        (x, k) for x in (2, 16) for k in ("map", "dot")
    ]
    assert all(5 < point["values"]["moves"] < 20 and point["values"]["proof"] > 4096 for point in rows["steps"])
    assert [row["name"] for row in rows["gemm"]][-1] == "dot / float64 BLAS"
    text = (tmp_path / "benchmarks.md").read_text()
    for point in (rows["model"][0], rows["model"][-1]):
        assert f"{command.ratio_shown(point['values']['ratio'])} at " in text
    assert "A false dot with 8 times the steps takes 8 moves instead of 8" in text
    written = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    assert [line for line in text.splitlines() if line.startswith("!")] == [
        "![A step against the size of the model](figures/model.svg)",
        "![A dispute against the steps of its interval](figures/steps.svg)",
    ]
    assert {file.name for file in written} == {
        "benchmarks.md",
        "model.svg",
        "steps.svg",
        *(f"{p}.json" for p in pieces),
    }
    assert growth(capsys, monkeypatch, tmp_path, "--draw") == (0, "")
    assert {file: file.read_bytes() for file in written} == written


def test_growth_keeps_what_a_card_took(capsys: Capture, monkeypatch: Patch, tmp_path: Path) -> None:
    """Its rows stand in files and a section of their own, whatever a CPU measures afterwards."""
    figures = tmp_path / "figures"
    figures.mkdir()
    for piece in ("step", "replay", "hash", "tests"):
        source = SCRIPT.parent.parent / "docs" / "figures" / f"cuda-{piece}.json"
        (figures / source.name).write_text(source.read_text())
    assert growth(capsys, monkeypatch, tmp_path, "--quick", "--n", "1", "--bits", "21", "--only", "gemm") == (0, "")
    before, after = (tmp_path / "benchmarks.md").read_text().split("## On a card\n")
    assert "## gemm" in before
    assert "`offchain bench hash --device cuda --job gpt`" in after
    assert all(text in after for text in ("A step takes 0.118 to 0.326 times", "NVIDIA H200", "107 passed"))
    assert growth(capsys, monkeypatch, tmp_path, "--device", "cuda", "--only", "model")[0] == 2  # not for a card


def test_growth_refuses(capsys: Capture, monkeypatch: Patch, tmp_path: Path) -> None:
    code, err = growth(capsys, monkeypatch, tmp_path, "--device", "abacus", "--only", "model")
    assert code == 2
    assert "device 'abacus'" in err.splitlines()[-1]
    assert not list(tmp_path.rglob("*.json"))


# --- refusals ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "said"),
    [
        *(([verb, "--device", "abacus"], "device 'abacus'") for verb in MEASURED),
        (["step", "--device", "meta"], "device 'meta'"),
        (["gemm", "--executor", "reference", "--device", "cuda"], "device 'cuda'"),
    ],
)
def test_bad_options_are_one_line(capsys: Capture, monkeypatch: Patch, args: list[str], said: str) -> None:
    code, out, err = terminal.run(capsys, monkeypatch, "bench", *args, "--quick")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert said in err


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is one")
@pytest.mark.parametrize("verb", MEASURED)
def test_no_gpu_is_one_line(capsys: Capture, monkeypatch: Patch, verb: str) -> None:
    code, out, err = terminal.run(capsys, monkeypatch, "bench", verb, "--device", "cuda")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("error: device 'cuda': ")


@pytest.mark.parametrize("verb", [*MEASURED, "chain"])
def test_no_pairs_are_no_measurement(capsys: Capture, monkeypatch: Patch, verb: str) -> None:
    code, out, err = terminal.run(capsys, monkeypatch, "bench", verb, "--n", "0")
    assert (code, out) == (2, "")
    assert "'--n': 0 is not in the range x>=1" in err


@pytest.mark.parametrize(
    ("option", "said"),
    [(["--bits", "40"], "2<=x<=27"), (["--executor", "gpu"], "reference"), (["--job", "x"], "gpt-sdpa")],
)
def test_what_no_step_takes(capsys: Capture, monkeypatch: Patch, option: list[str], said: str) -> None:
    code, out, err = terminal.run(capsys, monkeypatch, "bench", "step", *option)
    assert (code, out) == (2, "")
    assert said in err


@pytest.mark.parametrize("verb", [*MEASURED, "chain"])
def test_help_shows_an_example(capsys: Capture, monkeypatch: Patch, verb: str) -> None:
    code, out, _ = terminal.run(capsys, monkeypatch, "bench", verb, "--help")
    assert code == 0
    assert f"offchain bench {verb}" in out


def test_generation_is_measured(capsys: Capture, monkeypatch: Patch) -> None:
    asked = ("step", "--job", "generation", "--bits", "13", "--n", "1")
    assert names(rows(capsys, monkeypatch, *asked)) == [("generation", 13), ("generation, deterministic", 13)]
    assert names(rows(capsys, monkeypatch, *asked, "--memory", unit="bytes")) == [("memory generation", 13)]


def test_the_command_offers_the_jobs_that_there_are() -> None:
    assert (command.JOBS, command.PROGRAMS) == (JOBS, PROGRAMS)
    with pytest.raises(BadInput, match="no job 'x'"):
        job("x", 21)


def test_settings_refuse() -> None:
    with pytest.raises(BadInput, match="n is 0"):
        Settings(n=0)
    with pytest.raises(BadInput, match="no executor 'abacus'"):
        Settings(executor="abacus")
