"""Disputes about graphs whose tensors would not fit into any machine: their trees are made up along one path.

All that a contract sees of a tensor is a chunk and hashes. So a test can play the largest moves that are legal without
holding the tensors. Nothing that is opened here has a right value: what a contract computes from it is not looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from offchain.commit.merkle import Position, Tree, depth, fold, leaf_hash, width_at
from offchain.commit.roots import graph_tree, state_root_of, tensor_root_of
from offchain.ir.encoding import encode_node
from offchain.ir.graph import CHUNK, Graph, Input, Source, address, coordinates
from offchain.ir.kinds import Kind, traits
from offchain.ir.primitives import DType
from offchain.market.view import Phase
from tests.support.evidence import Evidence, Opening, Roots
from tests.support.walks import DEMAND, Aim, Walk, trained
from tests.support.works import Work
from tests.support.world import World

RNG = np.random.default_rng(5)
NAN: Final = 0x7FC00000  # what a sum with an operand that is not finite rounds to; the greatest extremum


def full(count: int) -> bytes:
    """Bytes that are not 0."""
    return RNG.integers(1, 256, count, dtype=np.uint8).tobytes()


class Row:
    """The hashes of a level: those that were asked for, of many."""

    def __init__(self, width: int) -> None:
        self.width, self.known = width, dict[int, bytes]()

    def __len__(self) -> int:
        return self.width

    def __getitem__(self, index: int) -> bytes:
        return self.known[index]


class Path:
    """A tree of any size, made up around one leaf. It can do what players ask of a Tree, on that leaf's path."""

    def __init__(self, leaves: int, index: int, leaf: bytes) -> None:
        top = depth(leaves)
        self.levels = [Row(width_at(leaves, level)) for level in range(top + 1)]
        self.levels[0].known[index] = leaf
        for level in range(top):
            lower, upper = self.levels[level], self.levels[level + 1]
            above = level + 1 if (top - level) % 2 else level + 2  # where the reveal that shows this level stands
            first = index >> 4 * (above - level) << 4 * (above - level)
            last = min(first + 16 ** (above - level), lower.width)
            for i in range(first, last):
                lower.known.setdefault(i, full(32))
            for at in range(first, last, 16):
                group = [lower.known[i] for i in range(at, min(at + 16, lower.width))]
                upper.known[at >> 4] = fold(group)[0]
            index >>= 4

    @property
    def leaves(self) -> Row:
        return self.levels[0]

    @property
    def root(self) -> bytes:
        return self.levels[-1][0]

    def proof(self, index: int, level: int = 0, levels: int | None = None) -> list[bytes]:
        out: list[bytes] = []
        for row in self.levels[level : len(self.levels) - 1 if levels is None else level + levels]:
            group = range(index // 16 * 16, min(index // 16 * 16 + 16, row.width))
            out += [row[i] for i in group if i != index]
            index //= 16
        return out

    def reveal(self, position: Position) -> list[bytes]:
        return [self.levels[position.child_level][i] for i in position.children()]


@dataclass
class Opened:
    """A tensor of which one chunk is known."""

    dtype: DType
    length: int
    at: int
    word: int | None = None  # what it holds there

    def __post_init__(self) -> None:
        self.chunk, place = full(4 * CHUNK), 4 * (self.at % CHUNK)
        if self.word is not None:
            self.chunk = self.chunk[:place] + self.word.to_bytes(4, "little") + self.chunk[place + 4 :]
        self.tree = Path(-(-self.length // CHUNK), self.at // CHUNK, leaf_hash(self.chunk))
        self.root = tensor_root_of(self.dtype, self.length, self.tree.root)


class Giant:
    """What both players of a dispute claim of node `number` of a graph at one element (and k): stands for a Run."""

    def __init__(self, graph: Graph, number: int, element: int, k: int = 0) -> None:
        self.number, self.element, self.k, self.node = number, element, k, graph.nodes[number]
        self.opened: dict[tuple[Source, int], Opened] = {}
        for position, item in enumerate(self.node.inputs):
            at = self._address(position)
            if at is not None:
                word = None
                if position or self.node.kind is Kind.MAX:  # the row that is gathered, or what answers a demand
                    word = k if self.node.kind is Kind.GATHER else NAN
                self.opened.setdefault((item.source, item.index), Opened(item.dtype, item.length, at, word))
        self.graph = replace(
            graph,
            constant_roots=self._roots(Source.CONST, len(graph.constants)),
            dataset_roots=self._roots(Source.DATA, len(graph.datasets)),
        )
        word = NAN if traits(self.node.kind).scaled or self.node.kind is Kind.MAX else None
        self.output = Opened(self.node.dtype, self.node.length, element, word)
        nodes = list(self._roots(Source.NODE, len(graph.nodes)))
        nodes[number] = self.output.root
        self.trees = Tree(nodes), Tree(self._roots(Source.STATE, len(graph.slots))), graph_tree(self.graph)
        self.after = Tree([full(32) for _ in graph.slots])
        self.work = GiantWork(self.graph, (), (), (), 1, initial=self.state_root(0))

    def _roots(self, source: Source, count: int) -> tuple[bytes, ...]:
        return tuple(self.opened[source, i].root if (source, i) in self.opened else full(32) for i in range(count))

    def _address(self, position: int) -> int | None:
        node, d = self.node, coordinates(self.element, self.node.shape)
        wide = len(node.view_shape(position)) > len(d)
        return address(node.inputs[position].view, (*d, self.k) if wide else d)

    # what a walk asks of a run

    def state_root(self, t: int) -> bytes:
        return state_root_of(len(self.graph.slots), self.slots_tree(t).root)

    def slots_tree(self, t: int) -> Tree:
        return self.after if t else self.trees[1]

    def nodes_tree(self, t: int) -> Tree:
        return self.trees[0]

    def checkpoint(self, k: int) -> bytes:
        return self.state_root(1)

    def chunk_tree(self, t: int, node: int) -> Path:
        return self.output.tree

    def chunks(self, t: int, node: int) -> Any:
        return {self.element // CHUNK: self.output.chunk}

    def prover(self, t: int) -> Giant:
        return self

    def evidence(self, number: int, element: int, k: int = 0, only: Sequence[int] | None = None) -> Evidence:
        node = self.node
        wanted = range(len(node.inputs)) if only is None else only
        openings = [self._opening(node.inputs[i]) for i in wanted if self._address(i) is not None]
        counts = (len(self.graph.nodes), len(self.graph.constants), len(self.graph.slots), len(self.graph.datasets))
        roots = Roots(*(tree.root for tree in self.trees), *counts)
        return Evidence(roots, number, 0, element, k, encode_node(node), openings)

    def _opening(self, item: Input) -> Opening:
        tensor = self.opened[item.source, item.index]
        nodes, constants, slots = len(self.graph.nodes), len(self.graph.constants), len(self.graph.slots)
        proofs = {
            Source.NODE: lambda: self.trees[0].proof(item.index),
            Source.STATE: lambda: self.trees[1].proof(item.index),
            Source.CONST: lambda: self.trees[2].proof(nodes + item.index),
            Source.DATA: lambda: self.trees[2].proof(nodes + constants + slots + item.index),
        }
        return Opening(proofs[item.source](), tensor.tree.proof(tensor.at // CHUNK), tensor.chunk)


@dataclass(frozen=True, eq=False)
class GiantWork(Work):
    """A task of one step of which nobody holds the state, but only its root."""

    initial: bytes = b""

    @property
    def state_root(self) -> bytes:  # type: ignore[override]
        return self.initial


class GiantWalk(Walk):
    """A walk whose sums are NaN, so that any parts add up to them."""

    def _reveal_sums(self, d: Any) -> list[Any]:
        scaled = len(traits(self.told.node.kind).scaled)
        return ["revealSums", self._sums(d)[1], (129, 129 * (scaled > 1)), encode_node(self.told.node)]

    def _sums(self, d: Any) -> tuple[int, list[int]]:
        return 1, [-1] * self.told.node.extent  # an int64 of 32 bytes that are not 0

    def _reveal_exponent(self, d: Any) -> list[Any]:
        return ["revealExponent", self.told.k, *self.evidence(d, self.told.k, (d.claim.operand,))]

    def _reveal_witness(self, d: Any) -> list[Any]:
        return ["revealWitness", self.told.k, *self.evidence(d, self.told.k)]


def walked(world: World, told: Giant, operand: int | None = None, demand: bool = False) -> list[tuple[str, int, int]]:
    """Plays the dispute about the giant's element to its end: each move, its bytes of calldata and its gas."""
    aim = Aim(0, told.number, told.element, DEMAND if demand else told.k, operand=operand)
    walk = GiantWalk(world, told, aim, trained(world, told)).open()  # type: ignore[arg-type]
    seen = []
    while walk.phase < Phase.RESOLVED:
        move = walk.next()
        receipt = walk.send(move)
        data = world.w3.eth.get_transaction(receipt["transactionHash"])["input"]
        seen.append((move.verb, len(data), int(receipt["gasUsed"])))
    return seen
