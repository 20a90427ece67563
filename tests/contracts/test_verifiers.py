"""Verifiers: whose key it is, from when keys and stakes count, and when a stake leaves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import pytest
from web3 import Web3
from web3.contract import Contract

from offchain.bls.points import G1, ORDER, P
from offchain.bls.signing import possession_message, sign
from offchain.chain.deployment import load_artifact
from tests.support.bls import NO_G1, SECRETS, key_of, no_g2, outsider
from tests.support.deployment import FREE, PARAMETERS
from tests.support.reverts import reverts
from tests.support.world import World

DELAY: Final = PARAMETERS.key_delay
ROLE: Final = 2
NAMES: Final = ("solver", "rival", "challenger", "stranger")


@dataclass
class Register:
    """A world whose solver, rival, challenger and stranger are registered as verifiers."""

    world: World
    contract: Contract

    def proof(self, name: str, secret: int, **changes: Any) -> G1:
        """Signed by `secret`: that its key is somebody's."""
        about = {
            "chain_id": self.world.deployment.chain_id,
            "verifiers": self.contract.address,
            "account": self.world.address(name),
            "point": key_of(secret).point,
        }
        return sign(secret, possession_message(**(about | changes)))

    def enrolling(self, name: str, secret: int, **changes: Any) -> Any:
        key = key_of(secret)
        return self.contract.functions.enroll(key.point, key.twin, self.proof(name, secret, **changes))

    def enroll(self, name: str, secret: int) -> int:
        """Returns the time of the transaction."""
        self.world.send(self.enrolling(name, secret), self.world.address(name))
        return self.world.clock.now

    def change(self, name: str, amount: int, at: int | None = None) -> int:
        """Stakes, or takes out of the stake if `amount` is negative. Returns the time of the transaction."""
        verb = self.contract.functions.stake if amount > 0 else self.contract.functions.unstake
        self.world.send(verb(abs(amount)), self.world.address(name), at)
        return self.world.clock.now

    def weight(self, name: str, secret: int, time: int, shift: tuple[int, int] = (0, 0)) -> list[int]:
        """Own stake and all stakes at some time; the places are the right ones, moved by `shift`."""
        account = self.world.address(name)
        own, total = self.contract.functions.places(account, time).call()
        places = own + shift[0], total + shift[1]
        found: list[int] = self.contract.functions.weight(account, key_of(secret).twin, time, *places).call()
        return found

    def locked(self, name: str) -> int:
        pot = int(self.world.address(name), 16).to_bytes(32)
        return int(self.world.vault.functions.potOf(self.contract.address, pot).call())


@pytest.fixture(scope="module")
def registered(deployed_market: World) -> Iterator[Register]:
    world = deployed_market
    with world.clock.undone(), world.clock.stopped():
        for name in NAMES:
            world.quick(name).register(ROLE, "")
        yield Register(world, world.contract("verifiers"))


@pytest.fixture
def register(registered: Register, snapshot: None) -> Register:
    return registered


# --- keys ----------------------------------------------------------------------------------------------------------


def test_enroll(register: Register) -> None:
    key = key_of(SECRETS[0])
    receipt = register.world.send(register.enrolling("solver", SECRETS[0]), register.world.solver)
    since = register.world.clock.now + DELAY
    (event,) = register.world.events(register.contract.events.Enrolled(), receipt)
    assert event["verifier"] == register.world.solver and event["from"] == since
    assert (tuple(event["point"].values()), tuple(event["twin"].values())) == key
    twin = register.contract.functions.twinOf(key.twin).call()
    assert twin == Web3.keccak(b"".join(word.to_bytes(32) for word in key.twin))[:24]
    assert register.contract.functions.keyOf(register.world.solver).call() == (key.point, twin, since)
    said = register.contract.functions.possession(register.world.solver, key.point).call()
    about = register.world.deployment.chain_id, register.contract.address, register.world.solver, key.point
    assert said == possession_message(*about)


