"""The short ways of taking operations apart capture the same operations as torch's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from offchain.lower.decompositions import SHORT, decompositions, shapes_on_meta, torchs

aten = torch.ops.aten
REAL, WHOLE, HALF = torch.randn(3, 4), torch.arange(12).reshape(3, 4), torch.randn(3, 4, dtype=torch.float64)
ROW, NUMBER, DEEP = torch.randn(4), torch.tensor(2.0), torch.randn(2, 3, 4)
CALLS: dict[Any, list[tuple[Any, ...]]] = {
    aten.t.default: [(REAL,), (ROW,), (NUMBER,), (WHOLE,)],
    aten.transpose.int: [(REAL, 0, 1), (DEEP, 0, -1), (DEEP, -3, 1), (DEEP, 1, 1), (DEEP, 1, -2), (NUMBER, 0, -1)],
    aten.rsub.Scalar: [(REAL, 1), (REAL, 0.5), (REAL, 1, 2), (WHOLE, 1), (WHOLE, 1.5), (HALF, 1), (NUMBER, 3)],
    aten.sigmoid_backward.default: [(REAL, REAL.sin()), (REAL, ROW), (HALF, HALF), (NUMBER, REAL), (REAL.half(),) * 2],
    aten.tanh_backward.default: [(REAL, REAL.sin()), (REAL, ROW), (HALF, HALF), (NUMBER, REAL), (REAL.half(),) * 2],
    aten.addmm.default: [(torch.randn(3), REAL, REAL.t()), (REAL @ REAL.t(), REAL, REAL.t()), (NUMBER, REAL, REAL.t()),
                         (torch.randn(3), REAL, REAL.t(), {"beta": 2, "alpha": 0.5}),
                         (torch.randn(3), REAL, REAL.t(), {"beta": 0}),
                         (torch.arange(3), WHOLE, WHOLE.t())],
    aten.split.Tensor: [(REAL, 2, 1), (REAL, 3, -1), (REAL, 9, 0), (REAL[:0], 2, 0), (ROW, 3), (WHOLE, 1)],
    aten.unsafe_split.Tensor: [(REAL, 2, 1), (REAL, 3, -1), (REAL, 9, 0), (REAL[:0], 2, 0), (ROW, 3), (WHOLE, 1)],
}  # fmt: skip


def captured(step: Callable[..., Any], table: Any, tensors: list[Tensor]) -> list[tuple[Any, ...]]:
    """Each captured operation with its arguments, and what is noted of its result."""
    found = []
    for node in make_fx(step, table, "real")(*tensors).graph.nodes:
        made = node.meta.get("val")
        results = made if isinstance(made, (list, tuple)) else [made]
        noted = [(x.dtype, x.shape, x.stride()) if isinstance(x, Tensor) else x for x in results]
        found.append((node.op, str(node.target), str(node.args), str(node.kwargs), noted))
    return found


@pytest.mark.parametrize(("operation", "arguments"), [(of, each) for of, calls in CALLS.items() for each in calls])
def test_short_ways_capture_what_torch_does(operation: Any, arguments: tuple[Any, ...]) -> None:
    tensors = [item for item in arguments if isinstance(item, Tensor)]
    rest = arguments[len(tensors) :]
    options = rest[0] if rest and isinstance(rest[0], dict) else {}

    def step(*given: Tensor) -> Any:
        made = operation(*given, *([] if options else rest), **options)
        return [x + 1 for x in made] if isinstance(made, (list, tuple)) else made + 1

    truth = captured(step, {**decompositions(), operation: torchs()[operation]}, tensors)
    with shapes_on_meta():
        assert captured(step, decompositions(), tensors) == truth


def test_all_short_ways_are_tried() -> None:
    assert CALLS.keys() == SHORT.keys()
