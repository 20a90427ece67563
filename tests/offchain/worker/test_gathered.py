"""What steps output comes to the requester interval by interval, checked against checkpoints, and is joined."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import offchain
from offchain.commands.follow import Requested
from offchain.commit.roots import state_tree
from offchain.errors import BadBlob, NoResult
from offchain.market.view import CheckpointView, Status, TaskView
from offchain.store.blobs import BlobStore
from offchain.store.checkpoint import load_outputs, save_outputs
from offchain.store.fetch import FetchOptions
from offchain.worker.gathered import Gathered
from offchain.worker.holders import Holders
from offchain.worker.names import outputs_name
from tests.offchain.test_program import INTERVAL, a_program
from tests.support.tasks import BARE, unposted

FILES = FetchOptions(schemes=frozenset({"file"}), private=True)


class Solved:
    """A program whose solver serves the outputs of both checkpoints from a folder."""

    def __init__(self, folder: Path) -> None:
        self.run = offchain.compile(a_program(), executor="torch", threads=1)
        self.task = self.run.task
        self.terms = unposted(**{name: getattr(self.task, name) for name in BARE})
        self.blobs, self.states = BlobStore(folder / "solver"), list[list[np.ndarray]]()
        points = (self.commit(), self.commit())
        self.view = TaskView(1, self.terms, "0xRequester", "0xSolver", Status.TRAINING, 0, 0, 1, 0, points)

    def commit(self) -> CheckpointView:
        self.run.run(INTERVAL)
        state, root = self.run.arrays(), self.run.state_root
        self.states.append(state)
        name, tree = outputs_name(self.terms, root), state_tree(state)
        uri = self.blobs.publish(name, lambda path: save_outputs(path, self.task, state, tree))
        return CheckpointView(root, 0, 0, 0, uri)


@pytest.fixture(scope="module")
def solved(tmp_path_factory: pytest.TempPathFactory) -> Solved:
    return Solved(tmp_path_factory.mktemp("solved"))


def test_outputs_come_with_their_checkpoints_and_are_joined(
    solved: Solved, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gathered = Gathered(solved.task, BlobStore(tmp_path, options=FILES))
    first = replace(solved.view, checkpoints=solved.view.checkpoints[:1])
    assert [came.checkpoint for came in gathered.look(first)] == [0]
    assert list(gathered.look(first)) == []
    assert [came.checkpoint for came in gathered.look(solved.view)] == [1]
    joined = gathered.joined(solved.view)
    for name, rows in solved.run.output_arrays.items():
        np.testing.assert_array_equal(joined[name], rows)
    assert not list(tmp_path.glob("*.outputs"))
    told = [
        Requested(solved.task, BlobStore(tmp_path, options=FILES), Holders(), None, as_json)
        for as_json in (False, True)
    ]
    told[0].look(first)
    assert "checkpoint 0: 20 rows of prediction, 8 rows of row" in capsys.readouterr().out
    told[1].look(first)
    assert '"checkpoint": 0' in capsys.readouterr().out
    told[1].look(solved.view)
    assert '"checkpoint": 1, "shapes": {"prediction": [20, 1], "row": [8]}' in capsys.readouterr().out


def test_outputs_of_another_state_are_not_taken_and_missing_ones_are_named(solved: Solved, tmp_path: Path) -> None:
    first, second = solved.view.checkpoints
    with pytest.raises(BadBlob, match="roots: are not those of the state root"):
        load_outputs(solved.blobs.path(outputs_name(solved.terms, first.root)), solved.task, second.root)
    false = [array if array.dtype == np.int32 else -array for array in solved.states[1]]
    save_outputs(tmp_path / "false", solved.task, false, state_tree(solved.states[1]))
    with pytest.raises(BadBlob, match=r"state\.outputs\.prediction: content does not match its root"):
        load_outputs(tmp_path / "false", solved.task, second.root)
    ended = replace(solved.view, checkpoints=(replace(first, root=bytes(32), uri=""), second), status=Status.COMPLETED)
    gathered = Gathered(solved.task, BlobStore(tmp_path / "blobs", options=FILES))
    assert [came.checkpoint for came in gathered.look(ended)] == [1]
    with pytest.raises(NoResult, match="outputs of checkpoints 0 are served by nobody any more"):
        gathered.joined(ended)
    gathered.add(bytes(32), solved.states[0])
    assert set(gathered.joined(ended)) == {"prediction", "row"}


def test_a_task_without_outputs_gathers_none(solved: Solved, tmp_path: Path) -> None:
    gathered = Gathered(replace(solved.task, outputs=()), BlobStore(tmp_path, options=FILES))
    assert list(gathered.look(solved.view)) == [] and gathered.joined(solved.view) == {}
