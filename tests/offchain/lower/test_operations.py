"""docs/operations.md is what the sources generate, and a sample of its operators is measured again."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "scripts"))

import operations  # noqa: E402
from opinfo import check  # noqa: E402

TEXT = (ROOT / "docs" / "operations.md").read_text()
ROWS = [line.strip("| ").split(" | ") for line in TEXT.splitlines() if line.startswith("| ")]
STATUS = {row[0]: row[1] for row in ROWS if row[1] in ("yes", "partly", "no", "wrong")}


def test_nothing_is_wrong() -> None:
    assert "wrong" not in STATUS.values()
    assert sum(status == "yes" for status in STATUS.values()) > 350


def test_the_page_is_what_the_sources_generate() -> None:
    """Run `python scripts/operations.py` after a change to the lowerings."""
    assert operations.fault_of(TEXT) == ""
    assert operations.fault_of(TEXT.replace("677 operators", "678 operators")).startswith("line ")
    assert operations.fault_of(TEXT.replace("\n| trunc_ |", "\n| trunk_ |")).endswith("is made functional |'")
    assert "does not have: | HH" in operations.fault_of(TEXT.replace("| H |", "| HH |"))


@pytest.mark.parametrize("part", [0, *(pytest.param(part, marks=pytest.mark.slow) for part in (1, 2, 3))])
def test_what_is_said_to_be_supported_is(part: int) -> None:
    """Every fourth operator, one sample of each."""
    names = sorted(name for name, status in STATUS.items() if status == "yes" and name in operations.operators())
    verdicts = [check(operations.operators()[name], 1) for name in names[part::16]]
    assert len(verdicts) > 15
    assert [(v.name, v.wrong, v.refused) for v in verdicts if v.wrong or v.refused] == []
