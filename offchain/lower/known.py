"""Integers of a captured step that torch makes of floats which nothing changes, as the logarithmic buckets of T5.

Their bounds are not seen in the operations, and where a logarithm is near an integer, torch's own must be taken. So
what depends on nothing but such constants is computed while the job is built.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import torch
from torch.fx import Graph, Node
from torch.fx.node import map_arg

_WHOLE = (torch.int32, torch.int64)
_FEW: Final = 64


def known_values(graph: Graph) -> Mapping[Node, Any]:
    """The values of all nodes that follow from such integers, and from constants, alone. None for a node that only
    other nodes among these read."""
    constant: dict[Node, None] = {}  # what only operations and few numbers lead to
    found: dict[Node, None] = {}
    for node in graph.nodes:
        if _few(node):
            constant[node] = None
        elif node.op == "call_function" and all(source in constant for source in node.all_input_nodes):
            constant[node] = None
            if _rounds(node) or any(source in found for source in node.all_input_nodes):
                found[node] = None
    values = _computed(graph, found)
    return {node: None if all(user in found for user in node.users) else values[node] for node in found}


def _few(node: Node) -> bool:
    """Whether it is a tensor of few numbers, as the step writes them: `torch.tensor(8)`."""
    made = node.meta.get("val")
    return node.op == "get_attr" and isinstance(made, torch.Tensor) and made.numel() <= _FEW


def _rounds(node: Node) -> bool:
    made, read = node.meta.get("val"), [source.meta.get("val") for source in node.all_input_nodes]
    tensors = [value for value in (made, *read) if isinstance(value, torch.Tensor)]
    return len(tensors) == 2 and tensors[0].dtype in _WHOLE and tensors[1].is_floating_point()


def _computed(graph: Graph, wanted: Mapping[Node, Any]) -> dict[Node, Any]:
    needed, waiting = set(wanted), list(wanted)
    while waiting:
        further = [source for source in waiting.pop().all_input_nodes if source not in needed]
        needed.update(further)
        waiting += further
    values: dict[Node, Any] = {}
    with torch.no_grad():
        for node in graph.nodes:
            if node in needed and node.op == "get_attr":
                values[node] = getattr(graph.owning_module, str(node.target))
            elif node in needed:
                args, kwargs = map_arg((node.args, node.kwargs), values.__getitem__)
                values[node] = node.target(*args, **kwargs)
    return values
