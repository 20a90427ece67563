"""What becomes of checkpoints that the first committee does not show to be available, or that one of it denies."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest

from offchain.chain import keepers, verifiers
from offchain.commit.shown import ShownChunk
from offchain.market.keeping import GRANTED, Denial
from offchain.market.view import Status
from tests.contracts.conftest import GasSnapshot
from tests.support.deployment import PARAMETERS
from tests.support.keeping import Sitting, several, sit
from tests.support.reverts import reverts
from tests.support.vouching import STAKES, Ended
from tests.support.world import World

WINDOW = PARAMETERS.challenge_window
BOND = PARAMETERS.audit_bond
LONG = {"interval_time": 10_000}
PATIENT = LONG | {"handover_time": 10_000}


def functions(sitting: Sitting) -> Any:
    return sitting.world.contract("keepers").functions


def recalled(sitting: Sitting) -> Sitting:
    """Nobody shows that the checkpoint is available: the second committee."""
    sitting.world.close_windows(sitting.task)
    keepers.recall(sitting.world.quick("requester"), sitting.task)
    return Sitting.of(sitting.world, sitting.task, "requester")


def objecting(sitting: Sitting, name: str, checkpoint: int = 0, place: int | None = None) -> Any:
    members = [member.encoded() for member in sitting.members]
    return functions(sitting).object(sitting.task, checkpoint, members, sitting.place(name) if place is None else place)


def objected(sitting: Sitting, name: str, checkpoint: int = 0) -> Sitting:
    keepers.object_to(sitting.world.quick(name), sitting.task, checkpoint, sitting.members, sitting.place(name))
    return Sitting.of(sitting.world, sitting.task, "requester")


def lose(sitting: Sitting) -> None:
    """The second committee's time passes as well, and somebody ends the attempt."""
    sitting.world.close_windows(sitting.task)
    sitting.world.clock.travel(WINDOW + 1)
    sitting.world.send(sitting.world.market.functions.stall(sitting.task), sitting.world.requester)


def test_a_second_committee_is_called_when_time_is_over(kept: Sitting) -> None:
    world = kept.world
    with reverts(world.contract("keepers"), "WindowOpen"):
        world.ask(functions(kept).recall(kept.task))
    second = recalled(kept)
    state = keepers.keeping(world.quick("solver"), kept.task, 0)
    assert (second.committee, state.kept, state.start) == (1, 0, 0)
    with reverts(world.contract("keepers"), "AlreadyCalled", kept.task, 0):
        world.ask(functions(kept).recall(kept.task))
    with reverts(world.contract("keepers"), "AlreadySeated", kept.task, 0, 1):
        world.ask(functions(kept).seat(kept.task, 3))
    second.attest(second.quorum(), 0)
    assert keepers.keeping(world.quick("solver"), kept.task, 0).available == 1


def test_the_first_committee_counts_no_more(kept: Sitting) -> None:
    world = kept.world
    second = recalled(kept)
    old = second.signed(second.quorum(), 0, committee=0)
    with reverts(world.contract("keepers"), "WrongSignature"):
        world.ask(second.attesting(old, 0))
    if kept.members != second.members:
        with reverts(world.contract("keepers"), "OtherMembers"):
            world.ask(kept.attesting(kept.signed(kept.quorum(), 0), 0))


def test_nothing_is_recalled_that_is_available_or_not_committed(kept: Sitting) -> None:
    world = kept.world
    kept.attest(kept.quorum(), 0)
    world.clock.travel(10 * WINDOW)
    with reverts(world.contract("keepers"), "NothingMissing", kept.task, 1):
        world.ask(functions(kept).recall(kept.task))


