"""Gas of keys, stakes and tickets, held to a committed snapshot, and of aggregates to the design's bounds."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any, Final

import pytest
from eth_utils.crypto import keccak
from web3.contract import Contract

from offchain.bls.signing import point_of_try, sign
from offchain.chain import verifiers
from tests.conftest import Deploy
from tests.contracts.conftest import GasSnapshot
from tests.support.bls import SECRETS, aggregate, bitmap, committee
from tests.support.deployment import PARAMETERS
from tests.support.vouching import FEE, Ended, close_claiming, enter
from tests.support.world import World

HIGHEST: Final = 2**16 - 1  # rate
MOST: Final = {4: 220_000, 16: 300_000}  # of an attestation, by its signers
MESSAGE: Final = b"I hold this".ljust(224, b".")

Spend = Callable[..., None]


@pytest.fixture(scope="session")
def deployed_harness(deploy: Deploy) -> Contract:
    return deploy("BlsHarness")


@pytest.fixture
def spend(market_world: World, gas_snapshot: GasSnapshot) -> Spend:
    def check(verb: str, call: Any, sender: str, at: int | None = None) -> None:
        gas_snapshot.check(verb, market_world.send(call, sender, at)["gasUsed"])

    return check


def is_quick(message: bytes) -> bool:
    """Whether the first try finds the message's point: each further one takes 2,100 gas, which no snapshot knows."""
    return point_of_try(keccak(message), 0) is not None


def test_gas_of_a_verifier(market_world: World, spend: Spend) -> None:
    world = market_world
    functions = world.contract("verifiers").functions
    world.quick("rival").register(3, "")
    about = [functions.possession(world.rival, key.point).call() for key in committee()]
    index = next(index for index, message in enumerate(about) if is_quick(message))
    enroll = functions.enroll(*committee()[index], sign(SECRETS[index], about[index]))
    spend("Verifiers.enroll", enroll, world.rival)
    spend("Verifiers.stake first", functions.stake(5), world.rival)
    spend("Verifiers.stake", functions.stake(5), world.rival)
    spend("Verifiers.unstake", functions.unstake(3), world.rival)
    spend("Verifiers.release", functions.release(), world.rival, world.clock.now + PARAMETERS.key_delay)


def test_gas_of_an_audit(market_world: World, spend: Spend, gas_snapshot: GasSnapshot) -> None:
    """Of a state of 100 slots with a log that fills its chunk, when money lies in the pot that a claim adds to.

    The verifier has all stakes, and the rate is the highest: more terms than anywhere else decide what it wins.
    """
    world, secrets = market_world, {"rival": SECRETS[0]}
    enter(world, {"rival": 5}, secrets)
    task = world.award(audit_fee=FEE, audit_rate_bps=HIGHEST, interval_time=1_000, steps=200)
    state, auditor = Ended.of(1, metrics=102, slots=100), world.auditor.functions
    for index in count():  # the beacon of a block decides how many tries a ticket's point needs
        world.send(world.log.functions.commit(task, index, state.root, ""), world.solver)
        draw = verifiers.draw(world.quick("rival"), secrets["rival"], task, index)
        if draw and is_quick(auditor.message(task, index).call()):
            break
    spend("Auditor.requireDrawn", auditor.requireDrawn(task, index, world.rival, draw.encoded()), world.rival)
    commitment = state.shown.commitment(world.rival)
    spend("Auditor.claim", auditor.claim(task, index, commitment, draw.encoded()), world.rival)
    close_claiming(world, task, index)
    spend("Auditor.reveal", auditor.reveal(task, index, state.shown.encoded()), world.rival)
    world.close_windows(task)
    world.quick("solver").collect(task)
    spend("Auditor.settle", auditor.settle(task, 0, index, world.rival), world.rival)
    for verb, most in {"Auditor.claim": 240_000, "Auditor.reveal": 150_000}.items():
        assert gas_snapshot.seen[verb] <= most


@pytest.mark.parametrize("signers", MOST)
def test_gas_of_an_attestation(
    market_world: World, spend: Spend, gas_snapshot: GasSnapshot, deployed_harness: Contract, signers: int
) -> None:
    """All of a committee sign, whose keys are in storage; calldata included."""
    harness, world = deployed_harness.functions, market_world
    chosen = list(range(signers))
    total, signature = aggregate(MESSAGE, chosen)
    world.send(harness.appoint([key.point for key in committee()[:signers]]), world.solver)
    verb = f"Bn254.requireSignedByAll of {signers}"
    spend(verb, harness.attest(bitmap(chosen), total, MESSAGE, signature), world.solver)
    assert gas_snapshot.seen[verb] <= MOST[signers]
