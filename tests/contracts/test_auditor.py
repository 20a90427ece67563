"""Auditor: whose ticket for a checkpoint wins, and what is refused as one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

import pytest

from offchain.bls.points import G1, P
from offchain.bls.signing import sign
from offchain.chain import verifiers
from offchain.chain.verifiers import Draw
from offchain.market.tickets import Audited
from tests.support.bls import NO_G1, SECRETS, key_of, outsider
from tests.support.deployment import PARAMETERS
from tests.support.lots import grant
from tests.support.reverts import reverts
from tests.support.tasks import ROOT
from tests.support.vouching import EVERYBODY, SECRET, STAKES, enter
from tests.support.world import World

STAKE: Final = 5_000  # of a solver


@pytest.fixture(scope="module")
def lottery(deployed_market: World) -> Iterator[World]:
    """A task with a committed checkpoint. Three verifiers have keys and stakes that count."""
    world = deployed_market
    with world.clock.undone(), world.clock.stopped():
        enter(world)
        world.commit(world.award(audit_rate_bps=EVERYBODY, stake=STAKE), 0)
        grant(world, 0, 0, dict.fromkeys(STAKES, 1))
        yield world


@pytest.fixture(scope="module")
def audited(lottery: World) -> Audited:
    return about(lottery, 0, 0)


def about(world: World, task: int, index: int) -> Audited:
    """A checkpoint that is committed, of a first attempt."""
    beacon = world.quick("stranger").call("log", "checkpoint", task, index)["beacon"]
    return Audited(world.deployment.chain_id, world.deployment.market, task, 0, index, ROOT, beacon)


def ticket(world: World, name: str, audited: Audited) -> Draw:
    """A verifier's ticket, whether it wins or not."""
    places = world.contract("verifiers").functions.places(world.address(name), world.clock.now).call()
    return Draw(sign(SECRET[name], audited.message()), key_of(SECRET[name]).twin, *places, 0)


def require(world: World, name: str, draw: Draw, task: int = 0, checkpoint: int = 0) -> int:
    """How many fees the ticket wins. Raises what the contract refuses it with."""
    functions = world.contract("auditor").functions
    won: int = world.ask(functions.requireDrawn(task, checkpoint, world.address(name), draw.encoded()))
    return won


def test_what_is_signed(lottery: World, audited: Audited) -> None:
    message = lottery.contract("auditor").functions.message(0, 0).call()
    assert message == audited.message() and len(message) == 256


@pytest.mark.parametrize("name", STAKES)
@pytest.mark.parametrize(("rate", "fees"), [(1, 0), (5_000, 1), (20_000, 2), (EVERYBODY, 0), (EVERYBODY, 5)])
def test_the_contract_takes_what_its_owner_would_send(
    lottery: World, snapshot: None, name: str, rate: int, fees: int
) -> None:
    """And counts as many fees. Whoever looks at its own ticket first sends no gas after a loser."""
    world, own, total = lottery, STAKES[name], sum(STAKES.values())
    world.commit(world.award(audit_rate_bps=rate), 0)
    grant(world, 1, 0, {name: fees})
    draw, found = ticket(world, name, about(world, 1, 0)), verifiers.draw(world.quick(name), SECRET[name], 1, 0)
    if fees:
        assert found == replace(draw, fees=fees) and require(world, name, found, 1) == fees
        return
    assert found is None
    with reverts(world.contract("auditor"), "NotDrawn", world.address(name).lower(), own, total):
        require(world, name, draw, 1)


def test_nobody_knows_before_the_commit_what_is_signed(lottery: World) -> None:
    """One root in two blocks: whoever made a key that wins with it in the one has a draw like any other in the
    other."""
    world, signed = lottery, set()
    for wait in (1, 2):
        with world.clock.undone():
            task = world.award(audit_rate_bps=EVERYBODY)
            world.clock.travel(wait)
            world.commit(task, 0)
            signed.add(world.auditor.functions.message(task, 0).call()[-7:])
    assert len(signed) == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"chain_id": 1},
        {"market": "0x" + "11" * 20},
        {"task_id": 1},
        {"attempt": 1},
        {"checkpoint": 1},
        {"root": ROOT[::-1]},
        {"beacon": 0},
    ],
)
def test_a_ticket_for_something_else(lottery: World, audited: Audited, changes: dict[str, Any]) -> None:
    draw = ticket(lottery, "challenger", replace(audited, **changes))
    with reverts(lottery.contract("auditor"), "WrongSignature"):
        require(lottery, "challenger", draw)


