#!/usr/bin/env python3
"""Writes tests/slow.txt: the tests that `make test` leaves to `make test-all`, by how long they took.

    make test-all ARGS=--junitxml=report.xml && scripts/slow_tests.py report.xml

The quickest test of every file stays in `make test`.
"""

from __future__ import annotations

import argparse
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
TARGET: Final = ROOT / "tests" / "slow.txt"
LIMIT: Final = 2.0  # seconds, without what several tests share
HEAD: Final = (
    "# Written by scripts/slow_tests.py: what took longer than {} s. `make test` leaves these to `make test-all`.\n"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reports", type=Path, nargs="+", help="JUnit reports of pytest")
    parser.add_argument("--limit", type=float, default=LIMIT)
    options = parser.parse_args()
    took = {name: seconds for report in options.reports for name, seconds in durations(report).items()}
    slow = sorted(too_slow(took, options.limit))
    TARGET.write_text(HEAD.format(options.limit) + "".join(f"{name}\n" for name in slow))
    left = sum(seconds for name, seconds in took.items() if name not in slow)
    print(f"{len(slow)} of {len(took)} tests are slow; the others take {left:.0f} s")


def durations(report: Path) -> dict[str, float]:
    """Seconds by pytest's name of a test."""
    cases = ElementTree.parse(report).iter("testcase")
    return {f"{file_of(case.attrib['classname'])}::{case.attrib['name']}": float(case.attrib["time"]) for case in cases}


def file_of(module: str) -> str:
    return f"{module.replace('.', '/')}.py"


def too_slow(took: dict[str, float], limit: float) -> set[str]:
    """All above the limit, but for the quickest of a file of which nothing would be left."""
    files: dict[str, list[tuple[float, str]]] = defaultdict(list)
    for name, seconds in took.items():
        files[name.partition("::")[0]].append((seconds, name))
    return {name for tests in files.values() for seconds, name in sorted(tests)[1:] if seconds > limit}


if __name__ == "__main__":
    main()
