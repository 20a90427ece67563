"""Random legal graphs of the nastiest views on every executor of CPUs: `python -m tests.support.strange FIRST COUNT`.

A graph follows from its seed. Each seed is written to standard output before its graph is run, so that whoever started
the process knows which one ended it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from random import Random
from typing import Final

from hypothesis import given

from offchain.exec.eager.executor import TorchExecutor
from offchain.exec.fused.engines import Engines
from offchain.exec.fused.planner import FusedPlanner
from offchain.exec.plan.planning import Call
from offchain.exec.plan.shards import whole
from offchain.exec.reference import ReferenceExecutor
from offchain.ir.arrays import Array
from offchain.ir.encoding import decode_graph
from offchain.ir.graph import Graph
from offchain.native.jit import machine_code, target_machine
from tests.support.guarded import GuardedExecutor
from tests.support.strategies import Case, strange

_BYTES: Final = 1 << 14  # that choose a graph
ELSEWHERE: Final = {"znver5": 16, "skylake-avx512": 16, "haswell": 8, "x86-64": 0}  # other processors: lanes of digits
EVERY: Final = 16  # graphs, of which one is compiled for one of them


def check(case: Case) -> None:
    """Raises AssertionError where two executors differ in a bit."""
    expected = _bits(ReferenceExecutor(case.graph, case.constants, case.datasets), case)
    given = case.graph, case.constants, case.datasets
    for fast in (GuardedExecutor(*given, low=True), GuardedExecutor(*given, low=False), TorchExecutor(*given)):
        assert _bits(fast, case) == expected, type(fast).__name__


def _bits(executor: object, case: Case) -> list[bytes]:
    state = executor.load(case.state)  # type: ignore[attr-defined]
    made: list[Array] = list(executor.outputs(state, case.t))  # type: ignore[attr-defined]
    made += executor.dump(executor.step(state, case.t))  # type: ignore[attr-defined]
    return [array.tobytes() for array in made]


def compile_for(graph: Graph, cpu: str) -> None:
    """Compiles the kernels of a graph for a processor."""
    machine, chosen = target_machine(cpu), Engines(ELSEWHERE[cpu], ELSEWHERE[cpu])
    for item in FusedPlanner(whole(graph), chosen).make().calls:
        if isinstance(item, Call):
            machine_code(item.kernel.text, machine)


def compile_everywhere(path: str) -> None:
    """Compiles the kernels of an encoded graph for every processor of ELSEWHERE."""
    graph = decode_graph(Path(path).read_bytes())
    for cpu in ELSEWHERE:
        compile_for(graph, cpu)


def run(seed: int) -> bool:
    """Whether the seed gave a graph, all of whose checks passed."""

    @given(case=strange())
    def drawn(case: Case) -> None:
        check(case)
        if seed % EVERY == 0:
            compile_for(case.graph, [*ELSEWHERE][seed // EVERY % len(ELSEWHERE)])

    return drawn.hypothesis.fuzz_one_input(Random(seed).randbytes(_BYTES)) is not None  # type: ignore[attr-defined]


def main(first: int, count: int) -> None:
    made = 0
    for seed in range(first, first + count):
        os.write(1, b"%d\n" % seed)
        made += run(seed)
    os.write(1, b"ran %d\n" % made)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
