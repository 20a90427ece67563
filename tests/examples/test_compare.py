"""scripts/compare.py: its rows name what was trained, and its memory is that of a step."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "compare.py"


@pytest.fixture(scope="module")
def compare() -> ModuleType:
    spec = importlib.util.spec_from_file_location("compare", SCRIPT)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["compare"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


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
        command = [str(SCRIPT), "--example", "tabular_regression", "--seeds", "1", "--steps", "4", *more]
        monkeypatch.setattr(sys, "argv", command)
        compare.main()
        return capsys.readouterr().out.splitlines()

    table = printed("--bits", "21")
    assert len(table) == 4 and len({line.count("|") for line in table}) == 1
    assert [json.loads(row)["way"] for row in printed("--bits", "8", "--json")] == ["plain", "8 bits"]