def test_enroll_without_the_role_reverts(register: Register) -> None:
    world = register.world
    world.send(world.registry.functions.update(1, ""), world.solver)
    for name in ("solver", "requester"):
        with reverts(register.contract, "NotAVerifier", world.address(name).lower()):
            world.ask(register.enrolling(name, SECRETS[0]), world.address(name))


def test_a_key_counts_only_for_what_is_committed_later(register: Register) -> None:
    since = register.enroll("solver", SECRETS[0]) + DELAY
    with reverts(register.contract, "KeyTooYoung", since, since - 1):
        register.weight("solver", SECRETS[0], since - 1)
    assert register.weight("solver", SECRETS[0], since) == [0, 0]


def test_a_replaced_key_counts_no_more(register: Register) -> None:
    first = register.enroll("solver", SECRETS[0]) + DELAY
    second = register.enroll("solver", SECRETS[1]) + DELAY
    twins = [register.contract.functions.twinOf(key_of(secret).twin).call() for secret in SECRETS[:2]]
    with reverts(register.contract, "OtherKey", twins[1], twins[0]):
        register.weight("solver", SECRETS[0], first)
    with reverts(register.contract, "KeyTooYoung", second, first):
        register.weight("solver", SECRETS[1], first)
    register.enroll("solver", SECRETS[0])  # one's own may come back


def test_a_key_of_another_reverts(register: Register) -> None:
    """Also one that its owner has replaced."""
    register.enroll("solver", SECRETS[0])
    register.enroll("solver", SECRETS[1])
    for secret in SECRETS[:2]:
        with reverts(register.contract, "KeyOfAnother", register.world.solver.lower()):
            register.world.ask(register.enrolling("rival", secret), register.world.rival)


@pytest.mark.parametrize(
    "changes",
    [
        {"chain_id": 1},
        {"verifiers": "0x" + "11" * 20},
        {"account": "0x" + "22" * 20},
        {"point": G1(1, 2)},
    ],
)
def test_a_proof_about_something_else_reverts(register: Register, changes: dict[str, Any]) -> None:
    with reverts(register.contract, "WrongSignature"):
        register.world.ask(register.enrolling("solver", SECRETS[0], **changes), register.world.solver)


def test_a_key_made_from_that_of_another_reverts(register: Register) -> None:
    """own − other: with the other's key it would add up to one's own, whose signature would count for both."""
    other = key_of(SECRETS[0])
    own = (SECRETS[1] - SECRETS[0]) % ORDER
    rogue = key_of(own)  # its point can be computed without the secret; the proof cannot
    proof = register.proof("rival", SECRETS[1], point=rogue.point)
    assert register.contract.functions.keyOf(register.world.solver).call()[2] == 0 and other != rogue
    with reverts(register.contract, "WrongSignature"):
        register.world.ask(register.contract.functions.enroll(rogue.point, rogue.twin, proof), register.world.rival)


def test_the_two_points_must_have_one_secret(register: Register) -> None:
    first, second = key_of(SECRETS[0]), key_of(SECRETS[1])
    for secret in SECRETS[:2]:
        proof = register.proof("solver", secret, point=first.point)
        call = register.contract.functions.enroll(first.point, second.twin, proof)
        with reverts(register.contract, "WrongSignature"):
            register.world.ask(call, register.world.solver)


@pytest.mark.parametrize("error", NO_G1)
def test_a_malformed_point_reverts(register: Register, error: str) -> None:
    """As the key, and as the proof."""
    key, bad = key_of(SECRETS[0]), NO_G1[error][0]
    proof = register.proof("solver", SECRETS[0])
    for arguments in ((bad, key.twin, proof), (key.point, key.twin, bad)):
        with reverts(register.contract, error):
            register.world.ask(register.contract.functions.enroll(*arguments), register.world.solver)


@pytest.mark.parametrize("error", [*no_g2(), "NotInSubgroup"])
def test_a_malformed_twin_reverts(register: Register, error: str) -> None:
    key, bad = key_of(SECRETS[0]), outsider() if error == "NotInSubgroup" else no_g2()[error][0]
    call = register.contract.functions.enroll(key.point, bad, register.proof("solver", SECRETS[0]))
    with reverts(register.contract, error):
        register.world.ask(call, register.world.solver)


