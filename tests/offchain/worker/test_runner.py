"""Workers on a real chain with the real contracts: they train, audit, dispute, survive, and stop."""

from __future__ import annotations

import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from offchain.chain.ganache import Ganache
from offchain.commit.roots import tensor_root
from offchain.dispute.falsified import Falsehood, FalsifiedReplay
from offchain.errors import BadInput, ChainUnavailable
from offchain.market.view import ChainView, Status
from offchain.store.blobs import BlobStore
from offchain.training import Run
from offchain.worker.database import BadDatabase
from offchain.worker.events import (
    Audited,
    BidSent,
    Challenged,
    CommitSent,
    Computing,
    DisputeOver,
    DisputeSeen,
    Failed,
    Moved,
    Stopped,
    TaskFit,
    TaskUnfit,
    TimedOut,
    Trained,
)
from offchain.worker.materials import log_name, state_name
from offchain.worker.posting import result
from offchain.worker.results import curves
from tests.support.deployment import FREE, PARAMETERS, Funded
from tests.support.tasks import proof
from tests.support.town import FETCH, POLICY, PRICE, Town, lying
from tests.support.works import BATCH, DOT, NEW, SUM, Work, every_kind, lengthy, many, tall

TASK = every_kind(6, 3)


def test_honest_task_is_trained_audited_and_paid(town: Town) -> None:
    task = town.post(TASK)
    solver, verifier = town.worker("solver", "solver", "solver"), town.worker("verifier", "challenger", "verifier")
    before = solver.chain.free()
    town.until(lambda: len(town.told(Audited, "verifier")) == 2)
    assert all(event.right for event in town.told(Audited))
    assert town.told(TaskFit, "solver") and town.told(TaskFit, "verifier")
    town.until(lambda: town.told(CommitSent, "solver")[1:])
    town.close_windows()
    town.until(lambda: town.status(task) is Status.COMPLETED)
    assert solver.chain.free() == before + PRICE
    assert not town.told(DisputeSeen) and not town.told(Failed)
    assert task not in verifier.reader.read()  # nothing to do there any more
    states = [path.name for path in solver.materials.blobs.folder.glob("*.state")]
    town.until(lambda: town.workers["solver"].cycle() or True)
    states = [path.name for path in solver.materials.blobs.folder.glob("*.state")]
    assert len(states) == 1  # the final one, for the requester
    mine, told = BlobStore(town.folder / "mine", options=FETCH), Run(TASK, "reference")
    told.run()
    view, _ = result(town.quick("requester"), task, TASK, mine)
    assert curves(view, TASK, mine) == told.metrics  # of every interval
    log = solver.materials.blobs.path(log_name(view.terms, view.checkpoints[0].root))
    log.unlink()
    there = curves(view, TASK, BlobStore(town.folder / "theirs", options=FETCH))
    assert all(there[name] == [None] * 3 + values[3:] for name, values in told.metrics.items())


@pytest.mark.parametrize(
    "falsehood",
    [
        Falsehood(2, DOT, 0, 1 << 12),
        pytest.param(Falsehood(4, NEW, 3), marks=pytest.mark.slow),
        pytest.param(Falsehood(5, BATCH, 2, 1 << 20), marks=pytest.mark.slow),
        pytest.param(Falsehood(2, SUM, 0, 1 << 3), marks=pytest.mark.slow),
        pytest.param(Falsehood(5, SUM, 0, 0, (12, 0)), marks=pytest.mark.slow),
        pytest.param(Falsehood(2, DOT, 0, 0, (0, -1)), marks=pytest.mark.slow),
    ],
    ids=["dot", "map", "gather", "sum", "exponent too high", "exponent too low"],
)
def test_cheat_is_convicted(town: Town, falsehood: Falsehood) -> None:
    task = town.post(TASK, clock=300)  # one of them has no answer, and lets it run out
    town.worker("cheat", "solver", "solver", executors=lying(falsehood), replays=FalsifiedReplay)
    verifier = town.worker("verifier", "challenger", "verifier")
    before = verifier.chain.free()
    town.until(lambda: town.status(task) is Status.SLASHED, idle=30)
    proved = not town.told(TimedOut)
    assert verifier.chain.free() == before + (proof(verifier.chain.terms(task).stake) if proved else PARAMETERS.bounty)
    town.until(lambda: town.told(DisputeOver, "verifier"))
    assert town.told(DisputeOver, "verifier")[0].won
    assert not town.told(DisputeOver, "cheat")[0].won
    assert town.told(Challenged, "verifier")[0].checkpoint == falsehood.step // 3
    moves = [event.gas for event in town.told(Moved)]
    assert max(moves) < 3_000_000


