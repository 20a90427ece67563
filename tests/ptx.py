"""The CUDA executor's kernels as PTX, which Triton makes without a GPU; run as a module it prints the instructions.

Triton's interpreter executes the source of a kernel. What its compiler makes of it is only seen here, or on a GPU.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from offchain.exec import selfcheck
from offchain.exec.cuda.engines import Engine
from offchain.exec.cuda.kernel import OPTIONS, Kernel, function
from offchain.exec.cuda.planner import CudaPlanner
from offchain.exec.cuda.tuning import Tuner
from offchain.exec.planning import Call
from offchain.exec.shards import whole
from offchain.ir.graph import Graph

CAPABILITY: Final = 90
# subnormals flushed, a product and a sum as one, a quotient or a root that is only near
FORBIDDEN: Final = re.compile(r"\bfma\b|\bmad\.(?:rn\.)?f|ftz|approx|div\.full")
_TYPES: Final = {
    torch.float32: "*fp32",
    torch.float64: "*fp64",
    torch.int8: "*i8",
    torch.int32: "*i32",
    torch.int64: "*i64",
}


class Always(Tuner):
    """Takes the engine of that name, or the first where a product has none."""

    def __init__(self, name: str, device: torch.device) -> None:
        super().__init__(device)
        self.name = name

    def choose(self, engines: Sequence[Engine]) -> Engine:
        return next((engine for engine in engines if engine.name == self.name), engines[0])


def ptx(kernel: Kernel) -> str:
    made = function(kernel)
    signature = dict(zip(made.arg_names, (_TYPES[dtype] for dtype in kernel.types), strict=True))
    attributes = {(n,): [["tt.divisibility", 16]] for n in range(len(signature))}
    source = ASTSource(fn=made, signature=signature, constexprs={}, attrs=attributes)
    compiled = triton.compile(source, target=GPUTarget("cuda", CAPABILITY, 32), options=dict(OPTIONS))
    return str(compiled.asm["ptx"])


def kernels(graph: Graph, names: Sequence[str]) -> dict[str, Kernel]:
    """Those of a graph, whichever of these engines makes its products."""
    tuners = [Always(name, torch.device("cpu")) for name in names]
    calls = [call for tuner in tuners for call in CudaPlanner(whole(graph), tuner).make().calls]
    launches = [call.kernel for call in calls if isinstance(call, Call)]
    return {launch.name: launch for launch in launches if isinstance(launch, Kernel)}


def main() -> None:
    found: set[str] = set()
    for kernel in kernels(selfcheck.together().graph, ("float64", "float32", "int8")).values():
        found |= set(re.findall(r"^\s*(?:@!?%p\d+ )?([a-z]\S*)", ptx(kernel), re.MULTILINE))
    print(*sorted(found))


if __name__ == "__main__":
    main()
