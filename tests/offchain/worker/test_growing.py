"""A file that grows with a task: always whole, never less than before, and never over what is something else."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from offchain.store.blobs import BlobStore
from offchain.worker.gathered import Gathered
from offchain.worker.growing import Growing
from tests.offchain.test_program import INTERVAL
from tests.offchain.worker.test_gathered import FILES, Solved


@pytest.fixture(scope="module")
def solved(tmp_path_factory: pytest.TempPathFactory) -> Solved:
    return Solved(tmp_path_factory.mktemp("solved"))


def growing(solved: Solved, folder: Path) -> tuple[Gathered, Growing]:
    gathered = Gathered(solved.task, BlobStore(folder / "blobs", options=FILES))
    return gathered, Growing(folder / "kept.safetensors", solved.task, gathered)


def metadata(path: Path) -> dict[str, str]:
    with safe_open(path, "numpy") as file:
        found: dict[str, str] = file.metadata()
    return found


def test_it_has_what_came_and_a_later_run_goes_on(solved: Solved, tmp_path: Path) -> None:
    gathered, file = growing(solved, tmp_path)
    first = replace(solved.view, checkpoints=solved.view.checkpoints[:1])
    file.look(first)
    assert not file.path.exists() and file.steps == 0
    list(gathered.look(first))
    file.look(first)
    whole = solved.run.output_arrays
    assert file.steps == INTERVAL and metadata(file.path)["steps"] == str(INTERVAL)
    for name, rows in load_file(file.path).items():
        np.testing.assert_array_equal(rows, whole[name][: len(rows)])
        assert 0 < len(rows) <= len(whole[name])
    list(gathered.look(solved.view))
    file.flush()
    assert file.steps == INTERVAL  # what it was not shown counts no more than what it was
    file.look(solved.view)
    file.flush()
    assert all(np.array_equal(rows, whole[name]) for name, rows in load_file(file.path).items())
    roots = [point.root.hex() for point in solved.view.checkpoints]
    assert json.loads(metadata(file.path)["roots"]) == roots

    again, taken_up = growing(solved, tmp_path)
    list(again.look(first))
    taken_up.look(solved.view)
    assert taken_up.steps == 2 * INTERVAL and json.loads(metadata(file.path)["roots"]) == roots, "nothing is lost"


def test_what_counts_no_more_goes(solved: Solved, tmp_path: Path) -> None:
    gathered, file = growing(solved, tmp_path)
    for _ in solved.view.checkpoints:
        list(gathered.look(solved.view))
    file.look(solved.view)
    file.look(replace(solved.view, checkpoints=()))
    file.flush()
    assert load_file(file.path) == {} and metadata(file.path)["steps"] == "0"


def test_another_file_is_left_until_the_result_comes(solved: Solved, tmp_path: Path) -> None:
    (tmp_path / "kept.safetensors").write_bytes(b"an older result")
    gathered, file = growing(solved, tmp_path)
    list(gathered.look(solved.view))
    file.look(solved.view)
    file.flush()
    assert file.path.read_bytes() == b"an older result" and file.steps == 0
