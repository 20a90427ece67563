"""Gas of keepers' verbs, held to a committed snapshot and to the design's bounds, and tasks without a verifier."""

from __future__ import annotations

from itertools import count
from typing import Any, Final

import pytest
from web3 import Web3

from offchain.bls.signing import point_of_try, sign
from offchain.chain import keepers
from offchain.market.keeping import GRANTED, Member, Signed, gathered
from tests.contracts.conftest import GasSnapshot
from tests.support.bls import SECRETS, key_of
from tests.support.deployment import PARAMETERS
from tests.support.keeping import KEPT, SHARE, Sitting
from tests.support.lots import grant
from tests.support.reverts import reverts
from tests.support.vouching import EVERYBODY, STAKES, Ended, close_claiming, enter, vouch
from tests.support.world import World

MARKED: Final = {"urgency": 1, "risk_bps": 500, "attempts": 3, "audit_fee": 7}  # every rule of the score counts
COMMITTEES: Final = 3  # the storage slot of the mapping
MOST: Final = {4: 220_000, 16: 300_000}  # of an attestation, by its signers


def test_without_a_stake_everything_counts_as_available(fee_world: World) -> None:
    world = fee_world
    task = world.award(**KEPT)
    keepers.seat(world.quick("solver"), task)
    assert keepers.keeping(world.quick("stranger"), task, 0).available == GRANTED
    for index in range(3):
        world.commit(task, index)
    world.close_windows(task)
    before = world.wealth()
    world.send(world.market.functions.collect(task), world.solver)
    gains = world.gains(before)
    assert set(gains) == {"solver", "requester", "burned"}  # the keepers' share went back
    with reverts(world.contract("keepers"), "NotRunning", task, 0):
        world.ask(world.contract("keepers").functions.recall(task))


def appointed(world: World, task: int, seats: int) -> Sitting:
    """A committee of as many members as seats, written into the contract's storage: chance seldom draws one."""
    people = [Web3.to_checksum_address(f"0x{number + 1:040x}") for number in range(seats)]
    members = tuple(Member(holder, 1, key_of(SECRETS[place]).point) for place, holder in enumerate(people))
    encoded = world.w3.codec.encode(["(address,uint8,(uint256,uint256))[]"], [[member.encoded() for member in members]])
    place = int.from_bytes(Web3.keccak((task << 9).to_bytes(32) + COMMITTEES.to_bytes(32)))
    world.clock.store(world.deployment.keepers, f"0x{place:064x}", int.from_bytes(Web3.keccak(encoded)))
    return Sitting(world, task, members)


@pytest.mark.parametrize("signers", MOST)
def test_gas_of_an_attestation(market_world: World, gas_snapshot: GasSnapshot, signers: int) -> None:
    """All of a committee sign for the second checkpoint in time; the first was available."""
    world = market_world
    enter(world)
    task = world.award(keepers=signers, keeper_bps=SHARE, interval_time=10_000, steps=200)
    keepers.seat(world.quick("solver"), task)
    sitting = appointed(world, task, signers)
    for index in count():
        world.commit(task, index)
        holding = sitting.holding(index)
        if index and point_of_try(Web3.keccak(holding.message()), 0) is not None:
            break
        attest(sitting, index)
    gas_snapshot.check(f"Keepers.attest of {signers}", attest(sitting, index))
    assert keepers.keeping(world.quick("solver"), task, 0).kept == index + 1
    assert gas_snapshot.seen[f"Keepers.attest of {signers}"] <= MOST[signers]


def attest(sitting: Sitting, index: int) -> int:
    """Gas of an attestation that all members sign."""
    message = sitting.holding(index).message()
    members = range(len(sitting.members))
    signed = {n: Signed(key_of(SECRETS[n]).twin, sign(SECRETS[n], message)) for n in members}
    call = sitting.attesting(gathered(signed), index)
    return int(sitting.world.send(call, sitting.world.solver)["gasUsed"])


