"""A challenger that lies against an honest solver loses its bond; and no false proof is taken from either side."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from offchain.chain.abi import interface
from offchain.chain.reverts import Reverted
from offchain.chain.rpc import asking
from offchain.dispute.challenger import DEMAND, known
from offchain.dispute.falsified import Falsehood
from offchain.exec import reference
from offchain.ir.encoding import encode_node, encode_slot
from offchain.ir.graph import CHUNK, Source
from offchain.ir.kinds import Kind
from offchain.market.actions import Move
from offchain.market.view import DisputeView, Phase, Status, TreeName
from tests.protocol.conftest import GasBook
from tests.support.arena import Arena
from tests.support.everything import INTERVAL, SLOTS, everything
from tests.support.players import CONCEDE, Mind, Played, Player, Strategy, arguments
from tests.support.tasks import BOND, BURNED

STEP = 2 * INTERVAL - 1
NAMES = everything().names
SIGN, LOW = 0x80000000, 1


def acquitted(arena: Arena, liar: Strategy) -> Played:
    """The dispute of a lying challenger: what the solver gets of the bond, to the unit, and what burns."""
    arena.commit(arena.honest.root(1))
    before = arena.wealth()
    dispute = arena.open(arena.challenger)
    assert (arena.free("challenger"), arena.holds()) == (before["challenger"] - BOND, 1)
    played = arena.play(dispute, (arena.honest.defend, liar))
    assert (played.event("Resolved")["winner"], played.refusals) == (arena.solver.address, [])
    assert arena.gains(before) == {"challenger": -BOND, "solver": BOND - BURNED, "burned": BURNED}
    assert (arena.status(), arena.holds()) == (Status.TRAINING, 0)
    return played


LIES: dict[str, tuple[str, int, int | tuple[int, int], str]] = {  # what a challenger believes, and how it ends
    "map": ("new_w", 133, LOW, "ElementJudged"),
    "map of many chunks": ("new_big", 269_999, LOW, "ElementJudged"),
    "gather": ("x", 77, LOW, "ElementJudged"),
    "log": ("new_log", 1, LOW, "ElementJudged"),
    "max, a witness shown": ("top", 4, LOW, "ExtremumJudged"),
    "dot": ("y", 7, LOW, "TermJudged"),
    "sum of one term": ("one", 3, LOW, "TermJudged"),
    "sum of 65 terms": ("sum65", 1, LOW, "TermJudged"),
    "sum of 5,000 terms": ("long", 0, LOW, "TermJudged"),
    "scatter_add": ("back", 5, LOW, "TermJudged"),
    "dot, exponent said to be too low": ("y", 7, (1, 0), "ExponentJudged"),
    "dot, second exponent said to be too high": ("y", 7, (0, -1), "ExponentJudged"),
    "sum of 5,000 terms, exponent said to be too low": ("long", 0, (8, 0), "ExponentJudged"),
    "sum of one term, exponent said to be too high": ("one", 3, (-1, 0), "ExponentJudged"),
    "scatter_add, exponent said to be too high": ("back", 5, (-1, 0), "ExponentJudged"),
}


def test_every_kind_of_node_is_lied_about() -> None:
    assert {everything().graph.nodes[NAMES[row[0]]].kind for row in LIES.values()} == set(Kind)


@pytest.mark.parametrize("lie", LIES)
def test_a_false_node_acquits(arena: Arena, gas_book: GasBook, lie: str) -> None:
    name, element, bent, end = LIES[lie]
    how = (bent,) if isinstance(bent, int) else (0, bent)
    liar = Mind(arena.work, Falsehood(STEP, NAMES[name], element, *how))
    played = acquitted(arena, liar.attack)
    judged = played.event(end)
    assert (judged["step"], judged["node"], judged["element"]) == (STEP, NAMES[name], element)
    assert judged["order"] == 0 if "order" in judged else judged["claimed"] == judged["computed"]
    gas_book.check(f"lie: {lie}", played)


@pytest.mark.parametrize("step", range(INTERVAL, 2 * INTERVAL))
def test_a_false_step_acquits(arena: Arena, step: int) -> None:
    liar = Mind(arena.work, Falsehood(step, NAMES["new_w"], 133))
    assert acquitted(arena, liar.attack).event("ElementJudged")["step"] == step


@pytest.mark.parametrize("k", [0, 3])
def test_a_counter_example_that_is_none_acquits(arena: Arena, k: int) -> None:
    liar = Mind(arena.work, Falsehood(STEP, NAMES["top"], 4, LOW))
    played = acquitted(arena, example(liar, k))
    assert played.event("ExtremumJudged")["k"] == k
    assert played.event("ExtremumJudged")["order"] <= 0
    assert played.functions[-1] == "nameElement"


@pytest.mark.parametrize("k", [0, 3, 69])
@pytest.mark.parametrize("operand", [0, 1])
def test_a_true_exponent_stands_against_every_element(arena: Arena, operand: int, k: int) -> None:
    liar = Mind(arena.work, Falsehood(STEP, NAMES["y"], 7))
    played = acquitted(arena, contest(liar, operand, k))
    judged, record = played.event("ExponentJudged"), arena.honest.replay(1).step(STEP)
    node = arena.work.graph.nodes[NAMES["y"]]
    value = int(reference.exponent_keys(node, record.sources(node), 7, operand)[k])
    assert (judged["operand"], judged["k"]) == (operand, k)
    assert judged["claimed"] == record.exponents(NAMES["y"], 7)[operand]
    assert judged["order"] == (0 if value == judged["claimed"] else -1)
    assert played.functions[-2:] == ["revealSums", "nameExponent"]


def test_a_true_exponent_contested_late_acquits(arena: Arena) -> None:
    """After a piece was named, and with a demand."""
    liar = Mind(arena.work, Falsehood(STEP, NAMES["long"], 0))

    def attack(view: DisputeView) -> Move | None:
        deep = view.phase is Phase.NAME_SUM and view.segment != (0, 5_000)
        return Move("nameExponent", (0, DEMAND, b"", [])) if deep else liar.attack(view)

    played = acquitted(arena, attack)
    assert played.functions[-4:] == ["nameSum", "revealSums", "nameExponent", "revealExponent"]
    assert played.event("ExponentJudged")["order"] == 0


def contest(liar: Mind, operand: int, k: int) -> Strategy:
    """Says that what an operand reads at k has a greater exponent than the claimed one."""

    def attack(view: DisputeView) -> Move | None:
        if view.phase is not Phase.NAME_SUM:
            return liar.attack(view)
        record = liar.replay(view.checkpoint).step(view.lo)
        tree = known(record.trace.nodes, view, TreeName.NODES)
        openings = record.open_inputs(tree, view.node, view.element, k, (operand,))
        return Move("nameExponent", (operand, k, encode_node(record.ledger.graph.nodes[view.node]), openings))

    return attack


def example(liar: Mind, k: int) -> Strategy:
    """Says that the input at k is greater, instead of demanding a witness."""

    def attack(view: DisputeView) -> Move | None:
        move = liar.attack(view)
        if move is None or move.function != "nameElement":
            return move
        record = liar.replay(view.checkpoint).step(view.lo)
        tree = known(record.trace.nodes, view, TreeName.NODES)
        openings = record.open_inputs(tree, view.node, move.args[0], k)
        return Move("nameElement", (*move.args[:3], k, openings))

    return attack


@pytest.mark.parametrize("name", ["w", "frozen", "log"])
def test_a_slot_that_is_right_acquits(arena: Arena, name: str) -> None:
    liar = Mind(arena.work, Falsehood(STEP, NAMES["new_w"], 133))
    s = SLOTS.index(name)

    def attack(view: DisputeView) -> Move | None:
        if view.phase is not Phase.NAME_TRACE:
            return liar.attack(view)
        record, ledger = arena.honest.replay(1).step(view.lo), arena.work.ledger
        slot = arena.work.graph.slots[s]
        place = ledger.tree.proof(ledger.leaf(Source.STATE, s))
        tree = record.trace.nodes if slot.source is Source.NODE else record.before
        claimed = (record.trace.slots.leaves[s], record.trace.slots.proof(s))
        source = (tree.leaves[slot.index], tree.proof(slot.index))
        return Move("nameSlot", (s, *claimed, encode_slot(slot), place, *source))

    judged = acquitted(arena, attack).event("SlotJudged")
    assert (judged["slot"], judged["claimed"]) == (s, judged["source"])


def test_a_chunk_that_is_right_acquits(arena: Arena) -> None:
    """It is named from above its subtree, which saves the liar two moves and nothing else."""
    liar = Mind(arena.work, Falsehood(STEP, NAMES["new_big"], 5))

    def attack(view: DisputeView) -> Move | None:
        record = arena.honest.replay(1).step(STEP)
        if view.phase is Phase.NAME_CHILD:
            tree = record.trace.tensor(view.node).tree
            return Move("nameChunk", (200, tree.leaves[200], tree.proof(200)))
        return element(arena, view, 200 * CHUNK + 7) if view.phase is Phase.NAME_ELEMENT else liar.attack(view)

    played = acquitted(arena, attack)
    assert played.event("ElementJudged")["element"] == 200 * CHUNK + 7
    assert played.count("nameSubtree") == 0


def element(arena: Arena, view: DisputeView, at: int) -> Move:
    """Names an element of a `map` among what the solver revealed."""
    record = arena.honest.replay(1).step(view.lo)
    node = arena.work.graph.nodes[view.node]
    openings = record.open_inputs(record.trace.nodes, view.node, at) if at < node.length else []
    return Move("nameElement", (at, view.chunk, encode_node(node), 0, openings))


@pytest.mark.parametrize("at", [0, 279, 280, CHUNK - 1])
def test_an_element_that_is_right_acquits(arena: Arena, at: int) -> None:
    """Those from 280 on are padding."""
    liar = Mind(arena.work, Falsehood(STEP, NAMES["new_w"], 133))
    played = acquitted(arena, lambda v: element(arena, v, at) if v.phase is Phase.NAME_ELEMENT else liar.attack(v))
    assert played.event("ElementJudged")["element"] == at


def test_who_finds_nothing_wrong_concedes(arena: Arena) -> None:
    played = acquitted(arena, arena.honest.attack)
    assert played.functions == ["revealSteps", CONCEDE.function]


# --- false proofs ------------------------------------------------------------------------------------------------

WALKS = {  # together they make every move
    "subtrees": ("new_big", 269_999, LOW),
    "sums": ("long", 0, LOW),
    "counter-example": ("top", 4, LOW),
    "exponent": ("y", 7, 0, (-1, 0)),
}
REFUSALS = {
    "HashMismatch", "ProofLength", "RootCount", "ChildrenCount", "ChunkSize", "OpeningMismatch", "OpeningCount",
    "ChunkLength", "ElementOutsideChunk", "SumCount", "SumDiffers", "RoundedDiffers", "OutsidePosition",
    "IndexOutOfRange", "WitnessDiffers", "SumOutOfRange", "TermCount",
}  # fmt: skip
# Not read where the solver is to answer, and no inputs are opened yet.
UNREAD = {"nameElement.encoding", "nameElement.openings", "nameExponent.encoding", "nameExponent.openings"}


def corruptions(move: Move) -> Iterator[tuple[str, Move]]:
    """The move with one false argument each."""
    for place, (name, value) in enumerate(zip(arguments(move.function), move.args, strict=True)):
        for false in falsified(value):
            yield f"{move.function}.{name}", Move(move.function, (*move.args[:place], false, *move.args[place + 1 :]))


def falsified(value: Any) -> Iterator[Any]:
    if isinstance(value, bytes) and value:
        yield bytes([value[0] ^ 1]) + value[1:]
        if len(value) != 32:
            yield value[:-1]
    elif isinstance(value, tuple):
        for place, part in enumerate(value):
            yield from ((*value[:place], false, *value[place + 1 :]) for false in falsified(part))
    elif isinstance(value, list):
        yield [*value, value[-1] if value else bytes(32)]
        if value:
            yield value[:-1]
            yield from ([*value[:-1], false] for false in falsified(value[-1]))  # steps before the last are free
    elif isinstance(value, int) and not isinstance(value, bool):
        yield value + (1 << 40)  # of a sum; as an index it cannot even be encoded


def refusal(player: Player, dispute_id: int, move: Move) -> str | None:
    """The typed error that a move would be refused with; None where it would be taken, or cannot be encoded."""
    try:
        data = interface("game").call_data(move.function, (dispute_id, *move.args))
    except ValueError:
        return "unencodable"
    call: Any = {"from": player.address, "to": player.chain.deployment.game, "data": "0x" + data.hex()}
    try:
        with asking(move.function):
            player.chain.w3.eth.call(call)
    except Reverted as error:
        return error.name
    return None


def sabotaged(arena: Arena, strategy: Strategy, player: Player, tried: set[str]) -> Strategy:
    """Tries every corruption of its moves before each of them."""

    def moving(view: DisputeView) -> Move | None:
        move = strategy(view)
        assert move is not None
        raw, last = arena.stranger.raw(view.id), None
        for what, false in corruptions(move):
            name = refusal(player, view.id, false)
            if name == "unencodable" or (name is None and what in UNREAD and not move.args[-1]):
                continue
            assert name in REFUSALS, f"{what}: {name}"
            tried.add(what)
            last = false
        if last:  # one of them in earnest
            with pytest.raises(Reverted):
                player.chain.move(view.id, last)
        assert arena.stranger.raw(view.id) == raw
        return move

    return moving


@pytest.mark.slow
def test_no_false_argument_is_taken(arena: Arena) -> None:
    """Of either side, in every move; the dispute stays where it was, and ends as it would have."""
    tried: set[str] = set()
    for name, *bent in WALKS.values():
        with arena.clock.undone():
            cheat = Mind(arena.work, Falsehood(STEP, NAMES[name], *bent))
            arena.commit(cheat.root(1))
            sides = (
                sabotaged(arena, cheat.defend, arena.solver, tried),
                sabotaged(arena, arena.honest.attack, arena.challenger, tried),
            )
            played = arena.play(arena.open(arena.challenger), sides)
            assert played.event("Resolved")["winner"] == arena.challenger.address
    functions = {what.split(".")[0] for what in tried}
    assert functions == {
        "revealSteps", "nameStep", "revealTrace", "nameSubtree", "revealChildren", "nameNode", "revealChunks",
        "nameChunk", "revealChunk", "nameElement", "revealSums", "nameSum", "proveTerm", "nameExponent",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("falsehood", "verb"),
    [
        (Falsehood(STEP, NAMES["top"], 4, LOW), "revealWitness"),
        (Falsehood(STEP, NAMES["y"], 7, 0, (0, -1)), "revealExponent"),
    ],
)
def test_no_false_witness_is_taken(arena: Arena, falsehood: Falsehood, verb: str) -> None:
    arena.commit(arena.honest.root(1))
    liar = Mind(arena.work, falsehood)
    tried: set[str] = set()
    sides = (sabotaged(arena, arena.honest.defend, arena.solver, tried), liar.attack)
    played = arena.play(arena.open(arena.challenger), sides)
    assert played.event("Resolved")["winner"] == arena.solver.address
    assert {f"{verb}.encoding", f"{verb}.openings"} <= tried
