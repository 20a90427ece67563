"""The demo, as `make demo` runs it: what it shows is what its report says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

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