@pytest.mark.slow
@pytest.mark.parametrize(
    ("work", "falsehood", "reveals"),
    [
        (many(300), Falsehood(0, 290, 0), {"revealChildren"}),
        (tall(), Falsehood(0, 0, 264_000), {"revealChunks", "revealChildren"}),
        (lengthy(600), Falsehood(500, 0, 0, 1 << 20), {"revealSteps"}),
    ],
    ids=["many nodes", "many chunks", "many steps"],
)
def test_deep_descent_convicts_too(town: Town, work: Work, falsehood: Falsehood, reveals: set[str]) -> None:
    task = town.post(work)
    town.worker("cheat", "solver", "solver", executors=lying(falsehood), replays=FalsifiedReplay)
    town.worker("verifier", "challenger", "verifier")
    town.until(lambda: town.status(task) is Status.SLASHED)
    assert reveals <= {event.function for event in town.told(Moved, "cheat")}


def test_false_accusation_costs_the_bond(town: Town) -> None:
    task = town.post(TASK)
    town.worker("solver", "solver", "solver")
    falsehood = Falsehood(2, DOT, 0, 1 << 12)
    liar = town.worker("liar", "challenger", "verifier", executors=lying(falsehood), replays=FalsifiedReplay)
    before = liar.chain.free()
    town.until(lambda: town.told(DisputeOver, "solver"))
    assert town.told(DisputeOver, "solver")[0].won
    assert liar.chain.free() == before - liar.chain.terms(task).bond
    town.until(lambda: town.told(CommitSent, "solver")[1:])
    town.close_windows()
    town.until(lambda: town.status(task) is Status.COMPLETED)
    assert len(town.told(Challenged, "liar")) == 1  # never twice about the same checkpoint


def test_silent_cheat_times_out(town: Town) -> None:
    task = town.post(TASK)
    town.worker("cheat", "solver", "solver", executors=lying(Falsehood(2, DOT, 0, 1 << 12)), replays=FalsifiedReplay)
    town.worker("verifier", "challenger", "verifier")
    town.until(lambda: town.told(Challenged))
    town.dismiss("cheat")
    town.clock.travel(1_001)
    town.until(lambda: town.status(task) is Status.SLASHED)
    assert town.told(TimedOut, "verifier")


