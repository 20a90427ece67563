"""The solver in a dispute: reveals what lies below the hashes that it committed to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from offchain.commit.merkle import Position, Tree
from offchain.dispute.replay import Record, Replay, pair
from offchain.dispute.spans import STEP_FAN, SUM_FAN, pieces
from offchain.exec import reference
from offchain.ir.encoding import encode_node
from offchain.market.actions import Move
from offchain.market.view import DisputeView, Phase, TreeName


def move(view: DisputeView, replay: Replay) -> Move:
    """The solver's move. Raises KeyError in a phase in which the challenger moves."""
    if view.revealed:
        return Move("follow", ())
    if view.phase is Phase.REVEAL_STEPS:
        ends = [hi for _, hi in pieces(view.lo, view.hi, STEP_FAN)]
        return Move("revealSteps", (replay.roots(ends),))
    return _REVEALS[view.phase](view, replay.step(view.lo))


def _reveal_trace(view: DisputeView, record: Record) -> Move:
    nodes, slots = record.trace.nodes, record.trace.slots
    return Move("revealTrace", (record.before.root, nodes.root, _top(nodes), slots.root, _top(slots)))


def _top(tree: Tree) -> list[bytes]:
    return tree.reveal(Position.top(len(tree.leaves)))


def _reveal_children(view: DisputeView, record: Record) -> Move:
    trees = {TreeName.NODES: record.trace.nodes, TreeName.SLOTS: record.trace.slots}
    tree = record.trace.tensor(view.node).tree if view.tree is TreeName.CHUNKS else trees[view.tree]
    return Move("revealChildren", (tree.reveal(view.position),))


def _reveal_chunks(view: DisputeView, record: Record) -> Move:
    tree = record.trace.tensor(view.node).tree
    return Move("revealChunks", (tree.root, _top(tree)))


def _reveal_chunk(view: DisputeView, record: Record) -> Move:
    return Move("revealChunk", (record.trace.tensor(view.node).chunk(view.position.index),))


def _reveal_witness(view: DisputeView, record: Record) -> Move:
    node = record.ledger.graph.nodes[view.node]
    k = int(reference.extremum_keys(node, record.sources(node), view.element).argmax())
    openings = record.open_inputs(record.trace.nodes, view.node, view.element, k)
    return Move("revealWitness", (k, encode_node(node), openings))


def _reveal_sums(view: DisputeView, record: Record) -> Move:
    node = record.ledger.graph.nodes[view.node]
    terms = record.terms(view.node, view.element)
    sums = [int(terms[a:b].sum()) for a, b in pieces(*view.segment, SUM_FAN)]
    if view.segment != (0, node.extent):
        return Move("revealSums", (sums, (0, 0), b""))
    return Move("revealSums", (sums, pair(record.exponents(view.node, view.element)), encode_node(node)))


def _reveal_exponent(view: DisputeView, record: Record) -> Move:
    node, operand = record.ledger.graph.nodes[view.node], view.operand
    k = int(reference.exponent_keys(node, record.sources(node), view.element, operand).argmax())
    openings = record.open_inputs(record.trace.nodes, view.node, view.element, k, (operand,))
    return Move("revealExponent", (k, encode_node(node), openings))


_REVEALS: Final[dict[Phase, Callable[[DisputeView, Record], Move]]] = {
    Phase.REVEAL_TRACE: _reveal_trace,
    Phase.REVEAL_CHILDREN: _reveal_children,
    Phase.REVEAL_CHUNKS: _reveal_chunks,
    Phase.REVEAL_CHUNK: _reveal_chunk,
    Phase.REVEAL_WITNESS: _reveal_witness,
    Phase.REVEAL_SUMS: _reveal_sums,
    Phase.REVEAL_EXPONENT: _reveal_exponent,
}
