"""Auditor: which claims are refused, and what is no log of a checkpoint."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from offchain.commit.logs import COMMITMENT_BYTES
from tests.support import tasks
from tests.support.audited import (
    INTERVAL_TIME,
    RIGHT,
    STAKE,
    begun,
    commit,
    drawn,
    finish,
    leave,
    reveal,
    settle,
    try_claim,
    try_reveal,
)
from tests.support.deployment import PARAMETERS
from tests.support.reverts import reverts
from tests.support.vouching import EVERYBODY, Ended, close_claiming, vouch
from tests.support.world import World

# --- what is refused --------------------------------------------------------------------------------------------------


def test_too_early_and_too_late(audit_world: World, auditor: Any) -> None:
    world = audit_world
    task = begun(world, 0)
    commit(world, task, 0)
    draw, committed = drawn(world, "challenger", task), world.clock.now
    with reverts(world.log, "UnknownCheckpoint", task, 1):
        try_claim(world, "challenger", task, 1, draw)
    ends = committed + PARAMETERS.challenge_window // 2
    assert auditor.functions.claimableUntil(task, 0).call() == ends
    vouch(world, "stranger", task, 0, RIGHT[0].shown)
    world.clock.mine(ends)
    try_claim(world, "challenger", task, 0, draw)
    with reverts(auditor, "ClaimingOpen", ends, ends):
        try_reveal(world, "stranger", task, 0, RIGHT[0].shown)
    world.clock.mine(ends + 1)
    try_reveal(world, "stranger", task, 0, RIGHT[0].shown)
    with reverts(auditor, "ClaimingOver", ends, ends + 1):
        try_claim(world, "challenger", task, 0, draw)


def test_who_commits_many_checkpoints_at_once_leaves_time_to_claim_them(audit_world: World, auditor: Any) -> None:
    world = audit_world
    task = begun(world, 3)
    ends = [auditor.functions.claimableUntil(task, index).call() for index in range(3)]
    assert all(later - sooner >= INTERVAL_TIME // 2 for sooner, later in pairwise(ends))


def test_once_per_checkpoint(audit_world: World, auditor: Any) -> None:
    world = audit_world
    task = begun(world)
    vouch(world, "challenger", task, 0, RIGHT[0].shown)
    with reverts(auditor, "AlreadyClaimed", task, 0, world.challenger.lower()):
        try_claim(world, "challenger", task, 0, drawn(world, "challenger", task))
    close_claiming(world, task, 0)
    reveal(world, "challenger", task)
    with reverts(auditor, "AlreadyRevealed", task, 0, world.challenger.lower()):
        try_reveal(world, "challenger", task, 0, RIGHT[0].shown)
    finish(world, task)
    settle(world, "challenger", task)
    with reverts(auditor, "NotClaimed", task, 0, 0, world.challenger.lower()):
        world.ask(auditor.functions.settle(task, 0, 0, world.challenger))


def test_another_checkpoint(audit_world: World, auditor: Any) -> None:
    """Neither its ticket nor its log will do."""
    world = audit_world
    task = begun(world, 2)
    first, second = (drawn(world, "challenger", task, index) for index in range(2))
    with reverts(auditor, "WrongSignature"):
        try_claim(world, "challenger", task, 1, replace(second, ticket=first.ticket))
    vouch(world, "challenger", task, 1, RIGHT[0].shown)
    close_claiming(world, task, 1)
    with reverts(auditor, "RootDiffers", RIGHT[1].root, RIGHT[0].root):
        try_reveal(world, "challenger", task, 1, RIGHT[0].shown)
    with reverts(auditor, "NotClaimed", task, 0, 0, world.challenger.lower()):
        try_reveal(world, "challenger", task, 0, RIGHT[0].shown)


def test_somebody_else(audit_world: World, auditor: Any) -> None:
    world = audit_world
    task = begun(world)
    with reverts(world.contract("verifiers"), "OtherKey"):
        try_claim(world, "stranger", task, 0, drawn(world, "challenger", task))
    with reverts(world.contract("verifiers"), "NotEnrolled", world.requester.lower()):
        try_claim(world, "requester", task, 0, drawn(world, "challenger", task))
    vouch(world, "challenger", task, 0, RIGHT[0].shown)
    close_claiming(world, task, 0)
    with reverts(auditor, "NotClaimed", task, 0, 0, world.stranger.lower()):
        try_reveal(world, "stranger", task, 0, RIGHT[0].shown)


def test_nobody_audits_itself(audit_world: World, auditor: Any) -> None:
    world = audit_world
    task = tasks.post(world, max_price=900, audit_rate_bps=EVERYBODY, stake=STAKE)
    tasks.auction(world, task, {"rival": 0})
    commit(world, task, 0, "rival")
    with reverts(auditor, "OwnCheckpoint", world.rival.lower()):
        try_claim(world, "rival", task, 0, drawn(world, "rival", task))


def test_a_commitment_of_zeros_is_none(audit_world: World, auditor: Any) -> None:
    world = audit_world
    task = begun(world)
    with reverts(auditor, "ZeroCommitment"):
        try_claim(world, "challenger", task, 0, drawn(world, "challenger", task), bytes(COMMITMENT_BYTES))


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"chunk": bytes(4_095)}, ("ChunkSize", 4_096, 4_095)),
        ({"chunk": b""}, ("ChunkSize", 4_096, 0)),
        ({"length": 0}, ("MalformedLog", 0, 10)),
        ({"length": 31}, ("MalformedLog", 31, 10)),
        ({"length": 40}, ("RootDiffers",)),
        ({"slots": 0}, ("EmptyTree",)),
        ({"slots": 1}, ("ProofLength", 0, 1)),
        ({"slots": 3}, ("ProofLength", 2, 1)),
        ({"slot_proof": (b"p" * 32,)}, ("RootDiffers",)),
        ({"chunk_proof": (b"p" * 32,)}, ("ProofLength", 0, 1)),
    ],
)
def test_what_is_no_log_of_the_checkpoint(
    audit_world: World, auditor: Any, changes: dict[str, Any], error: tuple[Any, ...]
) -> None:
    world = audit_world
    task, shown = begun(world), replace(RIGHT[0].shown, **changes)
    vouch(world, "challenger", task, 0, shown)
    close_claiming(world, task, 0)
    with reverts(auditor, *error):
        try_reveal(world, "challenger", task, 0, shown)


@pytest.mark.parametrize("slots", [2, 16, 17, 300])
def test_a_log_of_several_chunks(audit_world: World, auditor: Any, slots: int) -> None:
    """The last interval is half as long: what follows its last row are zeros, which nobody has to replay for."""
    world = audit_world
    last = Ended.of(9, metrics=300, written=5, slots=slots)
    task = begun(world, 2)
    commit(world, task, 2, root=last.root)
    vouch(world, "challenger", task, 2, last.shown)
    whole = replace(last, written=10).shown
    assert whole.chunk == bytes(4_096) and last.shown.chunk[-4:] == bytes(4)
    vouch(world, "stranger", task, 2, whole)
    close_claiming(world, task, 2)
    reveal(world, "challenger", task, 2, last.shown)
    with reverts(auditor, "RootDiffers", last.root):
        try_reveal(world, "stranger", task, 2, whole)


def test_a_budget_ends_before_the_luck_of_verifiers(audit_world: World, auditor: Any) -> None:
    """A thousand tasks see it once: here all but one audit are taken out of the budget by hand."""
    world = audit_world
    task = begun(world)
    leave(world, task, 1)
    vouch(world, "challenger", task, 0, RIGHT[0].shown)
    with reverts(auditor, "BudgetSpent", task):
        try_claim(world, "stranger", task, 0, drawn(world, "stranger", task))


def test_only_the_market_funds_and_closes(audit_world: World, auditor: Any) -> None:
    world = audit_world
    task = begun(world)
    for call in (auditor.functions.fund(9, world.requester, 1, 1, 1), auditor.functions.close(task, world.challenger)):
        with reverts(auditor, "NotMarket", world.challenger.lower()):
            world.ask(call, world.challenger)


def test_only_the_game_condemns(audit_world: World) -> None:
    world = audit_world
    task = begun(world)
    with reverts(world.log, "NotGame", world.challenger.lower()):
        world.ask(world.log.functions.condemn(task, 0), world.challenger)
    with reverts(world.log, "UnknownCheckpoint", task, 1):
        world.ask(world.log.functions.condemn(task, 1), world.referee)


def test_a_requester_needs_the_money_for_audits(audit_world: World) -> None:
    world = audit_world
    free, fee = world.free("requester"), 10**23
    call = world.market.functions.post(world.terms(audit_fee=fee, audit_rate_bps=10_000))
    spent = 900 + PARAMETERS.post_fee
    with reverts(world.vault, "InsufficientFree", world.requester.lower(), 10 * fee, free - spent):
        world.ask(call, world.requester)
