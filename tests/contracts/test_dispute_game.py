"""The dispute game: how it is opened, what every move refuses, and how it ends."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from eth_abi.abi import encode
from eth_utils.crypto import keccak
from web3.exceptions import Web3RPCError

from offchain.market.view import Phase, Status, TreeName
from tests.support import works
from tests.support.deployment import PARAMETERS
from tests.support.reverts import reverts
from tests.support.runs import Lie, run
from tests.support.tasks import BOND, CLOCK, WINDOW
from tests.support.walks import DEMAND, Aim, Reason, Walk, begin, events, header, refused, trained
from tests.support.works import Work, every_kind, many
from tests.support.world import World

ONE = 0x3F800000

WORK = every_kind()
DOT_LIE, DOT_AIM = Lie(4, works.DOT, 5, ONE), Aim(4, works.DOT, 5, 1)
MAX_AIM = Aim(1, works.MAX, 0, DEMAND)
FIRST_AIM, SECOND_AIM = Aim(4, works.DOT, 5, 1, operand=0), Aim(4, works.DOT, 5, DEMAND, operand=1)


# --- opening -----------------------------------------------------------------------------------------------------


def test_open(world: World) -> None:
    told = run(WORK)
    task, before = trained(world, told), world.free("challenger")
    walk = Walk(world, told, DOT_AIM, task).open()
    d = walk.state
    assert (d.taskId, d.checkpoint, d.challenger, d.solver) == (task, 1, world.challenger, world.solver)
    assert (d.phase, d.lo, d.hi) == (Phase.REVEAL_STEPS, 3, 5)  # the last interval is shorter
    assert (d.conceded, d.claimed) == (told.state_root(3), told.state_root(5))
    assert world.free("challenger") == before - BOND
    pot = keccak(encode(["uint256", "uint32", "address"], [task, 1, world.challenger]))
    assert world.vault.functions.potOf(world.game.address, pot).call() == BOND
    assert world.holds(task, 1) == 1
    mover, deadline = world.game.functions.onMove(walk.id).call()
    assert (mover, deadline) == (world.solver, world.w3.eth.get_block("latest")["timestamp"] + CLOCK)


def test_open_refuses(world: World) -> None:
    task, game = trained(world, run(WORK), checkpoints=1), world.game
    right, root = header(WORK), run(WORK).state_root(3)
    by = {"from": world.challenger, "gas": 3_000_000}
    with reverts(world.market, "WrongStatus", 99, Status.TRAINING, Status.NONE):
        game.functions.open(99, 0, root, right).call(by)
    with reverts(game, "SelfChallenge", world.solver.lower()):
        game.functions.open(task, 0, root, right).call({"from": world.solver})
    with reverts(game, "HashMismatch"):
        game.functions.open(task, 0, root, (right[0] + 1, *right[1:])).call(by)
    with reverts(game, "OtherRoot", root, bytes(32)):
        game.functions.open(task, 0, bytes(32), right).call(by)
    with reverts(world.log, "UnknownCheckpoint", task, 1):
        game.functions.open(task, 1, root, right).call(by)
    with reverts(world.vault, "InsufficientFree"):
        game.functions.open(task, 0, root, right).call({"from": world.w3.eth.accounts[7]})
    world.clock.travel(WINDOW + 1)
    with reverts(world.log, "WindowClosed"):
        game.functions.open(task, 0, root, right).call(by)


def test_interval_of_one_step_begins_with_its_trace(world: World) -> None:
    assert begin(world, Aim(0, 3, 0), work=many()).phase is Phase.REVEAL_TRACE


# --- every move: its refusals ------------------------------------------------------------------------------------

JUNK = b"\x11" * 32
MOVES: dict[str, tuple[Work, Aim, Phase, dict[str, Any], str]] = {
    # verb: a walk that comes to it, the phase, a false argument, and how it is refused
    "revealSteps": (WORK, DOT_AIM, Phase.REVEAL_STEPS, {"a0": [JUNK, JUNK]}, "HashMismatch"),
    "nameStep": (WORK, DOT_AIM, Phase.NAME_STEP, {"a1": JUNK}, "HashMismatch"),
    "revealTrace": (WORK, DOT_AIM, Phase.REVEAL_TRACE, {"a1": JUNK}, "HashMismatch"),
    "nameSubtree": (many(), Aim(0, 280, 0), Phase.NAME_TRACE, {"a2": JUNK}, "HashMismatch"),
    "revealChildren": (many(), Aim(0, 280, 0), Phase.REVEAL_CHILDREN, {"a0": [JUNK] * 3}, "ChildrenCount"),
    "nameNode": (WORK, DOT_AIM, Phase.NAME_TRACE, {"a4": [JUNK] * 4}, "ProofLength"),
    "nameSlot": (WORK, Aim(3, slot=0), Phase.NAME_TRACE, {"a5": JUNK}, "HashMismatch"),
    "revealChunks": (WORK, Aim(2, works.WIDE, 5), Phase.REVEAL_CHUNKS, {"a0": JUNK}, "HashMismatch"),
    "nameChunk": (WORK, Aim(2, works.WIDE, 5), Phase.NAME_CHILD, {"a1": JUNK}, "HashMismatch"),
    "revealChunk": (WORK, DOT_AIM, Phase.REVEAL_CHUNK, {"a0": bytes(4_096)}, "HashMismatch"),
    "nameElement": (WORK, DOT_AIM, Phase.NAME_ELEMENT, {"a0": 1_024}, "ElementOutsideChunk"),
    "revealWitness": (WORK, MAX_AIM, Phase.REVEAL_WITNESS, {"a1": b"no node"}, "HashMismatch"),
    "revealSums": (WORK, DOT_AIM, Phase.REVEAL_SUMS, {"a0": [1, 2]}, "SumCount"),
    "nameSum": (WORK, Aim(1, works.SUM, 0, 70), Phase.NAME_SUM, {"a1": [0] * 64}, "HashMismatch"),
    "proveTerm": (WORK, DOT_AIM, Phase.NAME_SUM, {"a1": [1, 2, 3]}, "HashMismatch"),
    "nameExponent": (WORK, FIRST_AIM, Phase.NAME_SUM, {"a2": b"no node"}, "HashMismatch"),
    "revealExponent": (WORK, SECOND_AIM, Phase.REVEAL_EXPONENT, {"a1": b"no node"}, "HashMismatch"),
}
ALIASES = {Phase.NAME_TRACE: Phase.NAME_CHILD}  # what a naming move says that it expects


@pytest.mark.parametrize("verb", MOVES)
def test_move_is_refused(world: World, verb: str) -> None:
    """With a false argument, from anybody else, too late, and in another phase."""
    work, aim, phase, false, error = MOVES[verb]
    walk = begin(world, aim, work=work)
    move = walk.until(phase)
    assert move.verb == verb
    refused(walk, move, error, **false)
    other = world.challenger if move.by == world.solver else world.solver
    refused(walk, move, "WrongTurn", move.by.lower(), other.lower(), by=other)
    world.clock.travel(CLOCK + 1)
    left, elapsed = refused(walk, move, "ClockExpired")
    assert left <= CLOCK < elapsed
    world.send(world.game.functions.timeout(walk.id), world.stranger)
    refused(walk, move, "WrongPhase", ALIASES.get(phase, phase), Phase.RESOLVED)


def test_move_is_refused_where_there_is_no_dispute(world: World) -> None:
    with reverts(world.game, "WrongPhase", Phase.REVEAL_STEPS, Phase.NONE):
        world.game.functions.revealSteps(77, []).call()


def test_reveals_are_whole(world: World) -> None:
    """Neither a root too few, a child too many, nor a chunk cut short."""
    walk = begin(world, Aim(2, works.WIDE, 5))
    move = walk.until(Phase.REVEAL_STEPS)
    refused(walk, move, "RootCount", 3, 2, a0=move.args[0][1:])
    move = walk.until(Phase.REVEAL_TRACE)
    refused(walk, move, "ChildrenCount", 10, 11, a2=[*move.args[2], JUNK])
    refused(walk, move, "ChildrenCount", 3, 2, a4=move.args[4][1:])
    refused(walk, move, "HashMismatch", a0=JUNK)
    move = walk.until(Phase.REVEAL_CHUNK)
    refused(walk, move, "ChunkSize", 4_096, 4_095, a0=move.args[0][1:])


def test_names_stay_below_what_is_revealed(world: World) -> None:
    walk = begin(world, DOT_AIM)
    refused(walk, walk.until(Phase.NAME_TRACE), "IndexOutOfRange", 10, 10, a0=10)
    walk = begin(world, Aim(0, 280, 0), work=many())
    move = walk.until(Phase.NAME_TRACE)
    refused(walk, move, "WrongTree", TreeName.NODES, TreeName.CHUNKS, a0=TreeName.CHUNKS)
    refused(walk, move, "IndexOutOfRange", 19, 19, a1=19)
    walk.step()  # the group of nodes 272 to 287
    move = walk.until(Phase.NAME_CHILD)
    refused(walk, move, "OutsidePosition", 271, 0, 17, 1, a0=271)
    refused(walk, move, "HashMismatch", a3=b"another node")
    slot = Walk(world, walk.told, Aim(0, slot=280), walk.task, walk.id)
    refused(walk, slot.next(), "WrongTree", TreeName.NODES, TreeName.SLOTS)


def test_subtree_is_refused_where_the_leaves_are_revealed(world: World) -> None:
    walk = begin(world, DOT_AIM)
    walk.until(Phase.NAME_TRACE)
    with reverts(world.game, "LeavesRevealed", 1):
        world.game.functions.nameSubtree(walk.id, TreeName.NODES, 0, JUNK, []).call({"from": world.challenger})


def test_openings_must_stand_in_the_committed_trees(world: World) -> None:
    walk = begin(world, Aim(1, works.NEW, 3), Lie(1, works.NEW, 3, ONE))
    move = walk.until(Phase.NAME_ELEMENT)
    first, second = move.args[4]
    by = {"from": world.challenger, "gas": 3_000_000}
    forged = first._replace(chunk=first.chunk[::-1])
    with reverts(world.verifier, "OpeningMismatch", 0):
        world.game.functions.nameElement(walk.id, *move.args[:4], [forged, second]).call(by)
    with reverts(world.verifier, "OpeningCount"):
        world.game.functions.nameElement(walk.id, *move.args[:4], [first]).call(by)


def test_sums_must_add_up(world: World) -> None:
    walk = begin(world, Aim(1, works.SUM, 0, 70))
    move = walk.until(Phase.REVEAL_SUMS)
    sums = move.args[0]
    refused(walk, move, "RoundedDiffers", a0=[1 << 62, *sums[1:]])
    wide = bytearray(bytes.fromhex(world.game.encode_abi("revealSums", [walk.id, *move.args])[2:]))
    at = wide.index(sums[5].to_bytes(32, "big", signed=True))
    wide[at : at + 32] = (1 << 63).to_bytes(32)  # no int64
    raw = {"from": world.solver, "to": world.game.address, "data": "0x" + wide.hex(), "gas": 3_000_000}
    with pytest.raises(Web3RPCError, match="revert"):
        world.w3.eth.call(raw)
    walk.step()
    move = walk.next()
    refused(walk, move, "SumOutOfRange", 64, 64, a0=64)
    walk.step()
    move = walk.next()
    refused(walk, move, "SumDiffers", a0=[*move.args[0][1:], move.args[0][0] + 1])
    walk.step()
    single = [walk.next().args[0], walk.next().args[1]]
    with reverts(world.game, "TermCount", single[0], 1):
        world.game.functions.nameSum(walk.id, *single).call({"from": world.challenger})


def test_term_is_refused_while_a_piece_has_many(world: World) -> None:
    walk = begin(world, Aim(1, works.SUM, 0, 70))
    move = walk.until(Phase.NAME_SUM)
    with reverts(world.game, "TermCount", 2, 33):
        world.game.functions.proveTerm(walk.id, 2, move.args[1], b"", []).call({"from": world.challenger})


# --- what each move says -----------------------------------------------------------------------------------------


def test_events_carry_what_the_other_side_needs(world: World) -> None:
    walk = begin(world, Aim(1, works.WIDE, 1_500))
    said: dict[str, Any] = {}
    while walk.phase is not Phase.RESOLVED:
        move = walk.next()
        said |= {name: (args, move) for name, args in events(world, walk.send(move)).items()}
    told = walk.told
    args, move = said["StepsRevealed"]
    assert (args.lo, args.hi, args.roots) == (0, 3, move.args[0])
    args, _ = said["StepNamed"]
    assert (args.lo, args.hi, args.conceded, args.claimed) == (1, 2, told.state_root(1), told.state_root(2))
    args, move = said["TraceRevealed"]
    assert [args.step, args.nodeChildren, args.slotChildren] == [1, move.args[2], move.args[4]]
    assert (said["NodeNamed"][0].node, said["NodeNamed"][0].root) == (works.WIDE, told.node_roots[1][works.WIDE])
    args, move = said["ChunksRevealed"]
    assert [args.step, args.node, args.children] == [1, works.WIDE, move.args[1]]
    assert (said["ChunkNamed"][0].index, said["ChunkNamed"][0].hash) == (1, args.children[1])
    assert said["ChunkRevealed"][0].chunk == told.chunks(1, works.WIDE)[1]
    args, _ = said["ElementJudged"]
    assert (args.step, args.node, args.element, args.claimed) == (1, works.WIDE, 1_500, args.computed)
    assert args.claimed == told.prover(1).word(works.WIDE, 1_500)


# --- clocks ------------------------------------------------------------------------------------------------------


def test_timeout(world: World) -> None:
    """Each party has its own clock, which runs only while it is on the move."""
    walk = begin(world, DOT_AIM)
    timeout = world.game.functions.timeout(walk.id)
    with reverts(world.game, "ClockRunning"):
        timeout.call()
    world.clock.travel(CLOCK // 2)
    walk.step()
    world.clock.travel(CLOCK - 10)
    walk.step()
    world.clock.travel(CLOCK // 2 - 10)
    with reverts(world.game, "ClockRunning"):
        timeout.call()
    world.clock.travel(20)
    before = world.free("challenger")
    found = events(world, world.send(timeout, world.stranger))["Resolved"]
    assert (found.winner, found.reason) == (world.challenger, Reason.TIMED_OUT)
    assert world.status(walk.task) == Status.SLASHED
    assert world.free("challenger") > before


def test_timeout_of_the_challenger(world: World) -> None:
    walk = begin(world, DOT_AIM)
    walk.step()
    world.clock.travel(CLOCK + 1)
    found = events(world, world.send(world.game.functions.timeout(walk.id), world.stranger))["Resolved"]
    assert (found.winner, found.loser) == (world.solver, world.challenger)
    assert world.status(walk.task) == Status.TRAINING
    with reverts(world.game, "NotRunning", Phase.RESOLVED):
        world.game.functions.timeout(walk.id).call()


# --- ends without a walk -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("solver_gives_up", [True, False])
def test_concede(world: World, solver_gives_up: bool) -> None:
    walk = begin(world, DOT_AIM)
    loser, winner = (world.solver, world.challenger)[:: 1 if solver_gives_up else -1]
    concede = world.game.functions.concede(walk.id)
    with reverts(world.game, "NotAParty", walk.id, world.stranger.lower()):
        concede.call({"from": world.stranger})
    found = events(world, world.send(concede, loser))["Resolved"]
    assert (found.winner, found.loser, found.reason) == (winner, loser, Reason.CONCEDED)
    assert world.status(walk.task) == (Status.SLASHED if solver_gives_up else Status.TRAINING)
    with reverts(world.game, "NotRunning", Phase.RESOLVED):
        concede.call({"from": loser})


def test_disputes_run_side_by_side(world: World) -> None:
    """One who challenges the wrong thing loses, one who challenges the lie wins, and neither waits for the other."""
    told = run(WORK, DOT_LIE)
    task = trained(world, told)
    false = Walk(world, told, Aim(0, works.NEW, 3), task).open(world.stranger)
    right = Walk(world, told, Aim(4, works.DOT, 5, 1), task).open()
    assert (world.holds(task, 0), world.holds(task, 1)) == (1, 1)
    right.step()
    assert events(world, false.finish())["Resolved"].winner == world.solver
    assert (world.holds(task, 0), world.holds(task, 1)) == (0, 1)
    right.until(Phase.REVEAL_SUMS)
    world.clock.travel(2 * CLOCK)  # no sums round to the lie, and two disputes gave a clock and a quarter
    world.send(world.game.functions.timeout(right.id), world.stranger)
    assert world.status(task) == Status.SLASHED


@pytest.fixture
def second(world: World) -> Iterator[Walk]:
    """A dispute about a task whose solver another dispute has just convicted."""
    told = run(WORK, DOT_LIE)
    task = trained(world, told)
    walk = Walk(world, told, Aim(4, works.DOT, 5, 1), task).open(world.stranger)
    walk.step()
    first = Walk(world, told, DOT_AIM, task).open()
    with reverts(world.game, "StillTraining", task):
        world.game.functions.dismiss(walk.id).call()
    world.send(world.game.functions.concede(first.id), world.solver)
    assert world.status(task) == Status.SLASHED
    return walk


def test_dismiss(world: World, second: Walk) -> None:
    before = world.free("stranger")
    found = events(world, world.send(world.game.functions.dismiss(second.id), world.requester))
    assert list(found) == ["Dismissed", "Rewarded"]
    assert world.free("stranger") == before + BOND + PARAMETERS.bounty
    assert world.holds(second.task, 1) == 0
    with reverts(world.game, "NotRunning", Phase.RESOLVED):
        world.game.functions.dismiss(second.id).call()


def test_verdict_after_a_conviction_elsewhere_costs_nobody(world: World, second: Walk) -> None:
    """The challenger's time is up, but the task is over: its bond may not go to a convicted solver."""
    before, solver = world.free("stranger"), world.free("solver")
    world.clock.travel(CLOCK + 1)
    found = events(world, world.send(world.game.functions.timeout(second.id), world.solver))
    assert list(found) == ["Dismissed", "Rewarded"]
    assert (world.free("stranger"), world.free("solver")) == (before + BOND + PARAMETERS.bounty, solver)


def test_open_is_refused_after_a_conviction(world: World, second: Walk) -> None:
    with reverts(world.market, "WrongStatus", second.task, Status.TRAINING, Status.SLASHED):
        world.game.functions.open(second.task, 1, bytes(32), header(WORK)).call({"from": world.challenger})


def test_paid_only_after_the_dispute(world: World) -> None:
    walk = begin(world, DOT_AIM)
    world.close_windows(walk.task)
    collect = world.market.functions.collect(walk.task)
    world.send(collect, world.stranger)  # the first interval, which nobody disputes
    with reverts(world.market, "NothingFinal", walk.task, 1):
        collect.call()
    world.send(world.game.functions.concede(walk.id), world.challenger)
    world.send(collect, world.stranger)
    assert world.status(walk.task) == Status.COMPLETED
