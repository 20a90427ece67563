"""Canonical serialisation of nodes, slots and graphs (docs/protocol.md, sections 2 and 3).

`decode_*` accept exactly what `encode_*` produce: bytes that decode and re-encode differently are refused,
so that a graph has one encoding and one root. Views that read alike have one form, too, which is demanded here.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final, TypeVar

from offchain.errors import MalformedGraph
from offchain.ir.graph import Axis, Graph, Input, Node, Slot, Source, TensorSpec, View
from offchain.ir.kinds import Kind, has_k
from offchain.ir.primitives import DType, Instr, Op

MAGIC: Final = b"offchain-graph-1"
MAX_NODES: Final = 1 << 20
MAX_RANK: Final = 8

E = TypeVar("E")


def encode_node(node: Node) -> bytes:
    """Bytes of a node, as the contract decodes them."""
    out = [struct.pack(">BBBB", node.kind, node.dtype, node.bits, len(node.shape))]
    out += [struct.pack(">I", size) for size in node.shape]
    out.append(struct.pack(">IB", node.extent, len(node.inputs)))
    for item in node.inputs:
        out.append(struct.pack(">BIBQq", item.source, item.index, item.dtype, item.length, item.view.offset))
        out += [struct.pack(">qII", axis.stride, axis.lo, axis.hi) for axis in item.view.axes]
    out.append(struct.pack(">H", len(node.program)))
    out += [struct.pack(">HHHH", i.op, i.a, i.b, i.c) for i in node.program]
    return b"".join(out)


def encode_slot(slot: Slot) -> bytes:
    """Bytes of a slot's leaf in the graph tree."""
    head = struct.pack(">BIBQ", slot.source, slot.index, slot.spec.dtype, slot.spec.length)
    return head + slot.spec.name.encode()


class Reader:
    """Cursor over hostile bytes. Every error names the place."""

    def __init__(self, data: bytes, what: str) -> None:
        self.data, self.at, self.what = data, 0, what

    def take(self, fmt: str) -> tuple[int, ...]:
        size = struct.calcsize(fmt)
        if self.at + size > len(self.data):
            raise MalformedGraph(f"{self.what}: truncated at byte {self.at}")
        values = struct.unpack_from(fmt, self.data, self.at)
        self.at += size
        return values

    def blob(self, limit: int) -> bytes:
        (size,) = self.take(">I")
        if size > limit or self.at + size > len(self.data):
            raise MalformedGraph(f"{self.what}: block of {size} bytes at byte {self.at} does not fit")
        self.at += size
        return self.data[self.at - size : self.at]

    def done(self) -> None:
        if self.at != len(self.data):
            raise MalformedGraph(f"{self.what}: {len(self.data) - self.at} bytes too many")


def decode_node(data: bytes, what: str = "node") -> Node:
    """Inverse of `encode_node`. Raises MalformedGraph."""
    r = Reader(data, what)
    kind, dtype, bits, rank = r.take(">BBBB")
    if rank > MAX_RANK:
        raise MalformedGraph(f"{what}: rank {rank} is above {MAX_RANK}")
    shape = r.take(f">{rank}I")
    extent, count = r.take(">IB")
    try:
        node_kind, node_dtype = Kind(kind), DType(dtype)
        inputs = tuple(_decode_input(r, position, rank + has_k(node_kind, position)) for position in range(count))
        (length,) = r.take(">H")
        program = tuple(Instr(Op(op), a, b, c) for op, a, b, c in (r.take(">HHHH") for _ in range(length)))
    except ValueError as error:
        raise MalformedGraph(f"{what}: {error}") from error
    r.done()
    return Node(node_kind, node_dtype, shape, inputs, extent, bits, program)


def _decode_input(r: Reader, position: int, axes: int) -> Input:
    source, index, dtype, length, offset = r.take(">BIBQq")
    view = View(offset, tuple(Axis(*r.take(">qII")) for _ in range(axes)))
    if view != view.settled():
        raise MalformedGraph(f"{r.what}: input {position} has a view that is not in canonical form")
    return Input(Source(source), index, DType(dtype), length, view)


def encode_graph(graph: Graph) -> bytes:
    """The graph file: everything but the content of constants and datasets."""
    out = [MAGIC]
    for count in map(len, (graph.nodes, graph.slots, graph.constants, graph.datasets, graph.metrics)):
        out.append(struct.pack(">I", count))
    out += [_block(encode_node(node)) for node in graph.nodes]
    out += [struct.pack(">BI", slot.source, slot.index) + _encode_spec(slot.spec) for slot in graph.slots]
    for specs, roots in ((graph.constants, graph.constant_roots), (graph.datasets, graph.dataset_roots)):
        out += [_encode_spec(spec) + root for spec, root in zip(specs, roots, strict=True)]
    out += [_block(name.encode()) for name in graph.metrics]
    return b"".join(out)


def decode_graph(data: bytes) -> Graph:
    """Inverse of `encode_graph`; does not check legality. Raises MalformedGraph, naming the node or the field."""
    r = Reader(data, "graph")
    if data[: len(MAGIC)] != MAGIC:
        raise MalformedGraph("graph: not a step graph (wrong magic)")
    r.at = len(MAGIC)
    nodes, slots, constants, datasets, metrics = r.take(">5I")
    if max(nodes, slots, constants, datasets, metrics) > MAX_NODES:
        raise MalformedGraph(f"graph: a count is above {MAX_NODES}")
    graph_nodes = tuple(decode_node(r.blob(1 << 16), f"node {n}") for n in range(nodes))
    graph_slots = tuple(_decode_slot(r, f"slot {s}") for s in range(slots))
    constant_specs = [(_decode_spec(r, f"constant {i}"), _decode_root(r)) for i in range(constants)]
    dataset_specs = [(_decode_spec(r, f"dataset {i}"), _decode_root(r)) for i in range(datasets)]
    names = tuple(_decode_name(r, f"metric {i}") for i in range(metrics))
    r.done()
    graph = Graph(
        graph_nodes,
        graph_slots,
        tuple(spec for spec, _ in constant_specs),
        tuple(root for _, root in constant_specs),
        tuple(spec for spec, _ in dataset_specs),
        tuple(root for _, root in dataset_specs),
        names,
    )
    if encode_graph(graph) != data:
        raise MalformedGraph("graph: not in canonical form")
    return graph


def _block(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def _encode_spec(spec: TensorSpec) -> bytes:
    shape = struct.pack(f">BB{len(spec.shape)}I", spec.dtype, len(spec.shape), *spec.shape)
    return shape + _block(spec.name.encode())


def _decode_slot(r: Reader, what: str) -> Slot:
    source, index = r.take(">BI")
    return Slot(_decode_spec(r, what), _enum(Source, source, what), index)


def _decode_spec(r: Reader, what: str) -> TensorSpec:
    dtype, rank = r.take(">BB")
    if rank > MAX_RANK:
        raise MalformedGraph(f"{what}: rank {rank} is above {MAX_RANK}")
    shape = r.take(f">{rank}I")
    return TensorSpec(_decode_name(r, what), _enum(DType, dtype, what), shape)


def _decode_root(r: Reader) -> bytes:
    return bytes(r.take(">32B"))


def _decode_name(r: Reader, what: str) -> str:
    try:
        return r.blob(1024).decode()
    except UnicodeDecodeError as error:
        raise MalformedGraph(f"{what}: name is not UTF-8") from error


def _enum(make: Callable[[int], E], value: int, what: str) -> E:
    try:
        return make(value)
    except ValueError as error:
        raise MalformedGraph(f"{what}: {error}") from error
