"""The Solidity constants are those of the Python tables."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from tests.support.scripts import load_script

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "generate_opcodes.py"


@pytest.fixture
def generator() -> ModuleType:
    return load_script("generate_opcodes")


def test_no_drift(generator: ModuleType) -> None:
    assert generator.main(["--check"]) == 0


@pytest.mark.parametrize(
    ("name", "change"), [("Opcodes.sol", ("MUL = 0x12", "MUL = 0x13")), ("Kinds.sol", ("= 6", "= 7"))]
)
def test_drift_is_refused(
    generator: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    change: tuple[str, str],
) -> None:
    monkeypatch.setattr(generator, "ROOT", tmp_path)
    (tmp_path / generator.TARGET).mkdir(parents=True)
    assert generator.main([]) == 0
    drifted = tmp_path / generator.TARGET / name
    drifted.write_text(drifted.read_text().replace(*change))
    assert generator.main(["--check"]) == 1
    error = capsys.readouterr().err
    assert name in error and error.count(".sol") == 1 and "scripts/generate_opcodes.py" in error
    assert generator.main([]) == 0
    assert generator.main(["--check"]) == 0
