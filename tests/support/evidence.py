"""Makes the evidence that StepVerifier judges from a whole trace."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from offchain.commit.merkle import Tree
from offchain.commit.roots import chunk, chunk_hashes, graph_counts, graph_tree, tensor_root
from offchain.exec.reference import evaluate, sources_of
from offchain.ir.arrays import Array
from offchain.ir.encoding import encode_node
from offchain.ir.graph import CHUNK, Input, Node, Source, View, address, coordinates
from offchain.ir.kinds import Kind
from offchain.ir.primitives import DType
from tests.support.strategies import Case, over_state


class Roots(NamedTuple):
    nodes_tree: bytes
    state_tree: bytes
    graph_tree: bytes
    nodes: int
    constants: int
    slots: int
    datasets: int


class Opening(NamedTuple):
    ref_proof: list[bytes]
    chunk_proof: list[bytes]
    chunk: bytes


class Evidence(NamedTuple):
    """IStepVerifier.Evidence, its fields in the same order."""

    roots: Roots
    node: int
    step: int
    element: int
    k: int
    encoding: bytes
    openings: list[Opening]


@dataclass
class Prover:
    """A case with its trace by the reference. Does not check that the graph is legal: the contract cannot either."""

    case: Case

    @cached_property
    def outputs(self) -> list[Array]:
        done: list[Array] = []
        for node in self.case.graph.nodes:
            sources = sources_of(node, self.case.state, done, self.case.constants, self.case.datasets)
            done.append(evaluate(node, sources, self.case.t))
        return done

    @cached_property
    def trees(self) -> tuple[Tree, Tree, Tree]:
        """Trees over the nodes' outputs, over the state before, and over the graph."""
        state = Tree([tensor_root(array) for array in self.case.state])
        return Tree([tensor_root(array) for array in self.outputs]), state, graph_tree(self.case.graph)

    @cached_property
    def roots(self) -> Roots:
        return Roots(*(tree.root for tree in self.trees), *graph_counts(self.case.graph))

    def node(self, number: int) -> Node:
        return self.case.graph.nodes[number]

    def sources(self, number: int) -> list[Array]:
        """The tensors that a node reads."""
        case = self.case
        return sources_of(self.node(number), case.state, self.outputs, case.constants, case.datasets)

    def addresses(self, number: int, element: int, k: int) -> list[int | None]:
        """The flat index that each input reads; None where it reads 0. A gather's index says its k."""
        node, sources = self.node(number), self.sources(number)
        d = coordinates(element, node.shape)
        found = [
            address(item.view, (*d, k) if len(node.view_shape(i)) > len(d) else d) for i, item in enumerate(node.inputs)
        ]
        if node.kind is Kind.GATHER:
            row = 0 if found[1] is None else int(sources[1][found[1]])
            inside = 0 <= row < node.extent
            found[0] = address(node.inputs[0].view, (*d, row)) if inside else None
        return found

    def opening(self, item: Input, array: Array, position: int) -> Opening:
        """Opens the chunk of `array`, which `item` reads, that holds `position`."""
        chunks = Tree(chunk_hashes(array))
        return Opening(self._ref_proof(item), chunks.proof(position // CHUNK), chunk(array, position // CHUNK))

    def _ref_proof(self, item: Input) -> list[bytes]:
        nodes, state, graph = self.trees
        counts = graph_counts(self.case.graph)
        if item.source is Source.NODE:
            return nodes.proof(item.index)
        if item.source is Source.STATE:
            return state.proof(item.index)
        before = counts[0] if item.source is Source.CONST else sum(counts[:3])
        return graph.proof(before + item.index)

    def evidence(self, number: int, element: int, k: int = 0, only: Sequence[int] | None = None) -> Evidence:
        """Evidence about an element of a node, with the inputs in `only` opened (by default all)."""
        node, sources = self.node(number), self.sources(number)
        found = self.addresses(number, element, k)
        wanted = range(len(found)) if only is None else only
        openings = [self.opening(node.inputs[i], sources[i], at) for i in wanted if (at := found[i]) is not None]
        return Evidence(self.roots, number, self.case.t, element, k, encode_node(node), openings)

    def word(self, number: int, element: int) -> int:
        return int(self.outputs[number].view(np.uint32)[element])


def state_input(slot: int, array: Any, view: View) -> Input:
    return Input(Source.STATE, slot, DType.F32 if array.dtype.kind == "f" else DType.I32, array.size, view)


def flat(slot: int, array: Any) -> Input:
    return state_input(slot, array, View.contiguous((array.size,)))


def one_sum(x: Any, bits: int = 20) -> Prover:
    """A sum over a tensor."""
    return Prover(over_state([Node(Kind.SUM, DType.F32, (), (flat(0, x),), x.size, bits)], [x]))


def call(function: Any, *arguments: Any) -> Any:
    """An eth_call with enough gas for anything that fits into a block."""
    return function(*arguments).call({"gas": 30_000_000})
