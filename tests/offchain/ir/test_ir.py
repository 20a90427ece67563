"""The step graph: one encoding and only that, and its small verbs."""

from __future__ import annotations

import struct
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from offchain.errors import MalformedGraph
from offchain.ir.encoding import MAGIC, decode_graph, decode_node, encode_graph, encode_node, encode_slot
from offchain.ir.graph import (
    Axis,
    Graph,
    Input,
    Node,
    Slot,
    Source,
    TensorSpec,
    View,
    address,
    coordinates,
    row_major,
    work_units,
)
from offchain.ir.kinds import Kind
from offchain.ir.legality import check
from offchain.ir.primitives import CANONICAL_NAN, TABLE, DType, Instr, Op
from tests.support.strategies import Case, graphs

F32, I32 = DType.F32, DType.I32


def a_map() -> Node:
    """Four elements, doubled."""
    read = Input(Source.CONST, 0, F32, 4, View.contiguous((4,)))
    return Node(Kind.MAP, F32, (4,), (read,), program=(Instr(Op.INPUT, 0), Instr(Op.ADD, 0, 0)))


def rows_with_rows() -> Graph:
    """All products of the rows of a 4 by 3 matrix, and its rows by their number modulo 2."""
    left, right, columns = (
        Input(Source.CONST, 0, F32, 12, View.strided(shape, strides))
        for shape, strides in (((4, 4, 3), (3, 0, 1)), ((4, 4, 3), (0, 3, 1)), ((2, 3, 4), (0, 1, 3)))
    )
    dot = Node(Kind.DOT, F32, (4, 4), (left, right), 3, 21)
    parity = (Instr(Op.INDEX, 0), Instr.const(I32, 1), Instr(Op.IAND, 0, 1))
    index = Input(Source.NODE, 1, I32, 4, View.strided((2, 3, 4), (0, 0, 1)))
    scatter = Node(Kind.SCATTER_ADD, F32, (2, 3), (columns, index), 4, 21)
    made = (dot, Node(Kind.MAP, I32, (4,), (), program=parity), scatter)
    log = Slot(TensorSpec("log", F32, (2, 1)), Source.STATE, 0)
    return Graph(made, (log,), (TensorSpec("m", F32, (4, 3)),), (bytes(32),), (), (), ("loss",))


# --- encoding ----------------------------------------------------------------------------------------------------


@given(graphs())
def test_graph_and_nodes_round_trip(case: Case) -> None:
    data = encode_graph(case.graph)
    assert decode_graph(data) == case.graph
    for node in case.graph.nodes:
        assert decode_node(encode_node(node)) == node


@given(graphs(most=2), st.data())
def test_changed_bytes_are_refused_or_another_graph(case: Case, data: st.DataObject) -> None:
    """Whatever decodes has exactly these bytes as its encoding: no two encodings of one graph."""
    good = encode_graph(case.graph)
    at = data.draw(st.integers(0, len(good) - 1))
    bad = bytearray(good)
    bad[at] ^= 1 << data.draw(st.integers(0, 7))
    try:
        decoded = decode_graph(bytes(bad))
    except MalformedGraph:
        return
    assert encode_graph(decoded) == bytes(bad)
    assert decoded != case.graph


@given(graphs(most=2), st.data())
def test_cut_or_lengthened_bytes_are_refused(case: Case, data: st.DataObject) -> None:
    good = encode_graph(case.graph)
    with pytest.raises(MalformedGraph):
        decode_graph(good[: data.draw(st.integers(0, len(good) - 1))])
    with pytest.raises(MalformedGraph, match="bytes too many"):
        decode_graph(good + b"\0")


@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_are_refused_as_malformed(data: bytes, magic: bool) -> None:
    with pytest.raises(MalformedGraph):
        decode_graph((MAGIC if magic else b"") + data + b"\xff")
    with pytest.raises(MalformedGraph):
        decode_node(b"\xff" + data)


def head(*counts: int) -> bytes:
    return MAGIC + struct.pack(">5I", *counts)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x80\x04\x95" + bytes(40), "wrong magic"),
        (head((1 << 20) + 1, 0, 0, 0, 0), "a count is above"),
        (head(2**32 - 1, 0, 0, 0, 0), "a count is above"),
        (head(1, 0, 0, 0, 0) + struct.pack(">I", 2**32 - 1), "does not fit"),
        (head(1, 0, 0, 0, 0) + struct.pack(">I", 4) + bytes([9, 1, 0, 0]), "node 0: truncated"),
        (head(1, 0, 0, 0, 0) + struct.pack(">I", 9) + bytes([9, 1, 0, 0]) + bytes(5), "9 is not a valid Kind"),
        (head(1, 0, 0, 0, 0) + struct.pack(">I", 9) + bytes([1, 3, 0, 0]) + bytes(5), "3 is not a valid DType"),
        (head(1, 0, 0, 0, 0) + struct.pack(">I", 4) + bytes([1, 1, 0, 9]), "rank 9"),
        (head(0, 1, 0, 0, 0) + struct.pack(">BI", 7, 0) + bytes([1, 0]) + bytes(4), "7 is not a valid Source"),
        (head(0, 0, 1, 0, 0) + bytes([1, 200]), "rank 200"),
        (head(0, 0, 0, 0, 1) + struct.pack(">I", 1) + b"\xff", "not UTF-8"),
        (head(0, 0, 0, 0, 1) + struct.pack(">I", 1025) + bytes(1025), "does not fit"),
    ],
)
def test_hostile_bytes_are_refused(data: bytes, reason: str) -> None:
    with pytest.raises(MalformedGraph, match=reason):
        decode_graph(data)


