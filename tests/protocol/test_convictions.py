"""A solver that falsifies one element of any node is convicted by an honest challenger."""

from __future__ import annotations

import pytest

from offchain.dispute.falsified import Falsehood
from offchain.exec import reference
from offchain.ir.kinds import Kind
from offchain.market.view import Status
from tests.protocol.conftest import GasBook
from tests.support.arena import Arena
from tests.support.deployment import PARAMETERS
from tests.support.everything import BIG, INTERVAL, everything
from tests.support.players import Mind, play, silent
from tests.support.tasks import BOND, PRICE, proof

STEP = 2 * INTERVAL - 1  # in the disputed interval
NAMES = everything().names
SIGN, LOW = 0x80000000, 1
COMPUTED, TIMED_OUT = 0, 1  # IDispute.Reason
Bent = int | tuple[int, int]  # bits that are flipped, or what a sum's exponents are raised by
# Node, element, how it is bent, and how it ends: what the contract judged, or refused to take from the solver.
CASES: dict[str, tuple[str, int, Bent, str]] = {
    "map of the step": ("rows", 2, LOW, "ElementJudged"),
    "map": ("new_w", 133, LOW, "ElementJudged"),
    "map of many chunks": ("new_big", BIG - 1, LOW, "ElementJudged"),
    "gather": ("x", 77, LOW, "ElementJudged"),
    "dot": ("y", 7, LOW, "TermJudged"),
    "dot far off": ("y", 7, SIGN, "TermJudged"),
    "dot, exponent too high": ("y", 7, (1, 0), "WitnessDiffers"),
    "dot, exponent too low": ("y", 7, (-1, 0), "ExponentJudged"),
    "dot, second exponent too high": ("y", 7, (0, 4), "WitnessDiffers"),
    "dot, second exponent too low": ("y", 7, (0, -1), "ExponentJudged"),
    "dot, exponents that make up for each other": ("y", 7, (-3, 3), "ExponentJudged"),
    "dot, exponent of NaN": ("y", 7, (0, 400), "WitnessDiffers"),
    "sum": ("loss", 0, LOW, "TermJudged"),
    "sum of one term": ("one", 3, LOW, "TermJudged"),
    "sum of 64 terms": ("sum64", 1, LOW, "TermJudged"),
    "sum of 65 terms": ("sum65", 1, LOW, "TermJudged"),
    "sum of 5,000 terms": ("long", 0, LOW, "TermJudged"),
    "sum of 5,000 terms, exponent too high": ("long", 0, (8, 0), "WitnessDiffers"),
    "sum of 65 terms, exponent too low": ("sum65", 1, (-2, 0), "ExponentJudged"),
    "sum of one term, exponent too low": ("one", 3, (-1, 0), "ExponentJudged"),
    "scatter_add": ("back", 5, LOW, "TermJudged"),
    "scatter_add, row without entries": ("back", 3 * 70 + 3, 0x3F800000, "TermJudged"),
    "scatter_add, exponent too high": ("back", 5, (8, 0), "WitnessDiffers"),
    "scatter_add, exponent too low": ("back", 5, (-1, 0), "ExponentJudged"),
    "scatter_add, exponent of zeros": ("back", 5, (-400, 0), "ExponentJudged"),
    "scatter_add, row without entries, exponent of NaN": ("back", 3 * 70 + 3, (400, 0), "WitnessDiffers"),
    "max too low": ("top", 4, LOW, "ExtremumJudged"),
    "max too high": ("top", 0, LOW, "WitnessDiffers"),
    "max, negative": ("top", 3, SIGN, "WitnessDiffers"),
    "carried log": ("old_log", 0, LOW, "ElementJudged"),
    "log": ("new_log", 1, LOW, "ElementJudged"),
}


def test_every_kind_of_node_is_lied_about() -> None:
    assert {everything().graph.nodes[NAMES[row[0]]].kind for row in CASES.values()} == set(Kind)


