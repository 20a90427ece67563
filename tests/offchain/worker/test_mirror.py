"""Who audited a task serves its file and its model on, within a share of the disk; and others find them there."""

from __future__ import annotations

import time
from typing import Any

import pytest

from offchain.errors import Unreachable
from offchain.market.view import Status, TaskView
from offchain.store.blobs import BlobStore, blob_name
from offchain.worker.events import Audited, CommitSent
from offchain.worker.holders import Holders, registered
from offchain.worker.mirror import Mirrored
from offchain.worker.names import state_name, task_name
from offchain.worker.operate import register
from offchain.worker.posting import result
from offchain.worker.runner import Worker
from tests.support.town import FETCH, Town
from tests.support.works import every_kind

TASK = every_kind(6, 3)


def trained(town: Town, **verifier: Any) -> tuple[int, TaskView, Worker]:
    """A task that was trained, audited and paid. Its solver and its requester are gone; the verifier is there."""
    task = town.post(TASK)
    solver, keeper = (
        town.worker("solver", "solver", "solver"),
        town.worker("verifier", "challenger", "verifier", **verifier),
    )
    register(solver)
    register(keeper)
    town.until(lambda: len(town.told(Audited)) == 2 and len(town.told(CommitSent)) == 2)
    view = solver.reader.read().task(task)
    town.close_windows(task)
    town.until(lambda: town.status(task) is Status.COMPLETED)
    town.until(lambda: keeper.cycle() or task not in keeper.reader.read())
    keeper.cycle()
    town.dismiss("solver")
    (town.folder / "task.file").unlink()
    return task, view, keeper


def fetched(town: Town, task: int, *, register: bool = True) -> Any:
    """The model, as its requester gets it from whoever has it."""
    chain = town.quick("requester")
    holders = Holders(registered(chain)) if register else None
    return result(chain, task, TASK, BlobStore(town.folder / f"mine{register}", options=FETCH), holders)[1]


def forget(town: Town, keeper: Worker, name: str) -> None:
    """A file is gone, and nothing that was fetched before comes back."""
    quiet(keeper)
    keeper.cycle()
    town.events.clear()
    keeper.materials.blobs.remove(name)


def quiet(worker: Worker) -> None:
    while worker.materials.busy:
        time.sleep(0.01)


def test_the_model_is_had_from_who_audited_it(town: Town) -> None:
    task, view, keeper = trained(town)
    blobs = keeper.materials.blobs
    assert sorted(blobs.names()) == sorted([task_name(view.terms), state_name(view.terms, view.checkpoints[-1].root)])
    with pytest.raises(Unreachable):
        fetched(town, task, register=False)
    assert [array.shape for array in fetched(town, task)] == [array.shape for array in TASK.state]


def test_a_verifier_that_is_to_keep_nothing_keeps_nothing(town: Town) -> None:
    _, _, keeper = trained(town, keep=0)
    assert list(keeper.materials.blobs.names()) == []


def test_what_was_not_replayed_is_fetched_before_the_task_ends(town: Town) -> None:
    """It audited the first interval alone; its copy of the last state is gone."""
    task = town.post(TASK)
    solver, keeper = town.worker("solver", "solver", "solver"), town.worker("verifier", "challenger", "verifier")
    town.until(lambda: len(town.told(Audited)) == 2 and len(town.told(CommitSent)) == 2)
    view = solver.reader.read().task(task)
    last = state_name(view.terms, view.checkpoints[-1].root)
    forget(town, keeper, last)
    town.meanwhile(lambda: town.told(Mirrored, "verifier"))
    assert keeper.materials.blobs.path(last).read_bytes() == solver.materials.blobs.path(last).read_bytes()


def test_who_serves_something_else_is_not_mirrored(town: Town) -> None:
    task = town.post(TASK)
    solver, keeper = town.worker("solver", "solver", "solver"), town.worker("verifier", "challenger", "verifier")
    town.until(lambda: len(town.told(Audited)) == 2 and len(town.told(CommitSent)) == 2)
    view = solver.reader.read().task(task)
    last = state_name(view.terms, view.checkpoints[-1].root)
    forget(town, keeper, last)
    path = solver.materials.blobs.path(last)
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    for _ in range(20):
        keeper.cycle()
        quiet(keeper)
    assert last not in keeper.materials.blobs and not town.told(Mirrored)


def test_the_disk_is_shared_and_what_finished_first_goes_first(town: Town) -> None:
    _, view, keeper = trained(town)
    blobs, name = keeper.materials.blobs, state_name(view.terms, view.checkpoints[-1].root)
    held = sum(blobs.path(each).stat().st_size for each in blobs.names())
    keeper._mirror._keep, keeper._mirror._pause, keeper._mirror._next = held, 0.0, 0.0
    keeper.cycle()
    assert name in blobs
    blobs.publish(blob_name(bytes(32), "state"), lambda path: path.write_bytes(bytes(1)))  # another task's, later
    keeper.cycle()
    assert len(list(blobs.names())) == 2 and blob_name(bytes(32), "state") in blobs


def test_what_runs_or_was_paid_lately_is_never_removed(town: Town) -> None:
    """The solver's own result, and all of a task that it trains."""
    done = town.post(TASK)
    solver = town.worker("solver", "solver", "solver")
    solver._mirror._keep, solver._mirror._pause = 1, 0.0
    town.until(lambda: len(town.told(CommitSent)) == 2)
    town.close_windows(done)
    town.until(lambda: town.status(done) is Status.COMPLETED)
    runs = town.post(every_kind(9, 3))
    town.until(lambda: len(town.told(CommitSent)) == 5)
    solver.cycle()
    view, left = solver.reader.read(), set(solver.materials.blobs.names())
    for task in (view.task(done), view.task(runs)):
        assert {task_name(task.terms), state_name(task.terms, task.checkpoints[-1].root)} <= left