def test_gas_of_a_kept_task(market_world: World, gas_snapshot: GasSnapshot) -> None:
    """With a standby, and three keepers on sixteen seats."""
    world, spend = market_world, gas_snapshot.check
    enter(world)
    asked = MARKED | {"keepers": 16, "keeper_bps": SHARE}
    spend("TaskMarket.post with keepers", world.send(post_of(world, asked), world.requester)["gasUsed"])
    task = world.award(**asked, interval_time=10_000)
    largest = [world.address(name) for name in sorted(STAKES, key=lambda name: -STAKES[name])]
    # In an order that is always the same: a seat takes a look at each member who was drawn before its holder was.
    while [member.holder for member in keepers.drawn(world.quick("solver"), task)] != largest:
        task = world.award(**asked, interval_time=10_000)
    _, place = world.contract("verifiers").functions.places(world.solver, world.clock.now).call()
    functions = world.contract("keepers").functions
    spend("Keepers.seat of 3", world.send(functions.seat(task, place), world.solver)["gasUsed"])
    members = keepers.members(world.quick("solver"), task, 0, 0)
    assert members
    sitting = Sitting(world, task, members)
    for index in range(3):
        world.commit(task, index)
        if index == 1:
            spend(
                "Keepers.acknowledge first", world.send(functions.acknowledge(task, 0, 1), world.requester)["gasUsed"]
            )
    sitting.attest(list(sitting.seats), 2)
    world.close_windows(task)
    collect = world.market.functions.collect(task)
    spend("Keepers.close in the last collect", world.send(collect, world.solver)["gasUsed"])
    encoded = [member.encoded() for member in members]
    spend("Keepers.reward", world.send(functions.reward(task, 0, 0, encoded, 0), world.solver)["gasUsed"])


def test_gas_of_pay_that_must_be_available(fee_world: World, gas_snapshot: GasSnapshot) -> None:
    """With fees and a standby."""
    world = fee_world
    task = world.award(**(MARKED | {"keepers": 16, "keeper_bps": SHARE}), interval_time=10_000)
    for index in range(2):
        world.commit(task, index)
        keepers.acknowledge(world.quick("requester"), task, 0, index)
        world.close_windows(task)
        used = world.send(world.market.functions.collect(task), world.solver)["gasUsed"]
        verb = f"TaskMarket.collect {'' if index else 'first '}with keepers"
        gas_snapshot.check(verb, used)
        assert used <= 140_000


def post_of(world: World, changes: dict[str, Any]) -> Any:
    return world.market.functions.post(world.terms(**changes))


def test_gas_of_a_second_committee(market_world: World, gas_snapshot: GasSnapshot) -> None:
    world, spend = market_world, gas_snapshot.check
    enter(world, {"rival": 5})
    task = world.award(**KEPT, interval_time=10_000)
    sitting = Sitting.of(world, task)
    functions = world.contract("keepers").functions
    world.commit(task, 0)
    encoded = [member.encoded() for member in sitting.members]
    with world.clock.undone():
        world.close_windows(task)
        spend("Keepers.recall", world.send(functions.recall(task), world.solver)["gasUsed"])
    spend("Keepers.object", world.send(functions.object(task, 0, encoded, 0), world.rival)["gasUsed"])
    world.close_windows(task)
    world.clock.travel(PARAMETERS.challenge_window + 1)
    spend("TaskMarket.stall of what is lost", world.send(world.market.functions.stall(task), world.solver)["gasUsed"])
    spend("Keepers.settle", world.send(functions.settle(task, 0), world.solver)["gasUsed"])


def test_gas_of_a_log_of_what_keepers_hold(market_world: World, gas_snapshot: GasSnapshot) -> None:
    """Of a state of 100 slots with a log that fills its chunk."""
    world = market_world
    enter(world)
    task = world.award(**(MARKED | {"audit_rate_bps": EVERYBODY, "keepers": 16, "keeper_bps": SHARE}), steps=200)
    keepers.seat(world.quick("solver"), task)
    state = Ended.of(1, metrics=102, slots=100)
    world.send(world.log.functions.commit(task, 0, state.root, ""), world.solver)
    grant(world, task, 0, {"stranger": 1})
    keepers.acknowledge(world.quick("requester"), task, 0, 0)
    vouch(world, "stranger", task, 0, state.shown)
    close_claiming(world, task, 0)
    reveal = world.auditor.functions.reveal(task, 0, state.shown.encoded())
    used = world.send(reveal, world.stranger)["gasUsed"]
    gas_snapshot.check("Auditor.reveal with keepers", used)
    assert used <= 150_000
