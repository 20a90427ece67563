"""The dispute game walked to its end: every lie is convicted, every truth acquitted, and the right one paid."""

from __future__ import annotations

import pytest
from web3 import Web3

from offchain.commit.merkle import leaf_hash
from offchain.exec.reference import exponent_keys, exponents, rounded_word, terms
from tests.contracts import runs
from tests.contracts.arena import (
    BOND,
    CLOCK,
    DEMAND,
    Aim,
    Phase,
    Reason,
    World,
    begin,
    events,
    refused,
)
from tests.contracts.runs import Lie, every_kind, lengthy, many, run, tall

ONE, NAN, BIG = 0x3F800000, 0x7FC00000, 0x7F000000
TRAINING, SLASHED = 2, 4
BURNED = 201  # of a bond of 1,001: a fifth, rounded up

JOB = every_kind()
MAX_AIM = Aim(1, runs.MAX, 0, DEMAND)


@pytest.fixture(scope="module")
def world(w3: Web3, artifacts: object) -> World:
    return World.build(w3)


@pytest.fixture(autouse=True)
def _undone(snapshot: None) -> None:
    """Every test starts from the same chain."""


# --- a solver who lied is convicted ------------------------------------------------------------------------------

LIES = {
    "map": (JOB, Lie(1, runs.NEW, 3, ONE), Aim(1, runs.NEW, 3)),
    "map in its second chunk": (JOB, Lie(1, runs.WIDE, 1_500, ONE), Aim(1, runs.WIDE, 1_500)),
    "padding": (JOB, Lie(2, runs.PADDED, 1_031, 1), Aim(2, runs.PADDED, 1_031)),
    "padding of one chunk": (JOB, Lie(2, runs.DOT, 24, 1), Aim(2, runs.DOT, 24)),
    "gather": (JOB, Lie(4, runs.BATCH, 7, ONE), Aim(4, runs.BATCH, 7)),
    "max below a value": (JOB, Lie(3, runs.MAX, 0, 0), Aim(3, runs.MAX, 0, 3)),
    "max below padding": (JOB, Lie(0, runs.MAX, 3, 0xBF800000), Aim(0, runs.MAX, 3, 6)),
    "slot of a node": (JOB, Lie(3, slot=0), Aim(3, slot=0)),
    "slot of the state": (JOB, Lie(3, slot=1), Aim(3, slot=1)),
    "one of many nodes": (many(), Lie(0, 280, 0, ONE), Aim(0, 280, 0)),
    "one of many slots": (many(), Lie(0, slot=299), Aim(0, slot=299)),
    "one of many chunks": (tall(), Lie(0, 0, 264_999, ONE), Aim(0, 0, 264_999)),
    "one of many steps": (lengthy(), Lie(598, 0, 598, ONE), Aim(598, 0, 598)),
}


