"""A step dealt out by rows of the batch: what the processes do adds up to the reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod

import numpy as np
import pytest
from hypothesis import assume, event, given
from hypothesis import strategies as st

from offchain.exec import reference
from offchain.exec.plan.shards import Dealing, Share, by_rows
from offchain.exec.reference import ReferenceExecutor, evaluate, sources_of
from offchain.ir.arrays import Array, numpy_dtype
from offchain.ir.axes import coalesced
from offchain.ir.graph import Input, Node, Slot, Source, TensorSpec, View, row_major
from offchain.ir.kinds import Kind, traits
from offchain.ir.primitives import DType
from offchain.ir.program import ProgramBuilder
from tests.support.strategies import F32, I32, Case, Drawing, Tensor, float_words, graphs, int_words


def joined(nodes: Sequence[Node], sources: Sequence[list[Array]], t: int) -> Array:
    """One output of all processes, from each one's node and what that reads."""
    if traits(nodes[0].kind).scaled:
        return summed(nodes, sources)
    parts = [evaluate(node, given, t) for node, given in zip(nodes, sources, strict=True)]
    if nodes[0].kind is Kind.MAX:
        return np.stack(parts)[np.stack([reference.key(part) for part in parts]).argmax(0), np.arange(len(parts[0]))]
    assert nodes[0].kind is Kind.MAP
    words: Array = np.sum([part.view(np.uint32) for part in parts], axis=0, dtype=np.uint32)
    return words.view(parts[0].dtype)


def summed(nodes: Sequence[Node], sources: Sequence[list[Array]]) -> Array:
    """The greatest exponents of all, then the total of terms scaled by these."""
    words = []
    for element in range(nodes[0].length):
        pairs = list(zip(nodes, sources, strict=True))
        each = [reference.exponents(node, given, element) for node, given in pairs]
        exponents = [max(e) for e in zip(*each, strict=True)]
        total = sum(int(reference.terms(node, given, element, exponents).sum()) for node, given in pairs)
        words.append(reference.rounded_word(nodes[0], exponents, total))
    return np.array(words, np.uint32).view(np.float32)


def states_after(shares: Sequence[Share], case: Case) -> list[list[Array]]:
    """What each process holds after a step."""
    held: list[list[Array]] = [[] for _ in shares]
    for n, how in enumerate(shares[0].joined):
        nodes = [part.graph.nodes[n] for part in shares]
        sources = [
            sources_of(node, case.state, outputs, case.constants, case.datasets)
            for node, outputs in zip(nodes, held, strict=True)
        ]
        whole = joined(nodes, sources, case.t) if how else None
        for node, given_, outputs in zip(nodes, sources, held, strict=True):
            outputs.append(evaluate(node, given_, case.t) if whole is None else whole)
    slots = [part.graph.slots for part in shares]
    assert all([slot.source for slot in own] == [slot.source for slot in slots[0]] for own in slots)
    return [
        [(outputs if slot.source is Source.NODE else case.state)[slot.index] for slot in own]
        for own, outputs in zip(slots, held, strict=True)
    ]


def assert_adds_up(case: Case, dealing: Dealing, size: int) -> list[Share]:
    shares = [dealing.part(rank, size) for rank in range(size)]
    assert all(part.joined == shares[0].joined for part in shares)
    truth = ReferenceExecutor(dealing.graph, case.constants, case.datasets)
    outputs = list(truth.outputs(truth.load(case.state), case.t))
    wanted = [(outputs if slot.source is Source.NODE else case.state)[slot.index] for slot in dealing.graph.slots]
    for state in states_after(shares, case):
        for have, want in zip(state, wanted, strict=True):
            assert have.view(np.uint32).tolist() == want.view(np.uint32).tolist()
    return shares


def kept(case: Case, nodes: Sequence[int]) -> Case:
    """The case with slots that hold these nodes' outputs besides its own."""
    *slots, log = case.graph.slots
    *state, rows = case.state
    for n in nodes:
        node = case.graph.nodes[n]
        slots.append(Slot(TensorSpec(f"node{n}", node.dtype, node.shape), Source.NODE, n))
        state.append(np.zeros(node.length, numpy_dtype(node.dtype)))
    graph = replace(case.graph, slots=(*slots, replace(log, index=len(slots))))
    return replace(case, graph=graph, state=[*state, rows])


@st.composite
def dealt(draw: st.DrawFn) -> tuple[Case, Dealing]:
    """A random graph of which one of the first nodes is dealt out along any axis; all outputs are kept, or the last."""
    case = draw(graphs(8))
    nodes = case.graph.nodes
    cuts = [(n, d) for n, node in enumerate(nodes[:4]) for d, size in enumerate(node.shape) if size > 1]
    cuts = [(n, d) for n, d in cuts if (nodes[n].kind, d) != (Kind.SCATTER_ADD, 0)]
    assume(cuts)
    n, axis = draw(st.sampled_from(cuts))
    case = kept(case, draw(st.sampled_from([[*range(len(nodes))], [len(nodes) - 1]])))
    return case, Dealing(case.graph, nodes[n].shape[axis], {n: axis})


