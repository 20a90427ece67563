"""A solver that falsifies one element of any node is convicted by an honest challenger."""

from __future__ import annotations

import pytest

from offchain.roles.falsified import Falsehood
from tests.protocol.conftest import BOND, PRICE, Arena
from tests.protocol.everything import BIG, INTERVAL, everything
from tests.protocol.players import Mind

STEP = 2 * INTERVAL - 1  # in the disputed interval
NAMES = everything().names
SIGN, LOW = 0x80000000, 1
CASES = {
    "map of the step": ("rows", 2, LOW),
    "map": ("new_w", 133, LOW),
    "map of many chunks": ("new_big", BIG - 1, LOW),
    "gather": ("x", 77, LOW),
    "exponent too high": ("x_e", 1, 64),
    "exponent of NaN": ("x_e", 1, 128),
    "exponent too low": ("w_e", 2, SIGN),
    "dot": ("y", 7, LOW),
    "dot far off": ("y", 7, SIGN),
    "sum": ("loss", 0, LOW),
    "sum of one term": ("one", 3, LOW),
    "sum of 64 terms": ("sum64", 1, LOW),
    "sum of 65 terms": ("sum65", 1, LOW),
    "sum of 5,000 terms": ("long", 0, LOW),
    "scatter_add": ("back", 5, LOW),
    "scatter_add, row without entries": ("back", 7 * 70 + 3, 0x3F800000),
    "max": ("top", 4, LOW),
    "max, sign": ("top", 4, SIGN),
    "carried log": ("old_log", 0, LOW),
    "log": ("new_log", 1, LOW),
}


@pytest.mark.parametrize("case", CASES)
def test_one_false_element_convicts(arena: Arena, case: str) -> None:
    name, element, xor = CASES[case]
    cheat = Mind(arena.work, Falsehood(STEP, NAMES[name], element, xor))
    assert cheat.root(1) != arena.honest.root(1)
    arena.commit(cheat.root(1))
    before = {player: arena.free(player) for player in ("challenger", "solver", "requester")}
    burned = arena.burned()

    played = arena.play(arena.open(arena.challenger), (cheat.defend, arena.honest.attack))

    verdict = played.event("Resolved")
    assert (verdict["winner"], verdict["loser"]) == (arena.challenger.address, arena.solver.address)
    stake = arena.terms.stake
    half = stake - stake // 2  # rounded up, against the cheat
    assert arena.burned() - burned == half
    assert arena.free("challenger") == before["challenger"] + stake - half
    assert arena.free("solver") == before["solver"]
    assert arena.free("requester") == before["requester"] + PRICE  # nothing had become final
    assert played.reveals <= 12
    assert played.max_gas < 3_000_000


def test_an_operation_is_named_and_both_values_are_shown(arena: Arena) -> None:
    cheat = Mind(arena.work, Falsehood(STEP, NAMES["new_w"], 133))
    arena.commit(cheat.root(1))
    played = arena.play(arena.open(arena.challenger), (cheat.defend, arena.honest.attack))
    judged = played.event("ElementJudged")
    assert (judged["step"], judged["node"], judged["element"]) == (STEP, NAMES["new_w"], 133)
    assert judged["claimed"] == judged["computed"] ^ 1


def test_a_false_term_is_executed(arena: Arena) -> None:
    cheat = Mind(arena.work, Falsehood(STEP, NAMES["y"], 7))
    arena.commit(cheat.root(1))
    played = arena.play(arena.open(arena.challenger), (cheat.defend, arena.honest.attack))
    judged = played.event("TermJudged")
    terms = arena.honest.replay(1).step(STEP).terms(NAMES["y"], 7)
    assert judged["computed"] == terms[judged["k"]] != judged["claimed"]


def test_a_root_of_nothing_convicts(arena: Arena) -> None:
    arena.commit(bytes(31) + b"\x01")
    dispute = arena.open(arena.challenger)
    played = arena.play(dispute, (lambda view: None, arena.honest.attack))
    assert played.event("Resolved")["loser"] == arena.solver.address
    assert arena.free("challenger") > 1_000_000 * 10**18 - BOND
