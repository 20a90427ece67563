"""A dispute walked through the contracts move by move, with raw calls and without the code of the players.

`tests/support/players.py` has the players that protocol tests use: those decide as workers do.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass
from enum import IntEnum
from typing import Any, Final, NamedTuple

import numpy as np
from web3.logs import DISCARD

from offchain.chain.client import GraphHeader
from offchain.chain.transactions import MAX_GAS
from offchain.commit.merkle import Position, Tree, depth
from offchain.dispute.replay import pair
from offchain.exec.reference import exponent_keys, exponents, extremum_keys, terms
from offchain.ir.encoding import encode_node, encode_slot
from offchain.ir.graph import CHUNK, Source
from offchain.ir.kinds import Kind, traits
from offchain.market.view import Phase, TreeName
from tests.support import tasks
from tests.support.reverts import reverts
from tests.support.runs import Lie, Run, run
from tests.support.works import Work, every_kind
from tests.support.world import World

DEMAND: Final = 2**32 - 1
STEP_FAN, SUM_FAN = 256, 64

Reason = IntEnum("Reason", "COMPUTED TIMED_OUT CONCEDED", start=0)


class Aim(NamedTuple):
    """What the challenger calls wrong in a step: an element of a node (at some k), an operand's exponent, or a slot."""

    step: int
    node: int = 0
    element: int = 0
    k: int = DEMAND
    slot: int | None = None
    operand: int | None = None


class Move(NamedTuple):
    verb: str
    args: list[Any]
    by: str