def test_the_right_message_under_another_domain(lottery: World, audited: Audited) -> None:
    message = audited.message()
    draw = ticket(lottery, "challenger", audited)
    for other in (b"offchain.possession.1".ljust(32, b"\0") + message[32:], message[32:], message + bytes(32)):
        with reverts(lottery.contract("auditor"), "WrongSignature"):
            require(lottery, "challenger", replace(draw, ticket=sign(SECRET["challenger"], other)))


def test_the_ticket_of_another(lottery: World, audited: Audited) -> None:
    """With its key, and with one's own."""
    world, theirs = lottery, ticket(lottery, "stranger", audited)
    own = ticket(world, "challenger", audited)
    with reverts(world.contract("verifiers"), "OtherKey"):
        require(world, "challenger", replace(theirs, own_place=own.own_place))
    with reverts(world.contract("auditor"), "WrongSignature"):
        require(world, "challenger", replace(own, ticket=theirs.ticket))


@pytest.mark.parametrize("error", NO_G1)
def test_a_ticket_that_is_no_point(lottery: World, audited: Audited, error: str) -> None:
    draw = replace(ticket(lottery, "challenger", audited), ticket=NO_G1[error][0])
    with reverts(lottery.contract("auditor"), error):
        require(lottery, "challenger", draw)


def test_there_is_no_second_ticket(lottery: World, audited: Audited) -> None:
    """The negated point, and another encoding of the same one, would be further draws of one verifier."""
    auditor, draw = lottery.contract("auditor"), ticket(lottery, "stranger", audited)
    negated, outside = (G1(draw.ticket.x, P - draw.ticket.y), G1(draw.ticket.x + P, draw.ticket.y))
    for point, error in ((negated, "WrongSignature"), (outside, "CoordinateTooLarge")):
        with reverts(auditor, error):
            require(lottery, "stranger", replace(draw, ticket=point))


def test_a_key_outside_of_the_subgroup(lottery: World, audited: Audited) -> None:
    draw = replace(ticket(lottery, "challenger", audited), twin=outsider())
    with reverts(lottery.contract("verifiers"), "OtherKey"):
        require(lottery, "challenger", draw)


def test_a_stake_or_key_that_came_too_late(lottery: World, audited: Audited, snapshot: None) -> None:
    """Made before the commit, but counted from after it: whoever knew the root could have looked for them."""
    world = lottery
    verifiers.stake(world.quick("rival"), 1_000)
    verifiers.enroll(world.quick("stranger"), SECRETS[9])
    world.commit(0, 1)
    grant(world, 0, 1, {"rival": 1})
    second = about(world, 0, 1)
    world.clock.travel(PARAMETERS.key_delay)
    assert world.contract("verifiers").functions.stakeOf(world.rival).call() == 1_002
    require(world, "rival", replace(ticket(world, "rival", second), own_place=1, all_place=3), checkpoint=1)
    with reverts(world.contract("verifiers"), "WrongPlace", 2):
        require(world, "rival", replace(ticket(world, "rival", second), all_place=3), checkpoint=1)
    assert verifiers.draw(world.quick("stranger"), SECRETS[9], 0, 1) is None
    draw = replace(ticket(world, "stranger", second), twin=key_of(SECRETS[9]).twin)
    with reverts(world.contract("verifiers"), "KeyTooYoung"):
        require(world, "stranger", draw, checkpoint=1)


def test_who_has_no_key_has_no_ticket(lottery: World, audited: Audited) -> None:
    assert verifiers.draw(lottery.quick("solver"), SECRETS[0], 0, 0) is None
    with reverts(lottery.contract("verifiers"), "NotEnrolled", lottery.solver.lower()):
        require(lottery, "solver", ticket(lottery, "rival", audited))


def test_a_checkpoint_that_is_not_there(lottery: World, audited: Audited) -> None:
    with reverts(lottery.log, "UnknownCheckpoint", 0, 1):
        require(lottery, "rival", ticket(lottery, "rival", audited), checkpoint=1)
