"""Keepers: who sits on a committee, what makes checkpoints available, and that only those are paid for."""

from __future__ import annotations

from typing import Any

from web3 import Web3

from offchain.chain import keepers, verifiers
from tests.support.deployment import FREE, PARAMETERS
from tests.support.keeping import KEPT, SEATS, SHARE, Sitting
from tests.support.reverts import reverts
from tests.support.world import World

WINDOW = PARAMETERS.challenge_window
LONG = {"interval_time": 10_000}


def available(sitting: Sitting) -> int:
    return keepers.keeping(sitting.world.quick("stranger"), sitting.task, sitting.attempt).available


def test_a_committee_sits_down(audit_world: World) -> None:
    world = audit_world
    task = world.award(**KEPT)
    expected = keepers.drawn(world.quick("stranger"), task)
    receipt = keepers.seat(world.quick("stranger"), task)
    event = receipt.event("Seated").args
    assert (event["taskId"], event["attempt"], event["committee"]) == (task, 0, 0)
    found = keepers.members(world.quick("stranger"), task, 0, 0)
    assert found == expected and sum(member.seats for member in found) == SEATS
    functions = world.contract("keepers").functions
    encoded = world.w3.codec.encode(["(address,uint8,(uint256,uint256))[]"], [[member.encoded() for member in found]])
    assert functions.membersOf(task, 0, 0).call() == Web3.keccak(encoded)
    for place, member in enumerate(found):
        assert functions.signedOf(task, 0, 0, place).call() == [0, member.seats]
        assert member.point == verifiers.standing(world.quick("stranger"), member.holder).point
    assert available(Sitting(world, task, found)) == 0


