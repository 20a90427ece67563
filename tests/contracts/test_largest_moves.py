"""No move about a legal node is larger than legality says, and the bounds are near what moves take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import pytest

from offchain.errors import IllegalGraph
from offchain.ir import moves
from offchain.ir.graph import Axis, Graph, Input, Node, Slot, Source, TensorSpec, View, row_major
from offchain.ir.kinds import MAX_INPUTS, Kind
from offchain.ir.legality import MAX_LENGTH, check
from offchain.ir.moves import MAX_CALLDATA, MAX_GAS, Counts, of_node, of_walk
from offchain.ir.primitives import TABLE, DType, Instr, Op
from tests.support.evidence import Prover
from tests.support.giants import Giant, walked
from tests.support.strategies import over_state
from tests.support.world import World

F, I = DType.F32, DType.I32  # noqa: E741
SPECS: Final = 16  # tensors of each source
NEAR: Final = 1.5  # bounds of what matters may be so much above what it takes
SLACK: Final = 300_000  # gas: a bound allows for a verdict in every move


class Drawn:
    """A graph whose last node is drawn: its inputs read any source, of up to 2^34 elements."""

    def __init__(self, seed: int, nodes: int, length: int = MAX_LENGTH) -> None:
        self.rng = np.random.default_rng(seed)
        self.fill, self.length = nodes, length

    def item(self, number: int, shape: Sequence[int], dtype: DType = F, source: Source | None = None) -> Input:
        """A view that reads everywhere, row by row, somewhere in the middle of a tensor."""
        source = source or Source(int(self.rng.integers(1, 5)))
        strides = row_major(tuple(shape))
        view = View(self.length // 2 + 17, tuple(map(Axis, strides, [0] * len(shape), shape)))
        return Input(source, number + SPECS * (dtype is I), dtype, self.length, view)

    def graph(self, node: Node) -> Graph:
        """The node after as many others as there should be. Tensors 0 to 15 of a source are floats, then integers."""
        made = [Node(Kind.MAP, d, (16, self.length // 16), (), program=(Instr.const(d, 0),)) for d in (F, I)]
        log = Node(Kind.MAP, F, (1, 1), (), program=(Instr.const(F, 0),))
        nodes = (*made[:1] * SPECS, *made[1:] * SPECS, log, *made[:1] * (self.fill - 2 * SPECS - 1), node)
        specs = tuple(TensorSpec(f"x{i}", I if i >= SPECS else F, (self.length,)) for i in range(2 * SPECS))
        slots = tuple(Slot(spec, Source.STATE, i) for i, spec in enumerate(specs))
        slots += (Slot(TensorSpec("log", F, (1, 1)), Source.NODE, 2 * SPECS),)
        roots = (bytes(32),) * len(specs)
        return Graph(nodes, slots, specs, roots, specs, roots, ("loss",))

    def map(self, count: int, rank: int, longer: int) -> Node:
        shape = (2,) * (rank - 1) + (900,)
        inputs = tuple(self.item(i, shape) for i in range(count))
        program = tuple(Instr(Op.INPUT, i) for i in range(count)) + (Instr(Op.SQRT, 0),) * longer
        return Node(Kind.MAP, F, shape, inputs, program=program)


def is_legal(graph: Graph) -> bool:
    try:
        check(graph)
    except IllegalGraph:
        return False
    return True


def held(
    world: World, graph: Graph, element: int = 5, k: int = 0, operand: int | None = None, demand: bool = False
) -> set[str]:
    """Plays the dispute about the last node and holds each move to its bound; returns the moves."""
    counts, number = Counts.of(graph), len(graph.nodes) - 1
    bounds = {move.verb: move for move in (*of_walk(counts), *of_node(graph.nodes[number], counts))}
    bounds |= {"nameExponent": bounds.get("revealExponent", bounds["nameNode"])}
    bounds |= {"revealWitness": bounds["nameElement"], "revealChunks": bounds["revealChildren"]}
    seen = walked(world, Giant(graph, number, element, k), operand, demand)
    for verb, size, gas in seen:
        bound = bounds[verb]
        assert size <= bound.calldata <= MAX_CALLDATA, (verb, size, bound)
        assert gas <= bound.gas <= MAX_GAS, (verb, gas, bound)
        if bound.gas > MAX_GAS / 3:  # where it matters that no node is refused that could be disputed
            assert bound.gas <= NEAR * gas + SLACK, (verb, gas, bound)
            assert bound.calldata <= NEAR * size, (verb, size, bound)
    return {verb for verb, _, _ in seen}


@pytest.mark.parametrize(("seed", "nodes", "rank", "longer"), [(1, 300, 1, 0), (2, 4_300, 8, 0), (3, 40, 3, 230)])
def test_the_largest_maps(world: World, seed: int, nodes: int, rank: int, longer: int) -> None:
    drawn = Drawn(seed, nodes)
    graphs = [drawn.graph(drawn.map(count, rank, longer)) for count in range(1, MAX_INPUTS + 1)]
    legal = [graph for graph in graphs if is_legal(graph)]
    assert 5 < len(legal) < MAX_INPUTS
    assert legal == graphs[: len(legal)]
    held(world, legal[-1])


def test_a_map_of_small_tensors_may_read_them_all(world: World) -> None:
    drawn = Drawn(4, 300, 1_024)
    inputs = tuple(drawn.item(i, (4,), source=Source.STATE) for i in range(MAX_INPUTS))
    program = tuple(Instr(Op.INPUT, i) for i in range(MAX_INPUTS))
    held(world, drawn.graph(Node(Kind.MAP, F, (4,), inputs, program=program)), element=3)


@pytest.mark.slow
def test_other_kinds(world: World) -> None:
    drawn = Drawn(5, 4_300)
    wide, k = (7, 2), 2
    item = drawn.item
    dot = drawn.graph(Node(Kind.DOT, F, (7,), (item(0, wide), item(1, wide)), k, 21))
    assert "proveTerm" in held(world, dot, k=1)
    assert "nameExponent" in held(world, dot, k=1, operand=0)
    assert "revealExponent" in held(world, dot, k=1, operand=1, demand=True)
    top = drawn.graph(Node(Kind.MAX, F, (7,), (item(0, wide),), k))
    held(world, top, k=1)
    assert "revealWitness" in held(world, top, k=1, demand=True)
    gather = Node(Kind.GATHER, F, (7,), (item(0, wide), item(1, (7,), I)), k)
    held(world, drawn.graph(gather), k=1)


OPERANDS: Final = [
    (0x3FFFFFFF, 0x00000001),
    (0x00000001, 0x807FFFFF),
    (0x7F7FFFFF, 0x3F800001),
    (0x40490FDB, 0xC0490FDA),
]


@pytest.mark.parametrize("op", [op for op, row in TABLE.items() if row.operands])
def test_instructions_take_no_more_gas_than_their_bound(world: World, op: Op) -> None:
    row = TABLE[op]

    def gas(count: int, words: tuple[int, int]) -> int:
        kinds = [t or F for t in row.operands]
        consts = tuple(Instr.const(t, words[i % 2]) for i, t in enumerate(kinds))
        code = (*consts, *(Instr(op, *range(len(kinds))) for _ in range(count)))
        node = Node(Kind.MAP, row.result or F, (1,), (), program=code)
        evidence = Prover(over_state([node], [np.zeros(1, np.float32)])).evidence(0, 0)
        return int(world.verifier.functions.compute(evidence).estimate_gas({"gas": 30_000_000}))

    few, many = 50, 250
    bound = moves.LONGER.get(op, moves.INSTRUCTION)
    for words in OPERANDS:
        each = (gas(many, words) - gas(few, words)) / (many - few) - 8 * 16  # calldata is counted apart
        assert bound / 4 < each <= bound, (op.name, words, each)
