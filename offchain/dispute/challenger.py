"""The challenger in a dispute: names the first wrong hash, word or sum among those that the solver revealed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

import numpy as np

from offchain.commit.merkle import Position, Tree
from offchain.dispute.replay import Opening, Record, Replay
from offchain.dispute.spans import STEP_FAN, SUM_FAN, pieces
from offchain.errors import OffchainError
from offchain.exec import reference
from offchain.ir.encoding import encode_node, encode_slot
from offchain.ir.graph import CHUNK, Node, Source
from offchain.ir.kinds import Ending, traits, unknown
from offchain.market.actions import Move
from offchain.market.view import DisputeView, Phase, Reveal, TreeName

DEMAND: Final = 0xFFFFFFFF  # DisputeGame.DEMAND


class NothingWrong(OffchainError):
    """Everything that the solver revealed equals what this player computes."""

    def __init__(self) -> None:
        super().__init__("the solver revealed nothing wrong: concede")


def move(view: DisputeView, replay: Replay) -> Move:
    """The challenger's move. Raises NothingWrong, and KeyError in a phase in which the solver moves."""
    if view.phase is Phase.NAME_STEP:
        return _name_step(view, replay)
    return _NAMES[view.phase](view, replay.step(view.lo))


def first_difference(theirs: Sequence[object], mine: Sequence[object]) -> int | None:
    """Index of the first unequal pair; None where all are equal."""
    return next((i for i, pair in enumerate(zip(theirs, mine, strict=True)) if pair[0] != pair[1]), None)


def _name_step(view: DisputeView, replay: Replay) -> Move:
    ends = [hi for _, hi in pieces(view.lo, view.hi, STEP_FAN)]
    roots = view.step_roots
    i = replay.contradicted(view.lo, ends, roots)
    if i is None:
        raise NothingWrong()
    tree = Tree(roots)
    before = (roots[i - 1], tree.proof(i - 1)) if i else (bytes(32), [])
    return Move("nameStep", (i, *before, roots[i], tree.proof(i)))


def _name_trace(view: DisputeView, record: Record) -> Move:
    for name, mine in ((TreeName.NODES, record.trace.nodes), (TreeName.SLOTS, record.trace.slots)):
        reveal = _at(view, name, Position.top(len(mine.leaves)))
        if list(reveal.children) != mine.reveal(reveal.position):
            return _name_below(view, record, reveal, mine)
    raise NothingWrong()


def _name_child(view: DisputeView, record: Record) -> Move:
    mine = {
        TreeName.NODES: lambda: record.trace.nodes,
        TreeName.SLOTS: lambda: record.trace.slots,
        TreeName.CHUNKS: lambda: record.trace.tensor(view.node).tree,
    }[view.tree]()
    return _name_below(view, record, _at(view, view.tree, view.position), mine)


def _name_below(view: DisputeView, record: Record, reveal: Reveal, mine: Tree) -> Move:
    """Name the first wrong one of the last revealed children: a leaf, or a subtree to look into."""
    first = first_difference(reveal.children, mine.reveal(reveal.position))
    if first is None:
        raise NothingWrong()
    child = reveal.position.child(reveal.position.children().start + first)
    proof = known(mine, view, reveal.tree).proof(child.index, child.level, reveal.position.level - child.level)
    if child.level:
        return Move("nameSubtree", (int(reveal.tree), child.index, reveal.children[first], proof))
    return _LEAVES[reveal.tree](view, record, child.index, reveal.children[first], proof)


def _name_node(view: DisputeView, record: Record, n: int, root: bytes, proof: list[bytes]) -> Move:
    ledger = record.ledger
    return Move("nameNode", (n, root, proof, encode_node(ledger.graph.nodes[n]), ledger.tree.proof(n)))


def _name_slot(view: DisputeView, record: Record, s: int, root: bytes, proof: list[bytes]) -> Move:
    ledger, slot = record.ledger, record.ledger.graph.slots[s]
    tree = record.trace.nodes if slot.source is Source.NODE else record.before
    encoding_proof = ledger.tree.proof(ledger.leaf(Source.STATE, s))
    source = (tree.leaves[slot.index], tree.proof(slot.index))
    return Move("nameSlot", (s, root, proof, encode_slot(slot), encoding_proof, *source))


def _name_chunk(view: DisputeView, record: Record, index: int, leaf: bytes, proof: list[bytes]) -> Move:
    return Move("nameChunk", (index, leaf, proof))


