"""Conversions between dtypes. Integers that follow from nothing but numbers, such as buckets of positions' distances,
are computed here, since what a float may become has no bounds otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

import torch
from torch import Tensor, fx

from offchain.ir.program import F32, FULL, Bounds
from offchain.lower.refs import Ref
from offchain.lower.registry import Context, lowers

aten, prims = torch.ops.aten, torch.ops.prims
_MOST: Final = 1 << 24  # elements that are computed


@lowers(aten._to_copy.default, prims.convert_element_type.default)
def _to_copy(c: Context, x: Ref, *_: Any, **__: Any) -> Ref:
    if c.torch_dtype is torch.bool:
        return c.builder.map(lambda v: v.truth(), x)
    made = c.elementwise(lambda v: v, x)
    if c.checked and x.dtype is F32 and made.uniform is None:
        return replace(made, bounds=_bounds(c.node))
    return made


def _bounds(node: fx.Node) -> Bounds:
    """Bounds of a captured operation's result as int32, FULL if it reads what a step is given."""
    parts = list(_parts(node))
    made = sum(part.meta["val"].numel() for part in parts if isinstance(part.meta.get("val"), Tensor))
    if made > _MOST or any(part.op == "placeholder" for part in parts):
        return FULL
    values: dict[fx.Node, Any] = {}
    for part in parts:
        if part.op == "get_attr":  # a tensor that the step makes of numbers, or reads from outside
            values[part] = getattr(node.graph.owning_module, str(part.target))
            continue
        args, kwargs = fx.map_arg((part.args, part.kwargs), values.__getitem__)
        values[part] = part.target(*args, **kwargs)  # type: ignore[operator]
    found: Tensor = values[node]
    return max(int(found.min()), FULL[0]), min(int(found.max()), FULL[1])


def _parts(node: fx.Node) -> Iterator[fx.Node]:
    """What it is computed from, in order, itself last."""
    needed, waiting = {node}, [node]
    while waiting:
        for source in waiting.pop().all_input_nodes:
            if source not in needed:
                needed.add(source)
                waiting.append(source)
    return (part for part in node.graph.nodes if part in needed)
