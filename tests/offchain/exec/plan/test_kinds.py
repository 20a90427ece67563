"""A kind that the tables of a planner lack is refused, and never taken for another."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from typing import Any

import numpy as np
import pytest
import torch

from offchain.errors import IllegalGraph
from offchain.exec.cuda import planner as cuda
from offchain.exec.cuda import tuning
from offchain.exec.fused import planner as fused
from offchain.exec.fused.engines import known_good
from offchain.exec.plan import shards, together
from offchain.exec.plan.shards import Joined, Share, whole
from offchain.ir.graph import Graph, Input, Node, Source, View
from offchain.ir.kinds import KINDS, Kind
from offchain.ir.primitives import DType
from tests.support.strategies import over_state

Table = MutableMapping[Kind, Any]
CPU = torch.device("cpu")


def sum_of(count: int) -> Graph:
    read = Input(Source.STATE, 0, DType.F32, count, View.contiguous((count,)))
    return over_state([Node(Kind.SUM, DType.F32, (), (read,), count, 21)], [np.ones(count, np.float32)]).graph


def joined(graph: Graph) -> Share:
    return Share(graph, (Joined(0, 8),))


@pytest.mark.parametrize(
    ("table", "plan"),
    [
        (fused._KINDS, lambda graph: fused.FusedPlanner(whole(graph), known_good()).make()),
        (cuda._KINDS, lambda graph: cuda.CudaPlanner(whole(graph), tuning.Tuner(CPU)).make()),
        (together._KINDS, lambda graph: fused.FusedPlanner(joined(graph), known_good()).make()),
        (together._KINDS, lambda graph: cuda.CudaPlanner(joined(graph), tuning.Tuner(CPU)).make()),
        (KINDS, lambda graph: shards.Dealing(graph, 4, {0: 0})._candidates(graph.nodes[0])),
    ],
    ids=["fused", "cuda", "fused-joined", "cuda-joined", "shards"],
)
def test_a_kind_that_a_table_lacks(
    table: Table, plan: Callable[[Graph], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan(sum_of(4))
    monkeypatch.delitem(table, Kind.SUM)
    with pytest.raises(IllegalGraph, match=r"^node kind sum \(3\) is not known here$"):
        plan(sum_of(4))
