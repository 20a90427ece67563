"""The check that an executor makes before it is used: what it finds, and that it runs once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from offchain.errors import OffchainError
from offchain.exec import make_executor, selfcheck
from offchain.exec.base import Executor
from offchain.exec.eager import executor as eager
from offchain.exec.eager import program
from offchain.exec.make import EXECUTORS
from offchain.ir.graph import Graph, Node, Slot, Source, TensorSpec
from offchain.ir.kinds import Kind
from offchain.ir.primitives import TABLE, DType, Instr, Op

Patch = pytest.MonkeyPatch


def make(name: str) -> Executor[object]:
    node = Node(Kind.MAP, DType.F32, (1,), (), program=(Instr.const(DType.F32, 0),))
    log = Slot(TensorSpec("log", DType.F32, (1, 1)), Source.STATE, 0)
    return make_executor(name, Graph((node,), (log,), (), (), (), (), ("loss",)), [], [])


@pytest.fixture(autouse=True)
def unchecked(monkeypatch: Patch) -> None:
    monkeypatch.setattr(selfcheck, "_passed", set())


@pytest.mark.parametrize("name", EXECUTORS)
def test_this_machine_passes_and_is_asked_once(name: str, monkeypatch: Patch) -> None:
    make(name)
    monkeypatch.setattr(selfcheck, "combined", lambda: pytest.fail("checked twice"))
    make(name)


def test_both_graphs_hold_every_primitive() -> None:
    wanted = {op for op, row in TABLE.items() if row.operands}
    assert wanted <= {instr.op for instr in selfcheck.combined().graph.nodes[0].program}
    assert wanted == {node.program[-1].op for node in selfcheck.separate().graph.nodes}
    assert {node.kind for node in selfcheck.combined().graph.nodes} == set(Kind)


@pytest.mark.parametrize("op", [Op.DIV, Op.ADD, Op.TO_INT, Op.SHL])
def test_a_wrong_primitive_is_named(op: Op, monkeypatch: Patch) -> None:
    wrong = {
        Op.DIV: lambda a, b: a * (1 / b),
        Op.ADD: lambda a, b: torch.where(a == b, a + b, a + b + 0.0 * a),
        Op.TO_INT: lambda x: x.to(torch.int32),
        Op.SHL: lambda a, n: torch.where((n >= 0) & (n < 32), a << (n & 31), 0),
    }
    monkeypatch.setitem(program._PRIMITIVES, op, wrong[op])
    for _ in range(2):  # a failure is not remembered as a success
        with pytest.raises(OffchainError, match=rf"torch on cpu .* primitive {op.name.lower()} \(element \d+: 0x"):
            make("torch")


@pytest.mark.parametrize("kind", [Kind.DOT, Kind.SUM, Kind.SCATTER_ADD, Kind.MAX, Kind.GATHER])
def test_a_wrong_reduction_is_named(kind: Kind, monkeypatch: Patch) -> None:
    right = eager._KINDS[kind]
    monkeypatch.setitem(eager._KINDS, kind, lambda *args: right(*args) + 2.0**-149)
    with pytest.raises(OffchainError, match=f"node kind {kind.name.lower()}"):
        make("torch")


@pytest.fixture
def flushing() -> Iterator[None]:
    selfcheck.combined(), selfcheck.separate()
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor cannot flush")
    yield
    torch.set_flush_denormal(False)


def test_a_processor_that_flushes_subnormals_is_found(flushing: None) -> None:
    with pytest.raises(OffchainError, match="fused on cpu computes other bits than the definition in primitive"):
        make("fused")


@pytest.mark.parametrize("name", ["reference", "fused"])
def test_a_reference_that_flushes_subnormals_is_found(name: str, flushing: None) -> None:
    selfcheck.combined.cache_clear()
    with pytest.raises(OffchainError, match=r"NumPy computes other bits .* flush subnormals"):
        make(name)
