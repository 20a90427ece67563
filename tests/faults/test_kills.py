"""Thirty faults with a fixed seed: scripts/kills.py, as CI has time for it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.scripts import load_script

FAULTS, SEED = 30, 1
KINDS = ("cheat", "denied", "lost")  # between them they meet every phase


@pytest.mark.slow
def test_thirty_faults_harm_nobody(tmp_path: Path, artifacts: dict[str, object]) -> None:
    kills = load_script("kills")
    rows = list(kills.played(kills.Plan(FAULTS, SEED, KINDS, each=FAULTS // len(KINDS)), tmp_path))
    assert [row["wrong"] for row in rows] == [[]] * len(rows), json.dumps(rows, indent=2)
    assert kills.struck(rows) == FAULTS
    assert {row["kind"] for row in rows} == set(KINDS)