def test_the_second_committee_sits_in_a_later_block(kept: Sitting) -> None:
    """Its randomness is the hash of the block of the call, which its caller can't know."""
    world = kept.world
    world.close_windows(kept.task)
    recall, seat = (functions(kept).recall(kept.task), functions(kept).seat(kept.task, 3))
    sender = {"from": world.requester, "gas": 12_000_000, "gasPrice": 10**10}
    sent = [call.transact(sender) for call in (recall, seat)]
    world.clock.tick()
    assert [world.w3.eth.get_transaction_receipt(digest)["status"] for digest in sent] == [1, 0]
    world.clock.travel(1)
    first = keepers.drawn(world.quick("solver"), kept.task)
    for _ in range(3):
        world.clock.travel(1)
    assert keepers.drawn(world.quick("stranger"), kept.task) == first  # it does not depend on when it is asked for
    for _ in range(256):
        world.clock.travel(1)
    assert Sitting.of(world, kept.task).committee == 1  # of the latest randomness


def test_what_no_committee_can_have_is_lost_and_the_solver_has_stalled(kept: Sitting) -> None:
    world = kept.world
    stall = world.market.functions.stall(kept.task)
    with reverts(world.market, "NotStalled"):
        world.ask(stall)
    recalled(kept)
    called = keepers.keeping(world.quick("solver"), kept.task, 0).called_at
    world.clock.mine(called + WINDOW)
    with reverts(world.market, "NotStalled"):
        world.ask(stall)
    before = world.wealth()
    lose(kept)
    stake = kept.world.quick("stranger").terms(kept.task).stake
    burned = -(-stake // 10)
    assert world.gains(before) == {"requester": 900 + 90, "solver": stake - burned, "burned": burned}
    assert world.status(kept.task) is Status.STALLED
    with reverts(world.contract("keepers"), "NotDenied", kept.task, 0):
        world.ask(showing(kept, "rival"))


def test_what_is_shown_to_the_second_committee_is_paid(kept: Sitting) -> None:
    """What was available before is the first one's, to the end of its pay."""
    world = kept.world
    kept.attest(kept.quorum(), 0)
    world.commit(kept.task, 1)
    second = recalled(kept)
    world.commit(kept.task, 2)
    second.attest(list(second.seats), 2)
    world.close_windows(kept.task)
    world.send(world.market.functions.collect(kept.task), world.solver)
    assert world.status(kept.task) is Status.COMPLETED
    price, total = world.task(kept.task)["price"], 0
    for sitting, steps in ((kept, 10), (second, 15)):
        for name in sitting.quorum() if sitting is kept else sitting.seats:
            about = sitting.task, 0, sitting.committee, sitting.members, sitting.place(name)
            told = keepers.reward(world.quick("solver"), *about).event("Rewarded").args
            assert told["amount"] == price * 1_000 * sitting.seats[name] * steps // (10_000 * 5 * 25)
            total += told["amount"]
    assert total > 0
    pot = world.market.functions.escrowPot(kept.task).call()
    assert world.vault.functions.potOf(world.deployment.keepers, pot).call() == 0


def test_nobody_stalls_a_solver_while_a_dispute_is_open(kept: Sitting) -> None:
    """A cheat could otherwise lose a tenth of its stake instead of all of it."""
    world = kept.world
    world.send(world.log.functions.hold(kept.task, 0), world.referee)
    recalled(kept)
    world.clock.travel(WINDOW + 1)
    with reverts(world.market, "CheckpointPending", kept.task, 0):
        world.ask(world.market.functions.stall(kept.task))
    world.send(world.log.functions.unhold(kept.task, 0, 0), world.referee)
    world.send(world.market.functions.stall(kept.task), world.stranger)


def test_all_who_could_be_asked_have_left(audit_world: World) -> None:
    world = audit_world
    sitting = sit(world, several, **LONG)
    for name, stake in STAKES.items():
        verifiers.unstake(world.quick(name), stake)
    world.clock.travel(PARAMETERS.key_delay)
    world.commit(sitting.task, 0)
    second = recalled(sitting)
    assert second.members == ()
    assert keepers.keeping(world.quick("solver"), sitting.task, 0).available == GRANTED
    world.send(world.market.functions.collect(sitting.task), world.solver)
    assert world.task(sitting.task)["paid"] == 1


def test_a_takeover_has_a_committee_of_its_own(audit_world: World) -> None:
    """Drawn when the solver failed: who stands by can't choose the block."""
    world = audit_world
    sitting = sit(world, several, attempts=2, handover_time=10_000)
    world.commit(sitting.task, 0)
    sitting.attest(sitting.quorum(), 0)
    world.close_windows(sitting.task)
    world.send(world.market.functions.stall(sitting.task), world.requester)
    failed, beacon = world.clock.now, world.task(sitting.task)["beacon"]
    world.clock.travel(500)
    world.send(world.market.functions.takeOver(sitting.task), world.rival)
    custody = world.quick("solver").call("market", "custody", sitting.task)
    assert (custody["drawnAt"], custody["beacon"], custody["attempt"]) == (failed, beacon, 1)
    second = Sitting.of(world, sitting.task)
    assert (second.attempt, second.committee) == (1, 0)
    assert keepers.keeping(world.quick("solver"), sitting.task, 1).kept == 1
    with reverts(world.contract("keepers"), "OfAnotherAttempt", 0, 1):
        world.ask(second.attesting(second.signed(second.quorum(), 0), 0))
    about = sitting.task, 0, 0, sitting.members, sitting.place(sitting.quorum()[0])
    assert keepers.reward(world.quick("solver"), *about).event("Rewarded").args["amount"] > 0
    assert world.task(sitting.task)["handoverEnds"] == failed + 10_000


# --- what comes late can be challenged longer ------------------------------------------------------------------------


@pytest.mark.parametrize("wait", [WINDOW // 4 - 1, WINDOW // 2, 2 * WINDOW])
def test_what_becomes_available_late_can_be_challenged_longer(kept: Sitting, wait: int) -> None:
    world, log = kept.world, kept.world.log.functions
    committed = log.checkpoint(kept.task, 0).call()
    began, until = committed[1], committed[3]
    assert until == began + WINDOW
    attestation = kept.signed(kept.quorum(), 0)
    world.send(kept.attesting(attestation, 0), world.solver, began + wait)
    expected = until if wait < WINDOW // 4 else 2 * (began + wait + WINDOW // 4) - began
    assert log.challengeableUntil(kept.task, 0).call() == expected
    assert log.checkpoint(kept.task, 0).call()[3] == expected
    claimable = world.auditor.functions.claimableUntil(kept.task, 0).call()
    assert claimable >= began + wait + WINDOW // 4  # as much time as if it had come in time
    world.clock.mine(expected)
    with reverts(world.market, "NothingFinal", kept.task, 0):
        world.ask(world.market.functions.collect(kept.task))
    with world.clock.undone():
        world.send(log.hold(kept.task, 0), world.referee, expected)
    world.clock.mine(expected + 1)
    with reverts(world.log, "WindowClosed", expected):
        world.ask(log.hold(kept.task, 0), world.referee)
    world.send(world.market.functions.collect(kept.task), world.solver)


def test_only_keepers_prolong(kept: Sitting) -> None:
    with reverts(kept.world.log, "NotKeepers", kept.world.solver.lower()):
        kept.world.ask(kept.world.log.functions.prolong(kept.task, 0, 1), kept.world.solver)


# --- objections ------------------------------------------------------------------------------------------------------


def test_one_objection_calls_the_second_committee(kept: Sitting) -> None:
    """Although a quorum has signed. What was available before stays so."""
    world = kept.world
    world.commit(kept.task, 1)
    *signers, objector = sorted(kept.seats, key=lambda name: -kept.seats[name])
    kept.attest(signers, 1)
    before = world.free(objector)
    second = objected(kept, objector, checkpoint=1)
    assert before - world.free(objector) == BOND
    state = keepers.keeping(world.quick("solver"), kept.task, 0)
    assert (state.kept, state.start, state.committee) == (1, 1, 1)
    with reverts(world.contract("keepers"), "Undecided", kept.task, 1):
        world.ask(functions(kept).settle(kept.task, 0))
    second.attest(second.quorum(), 1)
    told = keepers.settle(world.quick("stranger"), kept.task, 0).event("Returned").args
    assert told["keeper"] == world.address(objector) and world.free(objector) == before
    with reverts(world.contract("keepers"), "NoObjection", kept.task, 0):
        world.ask(functions(kept).settle(kept.task, 0))


def test_an_objection_to_a_later_checkpoint_makes_nothing_available(kept: Sitting) -> None:
    kept.world.commit(kept.task, 1)
    objected(kept, "rival", checkpoint=1)
    state = keepers.keeping(kept.world.quick("solver"), kept.task, 0)
    assert (state.kept, state.start) == (0, 0)


def test_objections_are_refused(kept: Sitting) -> None:
    world, contract = kept.world, kept.world.contract("keepers")
    first, other, last = kept.seats
    with reverts(contract, "NotMember", world.address(first).lower(), world.address(other).lower()):
        world.ask(objecting(kept, first), world.address(other))
    with reverts(contract, "UnknownMember", 3, 3):
        world.ask(objecting(kept, first, place=3), world.address(first))
    with reverts(world.log, "UnknownCheckpoint", kept.task, 1):
        world.ask(objecting(kept, first, checkpoint=1), world.address(first))
    kept.attest([first], 0)
    with reverts(contract, "SignedItself", 1, 0):
        world.ask(objecting(kept, first), world.address(first))
    with world.clock.undone():
        world.close_windows(kept.task)
        with reverts(contract, "WindowClosed"):
            world.ask(objecting(kept, other), world.address(other))
    objected(kept, other)
    with reverts(contract, "AlreadyCalled", kept.task, 0):
        world.ask(objecting(kept, last), world.address(last))


# --- who signed what nobody else could have --------------------------------------------------------------------------


STATE = Ended.of(3, slots=4, metrics=200)


def showing(sitting: Sitting, name: str, shown: ShownChunk | None = None) -> Any:
    """The call with which a member shows what was drawn, or `shown`."""
    world = sitting.world
    draw = keepers.draw_of(world.quick("stranger"), sitting.task, 0)
    right = ShownChunk.of(STATE.tensors, STATE.tree, draw)
    members = [member.encoded() for member in sitting.members]
    return functions(sitting).show(sitting.task, 0, members, sitting.place(name), (shown or right).encoded())


@pytest.fixture
def denied(audit_world: World) -> Sitting:
    """Two have signed, the third has objected, and no second committee had the checkpoint."""
    world = audit_world
    sitting = sit(world, several, **LONG)
    world.send(world.log.functions.commit(sitting.task, 0, STATE.root, ""), world.solver)
    *signers, objector = sorted(sitting.seats, key=lambda name: -sitting.seats[name])
    sitting.attest(signers, 0, root=STATE.root)
    objected(sitting, objector)
    lose(sitting)
    return sitting


def owed(sitting: Sitting, name: str) -> Denial | None:
    """What an objector has to look at, once its attempt is over."""
    chain = sitting.world.quick(name)
    return keepers.denial(chain, sitting.task, 0, sitting.members, sitting.world.clock.now)


def test_who_holds_what_was_denied_shows_it(denied: Sitting, gas_snapshot: GasSnapshot) -> None:
    world = denied.world
    *_, objector = sorted(denied.seats, key=lambda name: -denied.seats[name])
    # Who is fined is not the largest: its fine takes less gas than anybody else's, by its place in the tree of stakes.
    signers = sorted(denied.seats.keys() - {objector}, key=lambda name: -STAKES[name])
    stakes = {name: verifiers.standing(world.quick(name)).stake for name in signers}
    world.send(showing(denied, signers[0]), world.stranger)
    with reverts(world.contract("keepers"), "AlreadySettled", denied.task, 0, denied.place(signers[0])):
        world.ask(showing(denied, signers[0]))
    with reverts(world.contract("keepers"), "NotSigned", 0, 0):
        world.ask(showing(denied, objector))
    place, quick = denied.place(signers[1]), world.quick("stranger")
    members = [member.encoded() for member in denied.members]
    denouncing = functions(denied).denounce(denied.task, 0, members, place)
    with reverts(world.contract("keepers"), "ShowingOpen"):
        world.ask(denouncing)
    fines = {place: min(BOND, stakes[signers[1]])}
    objection = quick.call("keepers", "objectionOf", denied.task, 0)
    all_stakes = sum(STAKES.values())
    assert owed(denied, objector) == Denial(objection["showableUntil"], fines, STAKES[objector], all_stakes)
    world.clock.travel(WINDOW + 1)
    with reverts(world.contract("keepers"), "ShowingOver"):
        world.ask(showing(denied, signers[1]))
    sent = keepers.denounce(quick, denied.task, 0, denied.members, place)
    gas_snapshot.check("Keepers.denounce", sent.gas_used)
    told = sent.event("Denounced").args
    fined = min(BOND, stakes[signers[1]])
    assert (told["keeper"], told["amount"]) == (world.address(signers[1]), fined)
    assert verifiers.standing(world.quick(signers[1])).stake == stakes[signers[1]] - fined
    assert verifiers.standing(world.quick(signers[0])).stake == stakes[signers[0]]
    with reverts(world.contract("keepers"), "AlreadySettled", denied.task, 0, place):
        world.ask(denouncing)
    with reverts(world.contract("keepers"), "AlreadySettled", denied.task, 0, denied.place(signers[0])):
        world.ask(functions(denied).denounce(denied.task, 0, members, denied.place(signers[0])))
    assert owed(denied, objector) is None
    before = world.free(objector)
    keepers.settle(quick, denied.task, 0)
    assert world.free(objector) - before == BOND


def test_a_denial_is_looked_at_for_one_more_window(denied: Sitting) -> None:
    world = denied.world
    assert len(cast(Denial, owed(denied, "rival")).fines) == 2
    world.clock.travel(2 * WINDOW + 1)
    assert owed(denied, "rival") is None


def test_where_an_attempt_was_not_lost_for_an_objection_nothing_is_denied(kept: Sitting) -> None:
    assert owed(kept, "rival") is None


def test_another_chunk_shows_nothing(denied: Sitting) -> None:
    world, contract = denied.world, denied.world.contract("keepers")
    signer = max(denied.seats, key=lambda name: denied.seats[name])
    draw = keepers.draw_of(world.quick("stranger"), denied.task, 0)
    with reverts(contract, "RootDiffers", STATE.root):
        world.ask(showing(denied, signer, ShownChunk.of(STATE.tensors, STATE.tree, draw + 1)))
    right = ShownChunk.of(STATE.tensors, STATE.tree, draw)
    with reverts(contract, "ChunkSize", 4_096, 4_095):
        world.ask(showing(denied, signer, replace(right, chunk=right.chunk[1:])))
    with reverts(contract, "EmptyTree"):
        world.ask(showing(denied, signer, replace(right, slots=0)))
    with reverts(contract, "EmptyTree"):
        world.ask(showing(denied, signer, replace(right, length=0)))


def test_fines_are_only_the_keepers_contract_s(kept: Sitting) -> None:
    world, contract = kept.world, kept.world.contract("verifiers")
    with reverts(contract, "NotKeepers", world.solver.lower()):
        world.ask(contract.functions.fine(world.rival, 1), world.solver)
    with reverts(contract, "AlreadyConnected"):
        world.ask(contract.functions.connect(world.solver), world.owner)
    with reverts(contract, "NotDeployer", world.solver.lower()):
        world.ask(contract.functions.connect(world.solver), world.solver)
    with reverts(world.contract("keepers"), "NotMarket", world.solver.lower()):
        world.ask(functions(kept).close(kept.task, True), world.solver)