def test_the_negated_key_is_another_key(register: Register) -> None:
    """Its owner knows both secrets. It is refused only as a stranger's."""
    register.enroll("solver", SECRETS[0])
    negated = key_of(ORDER - SECRETS[0])
    assert negated.point == G1(key_of(SECRETS[0]).point.x, P - key_of(SECRETS[0]).point.y)
    register.enroll("rival", ORDER - SECRETS[0])


# --- stakes --------------------------------------------------------------------------------------------------------


def test_stake(register: Register) -> None:
    register.enroll("solver", SECRETS[0])
    receipt = register.world.send(register.contract.functions.stake(700), register.world.solver)
    since = register.world.clock.now + DELAY
    (event,) = register.world.events(register.contract.events.StakeChanged(), receipt)
    assert event == {"verifier": register.world.solver, "stake": 700, "all": 700, "from": since}
    assert (register.locked("solver"), register.world.free("solver")) == (700, FREE - 700)
    assert register.weight("solver", SECRETS[0], since - 1) == [0, 0]
    assert register.weight("solver", SECRETS[0], since) == [700, 700]
    assert register.contract.functions.stakeOf(register.world.solver).call() == 700
    assert register.contract.functions.allStakes().call() == 700


def test_stake_without_a_key_reverts(register: Register) -> None:
    with reverts(register.contract, "NotEnrolled", register.world.solver.lower()):
        register.world.ask(register.contract.functions.stake(1), register.world.solver)


@pytest.mark.parametrize("verb", ["stake", "unstake"])
def test_nothing_reverts(register: Register, verb: str) -> None:
    register.enroll("solver", SECRETS[0])
    with reverts(register.contract, "ZeroAmount"):
        register.world.ask(register.contract.functions[verb](0), register.world.solver)


def test_a_stake_that_is_not_free_reverts(register: Register) -> None:
    register.enroll("solver", SECRETS[0])
    with reverts(register.world.vault, "InsufficientFree", register.world.solver.lower(), FREE + 1, FREE):
        register.world.ask(register.contract.functions.stake(FREE + 1), register.world.solver)


def test_unstake(register: Register) -> None:
    """It counts, and stays locked, until the delay is over."""
    register.enroll("solver", SECRETS[0])
    register.change("solver", 700)
    ready = register.change("solver", -500) + DELAY
    assert register.contract.functions.leavingOf(register.world.solver).call() == [500, ready]
    assert register.weight("solver", SECRETS[0], ready - 1) == [700, 700]
    assert register.weight("solver", SECRETS[0], ready) == [200, 200]
    release = register.contract.functions.release()
    with reverts(register.contract, "NotReleased", ready, register.world.clock.now):
        register.world.ask(release, register.world.solver)
    receipt = register.world.send(release, register.world.solver, ready)
    (event,) = register.world.events(register.contract.events.Released(), receipt)
    assert event == {"verifier": register.world.solver, "amount": 500}
    assert (register.locked("solver"), register.world.free("solver")) == (200, FREE - 200)
    with reverts(register.contract, "NothingToRelease", register.world.solver.lower()):
        register.world.ask(release, register.world.solver)


def test_a_second_request_restarts_the_delay(register: Register) -> None:
    register.enroll("solver", SECRETS[0])
    register.change("solver", 700)
    first = register.change("solver", -500)
    second = register.change("solver", -100, first + DELAY - 1)
    assert register.contract.functions.leavingOf(register.world.solver).call() == [600, second + DELAY]
    assert register.weight("solver", SECRETS[0], first + DELAY) == [200, 200]
    assert register.weight("solver", SECRETS[0], second + DELAY) == [100, 100]
    with reverts(register.contract, "NotReleased", second + DELAY, second):
        register.world.ask(register.contract.functions.release(), register.world.solver)


