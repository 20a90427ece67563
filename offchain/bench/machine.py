"""What a benchmark ran on, in words: ratios differ by 1.6 between processors that call themselves the same."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Final

from offchain.exec.fused.digits import FEATURES
from offchain.exec.fused.engines import lanes
from offchain.native.jit import compiler, processors

_INFO: Final = Path("/proc/cpuinfo")


def machine() -> str:
    """Its processor by name, family, model and widest vectors, and how many of its cores this process has."""
    return f"{processor()}, {processors()} cores"


def processor() -> str:
    """As in `AMD EPYC (family 25, model 1, znver3, avx2)`."""
    facts = dict(_facts(_INFO.read_text())) if _INFO.exists() else {}
    known = [f"{what} {facts[key]}" for key, what in (("cpu family", "family"), ("model", "model")) if key in facts]
    features = [FEATURES[count] for count in lanes()[-1:]]
    return f"{facts.get('model name', platform.machine())} ({', '.join([*known, compiler().cpu, *features])})"


def _facts(text: str) -> list[tuple[str, str]]:
    """Of the first processor in Linux's list of them."""
    lines = text.split("\n\n", 1)[0].splitlines()
    return [(key.strip(), value.strip()) for key, _, value in (line.partition(":") for line in lines)]