def test_a_stake_that_comes_after_the_award_is_not_drawn(audit_world: World) -> None:
    """Not even once it counts, when the committee sits down."""
    world = audit_world
    task = world.award(**KEPT, **LONG)
    before = keepers.drawn(world.quick("stranger"), task)
    verifiers.stake(world.quick("rival"), FREE // 2)
    verifiers.unstake(world.quick("stranger"), 5)
    world.clock.travel(PARAMETERS.key_delay)
    assert keepers.drawn(world.quick("stranger"), task) == before
    later = world.award(**KEPT)
    assert Sitting.of(world, later).seats == {"rival": SEATS}


def test_more_than_half_of_the_seats_make_checkpoints_available(sitting: Sitting) -> None:
    world = sitting.world
    for index in range(2):
        world.commit(sitting.task, index)
    few, *others = sorted(sitting.seats, key=lambda name: sitting.seats[name])
    receipt = sitting.attest([few], 1)
    told = receipt.event("Attested").args
    assert (told["checkpoint"], told["signers"], told["kept"]) == (1, 1 << sitting.place(few), 0)
    assert available(sitting) == 0
    world.close_windows(sitting.task)
    with reverts(world.market, "NothingFinal", sitting.task, 0):
        world.ask(world.market.functions.collect(sitting.task))
    with world.clock.undone():
        sitting.attest(others, 1)
        assert available(sitting) == 2
    sitting.attest(others[:1], 1)  # with those who had signed before
    assert available(sitting) == (2 if 2 * (sitting.seats[few] + sitting.seats[others[0]]) > SEATS else 0)


def test_what_is_available_is_paid_when_it_is_final(sitting: Sitting) -> None:
    world = sitting.world
    for index in range(2):
        world.commit(sitting.task, index)
    sitting.attest(sitting.quorum(), 0)
    with reverts(world.market, "NothingFinal", sitting.task, 0):
        world.ask(world.market.functions.collect(sitting.task))
    world.close_windows(sitting.task)
    world.send(world.market.functions.collect(sitting.task), world.solver)
    assert world.task(sitting.task)["paid"] == 1


def test_the_requesters_word_is_enough(sitting: Sitting) -> None:
    world = sitting.world
    for index in range(3):
        world.commit(sitting.task, index)
    receipt = keepers.acknowledge(world.quick("requester"), sitting.task, 0, 2)
    assert receipt.event("Acknowledged").args == {"taskId": sitting.task, "attempt": 0, "checkpoint": 2}
    world.close_windows(sitting.task)
    world.send(world.market.functions.collect(sitting.task), world.solver)
    assert world.task(sitting.task)["paid"] == 3


def test_what_is_signed(sitting: Sitting) -> None:
    """The contract and py-ecc's side mean the same bytes."""
    sitting.world.commit(sitting.task, 0)
    functions = sitting.world.contract("keepers").functions
    assert functions.message(sitting.task, 0).call() == sitting.holding(0).message()
    with reverts(sitting.world.log, "UnknownCheckpoint", sitting.task, 1):
        functions.message(sitting.task, 1).call()


# --- pay -------------------------------------------------------------------------------------------------------------


def train(sitting: Sitting, signers: dict[int, list[str]]) -> None:
    """All checkpoints are committed and collected; after the one with a number its signers sign."""
    world = sitting.world
    for index in range(3):
        world.commit(sitting.task, index)
        if index in signers:
            sitting.attest(signers[index], index)
    world.close_windows(sitting.task)
    world.send(world.market.functions.collect(sitting.task), world.solver)


def paid(sitting: Sitting, name: str) -> int:
    """What a member is paid."""
    before = sitting.world.free(name)
    about = sitting.task, sitting.attempt, sitting.committee, sitting.members, sitting.place(name)
    told = keepers.reward(sitting.world.quick("solver"), *about).event("Rewarded").args
    assert (told["keeper"], told["amount"]) == (sitting.world.address(name), sitting.world.free(name) - before)
    return int(told["amount"])


def test_keepers_share_a_part_of_the_pay(sitting: Sitting) -> None:
    """Each seat the same, rounded down; what is left goes back with the rest of the escrow."""
    world, names = sitting.world, list(sitting.seats)
    escrow = world.pots(sitting.task)[0]
    assert escrow == 900 + 90
    before = world.free("requester")
    train(sitting, {2: names})
    price = world.task(sitting.task)["price"]
    due = {name: price * SHARE * seats // (10_000 * SEATS) for name, seats in sitting.seats.items()}
    assert world.free("requester") - before == escrow - price - sum(due.values())
    assert {name: paid(sitting, name) for name in names} == due
    assert locked(sitting) == 0


def test_who_signs_earlier_only_earns_less(sitting: Sitting) -> None:
    """Of 25 steps, who has signed for 10, and then for 20, has earned so much."""
    names = sorted(sitting.seats)
    rest = [name for name in sitting.quorum() if name != names[0]]
    train(sitting, {0: names[:1], 1: names[1:2], 2: [name for name in names if name != names[0]] if rest else names})
    if sitting.world.task(sitting.task)["paid"] < 3:
        keepers.acknowledge(sitting.world.quick("requester"), sitting.task, 0, 2)
        sitting.world.send(sitting.world.market.functions.collect(sitting.task), sitting.world.solver)
    price = sitting.world.task(sitting.task)["price"]
    assert paid(sitting, names[0]) == price * SHARE * sitting.seats[names[0]] * 10 // (10_000 * SEATS * 25)
    assert paid(sitting, names[1]) == price * SHARE * sitting.seats[names[1]] // (10_000 * SEATS)


def locked(sitting: Sitting) -> int:
    """What the keepers' contract holds of a task."""
    world = sitting.world
    pot = world.market.functions.escrowPot(sitting.task).call()
    return int(world.vault.functions.potOf(world.deployment.keepers, pot).call())


def test_reward_is_refused(sitting: Sitting) -> None:
    world, (first, *others) = sitting.world, sitting.seats
    functions = world.contract("keepers").functions

    def rewarding(name: str | int, committee: int = 0, attempt: int = 0, members: Any = None) -> Any:
        brought = [member.encoded() for member in (sitting.members if members is None else members)]
        place = name if isinstance(name, int) else sitting.place(name)
        return functions.reward(sitting.task, attempt, committee, brought, place)

    contract = world.contract("keepers")
    with reverts(contract, "StillRunning", sitting.task, 0):
        world.ask(rewarding(first))
    train(sitting, {2: others})
    if world.task(sitting.task)["paid"] < 3:
        keepers.acknowledge(world.quick("requester"), sitting.task, 0, 2)
        world.send(world.market.functions.collect(sitting.task), world.solver)
    with reverts(contract, "NothingEarned", sitting.task, 0, 0, sitting.place(first)):
        world.ask(rewarding(first))
    paid(sitting, others[0])
    with reverts(contract, "AlreadyRewarded", sitting.task, 0, 0, sitting.place(others[0])):
        world.ask(rewarding(others[0]))
    with reverts(contract, "UnknownMember", 3, 3):
        world.ask(rewarding(3))
    with reverts(contract, "OtherMembers"):
        world.ask(rewarding(others[1], members=sitting.members[::-1]))
    with reverts(contract, "NotSeated", sitting.task, 0, 1):
        world.ask(rewarding(others[1], committee=1))
    with reverts(contract, "UnknownCommittee", 2):
        world.ask(rewarding(others[1], committee=2))
    with reverts(contract, "NotSeated", sitting.task, 1, 0):
        world.ask(rewarding(others[1], attempt=1))
