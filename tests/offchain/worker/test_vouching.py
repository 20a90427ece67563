"""A verifier in a town: drawn, it replays, vouches, survives a restart, and is paid; one that does not look is not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import numpy as np
import pytest

from offchain.chain.claims import Fate, claims_of
from offchain.chain.deployment import COIN
from offchain.commit.logs import LogChunk
from offchain.market.view import Status, TaskView
from offchain.store.checkpoint import read_state
from offchain.worker.events import Audited, CommitSent, Failed
from offchain.worker.materials import log_name, state_name
from offchain.worker.posting import follow
from offchain.worker.runner import Worker
from offchain.worker.said import ClaimSettled
from offchain.worker.vouched import ClaimSent, LotDrawn, SettleSent, VouchSent
from tests.support.bls import SECRETS
from tests.support.deployment import PARAMETERS, QUICK
from tests.support.town import POLICY, Town
from tests.support.vouching import close_claiming, enter
from tests.support.works import every_kind

TASK: Final = every_kind(6, 3)
FEE: Final = COIN // 10
RATE: Final = 10_000  # of audits
ON_DEMAND: Final = replace(POLICY, audit_share=0.0)  # it replays only what it is drawn for
VERIFIERS: Final = {"challenger": 5}
WON: Final = 2  # fees, for each checkpoint
SECRET: Final = {"challenger": SECRETS[0], "stranger": SECRETS[1]}


def posted(town: Town, **beside: int) -> int:
    """`beside`: stakes of other verifiers."""
    enter(town, VERIFIERS | beside, SECRET)
    task = town.post(TASK, audit_fee=FEE, audit_rate_bps=RATE)
    town.grant(task, {} if beside else {"challenger": WON}, SECRET)
    return task


def verifier(town: Town, **options: Any) -> Worker:
    return town.worker("verifier", "challenger", "verifier", signing_key=SECRETS[0], policy=ON_DEMAND, **options)


def test_who_is_drawn_replays_vouches_and_is_paid(town: Town) -> None:
    task = posted(town)
    before = town.wealth()
    solver, chain = town.worker("solver", "solver", "solver"), town.quick("stranger")
    verifier(town)
    town.until(lambda: len(town.told(ClaimSent)) == 2)
    view = solver.reader.read().task(task)
    assert [(event.won, event.fees) for event in town.told(LotDrawn)] == [(True, WON)] * 2
    assert all(event.right for event in town.told(Audited, "verifier"))
    assert not logs_served(solver, view)  # or whoever asked for them could claim, too
    close_claiming(town, task, 1)
    town.until(lambda: len(town.told(VouchSent)) == 2)
    assert len(logs_served(solver, view)) == 2
    town.close_windows(task)
    town.until(lambda: len(town.told(SettleSent)) == 2)
    assert town.status(task) is Status.COMPLETED
    assert [claim.fate for claim in claims_of(chain, task)] == [Fate.PAID, Fate.PAID]
    assert town.gains(before)["challenger"] == 2 * WON * FEE
    assert all(event.earned and event.fees == WON for event in town.told(ClaimSettled))
    assert not town.told(Failed)
    town.until(lambda: task not in town.workers["verifier"].reader.read())  # nothing to do there any more


def test_who_is_not_drawn_replays_nothing_and_sends_nothing(town: Town) -> None:
    task = posted(town, stranger=10**12)
    gas = town.w3.eth.get_balance(town.address("challenger"))
    town.worker("solver", "solver", "solver")
    verifier(town)
    town.until(lambda: len(town.told(LotDrawn)) == 2)
    town.close_windows(task)
    town.until(lambda: town.status(task) is Status.COMPLETED)
    assert not any(event.won for event in town.told(LotDrawn))
    assert not town.told(Audited) and not town.told(ClaimSent)
    assert town.w3.eth.get_balance(town.address("challenger")) == gas


def test_who_replays_everything_vouches_for_all_that_it_is_drawn_for(town: Town) -> None:
    """Also for a checkpoint that it has replayed, on the way to another, before it looked at its ticket."""
    posted(town)
    town.worker("solver", "solver", "solver")
    town.until(lambda: len(town.told(CommitSent)) == 2)
    town.worker("verifier", "challenger", "verifier", signing_key=SECRETS[0], policy=POLICY)
    town.until(lambda: len(town.told(Audited, "verifier")) == 2 and len(town.told(LotDrawn)) == 2)
    town.until(lambda: len(town.told(ClaimSent)) == 2)
    order = [type(event) for _, event in town.events if isinstance(event, Audited | LotDrawn)]
    assert order.index(Audited) < len(order) - 1 - order[::-1].index(LotDrawn)


def test_what_was_not_drawn_may_be_vouched_for_in_another_attempt(town: Town) -> None:
    """Whose checkpoints have the same roots, and other tickets."""
    task = posted(town, stranger=10**12)
    town.worker("solver", "solver", "solver")
    worker = town.worker("verifier", "challenger", "verifier", signing_key=SECRETS[0], policy=POLICY)
    town.until(lambda: len(town.told(Audited, "verifier")) == 2 and len(town.told(LotDrawn)) == 2)
    assert not any(event.won for event in town.told(LotDrawn))
    assert worker.db.notes(worker.reader.read().task(task)).ready == {0, 1}


def test_who_has_no_key_to_sign_tickets_with_keeps_no_logs(town: Town) -> None:
    """Nothing of it will ever be drawn."""
    task = posted(town)
    town.worker("solver", "solver", "solver")
    worker = town.worker("verifier", "stranger", "verifier", policy=POLICY)
    town.until(lambda: len(town.told(Audited, "verifier")) == 2)
    notes = worker.db.notes(worker.reader.read().task(task))
    assert notes.audited == {0: True, 1: True} and notes.ready == frozenset()


@pytest.mark.slow
def test_a_claim_survives_a_restart(town: Town) -> None:
    """The verifier's files are here again, and nothing else; the solver's are gone."""
    task = posted(town)
    before = town.wealth()
    town.worker("solver", "solver", "solver")
    verifier(town)
    town.until(lambda: len(town.told(ClaimSent)) == 2)
    town.dismiss("verifier")
    town.until(lambda: len(town.told(CommitSent)) == 2)
    town.dismiss("solver")
    close_claiming(town, task, 1)
    verifier(town)
    town.until(lambda: len(town.told(VouchSent)) == 2)
    town.close_windows(task)
    town.worker("solver", "solver", "solver")
    town.until(lambda: len(town.told(SettleSent)) == 2)
    assert town.gains(before)["challenger"] == 2 * WON * FEE
    assert len(town.told(Audited)) == 2  # nothing was replayed again
    assert town.status(task) is Status.COMPLETED


@pytest.mark.slow
def test_who_does_not_look_earns_nothing(town: Town) -> None:
    """It says that all is right, and guesses the log from what the solver serves: that holds everything but the log.

    Its requester settles what it claimed: the fees come back, and the bonds burn.
    """
    before = town.wealth()
    task = posted(town)
    solver, lazy = town.worker("solver", "solver", "solver"), verifier(town)
    lazy._work.audit = partial_audit(solver, lazy)  # type: ignore[method-assign]
    town.until(lambda: len(town.told(ClaimSent)) == 2)
    close_claiming(town, task, 1)
    town.until(lambda: len(town.told(Failed, "verifier")) == 2)
    town.close_windows(task)
    town.until(lambda: town.status(task) is Status.COMPLETED)
    assert not town.told(VouchSent)
    refused = [event.error for event in town.told(Failed, "verifier")]
    assert refused and all("RootDiffers" in error for error in refused)
    views = list(follow(town.chain("requester", QUICK), task, poll=0))
    assert [len(view.theirs) for view in views] == [2, 0]
    assert {claim.fate for claim in claims_of(town.quick("stranger"), task)} == {Fate.FORFEITED}
    bonds, price = 2 * PARAMETERS.audit_bond, town.quick("stranger").terms(task).max_price
    gains = town.gains(before)
    assert (
        gains["challenger"] == -bonds - VERIFIERS["challenger"] and gains["requester"] == -price - PARAMETERS.post_fee
    )


def partial_audit(solver: Worker, lazy: Worker) -> Any:
    """The false part: what it notes without a replay."""

    def audit(task: TaskView, checkpoint: int, seconds: float) -> bool:
        root = task.checkpoints[checkpoint].root
        path = solver.materials.blobs.path(state_name(task.terms, root))
        state, tree = read_state(path, TASK.graph, root)
        assert not np.any(state[-1])  # the log was left out
        lazy.db.add_log(task, checkpoint, LogChunk.of(state[-1], tree, TASK.interval, TASK.interval))
        lazy.db.add_audited(task, checkpoint, True)
        return True

    return audit


def logs_served(solver: Worker, view: TaskView) -> list[str]:
    names = (log_name(view.terms, point.root) for point in view.checkpoints)
    return [name for name in names if name in solver.materials.blobs]