def test_more_than_the_stake_reverts(register: Register) -> None:
    """What is leaving can't be taken out again."""
    register.enroll("solver", SECRETS[0])
    register.change("solver", 700)
    register.change("solver", -500)
    with reverts(register.contract, "StakeTooSmall", register.world.solver.lower(), 201, 200):
        register.world.ask(register.contract.functions.unstake(201), register.world.solver)
    register.change("solver", -200)


def test_a_worker_that_leaves_the_register_gets_its_stake_back(register: Register) -> None:
    world = register.world
    register.enroll("solver", SECRETS[0])
    register.change("solver", 700)
    world.send(world.registry.functions.deregister(), world.solver)
    ready = register.change("solver", -700) + DELAY
    world.send(register.contract.functions.release(), world.solver, ready)
    assert (register.locked("solver"), world.free("solver")) == (0, FREE)


def test_stakes_add_up_at_any_time(register: Register) -> None:
    """Whatever changes when: at each second, the stakes of all are what is counted as all."""
    names, begun = NAMES[:3], register.world.clock.now
    for secret, name in zip(SECRETS, names, strict=False):
        register.enroll(name, secret)
    keys_from = register.world.clock.now + DELAY
    moves = [("solver", 300), ("rival", 50), ("solver", -100), ("challenger", 7), ("rival", 20), ("challenger", -7)]
    for name, amount in [*moves, ("solver", 1)]:
        register.change(name, amount, register.world.clock.now + 1 + len(name) % 4)
    until = register.world.clock.now + DELAY + 2
    for time in [*range(keys_from, until, 4), until]:
        weights = [register.weight(name, secret, time) for secret, name in zip(SECRETS, names, strict=False)]
        assert {total for _, total in weights} == {sum(own for own, _ in weights)}
    assert [own for own, _ in weights] == [201, 70, 0]
    leaving = [register.contract.functions.leavingOf(register.world.address(name)).call()[0] for name in names]
    assert leaving == [100, 0, 7]
    assert [register.locked(name) for name in names] == [301, 70, 7]
    assert register.contract.functions.places(register.world.solver, begun).call() == [0, 0]


def test_changes_within_a_second_are_one(register: Register) -> None:
    register.enroll("solver", SECRETS[0])
    world, functions = register.world, register.contract.functions
    sent = [call.transact({"from": world.solver, "gas": 500_000}) for call in (functions.stake(5), functions.stake(6))]
    world.clock.tick()
    assert [world.w3.eth.get_transaction_receipt(digest)["status"] for digest in sent] == [1, 1]
    since = world.clock.now + DELAY
    assert functions.places(world.solver, since).call() == [1, 1]
    assert register.weight("solver", SECRETS[0], since) == [11, 11]


@pytest.mark.parametrize("shift", [(-1, 0), (1, 0), (0, -1), (0, 1), (9, 0), (0, 9)])
def test_a_wrong_place_reverts(register: Register, shift: tuple[int, int]) -> None:
    """An earlier or later stake, or total, than that of the time."""
    register.enroll("solver", SECRETS[0])
    for amount in (10, 20, -5):
        register.change("solver", amount)
    time = register.world.clock.now + DELAY - 1  # the second change counts, the third does not
    assert register.weight("solver", SECRETS[0], time) == [30, 30]
    with reverts(register.contract, "WrongPlace", 2 + sum(shift), time):
        register.weight("solver", SECRETS[0], time, shift)


def test_parts_that_are_missing_revert(w3: Web3, register: Register) -> None:
    artifact = load_artifact("Verifiers")
    factory = w3.eth.contract(abi=artifact["abi"], bytecode=artifact["bytecode"])
    zero, some = "0x" + "00" * 20, register.world.solver
    for arguments in ((zero, some, 1), (some, zero, 1), (some, some, 0)):
        with reverts(register.contract, "ZeroAddress" if zero in arguments else "ZeroDelay"):
            w3.eth.call({"data": factory.constructor(*arguments).data_in_transaction})
