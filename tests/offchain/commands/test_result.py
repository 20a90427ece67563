"""`offchain task result`: the model, and its figures at each checkpoint whose state is still served."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors import safe_open

from offchain.store.serve import BlobServer
from offchain.store.taskfile import save_task
from offchain.worker.materials import state_name
from tests.offchain.commands.conftest import Counter
from tests.offchain.worker.test_results import Solved
from tests.support import tasks
from tests.support.terminal import run


@pytest.fixture
def solved(tmp_path: Path) -> Solved:
    return Solved(tmp_path / "solved")


def completed(counter: Counter, solved: Solved, url: str) -> int:
    """A task whose solver has committed both checkpoints, and is paid."""
    number = tasks.award(counter, solved.task)
    for checkpoint, point in enumerate(solved.view.checkpoints):
        name = state_name(solved.terms, point.root)
        counter.quick("solver").commit(number, checkpoint, point.root, f"{url}/{name}")
    counter.close_windows(number)
    counter.quick("solver").collect(number)
    return number


def test_each_checkpoint_that_is_served_is_evaluated(
    counter: Counter, solved: Solved, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file, model = counter.file("a.task"), counter.file("a.safetensors")
    save_task(solved.task, file)
    with BlobServer(solved.blobs.folder, "127.0.0.1", 0) as server:
        number = completed(counter, solved, server.url)
        words = ["task", "result", str(number), "-o", str(model), "--file", str(file), *counter.options]
        code, out, err = run(capsys, monkeypatch, *words, "--json")
        assert (code, err) == (0, "")
        assert json.loads(out) == {"file": str(model), "validation": solved.training.validation, "unseen": []}
        with safe_open(model, "numpy") as held:
            assert json.loads(held.metadata()["validation"]) == solved.training.validation
        solved.blobs.path(state_name(solved.terms, solved.view.checkpoints[0].root)).unlink()
        code, out, err = run(capsys, monkeypatch, *words)
        last = solved.training.validation["accuracy"][1]
        assert code == 0 and f"validation accuracy at 6  {last:.6g}" in out and "at 3" not in out
        assert err == "no figures at 3: those states are no longer served\n"
        code, out, _ = run(capsys, monkeypatch, *words, "--json")
        assert json.loads(out)["unseen"] == [3] and json.loads(out)["validation"]["loss"][0] is None
