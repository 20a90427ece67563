"""What a requester learns besides the model: the whole loss curve, and figures on its validation set."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from offchain.commit.roots import state_tree
from offchain.errors import BadBlob, Unreachable
from offchain.market.view import CheckpointView, Status, TaskView
from offchain.store.blobs import BlobStore
from offchain.store.checkpoint import load_log, save_log, save_state
from offchain.store.fetch import FetchOptions
from offchain.task import Task
from offchain.training import Training
from offchain.worker.materials import log_name, state_name
from offchain.worker.results import ALL_STATES, PATIENCE, Validated, curves
from tests.offchain.test_validation import a_job
from tests.support.tasks import BARE, unposted

FILES = FetchOptions(schemes=frozenset({"file"}), private=True)


class Solved:
    """A training whose solver has committed to both checkpoints, and serves them from a folder."""

    def __init__(self, folder: Path) -> None:
        self.training = Training(a_job(), "torch")
        self.task: Task = self.training.task
        self.terms = unposted(**{name: getattr(self.task, name) for name in BARE})
        self.blobs, self.mine = BlobStore(folder / "solver"), BlobStore(folder / "mine", options=FILES)
        points = (self.commit(), self.commit())
        self.view = TaskView(1, self.terms, "0xRequester", "0xSolver", Status.TRAINING, 0, 0, 1, 0, points)

    def commit(self) -> CheckpointView:
        self.training.run(self.task.interval)
        state, root, graph = self.training.arrays(), self.training.state_root, self.task.graph
        tree = state_tree(state)
        uri = self.blobs.publish(state_name(self.terms, root), lambda path: save_state(path, graph, state, tree=tree))
        self.blobs.publish(log_name(self.terms, root), lambda path: save_log(path, graph, state[-1], tree))
        return CheckpointView(root, 0, 0, 0, uri)


@pytest.fixture(scope="module")
def solved(tmp_path_factory: pytest.TempPathFactory) -> Solved:
    return Solved(tmp_path_factory.mktemp("solved"))


def test_every_interval_is_in_the_curve(solved: Solved) -> None:
    assert curves(solved.view, solved.task, solved.mine) == solved.training.metrics


def test_a_log_that_is_not_its_checkpoints_is_not_taken(solved: Solved, tmp_path: Path) -> None:
    first, second = solved.view.checkpoints
    swapped = replace(solved.view, checkpoints=(replace(first, root=bytes(32)), second))
    found = curves(swapped, solved.task, BlobStore(tmp_path, options=FILES))
    assert found["loss"] == [None] * 3 + solved.training.losses[3:]
    path, graph = solved.blobs.path(log_name(solved.view.terms, first.root)), solved.task.graph
    with pytest.raises(BadBlob, match="roots: are not those of the state root"):
        load_log(path, graph, second.root)
    state = solved.training.arrays()
    save_log(tmp_path / "false", graph, -state[-1], state_tree(state))
    with pytest.raises(BadBlob, match=r"state\.log: content does not match its root"):
        load_log(tmp_path / "false", graph, second.root)


def test_checkpoints_are_evaluated_while_they_are_served(solved: Solved, tmp_path: Path) -> None:
    validated = Validated(solved.task, BlobStore(tmp_path, options=FILES))
    first = replace(solved.view, checkpoints=solved.view.checkpoints[:1])
    for view in (first, first, solved.view):
        validated.look(view)
    assert validated.curves(solved.view) == solved.training.validation
    assert not list(tmp_path.glob("*.state"))  # each may be large
    late = Validated(solved.task, BlobStore(tmp_path, options=FILES))
    late.add(solved.view.checkpoints[-1].root, solved.training.arrays())
    assert late.curves(solved.view)["loss"] == [None, solved.training.validation["loss"][1]]
    assert late.unseen(solved.view) == [3] and validated.unseen(solved.view) == []
    ended = Validated(solved.task, BlobStore(tmp_path, options=FILES))
    ended.look(replace(solved.view, status=Status.COMPLETED))
    assert ended.curves(solved.view) == solved.training.validation
    none = Validated(replace(solved.task, validation=()), solved.mine)
    none.look(solved.view)
    assert none.curves(solved.view) == {} and none.unseen(solved.view) == []


def test_a_solver_that_serves_slowly_does_not_keep_its_requester_from_acting(
    solved: Solved, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One state a look while the task runs; once it has ended no more seconds than ALL_STATES."""
    fetched, clock = list[str](), [0.0]

    def slow(uri: str, *_: object, timeout: float) -> Path:
        fetched.append(uri)
        clock[0] += timeout
        raise Unreachable(f"{uri}: too slow")

    blobs = BlobStore(tmp_path, options=FILES)
    monkeypatch.setattr(blobs, "fetch", slow)
    monkeypatch.setattr("offchain.worker.results.time.monotonic", lambda: clock[0])
    many = replace(solved.view, checkpoints=solved.view.checkpoints[:1] * 2)
    roots = [replace(point, root=bytes([n]) * 32) for n, point in enumerate(many.checkpoints * 50)]
    validated, running = Validated(solved.task, blobs), replace(many, checkpoints=tuple(roots))
    validated.look(running)
    assert len(fetched) == 1
    validated.look(replace(running, status=Status.COMPLETED))
    assert len(fetched) == 1 + round(ALL_STATES / PATIENCE)
