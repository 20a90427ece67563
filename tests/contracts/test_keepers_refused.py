"""Attestations, words and calls that keepers' contract refuses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from offchain.bls.points import BASE2, G1, G2, P
from offchain.bls.signing import sign
from offchain.market.keeping import Attestation
from tests.support.bls import NO_G1, SECRETS, key_of, no_g2, outsider
from tests.support.keeping import KEPT, Sitting
from tests.support.reverts import reverts
from tests.support.vouching import SECRET
from tests.support.world import World


def contract(sitting: Sitting) -> Any:
    return sitting.world.contract("keepers")


def whole(sitting: Sitting, **changes: Any) -> Attestation:
    return sitting.signed(list(sitting.seats), 0, **changes)


@pytest.mark.parametrize("error", list(NO_G1))
def test_signatures_that_are_no_points(kept: Sitting, error: str) -> None:
    with reverts(contract(kept), error):
        kept.world.ask(kept.attesting(replace(whole(kept), signature=NO_G1[error][0]), 0))


@pytest.mark.parametrize("error", list(no_g2()))
def test_sums_that_are_no_points(kept: Sitting, error: str) -> None:
    with reverts(contract(kept), error):
        kept.world.ask(kept.attesting(replace(whole(kept), total=no_g2()[error][0]), 0))


def test_a_sum_in_no_subgroup(kept: Sitting) -> None:
    with reverts(contract(kept), "NotInSubgroup"):
        kept.world.ask(kept.attesting(replace(whole(kept), total=outsider()), 0))


@pytest.mark.parametrize(
    "change",
    [
        {"chain_id": 1},
        {"market": "0x" + "11" * 20},
        {"task_id": 99},
        {"attempt": 1},
        {"committee": 1},
        {"root": bytes(32)},
    ],
)
def test_signatures_of_something_else(kept: Sitting, change: dict[str, Any]) -> None:
    with reverts(contract(kept), "WrongSignature"):
        kept.world.ask(kept.attesting(whole(kept, **change), 0))


def test_a_signature_for_an_earlier_checkpoint(kept: Sitting) -> None:
    kept.world.commit(kept.task, 1)
    with reverts(contract(kept), "WrongSignature"):
        kept.world.ask(kept.attesting(whole(kept), 1))


def test_signatures_of_the_right_message_in_another_domain(kept: Sitting) -> None:
    message = kept.holding(0).message().replace(b"offchain.keeping.1", b"offchain.ticket.1\0")
    name = next(iter(kept.seats))
    alone = Attestation(1 << kept.place(name), key_of(SECRET[name]).twin, sign(SECRET[name], message))
    with reverts(contract(kept), "WrongSignature"):
        kept.world.ask(kept.attesting(alone, 0))


def test_a_signature_for_somebody_else_s_seat(kept: Sitting) -> None:
    first, second, _ = kept.seats
    alone = kept.signed([first], 0)
    for signers in (1 << kept.place(second), 1 << kept.place(first) | 1 << kept.place(second)):
        with reverts(contract(kept), "WrongSignature"):
            kept.world.ask(kept.attesting(replace(alone, signers=signers), 0))
    outside = Attestation(alone.signers, key_of(SECRETS[9]).twin, sign(SECRETS[9], kept.holding(0).message()))
    with reverts(contract(kept), "WrongSignature"):
        kept.world.ask(kept.attesting(outside, 0))


def test_a_key_that_is_counted_twice(kept: Sitting) -> None:
    """Each member is named once, however many seats it has; who names one twice names another committee."""
    name = next(iter(kept.seats))
    twice = replace(kept, members=(*kept.members, kept.members[kept.place(name)]))
    with reverts(contract(kept), "OtherMembers"):
        kept.world.ask(twice.attesting(kept.signed([name], 0), 0))


def test_bitmaps_of_nobody_and_of_who_is_not_there(kept: Sitting) -> None:
    with reverts(contract(kept), "NoSigners"):
        kept.world.ask(kept.attesting(replace(whole(kept), signers=0), 0))
    for signers in (0b1111, 1 << 255):
        with reverts(contract(kept), "BitmapTooLong", 3, signers):
            kept.world.ask(kept.attesting(replace(whole(kept), signers=signers), 0))


def test_what_is_known_already(kept: Sitting) -> None:
    attestation = whole(kept)
    kept.world.send(kept.attesting(attestation, 0), kept.world.solver)
    with reverts(contract(kept), "NothingNew", 0, attestation.signers):
        kept.world.ask(kept.attesting(attestation, 0))
    acknowledging = contract(kept).functions.acknowledge(kept.task, 0, 0)
    with reverts(contract(kept), "AlreadyAvailable", 1, 0):
        kept.world.ask(acknowledging, kept.world.requester)


def test_what_is_not_committed(kept: Sitting) -> None:
    with reverts(kept.world.log, "UnknownCheckpoint", kept.task, 1):
        kept.world.ask(kept.attesting(kept.signed(kept.quorum(), 1), 1))


def test_another_attempt_than_the_one_that_runs(kept: Sitting) -> None:
    with reverts(contract(kept), "NotRunning", kept.task, 1):
        kept.world.ask(kept.attesting(whole(kept), 0, attempt=1))
    with reverts(contract(kept), "NotRunning", kept.task, 1):
        kept.world.ask(contract(kept).functions.acknowledge(kept.task, 1, 0), kept.world.requester)


def test_words_of_others(kept: Sitting) -> None:
    world = kept.world
    with reverts(contract(kept), "NotRequester", world.requester.lower(), world.solver.lower()):
        world.ask(contract(kept).functions.acknowledge(kept.task, 0, 0), world.solver)
    with reverts(world.log, "UnknownCheckpoint", kept.task, 1):
        world.ask(contract(kept).functions.acknowledge(kept.task, 0, 1), world.requester)


def test_tasks_without_keepers(audit_world: World) -> None:
    world = audit_world
    task = world.award()
    functions = world.contract("keepers").functions
    for call in (functions.seat(task, 0), functions.recall(task), functions.acknowledge(task, 0, 0)):
        with reverts(world.contract("keepers"), "NoKeepers", task):
            world.ask(call, world.requester)


def test_before_the_award_and_before_a_committee_sits(audit_world: World) -> None:
    world = audit_world
    bidding = world.post(**KEPT)
    functions = world.contract("keepers").functions
    with reverts(world.contract("keepers"), "NotRunning", bidding, 0):
        world.ask(functions.seat(bidding, 0))
    task = world.award(**KEPT)
    world.commit(task, 0)
    one = Attestation(1, BASE2, G1(1, 2))
    with reverts(world.contract("keepers"), "NotSeated", task, 0, 0):
        world.ask(Sitting(world, task, ()).attesting(one, 0))
    with reverts(world.contract("verifiers"), "WrongPlace", 0):
        world.ask(functions.seat(task, 0))
    sitting = Sitting.of(world, task)
    with reverts(world.contract("keepers"), "AlreadySeated", task, 0, 0):
        world.ask(functions.seat(task, 3))
    with reverts(world.contract("keepers"), "UnknownMember", 16, 16):
        world.ask(functions.signedOf(task, 0, 0, 16))
    assert sitting.members


def test_coordinates_that_wrap_around(kept: Sitting) -> None:
    found = whole(kept)
    wrapped = replace(found, signature=G1(found.signature.x + P, found.signature.y))
    with reverts(contract(kept), "CoordinateTooLarge"):
        kept.world.ask(kept.attesting(wrapped, 0))
    far = G2(*found.total)._replace(x0=found.total.x0 + P)
    with reverts(contract(kept), "CoordinateTooLarge"):
        kept.world.ask(kept.attesting(replace(found, total=far), 0))
