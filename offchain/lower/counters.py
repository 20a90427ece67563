"""int64 state, such as a counter: it is computed in int32, where nothing may wrap, so it must stay within 2^30."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, fx

from offchain.errors import Unsupported
from offchain.ir.program import Bounds
from offchain.lower.capture import uncopied
from offchain.lower.origin import where

ASSUMED: Final[Bounds] = (-(1 << 30), 1 << 30)  # of int64 state at the start of any step
aten = torch.ops.aten


@dataclass(frozen=True)
class Counter:
    """An int64 tensor of the state.

    first   its initial value
    before  the placeholder that stands for it in the captured step
    after   the node that computes its next value
    """

    name: str
    first: Tensor
    before: fx.Node
    after: fx.Node


def check_counter(counter: Counter, steps: int, bounds: Callable[[Any], Bounds]) -> None:
    """Raise Unsupported unless the counter stays within ASSUMED in all steps; `bounds` knows those of captured values.

    By induction: either every step ends within ASSUMED, or every step adds a bounded amount, and all of them add up
    to a value within ASSUMED.
    """
    low, high = ASSUMED
    after = bounds(counter.after)
    grown = (0, 0) if low <= after[0] and after[1] <= high else _growth(counter.after, counter.before, bounds)
    what = f"buffer {counter.name!r}{where(uncopied(counter.after))}"
    if grown is None:
        raise Unsupported(f"{what}: int64 state whose growth in a step has no bound; use int32, which wraps")
    first = counter.first
    least, most = (int(end) + steps * by for end, by in zip(first.aminmax(), grown, strict=True))
    if min(least, int(first.min())) < low or max(most, int(first.max())) > high:
        raise Unsupported(
            f"{what}: int64 state that may reach {least} to {most} in {steps} steps; "
            "it must stay within 2^30: use int32, which wraps"
        )


def _growth(node: Any, start: fx.Node, bounds: Callable[[Any], Bounds]) -> Bounds | None:
    """Bounds of what a step adds to `start` to make `node`; None where `node` is not `start` plus something."""
    node = uncopied(node) if isinstance(node, fx.Node) else node
    if node is start:
        return 0, 0
    if not isinstance(node, fx.Node) or node.kwargs:
        return None
    if node.target is aten.copy.default:
        return _growth(node.args[1], start, bounds)
    if node.target is aten.where.self:
        yes, no = (_growth(branch, start, bounds) for branch in node.args[1:])
        return (min(yes[0], no[0]), max(yes[1], no[1])) if yes and no else None
    if node.target is aten.sub.Tensor and (grown := _growth(node.args[0], start, bounds)):
        low, high = bounds(node.args[1])
        return grown[0] - high, grown[1] - low
    for old, added in (node.args, node.args[::-1]) if node.target is aten.add.Tensor else ():
        if grown := _growth(old, start, bounds):
            low, high = bounds(added)
            return grown[0] + low, grown[1] + high
    return None
