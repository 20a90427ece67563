"""What py-ecc does to the whole process when it is imported must not stay."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import json, sys
import offchain.bls.points, offchain.chain.rpc
assert sys.getrecursionlimit() == 1000
try:
    json.loads("[" * 90_000)
except RecursionError:
    print("refused")
"""


def test_deeply_nested_answers_are_refused_and_do_not_end_the_process() -> None:
    """With a limit of 100,000, which py-ecc sets, a node's answer of brackets overflows the stack."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "refused\n"), done.stderr