def test_node_refuses_an_unknown_opcode_and_a_trailing_byte() -> None:
    good = encode_node(a_map())
    with pytest.raises(MalformedGraph, match="not a valid Op"):
        decode_node(good[:-8] + struct.pack(">HHHH", 0x7F, 0, 0, 0))
    with pytest.raises(MalformedGraph, match="1 bytes too many"):
        decode_node(good + b"\0")


def test_node_has_the_bytes_of_the_page() -> None:
    expected = bytes([1, 1, 0, 1]) + struct.pack(">IIB", 4, 0, 1)
    expected += struct.pack(">BIBQq", 4, 0, 1, 4, 0) + struct.pack(">qII", 1, 0, 4)
    expected += struct.pack(">H", 2) + struct.pack(">HHHH", 0, 0, 0, 0) + struct.pack(">HHHH", 0x10, 0, 0, 0)
    assert encode_node(a_map()) == expected


def test_slot_has_the_bytes_of_the_page() -> None:
    slot = Slot(TensorSpec("wé", F32, (2, 3)), Source.NODE, 5)
    assert encode_slot(slot) == struct.pack(">BIBQ", 1, 5, 1, 6) + "wé".encode()


# --- small verbs -------------------------------------------------------------------------------------------------


def test_address_is_the_strided_element_or_nothing() -> None:
    view = View(10, (Axis(-3, 1, 4), Axis(2, 0, 2)))
    assert address(view, (1, 1)) == 9
    assert address(view, (0, 1)) is None
    assert address(view, (1, 2)) is None


FAR = [0, 1, -3, 4, 2**31, 2**32 - 1, 2**32 + 1, -(2**32) - 1, 2**53 - 1, -(2**53), 2**62]


@given(st.lists(st.integers(1, 4), max_size=4), st.sampled_from(FAR), st.data())
def test_the_canonical_form_reads_the_same(shape: list[int], offset: int, data: st.DataObject) -> None:
    axes = []
    for size in shape:
        lo = data.draw(st.integers(0, size))
        axes.append(Axis(data.draw(st.sampled_from(FAR)), lo, data.draw(st.integers(lo, size))))
    view = View(offset, tuple(axes))
    settled = view.settled()
    assert settled.settled() == settled
    for coords in np.ndindex(*shape):
        assert address(settled, coords) == address(view, coords)
    assert all(axis.stride == 0 or axis.hi - axis.lo > 1 for axis in settled.axes)
    if not view.reads:
        assert settled == View(0, (Axis(0, 0, 0),) * len(shape))


def test_the_decoder_demands_the_canonical_form() -> None:
    odd = View(2, (Axis(-1, 1, 2),))
    node = replace(a_map(), inputs=(replace(a_map().inputs[0], view=odd),))
    with pytest.raises(MalformedGraph, match=r"^node 3: input 0 has a view that is not in canonical form$"):
        decode_node(encode_node(node), "node 3")
    right = replace(node, inputs=(replace(node.inputs[0], view=odd.settled()),))
    assert decode_node(encode_node(right)) == right


@given(st.lists(st.integers(1, 6), max_size=5), st.data())
def test_coordinates_invert_row_major(shape: list[int], data: st.DataObject) -> None:
    sizes = tuple(shape)
    element = data.draw(st.integers(0, int(np.prod(sizes, dtype=np.int64)) - 1))
    found = coordinates(element, sizes)
    assert all(0 <= x < size for x, size in zip(found, sizes, strict=True))
    assert address(View.contiguous(sizes), found) == element
    assert sum(s * x for s, x in zip(row_major(sizes), found, strict=True)) == element


def test_constants_keep_their_word() -> None:
    assert Instr.const(F32, CANONICAL_NAN).word == CANONICAL_NAN
    assert Instr.const(I32, 0xFFFF0001) == Instr(Op.CONST_I32, 0, 0xFFFF, 1)
    assert set(TABLE) == set(Op)


def test_work_units() -> None:
    made = rows_with_rows()
    check(made)
    parity = sum(TABLE[op].cost for op in (Op.INDEX, Op.CONST_I32, Op.IAND))
    assert work_units(made) == 16 * 3 + 4 * parity + (2 * 3 + 3 * 4)
