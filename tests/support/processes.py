"""What torchrun starts in tests: task files and random graphs, by processes together. Process 0 prints what it found.

Executor `cuda` is the fused one's kernels for CUDA, in Triton's interpreter where TRITON_INTERPRET is 1.

With `--leave N` the last process leaves before step N of the first task, with `--stop N` it stops answering.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import time
from datetime import timedelta
from pathlib import Path

import numpy as np
import torch.distributed as dist
from hypothesis import HealthCheck, Phase, assume, given, settings

from offchain.exec.base import Setting
from offchain.exec.distributed import Processes, joined
from offchain.exec.make import ANY, EXECUTORS, make_executor
from offchain.exec.plan.shards import Dealing
from offchain.exec.reference import ReferenceExecutor
from offchain.store.taskfile import load_task
from offchain.training import Run
from tests.offchain.exec.plan.test_shards import layers
from tests.support.strategies import Case

EXECUTORS["cuda"] = {ANY: "offchain.exec.cuda.executor:CudaExecutor"}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("runs", nargs="*", help="EXECUTOR=FILE")
    parser.add_argument("--cases", nargs="*", default=[], help="EXECUTOR=COUNT")
    parser.add_argument("--leave", type=int)
    parser.add_argument("--stop", type=int)
    options = parser.parse_args()
    with joined(patience=timedelta(seconds=8 if options.stop else 60)) as processes:
        if options.leave is not None or options.stop is not None:
            broken(options.runs[0], processes, options.leave, options.stop)
        found = {run: roots(run, processes) for run in options.runs}
        tried = {cases: random_graphs(cases, processes) for cases in options.cases if processes}
        if processes is None or processes.rank == 0:
            print(json.dumps({"roots": found, "cases": tried}))


def started(what: str, processes: Processes | None) -> Run:
    executor, _, file = what.partition("=")
    return Run(load_task(Path(file)), executor, threads=1, processes=processes)


def roots(what: str, processes: Processes | None) -> list[str]:
    """State roots of all checkpoints, which must be the same in all processes."""
    run = started(what, processes)
    run.run()
    mine = [root.hex() for root in run.state_roots]
    if processes is not None:
        everybodys: list[list[str] | None] = [None] * processes.size
        dist.all_gather_object(everybodys, mine)
        assert all(other == mine for other in everybodys)
    return mine


def random_graphs(what: str, processes: Processes) -> int:
    """Tries random graphs, which are the same in all processes. Returns how many it tried."""
    name, _, count = what.partition("=")
    tried = 0

    @settings(max_examples=int(count), phases=[Phase.generate], derandomize=True, database=None, deadline=None,
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(drawn=layers())
    def compare(drawn: tuple[Case, Dealing]) -> None:
        nonlocal tried
        case, dealing = drawn
        assume(dealing.rows >= processes.size)
        truth = ReferenceExecutor(case.graph, case.constants, case.datasets)
        wanted = truth.step(truth.load(case.state), case.t)
        executor = make_executor(name, case.graph, case.constants, case.datasets, Setting(processes=processes))
        state = executor.load(case.state)
        after = executor.dump(executor.step(state, case.t))
        for have, want in zip(after, wanted, strict=True):
            np.testing.assert_array_equal(have.view(np.uint32), want.view(np.uint32))
        outputs = [output.view(np.uint32).tolist() for output in executor.outputs(state, case.t)]
        assert outputs == [output.view(np.uint32).tolist() for output in truth.outputs(case.state, case.t)]
        tried += 1

    compare()
    return tried


def broken(what: str, processes: Processes | None, leave: int | None, stop: int | None) -> None:
    """A run whose last process leaves, or stops answering, before the end."""
    assert processes is not None
    run = started(what, processes)
    run.run(leave or stop)
    if processes.rank == processes.size - 1:
        if leave:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(600)
    run.run()


if __name__ == "__main__":
    main()
