"""scripts/compare.py: its rows name what was trained, and its memory is that of a step."""

from __future__ import annotations

import json
import sys
from types import ModuleType
from typing import Any

import pytest
import torch

from tests.support.scripts import load_script


@pytest.fixture(scope="module")
def compare() -> ModuleType:
    return load_script("compare")


@pytest.mark.slow
def test_rows(compare: Any) -> None:
    """At 21 bits the loss is plain torch's; at 3 bits it is not, and its seeds are trainings of their own."""
    plain, fine, coarse = compare.Example("mlp_digits", 20).rows(2, [21, 3])
    assert [row.way for row in (plain, fine, coarse)] == ["plain", "21 bits", "3 bits"]
    assert plain.differences == [0, 0] and plain.losses[0] != plain.losses[1]
    assert max(map(abs, fine.differences)) < 1e-3 < min(map(abs, coarse.differences))
    assert fine.nodes == coarse.nodes > 20 and fine.graph_bytes > 1000 and len(fine.test["accuracy"]) == 2


def test_memory_is_what_a_step_takes(compare: Any) -> None:
    held = []

    def step() -> None:
        held.append(torch.ones(1 << 23))  # 32 MiB stay
        torch.ones(1 << 24).add_(1)  # 64 MiB more do not

    for _ in range(2):
        assert compare.peak_memory(step) == pytest.approx(96 << 20, rel=0.1)


@pytest.mark.slow
def test_prints_markdown_or_json(
    compare: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def printed(*more: str) -> list[str]:
        command = ["compare.py", "--example", "tabular_regression", "--seeds", "1", "--steps", "4", *more]
        monkeypatch.setattr(sys, "argv", command)
        compare.main()
        return capsys.readouterr().out.splitlines()

    table = printed("--bits", "21")
    assert len(table) == 4 and len({line.count("|") for line in table}) == 1
    assert [json.loads(row)["way"] for row in printed("--bits", "8", "--json")] == ["plain", "8 bits"]
