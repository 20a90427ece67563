"""The demo, as `make demo` runs it: what it shows is what its report says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from offchain.demo.audits import LAZY
from offchain.demo.cheats.catalogue import CHEATS
from tests.support.terminal import run

BOUGHT = 0.95  # of the test digits at least


@pytest.mark.slow
def test_an_honest_run_and_a_cheat(tmp_path: Path) -> None:
    file = tmp_path / "demo.json"
    command = [sys.executable, "-m", "offchain", "demo", "--json", str(file), "--logs", str(tmp_path / "logs")]
    subprocess.run(command, check=True)
    report = json.loads(file.read_text())
    honest, cheat = report["honest"], report["cheat"]
    assert honest["settled"] and honest["test_accuracy"] >= BOUGHT
    first, second, _ = sorted(honest["bids"], key=lambda bid: bid["score"])
    assert set(first) == {"bidder", "price", "time", "score", "record"}
    assert honest["second_score"] == second["score"]
    assert honest["paid_price"] == first["price"] + second["score"] - first["score"]
    assert 0 < honest["paid"] <= honest["paid_price"], "who is honest is paid"
    assert len({bid["time"] for bid in honest["bids"]}) > 1, "they differ in speed"
    assert cheat["convicted"] and cheat["claimed"] != cheat["computed"]
    assert cheat["rescued_by"].startswith("solver-") and cheat["test_accuracy"] >= BOUGHT
    assert cheat["final_root"] == honest["state_roots"][-1]
    assert cheat["challenger_paid"] > 0
    for told in (honest, cheat):
        assert any(audit["paid"] for audit in told["audits"]), "who is drawn and replays is paid"
        assert told["audit_cost_share"] > 0
        assert told["attestations"][-1]["checkpoint"] == len(honest["state_roots"]) - 1, "all can be had"
        assert told["attestations"][-1]["signers"]
        lazy = [audit for audit in told["audits"] if audit["verifier"] == LAZY]
        assert lazy and not any(audit["paid"] for audit in lazy) and lazy[-1]["fate"] == "forfeited"
    assert honest["balances_after"][LAZY] < honest["balances_before"][LAZY], "who does not look loses its bonds"


@pytest.mark.slow
def test_a_cheat_of_the_catalogue_as_a_process(tmp_path: Path) -> None:
    """One that others' processes must see through: the rest is played in tests/cheats."""
    file = tmp_path / "cheat.json"
    command = [sys.executable, "-m", "offchain", "demo", "--cheat", "skipped-step", "--json", str(file)]
    subprocess.run([*command, "--logs", str(tmp_path / "logs")], check=True)
    report = json.loads(file.read_text())
    assert (report["cheat"], report["ends"], report["status"]) == ("skipped-step", "convicted", "completed")
    assert int(report["gains"]["cheat"]) < 0 < int(report["gains"]["verifier-a"])


@pytest.mark.slow
def test_a_solver_that_swaps_one_word_of_a_text(tmp_path: Path) -> None:
    file = tmp_path / "poem.json"
    command = [sys.executable, "-m", "offchain", "demo", "--generation", "--json", str(file)]
    done = subprocess.run([*command, "--logs", str(tmp_path / "logs")], check=True, capture_output=True, text=True)
    report = json.loads(file.read_text())
    assert report["claimed_text"] == "Tyger Tyger, burning bright, / In the forests of the *Lamb*"
    assert report["true_text"] == "Tyger Tyger, burning bright, / In the forests of the *night;*"
    assert report["claimed_text"] in done.stdout and report["true_text"] in done.stdout
    assert report["convicted"] and (report["claimed"], report["computed"]) == ("Lamb", "night;")
    assert (report["step"], report["operation"]) == (9, "the element's program")
    assert report["withdrawn"] is not None and report["texts"][0] == report["true_text"].replace("*", "")
    assert (report["status"], report["finished_by"]) == ("completed", "solver-a")
    gains = {who: int(gain) for who, gain in report["gains"].items()}
    assert gains["cheat"] == -report["slashed"] and gains["verifier-a"] == report["challenger_paid"] > 0
    assert gains["solver-a"] > 0 > gains["requester"]
    assert report["burned"] < -sum(gains.values()) < report["burned"] + abs(gains["requester"]), "the rest is fees"


def test_the_demos_are_played_one_at_a_time(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, _, err = run(capsys, monkeypatch, "demo", "--generation", "--cheat", "idle")
    assert (code, err) == (2, "error: --cheat and --generation are demos of their own: name one of them\n")


def test_the_catalogue_is_listed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, _ = run(capsys, monkeypatch, "demo", "--cheat", "list")
    assert code == 0 and all(name in out for name in CHEATS)
    assert max(map(len, out.splitlines())) <= 80
    code, _, err = run(capsys, monkeypatch, "demo", "--cheat", "sock-pupet")
    assert (code, err) == (2, "error: --cheat sock-pupet: there is no such cheat; did you mean sock-puppet?\n")


def test_where_the_report_goes_is_looked_at_before_minutes_are_spent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("offchain.commands.demo._played", lambda *_: pytest.fail("it was played"))
    (tmp_path / "file").write_text("")
    for file in (tmp_path / "file" / "demo.json", tmp_path):
        code, _, err = run(capsys, monkeypatch, "demo", "--generation", "--json", str(file))
        assert code in (1, 2) and err.count("\n") == 1 and str(tmp_path) in err
