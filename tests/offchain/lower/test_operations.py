"""docs/operations.md says what becomes of operations: it is kept in step, and a part of it is measured again."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "scripts"))

import operations  # noqa: E402
from opinfo import check  # noqa: E402

PAGE = (ROOT / "docs" / "operations.md").read_text().splitlines()
ROWS = [line.strip("| ").split(" | ") for line in PAGE if line.startswith("| ")]
STATUS = {row[0]: row[1] for row in ROWS if row[1] in ("yes", "partly", "no", "wrong")}


def test_nothing_is_wrong() -> None:
    assert "wrong" not in STATUS.values()
    assert sum(status == "yes" for status in STATUS.values()) > 350


def test_every_aten_operation_is_listed_as_it_is() -> None:
    """Run `python scripts/operations.py` after a change of what lowers."""
    first = PAGE.index("## ATen operations") + 4
    assert PAGE[first:] == list(operations.aten_rows())


@pytest.mark.parametrize("part", range(4))
def test_what_is_said_to_be_supported_is(part: int) -> None:
    """Every fourth operator, one sample of each."""
    names = sorted(name for name, status in STATUS.items() if status == "yes" and name in operations.operators())
    verdicts = [check(operations.operators()[name], 1) for name in names[part::16]]
    assert len(verdicts) > 15
    assert [(v.name, v.wrong, v.refused) for v in verdicts if v.wrong or v.refused] == []
