"""What the CUDA executor refuses, in one line."""

from __future__ import annotations

import resource
import sys

import pytest

from offchain.errors import BadInput, OutOfMemory
from offchain.exec import make_executor
from offchain.exec.base import Limits, Setting
from offchain.exec.cuda.executor import CudaExecutor
from tests.offchain.exec.cuda.compared import (
    DEVICE,
    GPU,
    MARKS,
    one_node,
)
from tests.offchain.exec.plan.test_memory import spreading

pytestmark = MARKS


def test_without_triton_one_line_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "triton", None)
    with pytest.raises(BadInput, match="fused needs Triton on cuda: pip install triton, or take --executor torch"):
        make_executor("fused", one_node().graph, [], [], Setting("cuda"))


def test_kernels_on_a_cpu_need_the_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.raises(BadInput, match="TRITON_INTERPRET=1"):
        CudaExecutor(one_node().graph, [], [])


@pytest.mark.skipif(GPU, reason="a GPU may have as much")
def test_a_step_that_does_not_fit_names_its_node() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (1 << 35, hard))
    try:
        with pytest.raises(OutOfMemory, match=r"node 1 \(map\) needs 68.7 GB to make an output of shape"):
            CudaExecutor(spreading(1 << 34, kept=False), [], [], Setting(str(DEVICE)))
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def test_limits_are_kept_before_anything_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = "offchain.exec.cuda.executor.prepare"
    monkeypatch.setattr(compiled, lambda *given: pytest.fail("it was compiled before it was refused"))
    graph = one_node().graph
    with pytest.raises(OutOfMemory, match=r"^node 0 \(dot\) needs .* a step may take 100 B$"):
        CudaExecutor(graph, [], [], Setting(str(DEVICE), limits=Limits(memory=100)))
    with pytest.raises(BadInput, match=r"^the graph needs [2-9] kernels, of which 1 may be compiled$"):
        CudaExecutor(graph, [], [], Setting(str(DEVICE), limits=Limits(kernels=1)))
