"""Tensors without elements, which no graph can hold: what joins them with others is the same without them."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import fx

aten = torch.ops.aten


def leave_empty_out(graph: fx.Graph) -> None:
    """Take empty tensors out of what joins or writes them, and out of the graph, where nothing else reads them."""
    for node in list(graph.nodes):
        arguments = cast("Any", node.args)
        if node.target is aten.cat.default and (full := [part for part in arguments[0] if not _empty(part)]):
            node.args = (full, *arguments[1:])
        elif node.target is aten.slice_scatter.default and _empty(arguments[1]):
            node.replace_all_uses_with(arguments[0])
            graph.erase_node(node)
    for node in reversed(list(graph.nodes)):
        if node.op == "call_function" and not node.users and _empty(node):
            graph.erase_node(node)


def _empty(node: fx.Node) -> bool:
    made = node.meta.get("val")
    return isinstance(made, torch.Tensor) and made.numel() == 0