@pytest.mark.parametrize("case", LIES)
def test_lie_is_convicted(world: World, case: str) -> None:
    job, lie, aim = LIES[case]
    walk = begin(world, aim, lie, job)
    stake = world.market.functions.terms(walk.task).call()[5]
    before = world.free(world.challenger)
    found = events(world, walk.finish())
    assert found["Resolved"] == {
        "id": walk.id, "winner": world.challenger, "loser": world.solver, "reason": Reason.COMPUTED
    }  # fmt: skip
    assert world.status(walk.task) == SLASHED
    assert world.free(world.challenger) == before + BOND + stake // 2
    assert world.holds(walk.task, aim.step // job.interval) == 0


def false_sum(node: int, element: int, k: int, extra: int) -> tuple[Lie, Aim, int]:
    """What an element becomes when one term of it is told wrong."""
    prover = run(JOB).prover(1)
    shape, sources = JOB.graph.nodes[node], prover.sources(node)
    total = int(terms(shape, sources, element).sum()) + extra
    word = rounded_word(shape, exponents(shape, sources, element), total)
    assert word != prover.word(node, element)
    return Lie(1, node, element, word), Aim(1, node, element, k), extra


@pytest.mark.parametrize(
    ("node", "element", "k"),
    [(runs.DOT, 5, 2), (runs.SCATTER, 4, 3), (runs.SUM, 0, 1_234), (runs.SUM, 0, runs.LONG - 1)],
)
def test_false_term_is_convicted(world: World, node: int, element: int, k: int) -> None:
    lie, aim, extra = false_sum(node, element, k, 1 << 40)
    walk = begin(world, aim, lie, extra=extra)
    found = events(world, walk.finish())["TermJudged"]
    assert (found.node, found.element, found.k) == (node, element, k)
    assert found.claimed - found.computed == extra
    assert world.status(walk.task) == SLASHED


def false_exponents(node: int, element: int, *by: int) -> tuple[Lie, tuple[int, ...]]:
    """What an element becomes when its operands are scaled by exponents that lie so far beside the true ones."""
    prover = run(JOB).prover(1)
    shape, sources = JOB.graph.nodes[node], prover.sources(node)
    claimed = tuple(e + far for e, far in zip(exponents(shape, sources, element), by, strict=True))
    word = rounded_word(shape, claimed, int(terms(shape, sources, element, claimed).sum()))
    assert word != prover.word(node, element)
    return Lie(1, node, element, word), claimed


EXPONENTS = {  # the node, its element, how far its exponents are off, and which one is contested
    "dot, too low": (runs.DOT, 5, (-1, 0), 0),
    "dot, the second too low": (runs.DOT, 5, (0, -2), 1),
    "dot, too high": (runs.DOT, 5, (3, 0), 0),
    "dot, the second too high": (runs.DOT, 5, (0, 3), 1),
    "dot, either": (runs.DOT, 5, (-2, 2), 1),
    "sum, too low": (runs.SUM, 0, (-1,), 0),
    "sum, too high": (runs.SUM, 0, (8,), 0),
    "scatter_add, too low": (runs.SCATTER, 4, (-3,), 0),
    "scatter_add, too high": (runs.SCATTER, 4, (6,), 0),
}


@pytest.mark.parametrize("case", EXPONENTS)
def test_false_exponent_is_convicted(world: World, case: str) -> None:
    """Every sum follows from it. An element above it decides; one that reaches it cannot be shown."""
    node, element, by, operand = EXPONENTS[case]
    lie, claimed = false_exponents(node, element, *by)
    shape, sources = JOB.graph.nodes[node], run(JOB).prover(1).sources(node)
    k = int(exponent_keys(shape, sources, element, operand).argmax()) if by[operand] < 0 else DEMAND
    walk = begin(world, Aim(1, node, element, k, operand=operand), lie, claimed=claimed)
    if k == DEMAND:
        move = walk.until(Phase.REVEAL_EXPONENT)
        assert refused(walk, move, "WitnessDiffers")[1] == -1
        world.wait(CLOCK + 1)
        found = events(world, world.send(world.game.functions.timeout(walk.id), world.stranger))
        assert found["Resolved"].reason == Reason.TIMED_OUT
    else:
        found = events(world, walk.finish())
        judged = found["ExponentJudged"]
        assert (judged.step, judged.node, judged.element, judged.operand, judged.k) == (1, node, element, operand, k)
        assert (judged.claimed, judged.order) == (claimed[operand], 1)
        assert found["Resolved"].reason == Reason.COMPUTED
    assert found["Resolved"].winner == world.challenger
    assert world.status(walk.task) == SLASHED


def test_claims_without_an_answer_run_out_of_time(world: World) -> None:
    """A NaN for a finite sum has no partial sums, too high a maximum no witness."""
    for lie, aim, phase, error in (
        (Lie(1, runs.SUM, 0, NAN), Aim(1, runs.SUM, 0, 0), Phase.REVEAL_SUMS, "RoundedDiffers"),
        (Lie(1, runs.MAX, 0, BIG), MAX_AIM, Phase.REVEAL_WITNESS, "WitnessDiffers"),
        (Lie(1, runs.MAX, 0, NAN + 1), MAX_AIM, Phase.REVEAL_WITNESS, "WitnessDiffers"),
    ):
        walk = begin(world, aim, lie)
        refused(walk, walk.until(phase), error)
        world.wait(CLOCK + 1)
        found = events(world, world.send(world.game.functions.timeout(walk.id), world.stranger))
        assert found["Resolved"].reason == Reason.TIMED_OUT
        assert world.status(walk.task) == SLASHED


def test_hash_without_a_preimage_cannot_be_revealed(world: World) -> None:
    """The root of a slot that is no tensor becomes the state before; what the solver shows must still fold to it."""
    walk = begin(world, Aim(4, slot=1), Lie(4, slot=1))
    move = walk.until(Phase.REVEAL_TRACE)
    refused(walk, move, "HashMismatch", a3=leaf_hash(b"another tree"))


# --- a solver who was right is not -------------------------------------------------------------------------------

TRUTHS = {
    "map": (JOB, Aim(1, runs.NEW, 3)),
    "padding": (JOB, Aim(2, runs.PADDED, 1_031)),
    "gather": (JOB, Aim(4, runs.BATCH, 7)),
    "max": (JOB, Aim(1, runs.MAX, 0, 3)),
    "max with a witness": (JOB, MAX_AIM),
    "exponent of a dot": (JOB, Aim(4, runs.DOT, 5, 1, operand=0)),
    "exponent of a dot with a witness": (JOB, Aim(4, runs.DOT, 5, DEMAND, operand=1)),
    "exponent of a sum with a witness": (JOB, Aim(0, runs.SUM, 0, DEMAND, operand=0)),
    "exponent of a scatter_add": (JOB, Aim(1, runs.SCATTER, 4, 3, operand=0)),
    "dot": (JOB, Aim(4, runs.DOT, 5, 1)),
    "sum": (JOB, Aim(1, runs.SUM, 0, 2_099)),
    "scatter_add": (JOB, Aim(1, runs.SCATTER, 4, 3)),
    "slot of a node": (JOB, Aim(3, slot=2)),
    "slot of the state": (JOB, Aim(3, slot=1)),
    "one of many slots": (many(), Aim(0, slot=300)),
    "one of many chunks": (tall(), Aim(0, 0, 3)),
}


@pytest.mark.parametrize("case", TRUTHS)
def test_truth_is_acquitted(world: World, case: str) -> None:
    job, aim = TRUTHS[case]
    walk = begin(world, aim, job=job)
    solver, challenger = world.free(world.solver), world.free(world.challenger)
    burned = world.token.functions.balanceOf(world.vault.functions.BURN_ADDRESS().call()).call()
    found = events(world, walk.finish())
    assert found["Resolved"].winner == world.solver
    assert world.status(walk.task) == TRAINING
    assert world.free(world.challenger) == challenger
    assert world.free(world.solver) == solver + BOND - BURNED
    assert world.token.functions.balanceOf(world.vault.functions.BURN_ADDRESS().call()).call() == burned + BURNED
    assert world.holds(walk.task, aim.step // job.interval) == 0
