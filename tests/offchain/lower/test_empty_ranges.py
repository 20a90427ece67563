"""What is read where a view is valid nowhere: zeros, whatever the size of the axis, fused or not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from offchain.exec.reference import evaluate
from offchain.ir.graph import Axis, Input, Node, Slot, Source, TensorSpec, View
from offchain.ir.kinds import Kind
from offchain.ir.primitives import DType, Instr, Op
from offchain.lower.fuse import fuse
from tests.support.draws import examples
from tests.support.gradients import assert_gradients

COPY = (Instr(Op.INPUT, 0),)
MORE = (Instr(Op.INPUT, 0), Instr(Op.CONST_F32, 0, 0x3F80, 0), Instr(Op.ADD, 0, 1))


class Weight(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.w = nn.Parameter(torch.randn(3, 4, 1))


@pytest.mark.parametrize("value", [0.0, 1.5])
@pytest.mark.parametrize("pad", [(1, -1), (-1, 1), (0, 0, 4, -4), (2, 0, -4, 5), (0, 0, 0, 0, 3, -3), (3, -1, 4, -4)])
def test_padding_that_crops_a_whole_axis(pad: tuple[int, ...], value: float) -> None:
    def loss(model: nn.Module, _: dict[str, Tensor]) -> Tensor:
        return (F.pad(2 * model.w, pad, value=value) * 3 + model.w.sum()).square().sum()

    assert_gradients(Weight(), loss, {"x": torch.zeros(2)})


@st.composite
def _chains(draw: st.DrawFn) -> list[Node]:
    """Maps that read each other through ranges, many of which are empty."""
    shape = draw(st.sampled_from([(1,), (1, 1), (1, 3), (2, 1, 2)]))
    nodes: list[Node] = []
    for n in range(draw(st.integers(2, 4))):
        ranges = [(lo, draw(st.integers(lo, size))) for size in shape for lo in [draw(st.integers(0, size))]]
        whole = View.contiguous(shape)
        axes = [
            Axis(axis.stride, *(bounds if draw(st.booleans()) else (0, size)))
            for axis, bounds, size in zip(whole.axes, ranges, shape, strict=True)
        ]
        source = (Source.NODE, n - 1) if n else (Source.DATA, 0)
        item = Input(*source, DType.F32, int(np.prod(shape)), View(0, tuple(axes)).settled())
        nodes.append(Node(Kind.MAP, DType.F32, shape, (item,), program=draw(st.sampled_from([COPY, MORE]))))
    return nodes


def _result(nodes: list[Node], index: int) -> list[float]:
    made: list[np.ndarray] = []
    for node in nodes:
        item = node.inputs[0] if node.inputs else None
        source = np.arange(1, 5, dtype=np.float32)[: item.length] if item and item.source is Source.DATA else None
        read = [] if item is None else [made[item.index] if source is None else source]
        made.append(evaluate(node, read, 0).reshape(-1))
    return made[index].tolist()


@settings(max_examples=examples(300), deadline=None)
@given(_chains())
def test_fusion_reads_zeros_there(nodes: list[Node]) -> None:
    last = len(nodes) - 1
    slots = [Slot(TensorSpec("out", DType.F32, nodes[-1].shape), Source.NODE, last)]
    fused, moved = fuse(nodes, slots)
    assert _result(fused, moved[0].index) == _result(nodes, last)