class Layers:
    """Nodes that read each other along permuted axes, as layers do, from rows of a dataset on."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw, self.builder = draw, Drawing(draw)
        rows = draw(st.integers(1, 5))
        self.tensors: list[tuple[int, tuple[int, ...]]] = []  # number and shape
        table, index = self.held(Source.DATA, F32, 42), self.held(Source.STATE, I32, rows)
        inputs = (Input(*table, View.strided((rows, 2, 3, 7), (0, 3, 1, 6))), Input(*index, still((rows, 2, 3), 0)))
        self.add(Node(Kind.GATHER, F32, (rows, 2, 3), inputs, 7))
        for _ in range(draw(st.integers(1, 7))):
            self.node(draw(st.sampled_from(Kind)), draw(st.integers(2, 20)))

    def held(self, source: Source, dtype: DType, length: int) -> Tensor:
        values = float_words(np.random.default_rng(length), length, "normal")
        if dtype is I32:
            values = int_words(np.random.default_rng(length), length, "normal")
        self.builder.held[source].append(values)
        return source, len(self.builder.held[source]) - 1, dtype, length

    def add(self, node: Node) -> None:
        self.tensors.append((self.builder.add(coalesced(node))[1], node.shape))

    def read(self) -> tuple[Tensor, tuple[int, ...], tuple[int, ...]]:
        """Some tensor, with its axes in some order: sizes and strides."""
        n, shape = self.draw(st.sampled_from(self.tensors))
        order = self.draw(st.permutations(range(len(shape))))
        tensor = (Source.NODE, n, F32, prod(shape))
        return tensor, tuple(shape[d] for d in order), tuple(row_major(shape)[d] for d in order)

    def node(self, kind: Kind, bits: int) -> None:
        tensor, sizes, strides = self.read()
        view = View.strided(sizes, strides)
        if kind is Kind.MAP or not sizes:
            p = ProgramBuilder(sizes)
            value = p.input(0, F32) * 3.0
            program = p.finish(p.index(0).to_float() + value if sizes else value)
            self.add(Node(Kind.MAP, F32, sizes, (Input(*tensor, view),), program=program))
            return
        shape, extent = sizes[:-1], sizes[-1]
        inputs = [Input(*tensor, view)]
        if kind is Kind.DOT:
            second = self.held(Source.STATE, F32, 2 * extent)
            shape, lead = (*shape, 2), View.strided((*shape, 2, extent), (*strides[:-1], 0, strides[-1]))
            inputs = [
                Input(*tensor, lead),
                Input(*second, View.strided((*shape, extent), (*[0] * len(shape[:-1]), extent, 1))),
            ]
        if kind is Kind.SCATTER_ADD:
            index = self.held(Source.STATE, I32, extent)
            shape = (3, *shape)
            inputs = [
                Input(*tensor, View.strided((3, *sizes), (0, *strides))),
                Input(*index, still((*shape, extent), -1)),
            ]
        if kind is Kind.GATHER:
            inputs.append(Input(*self.held(Source.STATE, I32, prod(shape)), View.contiguous(shape)))
        self.add(Node(kind, F32, shape, tuple(inputs), extent, bits if traits(kind).scaled else 0))


def still(shape: tuple[int, ...], moves: int) -> View:
    """A view that moves along one axis only."""
    return View.strided(shape, tuple(int(d == moves % len(shape)) for d in range(len(shape))))


@st.composite
def layers(draw: st.DrawFn) -> tuple[Case, Dealing]:
    made = Layers(draw)
    case = made.builder.finish()
    case = kept(case, draw(st.sampled_from([[*range(len(case.graph.nodes))], [len(case.graph.nodes) - 1]])))
    return case, by_rows(case.graph)


@pytest.mark.parametrize("cases", [dealt(), layers()], ids=["any", "layers"])
@given(data=st.data())
def test_parts_add_up(cases: st.SearchStrategy[tuple[Case, Dealing]], data: st.DataObject) -> None:
    """Whatever node is dealt out, along whatever axis, in even and uneven parts."""
    case, dealing = data.draw(cases)
    assert_adds_up(case, dealing, data.draw(st.integers(1, max(1, min(dealing.rows, 4)))))
    for n, node in enumerate(case.graph.nodes):
        cut, rows = dealing.axes[n], dealing.inner[n]
        event(f"{node.kind.name} {'of rows' if rows else 'along k' if cut is not None else 'whole'}")