@dataclass
class Walk:
    """One dispute between a solver who claims `told` and a challenger who aims at something."""

    world: World
    told: Run
    aim: Aim
    task: int
    id: int = 0
    extra: int = 0  # what a false sum adds at the aim's k
    claimed: tuple[int, ...] | None = None  # exponents that the solver says its sum is scaled by

    def open(self, by: str | None = None) -> Walk:
        game, work = self.world.game, self.told.work
        checkpoint = self.aim.step // work.interval
        root = self.world.quick("stranger").call("log", "checkpoint", self.task, checkpoint)["root"]
        call = game.functions.open(self.task, checkpoint, root, header(work))
        self.world.send(call, by or self.world.challenger)
        self.id = game.functions.disputeCount().call()
        return self

    @property
    def state(self) -> Any:
        return self.world.game.functions.dispute(self.id).call()

    @property
    def phase(self) -> Phase:
        return Phase(self.state.phase)

    def send(self, move: Move, **changes: Any) -> Any:
        """Sends a move, with some arguments (by position, `a0`, `a1`, …) or the sender (`by`) changed."""
        args = [changes.get(f"a{i}", arg) for i, arg in enumerate(move.args)]
        call = getattr(self.world.game.functions, move.verb)(self.id, *args)
        receipt = self.world.send(call, changes.get("by", move.by))
        assert receipt["gasUsed"] < MAX_GAS, f"{move.verb} took {receipt['gasUsed']}"
        return receipt

    def step(self) -> Any:
        return self.send(self.next())

    def until(self, phase: Phase) -> Move:
        """Plays until that phase; returns the move that comes next."""
        while (now := self.phase) is not phase:
            assert now < Phase.RESOLVED, f"ended before {phase.name}"
            self.step()
        return self.next()

    def finish(self) -> Any:
        """Plays to the end; returns the receipt of the last move."""
        while True:
            receipt = self.step()
            if self.phase is Phase.RESOLVED:
                return receipt

    def next(self) -> Move:
        d = self.state
        phase = Phase(d.phase)
        if phase in (Phase.NAME_TRACE, Phase.NAME_CHILD):
            verb, *args = self._name(d)
        else:
            verb, *args = {
                Phase.REVEAL_STEPS: self._reveal_steps,
                Phase.NAME_STEP: self._name_step,
                Phase.REVEAL_TRACE: self._reveal_trace,
                Phase.REVEAL_CHILDREN: self._reveal_children,
                Phase.REVEAL_CHUNKS: self._reveal_chunks,
                Phase.REVEAL_CHUNK: self._reveal_chunk,
                Phase.NAME_ELEMENT: self._name_element,
                Phase.REVEAL_WITNESS: self._reveal_witness,
                Phase.REVEAL_SUMS: self._reveal_sums,
                Phase.NAME_SUM: self._name_sum,
                Phase.REVEAL_EXPONENT: self._reveal_exponent,
            }[phase](d)
        return Move(verb, args, d.solver if verb.startswith("reveal") else d.challenger)

    # --- steps and the trace ---------------------------------------------------------------------------------

    def _roots(self, d: Any) -> tuple[int, list[bytes]]:
        width = -(-(d.hi - d.lo) // STEP_FAN)
        ends = range(d.lo + width, d.hi + width, width)
        return width, [self.told.state_root(min(t, d.hi)) for t in ends]

    def _reveal_steps(self, d: Any) -> list[Any]:
        return ["revealSteps", self._roots(d)[1]]

    def _name_step(self, d: Any) -> list[Any]:
        width, roots = self._roots(d)
        i, tree = (self.aim.step - d.lo) // width, Tree(roots)
        before = (roots[i - 1], tree.proof(i - 1)) if i else (bytes(32), [])
        return ["nameStep", i, *before, roots[i], tree.proof(i)]

    def _reveal_trace(self, d: Any) -> list[Any]:
        nodes, slots = self.told.nodes_tree(d.lo), self.told.slots_tree(d.lo + 1)
        children = [tree.reveal(Position.top(len(tree.leaves))) for tree in (nodes, slots)]
        before = self.told.slots_tree(d.lo).root
        return ["revealTrace", before, nodes.root, children[0], slots.root, children[1]]

    # --- descent ---------------------------------------------------------------------------------------------

    def _area(self, d: Any) -> tuple[TreeName, Tree, int]:
        """The tree that the descent is in, and its leaf that the challenger aims at."""
        if self.aim.slot is not None:
            return TreeName.SLOTS, self.told.slots_tree(d.lo + 1), self.aim.slot
        if any(d.node.leaf):
            return TreeName.CHUNKS, self.told.chunk_tree(d.lo, d.node.index), self.aim.element // CHUNK
        return TreeName.NODES, self.told.nodes_tree(d.lo), self.aim.node

    def _name(self, d: Any) -> list[Any]:
        area, tree, target = self._area(d)
        level = depth(len(tree.leaves)) if d.phase == Phase.NAME_TRACE else d.position.level
        below = max(level - 2, 0)
        if below:
            index = target >> (4 * below)
            return ["nameSubtree", area, index, tree.levels[below][index], tree.proof(index, below, level - below)]
        proof = tree.proof(target, 0, level)
        if area is TreeName.CHUNKS:
            return ["nameChunk", target, tree.leaves[target], proof]
        graph = self.told.work.graph
        trees = self.told.prover(d.lo).trees
        if area is TreeName.NODES:
            encoding = encode_node(graph.nodes[target])
            return ["nameNode", target, tree.leaves[target], proof, encoding, trees[2].proof(target)]
        slot = graph.slots[target]
        place = len(graph.nodes) + len(graph.constants) + target
        source = trees[0] if slot.source is Source.NODE else trees[1]
        return ["nameSlot", target, tree.leaves[target], proof, encode_slot(slot), trees[2].proof(place),
                source.leaves[slot.index], source.proof(slot.index)]  # fmt: skip

    def _reveal_children(self, d: Any) -> list[Any]:
        _, tree, _ = self._area(d)
        position = Position(len(tree.leaves), d.position.level, d.position.index)
        return ["revealChildren", tree.reveal(position)]

    def _reveal_chunks(self, d: Any) -> list[Any]:
        tree = self.told.chunk_tree(d.lo, d.node.index)
        return ["revealChunks", tree.root, tree.reveal(Position.top(len(tree.leaves)))]

    def _chunk(self, d: Any) -> bytes:
        return self.told.chunks(d.lo, d.node.index)[self.aim.element // CHUNK]

    def _reveal_chunk(self, d: Any) -> list[Any]:
        return ["revealChunk", self._chunk(d)]

    # --- the element -----------------------------------------------------------------------------------------

    def evidence(self, d: Any, k: int, only: tuple[int, ...] | None = None) -> list[Any]:
        """The node's encoding and the openings at k."""
        made = self.told.prover(d.lo).evidence(d.node.index, self.aim.element, k, only)
        return [made.encoding, made.openings]

    def _name_element(self, d: Any) -> list[Any]:
        node = self.told.work.graph.nodes[d.node.index]
        k = self.aim.k
        silent = self.aim.element >= node.length or traits(node.kind).scaled or (node.extent and k == DEMAND)
        if node.kind is Kind.GATHER:
            silent, k = False, 0
        shown = [encode_node(node), []] if silent else self.evidence(d, k)
        return ["nameElement", self.aim.element, self._chunk(d), shown[0], k, shown[1]]

    def _sources(self, d: Any) -> list[Any]:
        return self.told.prover(d.lo).sources(d.node.index)

    def _reveal_witness(self, d: Any) -> list[Any]:
        node = self.told.work.graph.nodes[d.node.index]
        k = int(np.argmax(extremum_keys(node, self._sources(d), self.aim.element)))
        return ["revealWitness", k, *self.evidence(d, k)]

    def _sums(self, d: Any) -> tuple[int, list[int]]:
        node = self.told.work.graph.nodes[d.node.index]
        parts = terms(node, self._sources(d), self.aim.element, self.claimed).tolist()
        if self.extra:
            parts[self.aim.k] += self.extra
        a, b = d.claim.a, d.claim.b
        width = -(-(b - a) // SUM_FAN)
        return width, [sum(parts[i : min(i + width, b)]) for i in range(a, b, width)]

    def _reveal_sums(self, d: Any) -> list[Any]:
        node = self.told.work.graph.nodes[d.node.index]
        if d.claim.b - d.claim.a != node.extent:
            return ["revealSums", self._sums(d)[1], (0, 0), b""]
        claimed = self.claimed or exponents(node, self._sources(d), self.aim.element)
        return ["revealSums", self._sums(d)[1], pair(claimed), encode_node(node)]

    def _reveal_exponent(self, d: Any) -> list[Any]:
        node, operand = self.told.work.graph.nodes[d.node.index], d.claim.operand
        k = int(np.argmax(exponent_keys(node, self._sources(d), self.aim.element, operand)))
        return ["revealExponent", k, *self.evidence(d, k, (operand,))]

    def _name_exponent(self, d: Any, operand: int) -> list[Any]:
        k = self.aim.k
        return ["nameExponent", operand, k, *([b"", []] if k == DEMAND else self.evidence(d, k, (operand,)))]

    def _name_sum(self, d: Any) -> list[Any]:
        if self.aim.operand is not None:
            return self._name_exponent(d, self.aim.operand)
        width, sums = self._sums(d)
        i = (self.aim.k - d.claim.a) // width
        first = d.claim.a + i * width
        if min(first + width, d.claim.b) - first > 1:
            return ["nameSum", i, sums]
        return ["proveTerm", i, sums, *self.evidence(d, self.aim.k)]


# --- for tests ----------------------------------------------------------------------------------------------------


def trained(world: World, told: Run, checkpoints: int | None = None) -> int:
    """A task in training with so many (or all) checkpoints as the solver claims them."""
    return tasks.train(world, told.work, [told.checkpoint(k) for k in told.work.points][:checkpoints])


def header(work: Work) -> tuple[Any, ...]:
    """IDispute.GraphHeader of a task, as the ABI wants it."""
    return astuple(GraphHeader.of(work.graph))


def begin(world: World, aim: Aim, lie: Lie | None = None, work: Work | None = None, **how: Any) -> Walk:
    told = run(work or every_kind(), lie)
    return Walk(world, told, aim, trained(world, told), **how).open()


def events(world: World, receipt: Any) -> dict[str, Any]:
    """The game's events in a receipt, by name."""
    game = world.game
    found = [event().process_receipt(receipt, errors=DISCARD) for event in game.events]
    return {log.event: log.args for logs in found for log in logs if log.address == game.address}


def refused(walk: Walk, move: Any, *expected: Any, **changes: Any) -> Any:
    """The contract would refuse the move, changed so, with this error. Returns the error's values."""
    args = [changes.get(f"a{i}", arg) for i, arg in enumerate(move.args)]
    call = getattr(walk.world.game.functions, move.verb)(walk.id, *args)
    with reverts(walk.world.game, *expected) as values:
        call.call({"from": changes.get("by", move.by), "gas": 12_000_000})
    return values
