"""The dispute game walked to its end: every lie is convicted, every truth acquitted, and the right one paid."""

from __future__ import annotations

import pytest

from offchain.commit.merkle import leaf_hash
from offchain.exec.reference import exponent_keys, exponents, rounded_word, terms
from offchain.market.view import Phase, Status
from tests.support import works
from tests.support.runs import Lie, run
from tests.support.tasks import BOND, BURNED, CLOCK, proof
from tests.support.walks import DEMAND, Aim, Reason, begin, events, refused
from tests.support.works import every_kind, lengthy, many, tall
from tests.support.world import World

ONE, NAN, BIG = 0x3F800000, 0x7FC00000, 0x7F000000

WORK = every_kind()
MAX_AIM = Aim(1, works.MAX, 0, DEMAND)


# --- a solver who lied is convicted ------------------------------------------------------------------------------

LIES = {
    "map": (WORK, Lie(1, works.NEW, 3, ONE), Aim(1, works.NEW, 3)),
    "map in its second chunk": (WORK, Lie(1, works.WIDE, 1_500, ONE), Aim(1, works.WIDE, 1_500)),
    "padding": (WORK, Lie(2, works.PADDED, 1_031, 1), Aim(2, works.PADDED, 1_031)),
    "padding of one chunk": (WORK, Lie(2, works.DOT, 24, 1), Aim(2, works.DOT, 24)),
    "gather": (WORK, Lie(4, works.BATCH, 7, ONE), Aim(4, works.BATCH, 7)),
    "max below a value": (WORK, Lie(3, works.MAX, 0, 0), Aim(3, works.MAX, 0, 3)),
    "max below padding": (WORK, Lie(0, works.MAX, 3, 0xBF800000), Aim(0, works.MAX, 3, 6)),
    "slot of a node": (WORK, Lie(3, slot=0), Aim(3, slot=0)),
    "slot of the state": (WORK, Lie(3, slot=1), Aim(3, slot=1)),
    "one of many nodes": (many(), Lie(0, 280, 0, ONE), Aim(0, 280, 0)),
    "one of many slots": (many(), Lie(0, slot=299), Aim(0, slot=299)),
    "one of many chunks": (tall(), Lie(0, 0, 264_999, ONE), Aim(0, 0, 264_999)),
    "one of many steps": (lengthy(), Lie(598, 0, 598, ONE), Aim(598, 0, 598)),
}


