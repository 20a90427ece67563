"""Exponents in a dispute: what the solver may claim, who may contest it, and what decides."""

from __future__ import annotations

import pytest

from offchain.exec.reference import exponent_keys
from offchain.market.view import Phase
from tests.support import works
from tests.support.reverts import reverts
from tests.support.walks import DEMAND, Aim, Move, begin, events, refused
from tests.support.works import every_kind
from tests.support.world import World

WORK = every_kind()
DOT_AIM = Aim(1, works.DOT, 5, 1)
FIRST_AIM, SECOND_AIM = DOT_AIM._replace(operand=0), DOT_AIM._replace(k=DEMAND, operand=1)
MAX_AIM = Aim(1, works.MAX, 0, DEMAND)


@pytest.mark.parametrize(
    ("aim", "claimed", "operand"),
    [
        (DOT_AIM, (130, 0), 0),
        (DOT_AIM, (0, 130), 1),
        (DOT_AIM, (-150, 0), 0),
        (DOT_AIM, (0, -(2**15)), 1),
        (DOT_AIM, (2**15 - 1, 0), 0),
        (Aim(1, works.SUM, 0, 70), (0, 1), 1),
        (Aim(1, works.SCATTER, 4, 3), (0, -149), 1),
    ],
)
def test_exponents_that_no_operand_has_are_refused(
    world: World, aim: Aim, claimed: tuple[int, int], operand: int
) -> None:
    walk = begin(world, aim)
    move = walk.until(Phase.REVEAL_SUMS)
    with reverts(world.verifier, "ExponentOutOfRange", operand, claimed[operand]):
        reveal = world.game.functions.revealSums(walk.id, move.args[0], claimed, move.args[2])
        reveal.call({"from": world.solver})
    refused(walk, move, "HashMismatch", a2=b"another node")


def test_sums_must_round_to_the_claim_with_the_claimed_exponents(world: World) -> None:
    walk = begin(world, DOT_AIM)
    move = walk.until(Phase.REVEAL_SUMS)
    first, second = move.args[1]
    for false in ((first + 1, second), (first, second - 1), (129, second)):
        refused(walk, move, "RoundedDiffers", a1=false)
    walk.send(move, a1=(first + 1, second - 1))  # the same scale: for the challenger to contest
    assert walk.state.claim.exponents == [first + 1, second - 1]


def test_exponents_are_claimed_once(world: World) -> None:
    walk = begin(world, Aim(1, works.SUM, 0, 70))
    move = walk.until(Phase.REVEAL_SUMS)
    said = events(world, walk.send(move))["SumsRevealed"]
    assert (tuple(said.exponents), said.sums) == (move.args[1], move.args[0])
    walk.step()
    again = events(world, walk.send(walk.next(), a1=(-7, 7)))["SumsRevealed"]
    assert again.exponents == said.exponents
    assert tuple(walk.state.claim.exponents) == move.args[1]


@pytest.mark.parametrize(
    ("aim", "operand", "scaled"),
    [
        (SECOND_AIM, 2, 2),
        (SECOND_AIM, 255, 2),
        (Aim(1, works.SUM, 0, DEMAND, operand=0), 1, 1),
        (Aim(1, works.SCATTER, 4, DEMAND, operand=0), 1, 1),  # the index, which is not scaled
    ],
)
@pytest.mark.parametrize("k", [0, DEMAND])
def test_only_scaled_operands_have_an_exponent(world: World, aim: Aim, operand: int, scaled: int, k: int) -> None:
    """The solver could not answer for any other."""
    walk = begin(world, aim)
    refused(walk, walk.until(Phase.NAME_SUM), "OperandOutOfRange", operand, scaled, a0=operand, a1=k)


def test_a_counter_example_opens_its_operand_and_nothing_else(world: World) -> None:
    walk = begin(world, FIRST_AIM)
    move = walk.until(Phase.NAME_SUM)
    name, by = world.game.functions.nameExponent, {"from": world.challenger, "gas": 3_000_000}
    encoding, openings = move.args[2:]
    _, [second] = walk.evidence(walk.state, 1, (1,))
    for false in ([], [*openings, second]):
        with reverts(world.verifier, "OpeningCount", 1, len(false)):
            name(walk.id, 0, 1, encoding, false).call(by)
    for operand, of_the_other in ((0, [second]), (1, openings)):  # one lies in the nodes tree, one in the state
        with reverts(world.verifier, "ProofLength"):
            name(walk.id, operand, 1, encoding, of_the_other).call(by)
    with reverts(world.verifier, "ExtentOutOfRange", 3, 3):
        name(walk.id, 0, 3, encoding, openings).call(by)


def test_exponents_are_contested_while_sums_stand_revealed_and_once(world: World) -> None:
    walk = begin(world, SECOND_AIM)
    name = Move("nameExponent", [1, DEMAND, b"", []], world.challenger)
    refused(walk, walk.until(Phase.REVEAL_SUMS) and name, "WrongPhase", Phase.NAME_SUM, Phase.REVEAL_SUMS)
    walk.step()
    show = Move("revealExponent", [0, b"", []], world.solver)
    refused(walk, show, "WrongPhase", Phase.REVEAL_EXPONENT, Phase.NAME_SUM)
    said = events(world, walk.send(name))["ExponentNamed"]
    assert (said.operand, said.exponent) == (1, walk.state.claim.exponents[1])
    refused(walk, name, "WrongPhase", Phase.NAME_SUM, Phase.REVEAL_EXPONENT)
    other = begin(world, MAX_AIM)
    other.until(Phase.REVEAL_WITNESS)
    refused(other, show, "WrongPhase", Phase.REVEAL_EXPONENT, Phase.REVEAL_WITNESS)


def test_a_witness_reaches_the_contested_exponent(world: World) -> None:
    """Another element's exponent is below it, another operand's is none."""
    walk = begin(world, SECOND_AIM)
    move = walk.until(Phase.REVEAL_EXPONENT)
    node, sources = WORK.graph.nodes[works.DOT], walk.told.prover(1).sources(works.DOT)
    keys = exponent_keys(node, sources, 5, 1)
    low = int(keys.argmin())
    assert keys[low] < keys.max()
    encoding, openings = walk.evidence(walk.state, low, (1,))
    refused(walk, move, "WitnessDiffers", low, -1, a0=low, a2=openings)
    by = {"from": world.solver, "gas": 3_000_000}
    with reverts(world.verifier, "ProofLength"):
        first = walk.evidence(walk.state, move.args[0], (0,))[1]
        world.game.functions.revealExponent(walk.id, move.args[0], encoding, first).call(by)
    judged = events(world, walk.send(move))["ExponentJudged"]
    assert (judged.operand, judged.k, judged.claimed, judged.order) == (1, move.args[0], keys.max(), 0)