@pytest.mark.parametrize("case", CASES)
def test_one_false_element_convicts(arena: Arena, gas_book: GasBook, case: str) -> None:
    name, element, bent, end = CASES[case]
    how = (bent,) if isinstance(bent, int) else (0, bent)
    cheat = Mind(arena.work, Falsehood(STEP, NAMES[name], element, *how))
    assert cheat.root(1) != arena.honest.root(1)
    arena.commit(cheat.root(1))
    before = arena.wealth()

    played = arena.play(arena.open(arena.challenger), (cheat.defend, arena.honest.attack))

    verdict = played.event("Resolved")
    assert (verdict["winner"], verdict["loser"]) == (arena.challenger.address, arena.solver.address)
    assert arena.status() is Status.SLASHED
    stake = arena.terms.stake
    reward = proof(stake) if end.endswith("Judged") else PARAMETERS.bounty
    assert arena.gains(before) == {"burned": stake - reward, "challenger": reward, "requester": PRICE}
    if end.endswith("Judged"):
        assert (played.refusals, verdict["reason"], played.said(end)) == ([], COMPUTED, True)
        judged = played.event(end)
        assert (judged["step"], judged["node"], judged["element"]) == (STEP, NAMES[name], element)
    else:
        assert (played.refusals, verdict["reason"]) == ([end], TIMED_OUT)
    assert played.reveals <= 12
    assert played.max_gas < 3_000_000
    gas_book.check(case, played)


def test_an_operation_is_named_and_both_values_are_shown(arena: Arena) -> None:
    cheat = Mind(arena.work, Falsehood(STEP, NAMES["new_w"], 133))
    arena.commit(cheat.root(1))
    played = arena.play(arena.open(arena.challenger), (cheat.defend, arena.honest.attack))
    judged = played.event("ElementJudged")
    right = arena.honest.replay(1).step(STEP).trace.tensor(NAMES["new_w"]).word(133)
    assert (judged["computed"], judged["claimed"]) == (right, right ^ LOW)


def test_a_false_term_is_executed(arena: Arena) -> None:
    """Between people who look and send as workers do."""
    cheat = Mind(arena.work, Falsehood(STEP, NAMES["y"], 7))
    arena.commit(cheat.root(1))
    dispute = arena.open(arena.challenger)
    players = (arena.careful("solver"), arena.careful("challenger"))
    played = play(dispute, players, (cheat.defend, arena.honest.attack), arena.clock.travel)
    judged = played.event("TermJudged")
    terms = arena.honest.replay(1).step(STEP).terms(NAMES["y"], 7)
    assert judged["computed"] == terms[judged["k"]] != judged["claimed"]


def test_a_false_exponent_is_contested_although_every_sum_follows_from_it(arena: Arena) -> None:
    """Between people who look and send as workers do."""
    cheat = Mind(arena.work, Falsehood(STEP, NAMES["long"], 0, 0, (-1, 0)))
    arena.commit(cheat.root(1))
    players = (arena.careful("solver"), arena.careful("challenger"))
    played = play(arena.open(arena.challenger), players, (cheat.defend, arena.honest.attack), arena.clock.travel)
    assert played.functions[-2:] == ["revealSums", "nameExponent"]
    judged = played.event("ExponentJudged")
    right, record = arena.honest.replay(1).step(STEP), cheat.replay(1).step(STEP)
    assert (judged["operand"], judged["order"]) == (0, 1)
    assert (judged["claimed"],) == record.exponents(NAMES["long"], 0) != right.exponents(NAMES["long"], 0)
    terms = reference.terms(
        right.ledger.graph.nodes[NAMES["long"]],
        right.sources(arena.work.graph.nodes[NAMES["long"]]),
        0,
        (judged["claimed"],),
    )
    assert record.terms(NAMES["long"], 0).tolist() == terms.tolist() != right.terms(NAMES["long"], 0).tolist()


@pytest.mark.parametrize("step", range(INTERVAL, 2 * INTERVAL))
def test_a_lie_in_any_step_convicts(arena: Arena, step: int) -> None:
    cheat = Mind(arena.work, Falsehood(step, NAMES["new_w"], 133))
    arena.commit(cheat.root(1))
    played = arena.play(arena.open(arena.challenger), (cheat.defend, arena.honest.attack))
    assert played.event("ElementJudged")["step"] == step
    assert played.event("Resolved")["loser"] == arena.solver.address


def test_a_root_of_nothing_convicts(arena: Arena) -> None:
    arena.commit(bytes(31) + b"\x01")
    before = arena.free("challenger")
    dispute = arena.open(arena.challenger)
    assert arena.free("challenger") == before - BOND
    played = arena.play(dispute, (silent, arena.honest.attack))
    assert played.event("Resolved")["loser"] == arena.solver.address
    assert arena.free("challenger") == before + PARAMETERS.bounty


def test_steps_of_somebody_else_are_refused(arena: Arena) -> None:
    """The root is of nothing, the steps are right: they do not lead there."""
    arena.commit(bytes(31) + b"\x01")
    played = arena.play(arena.open(arena.challenger), (arena.honest.defend, arena.honest.attack))
    assert played.refusals == ["HashMismatch"]
    assert played.event("Resolved")["loser"] == arena.solver.address
