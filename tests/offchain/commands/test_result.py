"""`offchain task result`: the model, and its figures at each checkpoint whose state is still served."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open

from offchain.market.view import VERIFIER, Terms
from offchain.store.blobs import BlobStore
from offchain.store.checkpoint import save_state
from offchain.store.names import sealed
from offchain.store.serve import BlobServer
from offchain.store.taskfile import save_task, seal
from offchain.task import Task
from offchain.worker.names import state_name, task_name
from tests.offchain.commands.conftest import Counter
from tests.offchain.worker.test_results import Solved
from tests.support import tasks
from tests.support.terminal import run


@pytest.fixture
def solved(tmp_path: Path) -> Solved:
    return Solved(tmp_path / "solved")


def completed(counter: Counter, solved: Solved, url: str, **changes: Any) -> int:
    """A task whose solver has committed both checkpoints, and is paid."""
    number = tasks.award(counter, solved.task, **changes)
    terms = counter.quick("solver").terms(number)
    for checkpoint, point in enumerate(solved.view.checkpoints):
        name = state_name(terms, point.root)
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


GONE = "http://127.0.0.1:1"  # nobody listens there


def mirror(folder: Path, terms: Terms, task: Task, solved: Solved) -> BlobStore:
    """What a worker has kept: the task's file, and the last state without its log."""
    store, root, graph = BlobStore(folder), solved.view.checkpoints[-1].root, task.graph
    store.publish(task_name(terms), lambda path: save_task(replace(task, validation=()), path))
    state = solved.training.arrays()
    store.publish(state_name(terms, root), lambda path: save_state(path, graph, state, log=False))
    return store


def test_the_model_is_found_without_its_file_its_solver_or_its_requester(
    counter: Counter, solved: Solved, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One worker in the register still has both files. Another one serves a file that looks right by all roots on
    chain: it gives two tensors of the model each other's names."""
    swapped = {"1.running_mean": "1.running_var", "1.running_var": "1.running_mean"}
    model_of = tuple(replace(row, key=swapped.get(row.key, row.key)) for row in solved.task.model)
    assert model_of != solved.task.model
    sham, name = replace(solved.task, model=model_of, validation=()), f"{GONE}/{'0' * 64}.task"
    sham.verify(solved.task.graph_root, solved.task.state_root)
    number = completed(counter, solved, GONE, uri=sealed(name, seal(solved.task)))
    terms, model = counter.quick("requester").terms(number), counter.file("a.safetensors")
    honest, liar = (mirror(counter.file(who), terms, task, solved) for who, task in (("a", solved.task), ("b", sham)))
    words = ["task", "result", str(number), "-o", str(model), *counter.options, "--json"]
    with BlobServer(honest.folder) as one, BlobServer(liar.folder) as other:
        counter.quick("stranger").register(VERIFIER, other.url)
        code, _, err = run(capsys, monkeypatch, *words)
        assert code != 0 and "its seal begins with" in err and err.count("\n") == 1
        counter.quick("challenger").register(VERIFIER, one.url)
        code, out, err = run(capsys, monkeypatch, *words)
    assert (code, err) == (0, "") and json.loads(out) == {"file": str(model)}
    with safe_open(model, "numpy") as held:
        wanted = solved.task.model_arrays(solved.training.arrays())
        assert all((held.get_tensor(key) == array).all() for key, array in wanted.items())
        assert json.loads(held.metadata()["metrics"])["loss"] == [None] * 6  # nobody serves the logs
