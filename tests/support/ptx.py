"""The CUDA executor's kernels as PTX, made as for a GPU without one; run as a module it prints the instructions.

Triton's interpreter executes the source of a kernel. What its compiler makes of it is only seen here, or on a GPU.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import torch
from triton.backends.compiler import GPUTarget
from triton.runtime import driver

from offchain.exec import selfcheck
from offchain.exec.base import unwatched
from offchain.exec.cuda.engines import Engine
from offchain.exec.cuda.kernel import TritonKernel, prepare
from offchain.exec.cuda.planner import CudaPlanner
from offchain.exec.cuda.tuning import Tuner
from offchain.exec.plan.planning import Call
from offchain.exec.plan.shards import whole
from offchain.ir.graph import Graph

CAPABILITY: Final = 90
# flushes subnormals, fuses a product and a sum, or only approximates a quotient or a root
FORBIDDEN: Final = re.compile(r"\bfma\b|\bmad\.(?:rn\.)?f|ftz|approx|div\.full")
_INSTRUCTION: Final = re.compile(r"^\s*(?:@!?%p\d+ )?([a-z]\S*)", re.MULTILINE)


class Always(Tuner):
    """Takes the engine of that name, or the first where a product has none."""

    def __init__(self, name: str, device: torch.device) -> None:
        super().__init__(device)
        self.name = name

    def choose(self, engines: Sequence[Engine]) -> Engine:
        return next((engine for engine in engines if engine.name == self.name), engines[0])


class NoGpu:
    """Answers what Triton asks its driver about the GPU that it compiles for. There is none."""

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", CAPABILITY, 32)

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0


def kernels(graph: Graph, names: Sequence[str]) -> dict[str, TritonKernel]:
    """The kernels of a graph, with each of these engines for its products in turn."""
    tuners = [Always(name, torch.device("cpu")) for name in names]
    calls = [call for tuner in tuners for call in CudaPlanner(whole(graph), tuner).make().calls]
    launches = [call.kernel for call in calls if isinstance(call, Call)]
    return {launch.name: launch for launch in launches if isinstance(launch, TritonKernel)}


def main() -> None:
    driver.set_active(NoGpu())
    made = prepare(list(kernels(selfcheck.combined().graph, ("float64", "float32", "int8")).values()), unwatched)
    texts = [str(kernel.asm["ptx"]) for kernel in made.values()]
    print(*sorted({word for text in texts for word in _INSTRUCTION.findall(text)}))


if __name__ == "__main__":
    main()