def _name_element(view: DisputeView, record: Record) -> Move:
    node = record.ledger.graph.nodes[view.node]
    mine = np.frombuffer(record.trace.tensor(view.node).chunk(view.position.index), "<u4")
    theirs = np.frombuffer(view.chunk, "<u4")
    different = np.flatnonzero(mine != theirs)
    if not len(different):
        raise NothingWrong()
    element = view.position.index * CHUNK + int(different[0])
    k, openings = 0, list[Opening]()
    if element < node.length:
        k, openings = _case(view, record, node, element, int(theirs[different[0]]))
    return Move("nameElement", (element, view.chunk, encode_node(node), k, openings))


def _case(view: DisputeView, record: Record, node: Node, element: int, claimed: int) -> tuple[int, list[Opening]]:
    """k and the openings that prove a claimed word wrong; no openings where the solver must answer first."""
    ending = traits(node.kind).ending
    if ending is Ending.SUM:
        return 0, []
    if ending is Ending.COMPUTE:
        return 0, _open(view, record, element, 0)
    if ending is Ending.EXTREMUM:
        return _refute(view, record, node, element, claimed)
    raise unknown(node.kind)


def _refute(view: DisputeView, record: Record, node: Node, element: int, claimed: int) -> tuple[int, list[Opening]]:
    """A k whose value is beyond the claimed extremum, or the demand for a k whose value reaches it."""
    keys = reference.extremum_keys(node, record.sources(node), element)
    k = int(keys.argmax())
    refuted = int(keys[k]) > reference.extremum_key(node, claimed)
    return (k, _open(view, record, element, k)) if refuted else (DEMAND, [])


def _name_sum(view: DisputeView, record: Record) -> Move:
    return _name_exponent(view, record) or _name_piece(view, record)


def _name_exponent(view: DisputeView, record: Record) -> Move | None:
    """Partial sums depend on the exponents that scale them, so a false exponent is named before any sum."""
    mine = record.exponents(view.node, view.element)
    operand = first_difference(view.exponents[: len(mine)], mine)
    if operand is None:
        return None
    node = record.ledger.graph.nodes[view.node]
    k, openings = DEMAND, list[Opening]()
    if mine[operand] > view.exponents[operand]:
        k = int(reference.exponent_keys(node, record.sources(node), view.element, operand).argmax())
        openings = _open(view, record, view.element, k, (operand,))
    return Move("nameExponent", (operand, k, encode_node(node), openings))


def _name_piece(view: DisputeView, record: Record) -> Move:
    node = record.ledger.graph.nodes[view.node]
    terms = record.terms(view.node, view.element)
    parts = pieces(*view.segment, SUM_FAN)
    i = first_difference(view.sums, [int(terms[a:b].sum()) for a, b in parts])
    if i is None:
        raise NothingWrong()
    (a, b), sums = parts[i], list(view.sums)
    if b - a > 1:
        return Move("nameSum", (i, sums))
    openings = _open(view, record, view.element, a)
    return Move("proveTerm", (i, sums, encode_node(node), openings))


def _open(
    view: DisputeView, record: Record, element: int, k: int, positions: tuple[int, ...] | None = None
) -> list[Opening]:
    nodes = known(record.trace.nodes, view, TreeName.NODES)
    return record.open_inputs(nodes, view.node, element, k, positions)


def known(mine: Tree, view: DisputeView, name: TreeName) -> Tree:
    """The solver's tree as far as the challenger knows it: own hashes left of the path, revealed ones on it."""
    tree = mine
    for reveal in _reveals(view, name):
        tree = tree.revealed(reveal.position, reveal.children)
    return tree


def _reveals(view: DisputeView, name: TreeName) -> Iterable[Reveal]:
    return (reveal for reveal in view.reveals if reveal.tree is name)


def _at(view: DisputeView, name: TreeName, position: Position) -> Reveal:
    return next(reveal for reveal in _reveals(view, name) if reveal.position == position)


_NAMES: Final[dict[Phase, Callable[[DisputeView, Record], Move]]] = {
    Phase.NAME_TRACE: _name_trace,
    Phase.NAME_CHILD: _name_child,
    Phase.NAME_ELEMENT: _name_element,
    Phase.NAME_SUM: _name_sum,
}
_LEAVES: Final[dict[TreeName, Callable[[DisputeView, Record, int, bytes, list[bytes]], Move]]] = {
    TreeName.NODES: _name_node,
    TreeName.SLOTS: _name_slot,
    TreeName.CHUNKS: _name_chunk,
}