@pytest.mark.parametrize("case", LIES)
def test_lie_is_convicted(world: World, case: str) -> None:
    work, lie, aim = LIES[case]
    walk = begin(world, aim, lie, work)
    stake = world.market.functions.terms(walk.task).call()[7]
    before = world.free("challenger")
    found = events(world, walk.finish())
    assert found["Resolved"] == {
        "id": walk.id, "winner": world.challenger, "loser": world.solver, "reason": Reason.COMPUTED
    }  # fmt: skip
    assert world.status(walk.task) == Status.SLASHED
    assert world.free("challenger") == before + BOND + proof(stake)
    assert world.holds(walk.task, aim.step // work.interval) == 0


def false_sum(node: int, element: int, k: int, extra: int) -> tuple[Lie, Aim, int]:
    """What an element becomes when one term of it is told wrong."""
    prover = run(WORK).prover(1)
    shape, sources = WORK.graph.nodes[node], prover.sources(node)
    total = int(terms(shape, sources, element).sum()) + extra
    word = rounded_word(shape, exponents(shape, sources, element), total)
    assert word != prover.word(node, element)
    return Lie(1, node, element, word), Aim(1, node, element, k), extra


@pytest.mark.parametrize(
    ("node", "element", "k"),
    [(works.DOT, 5, 2), (works.SCATTER, 4, 3), (works.SUM, 0, 1_234), (works.SUM, 0, works.LONG - 1)],
)
def test_false_term_is_convicted(world: World, node: int, element: int, k: int) -> None:
    lie, aim, extra = false_sum(node, element, k, 1 << 40)
    walk = begin(world, aim, lie, extra=extra)
    found = events(world, walk.finish())["TermJudged"]
    assert (found.node, found.element, found.k) == (node, element, k)
    assert found.claimed - found.computed == extra
    assert world.status(walk.task) == Status.SLASHED


def false_exponents(node: int, element: int, *by: int) -> tuple[Lie, tuple[int, ...]]:
    """What an element becomes when its operands are scaled by exponents that lie so far beside the true ones."""
    prover = run(WORK).prover(1)
    shape, sources = WORK.graph.nodes[node], prover.sources(node)
    claimed = tuple(e + far for e, far in zip(exponents(shape, sources, element), by, strict=True))
    word = rounded_word(shape, claimed, int(terms(shape, sources, element, claimed).sum()))
    assert word != prover.word(node, element)
    return Lie(1, node, element, word), claimed


EXPONENTS = {  # the node, its element, how far its exponents are off, and which one is contested
    "dot, too low": (works.DOT, 5, (-1, 0), 0),
    "dot, the second too low": (works.DOT, 5, (0, -2), 1),
    "dot, too high": (works.DOT, 5, (3, 0), 0),
    "dot, the second too high": (works.DOT, 5, (0, 3), 1),
    "dot, either": (works.DOT, 5, (-2, 2), 1),
    "sum, too low": (works.SUM, 0, (-1,), 0),
    "sum, too high": (works.SUM, 0, (8,), 0),
    "scatter_add, too low": (works.SCATTER, 4, (-3,), 0),
    "scatter_add, too high": (works.SCATTER, 4, (6,), 0),
}


@pytest.mark.parametrize("case", EXPONENTS)
def test_false_exponent_is_convicted(world: World, case: str) -> None:
    """Every sum follows from it. An element above it decides; one that reaches it cannot be shown."""
    node, element, by, operand = EXPONENTS[case]
    lie, claimed = false_exponents(node, element, *by)
    shape, sources = WORK.graph.nodes[node], run(WORK).prover(1).sources(node)
    k = int(exponent_keys(shape, sources, element, operand).argmax()) if by[operand] < 0 else DEMAND
    walk = begin(world, Aim(1, node, element, k, operand=operand), lie, claimed=claimed)
    if k == DEMAND:
        move = walk.until(Phase.REVEAL_EXPONENT)
        assert refused(walk, move, "WitnessDiffers")[1] == -1
        world.clock.travel(CLOCK + 1)
        found = events(world, world.send(world.game.functions.timeout(walk.id), world.stranger))
        assert found["Resolved"].reason == Reason.TIMED_OUT
    else:
        found = events(world, walk.finish())
        judged = found["ExponentJudged"]
        assert (judged.step, judged.node, judged.element, judged.operand, judged.k) == (1, node, element, operand, k)
        assert (judged.claimed, judged.order) == (claimed[operand], 1)
        assert found["Resolved"].reason == Reason.COMPUTED
    assert found["Resolved"].winner == world.challenger
    assert world.status(walk.task) == Status.SLASHED


def test_claims_without_an_answer_run_out_of_time(world: World) -> None:
    """A NaN for a finite sum has no partial sums, too high a maximum no witness."""
    for lie, aim, phase, error in (
        (Lie(1, works.SUM, 0, NAN), Aim(1, works.SUM, 0, 0), Phase.REVEAL_SUMS, "RoundedDiffers"),
        (Lie(1, works.MAX, 0, BIG), MAX_AIM, Phase.REVEAL_WITNESS, "WitnessDiffers"),
        (Lie(1, works.MAX, 0, NAN + 1), MAX_AIM, Phase.REVEAL_WITNESS, "WitnessDiffers"),
    ):
        walk = begin(world, aim, lie)
        refused(walk, walk.until(phase), error)
        world.clock.travel(CLOCK + 1)
        found = events(world, world.send(world.game.functions.timeout(walk.id), world.stranger))
        assert found["Resolved"].reason == Reason.TIMED_OUT
        assert world.status(walk.task) == Status.SLASHED


def test_hash_without_a_preimage_cannot_be_revealed(world: World) -> None:
    """The root of a slot that is no tensor becomes the state before; what the solver shows must still fold to it."""
    walk = begin(world, Aim(4, slot=1), Lie(4, slot=1))
    move = walk.until(Phase.REVEAL_TRACE)
    refused(walk, move, "HashMismatch", a3=leaf_hash(b"another tree"))


# --- a solver who was right is not -------------------------------------------------------------------------------

TRUTHS = {
    "map": (WORK, Aim(1, works.NEW, 3)),
    "padding": (WORK, Aim(2, works.PADDED, 1_031)),
    "gather": (WORK, Aim(4, works.BATCH, 7)),
    "max": (WORK, Aim(1, works.MAX, 0, 3)),
    "max with a witness": (WORK, MAX_AIM),
    "exponent of a dot": (WORK, Aim(4, works.DOT, 5, 1, operand=0)),
    "exponent of a dot with a witness": (WORK, Aim(4, works.DOT, 5, DEMAND, operand=1)),
    "exponent of a sum with a witness": (WORK, Aim(0, works.SUM, 0, DEMAND, operand=0)),
    "exponent of a scatter_add": (WORK, Aim(1, works.SCATTER, 4, 3, operand=0)),
    "dot": (WORK, Aim(4, works.DOT, 5, 1)),
    "sum": (WORK, Aim(1, works.SUM, 0, 2_099)),
    "scatter_add": (WORK, Aim(1, works.SCATTER, 4, 3)),
    "slot of a node": (WORK, Aim(3, slot=2)),
    "slot of the state": (WORK, Aim(3, slot=1)),
    "one of many slots": (many(), Aim(0, slot=300)),
    "one of many chunks": (tall(), Aim(0, 0, 3)),
}


@pytest.mark.parametrize("case", TRUTHS)
def test_truth_is_acquitted(world: World, case: str) -> None:
    work, aim = TRUTHS[case]
    walk = begin(world, aim, work=work)
    solver, challenger = world.free("solver"), world.free("challenger")
    burned = world.burned()
    found = events(world, walk.finish())
    assert found["Resolved"].winner == world.solver
    assert world.status(walk.task) == Status.TRAINING
    assert world.free("challenger") == challenger
    assert world.free("solver") == solver + BOND - BURNED
    assert world.burned() == burned + BURNED
    assert world.holds(walk.task, aim.step // work.interval) == 0
