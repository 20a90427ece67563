"""Trees and spans that one reveal does not show: subtrees are named, and steps are revealed again."""

from __future__ import annotations

import pytest

from offchain.commit.merkle import Tree
from offchain.commit.trace import Trace
from offchain.dispute.falsified import Falsehood
from offchain.dispute.replay import Record, Replay
from offchain.exec.base import state_after
from offchain.ir.arrays import Array
from tests.protocol.conftest import GasBook
from tests.support.arena import Arena
from tests.support.everything import INTERVAL, LONG_INTERVAL, SLOTS
from tests.support.players import Mind, Played

LAST = 2 * INTERVAL - 1  # step


def convicted(arena: Arena, cheat: Mind) -> Played:
    """The dispute of an honest challenger against what a cheat committed."""
    assert cheat.root(1) != arena.honest.root(1)
    arena.commit(cheat.root(1))
    played = arena.play(arena.open(arena.challenger), (cheat.defend, arena.honest.attack))
    assert (played.event("Resolved")["loser"], played.refusals) == (arena.solver.address, [])
    assert played.reveals <= 12
    assert played.max_gas < 3_000_000
    return played


@pytest.mark.parametrize("name", ["rows", "new_big", "new_log"])
def test_more_than_256_nodes(many_nodes: Arena, gas_book: GasBook, name: str) -> None:
    """First and last subtree of the trace; `new_big` has more than 256 chunks besides."""
    assert len(many_nodes.work.graph.nodes) > 256
    node = many_nodes.work.names[name]
    played = convicted(many_nodes, Mind(many_nodes.work, Falsehood(LAST, node, 1)))
    assert played.count("nameSubtree") == played.count("revealChildren") == (2 if name == "new_big" else 1)
    assert (played.event("ElementJudged")["step"], played.event("ElementJudged")["node"]) == (LAST, node)
    gas_book.check(f"315 nodes, {name}", played)


@pytest.mark.parametrize("at", [0, 1, 2, 300, LONG_INTERVAL - 1])
def test_more_than_256_steps(many_steps: Arena, gas_book: GasBook, at: int) -> None:
    step = LONG_INTERVAL + at
    node = many_steps.work.names["loss"]
    played = convicted(many_steps, Mind(many_steps.work, Falsehood(step, node, 0)))
    assert played.functions[:4] == ["revealSteps", "nameStep"] * 2
    assert (played.event("ElementJudged")["step"], played.event("ElementJudged")["node"]) == (step, node)
    gas_book.check(f"512 steps, {at}", played)


class FalseSlot(Replay):
    """Every node is right; a slot of the state after the last step is not what the graph has it repeat."""

    slot: int

    def _lie(self, state: list[Array]) -> list[Array]:
        return [Falsehood(LAST, 0, 0).apply(array) if n == self.slot else array for n, array in enumerate(state)]

    def record(self, t: int, state: list[Array], before: Tree, trace: Trace) -> Record:
        if t == LAST:
            outputs = list(trace.outputs)
            trace = Trace(outputs, self._lie(state_after(self.ledger.graph, state, outputs)))
        return super().record(t, state, before, trace)

    def root(self, count: int) -> bytes:
        return self.step(LAST).trace.state_root if count == LAST + 1 else super().root(count)


@pytest.mark.parametrize("name", ["w", "frozen", "x", "log"])
def test_a_slot_that_repeats_nothing(arena: Arena, gas_book: GasBook, name: str) -> None:
    """`frozen` repeats the state before, the others a node; a false `log` is such a slot."""
    slot = SLOTS.index(name)
    made = type("FalseSlotOf", (FalseSlot,), {"slot": slot})
    played = convicted(arena, Mind(arena.work, make=made))
    judged = played.event("SlotJudged")
    right = arena.honest.replay(1).step(LAST).trace.slots.leaves[slot]
    assert (judged["step"], judged["slot"], judged["source"]) == (LAST, slot, right)
    assert judged["claimed"] != right
    gas_book.check(f"slot {name}", played)


def test_two_lies_convict_by_the_first(arena: Arena) -> None:
    """A false node whose slots are false too: the node comes first."""

    class Both(FalseSlot):
        slot = SLOTS.index("frozen")

        def record(self, t: int, state: list[Array], before: Tree, trace: Trace) -> Record:
            if t == LAST:
                node = arena.work.names["new_w"]
                outputs = [Falsehood(t, n, 0).apply(o) if n == node else o for n, o in enumerate(trace.outputs)]
                trace = Trace(outputs, state_after(self.ledger.graph, state, list(trace.outputs)))
            return super().record(t, state, before, trace)

    played = convicted(arena, Mind(arena.work, make=Both))
    assert played.event("ElementJudged")["node"] == arena.work.names["new_w"]