def test_altered_task_file_is_left_alone(town: Town) -> None:
    task = town.post(TASK)
    path = town.folder / "task.file"
    altered = bytearray(path.read_bytes())
    altered[len(altered) // 2] ^= 1
    path.write_bytes(altered)
    town.worker("solver", "solver", "solver")
    town.until(lambda: town.told(TaskUnfit))
    town.until(lambda: town.workers["solver"].cycle() or True)
    assert not town.told(BidSent)
    assert list((town.folder / "solver" / "blobs").iterdir()) == []
    assert town.status(task) is Status.BIDDING


def test_other_terms_than_the_file_are_left_alone(town: Town) -> None:
    town.post(TASK, steps=60)
    town.worker("solver", "solver", "solver")
    town.until(lambda: town.told(TaskUnfit))
    assert "terms: 60" in town.told(TaskUnfit)[0].why


def test_missing_task_file_is_tried_again_and_told_of_once(town: Town) -> None:
    """A line stood in the log for each try, of which there is one every six seconds."""
    task = town.post(TASK, uri="http://127.0.0.1:9/task", bidding_time=1000)
    worker = town.worker("solver", "solver", "solver", max_failures=3)
    town.meanwhile(lambda: next(iter(worker.db._rows("SELECT failures FROM tasks WHERE id = ?", task)), [0])[0] > 1)
    assert ["cannot be fetched" in event.why for event in town.told(TaskUnfit)] == [True]


def test_task_too_slow_or_too_large_for_this_machine_is_left_alone(town: Town) -> None:
    town.post(TASK, bidding_time=1000)
    town.worker("slow", "solver", "solver", headroom=1e9)
    town.worker("small", "rival", "solver", max_memory=1000)
    town.until(lambda: len(town.told(TaskUnfit)) == 2)
    assert "needs" in town.told(TaskUnfit, "slow")[0].why
    assert "touches" in town.told(TaskUnfit, "small")[0].why


def test_withheld_and_altered_checkpoints_do_not_stop_an_audit(town: Town) -> None:
    """The solver serves nothing, then rubbish: the verifier replays from the initial state."""
    town.post(TASK)
    solver = town.worker("solver", "solver", "solver")
    town.until(lambda: len(town.told(CommitSent)) == 2)
    seen = solver.reader.read().tasks[-1]
    path = solver.materials.blobs.path(state_name(seen.terms, seen.checkpoints[0].root))
    altered = bytearray(path.read_bytes())
    altered[-1] ^= 1
    path.write_bytes(altered)
    town.worker("verifier", "challenger", "verifier", max_failures=2, policy=replace(POLICY, audit_share=0.0))
    verifier = town.workers["verifier"]
    view = verifier.reader.read().tasks[-1]
    refused = list[BadInput]()
    while not [event for event in town.told(Audited) if event.checkpoint == 1]:
        try:
            verifier._work.audit(view, 1, 0.1)
        except BadInput as error:
            refused.append(error)
    assert refused
    assert [event.right for event in town.told(Audited)] == [True, True]


def test_restart_resumes_from_the_last_checkpoint(town: Town) -> None:
    town.post(TASK)
    town.worker("solver", "solver", "solver")
    town.until(lambda: town.told(Trained))
    town.dismiss("solver")
    seen = len(town.events)
    town.worker("solver", "solver", "solver")
    town.until(lambda: len(town.told(CommitSent)) == 2)
    assert [event.checkpoint for event in town.told(Trained)] == [0, 1]
    computing = [event for _, event in town.events[seen:] if isinstance(event, Computing)]
    assert computing[0].from_step == 3


def test_lost_folder_is_computed_again(town: Town) -> None:
    town.post(TASK)
    town.worker("solver", "solver", "solver")
    town.until(lambda: town.told(CommitSent))
    town.dismiss("solver")
    town.worker("replacement", "solver", "solver")
    town.until(lambda: [event for event in town.told(CommitSent, "replacement") if event.checkpoint == 1])
    trained, audited = ([event.checkpoint for event in town.told(kind, "replacement")] for kind in (Trained, Audited))
    assert {*trained, *audited} == {0, 1} and len(audited) <= 1  # it is held to the root on chain, once


def test_database_of_another_account_is_refused(town: Town) -> None:
    town.worker("solver", "solver", "solver")
    town.dismiss("solver")
    with pytest.raises(BadDatabase):
        town.worker("solver", "rival", "solver")


def test_unknown_role_is_refused(town: Town) -> None:
    with pytest.raises(BadInput, match="there are solver"):
        town.worker("x", "solver", "judge")


def test_failing_action_does_not_stop_the_others(town: Town) -> None:
    """A bidder without money for two stakes bids on both; the second is refused, the first goes on."""
    for _ in range(2):
        town.post(TASK, max_price=FREE // 10, stake=FREE * 3 // 5, bond=FREE // 20)
    town.worker("solver", "solver", "solver")
    town.until(lambda: town.told(CommitSent))
    assert len(town.told(BidSent)) == 1


@pytest.mark.slow
def test_killed_chain_is_waited_for(tmp_path: Path) -> None:
    chain = Ganache(database=tmp_path / "chain")
    with chain:
        town = Funded.build(chain).seen_as(Town, folder=tmp_path)
        town.post(TASK)
        solver = town.worker("solver", "solver", "solver", max_backoff=0.5)
        town.until(lambda: town.told(CommitSent))
        chain.stop()
        for _ in range(3):
            solver.cycle()
        assert len(town.told(CommitSent)) == 1
        chain.start()
        town.until(lambda: len(town.told(CommitSent)) == 2)
        assert [event.checkpoint for event in town.told(Trained)] == [0, 1]
        assert not town.told(Failed)
        town.close()


def test_a_slow_node_does_not_hold_up_training(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a look takes as long as it likes, both intervals are trained; what was trained is committed after it."""
    town.post(TASK)
    solver = town.worker("solver", "solver", "solver")
    town.until(lambda: town.told(Computing))
    answered, read = threading.Event(), solver.reader.read
    monkeypatch.setattr(solver.reader, "read", lambda: answered.wait(60) and read())
    limit = time.monotonic() + 30
    while solver._ahead is None and time.monotonic() < limit:
        solver.cycle()
    while not town.told(Trained) and time.monotonic() < limit:
        solver.cycle()
    assert town.told(Trained) and not town.told(CommitSent)
    answered.set()
    town.until(lambda: len(town.told(CommitSent)) == 2)


def test_what_was_trained_is_not_trained_again_while_the_chain_is_away(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    town.post(TASK)
    solver = town.worker("solver", "solver", "solver", max_backoff=0.1)
    read, away = solver.reader.read, threading.Event()

    def silent() -> ChainView:
        if solver._due or away.is_set():  # from the moment on that there is something to train
            away.set()
            raise ChainUnavailable("no answer")
        return read()

    with monkeypatch.context() as patch:
        patch.setattr(solver.reader, "read", silent)
        town.until(lambda: town.told(Trained))
        for _ in range(10):
            solver.cycle()
    assert [event.checkpoint for event in town.told(Trained)] == [0]
    town.until(lambda: len(town.told(CommitSent)) == 2)
    assert [event.checkpoint for event in town.told(Trained)] == [0, 1]


def test_signal_ends_the_worker(town: Town) -> None:
    worker = town.worker("solver", "solver", "solver")
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM)).start()
    worker.run()
    assert town.told(Stopped)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_requester_takes_its_money_back_from_a_stalled_task(town: Town) -> None:
    task = town.post(TASK)
    town.worker("solver", "solver", "solver")
    requester = town.worker("requester", "requester", "requester")
    town.until(lambda: town.told(CommitSent))
    town.dismiss("solver")
    before = requester.chain.free()
    town.clock.travel(20_001)
    town.until(lambda: town.status(task) is Status.STALLED)
    assert requester.chain.free() == before + PRICE // 2


def test_root_of_a_served_checkpoint_binds_the_log(town: Town) -> None:
    """A verifier starts from what the solver committed; of the log, which it has to compute itself, it has the root."""
    town.post(TASK)
    solver = town.worker("solver", "solver", "solver")
    town.until(lambda: town.told(CommitSent))
    view = solver.reader.read().tasks[-1]
    opened = solver.materials.open(view)
    assert opened
    start = solver.materials.start(view, opened, 1, {})
    assert start
    assert start.root == view.checkpoints[0].root
    assert not start.arrays[-1].any() and start.tree.leaves[-1] != tensor_root(start.arrays[-1])
