"""Certificates of evaluations: the line that is their result is proven, and a result with another one is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import offchain
from offchain.certificate import statement
from offchain.certificate.checking import check
from offchain.certificate.record import Certificate
from offchain.commit.roots import state_tree
from offchain.errors import BadBlob
from offchain.market.view import CheckpointView, Status, TaskView
from offchain.program import Asked
from offchain.store.blobs import BlobStore
from offchain.store.checkpoint import save_log, save_state
from offchain.store.serve import BlobServer
from offchain.store.taskfile import save_task
from offchain.store.tensorfile import opened, write
from offchain.worker.names import log_name, state_name
from tests.offchain.commands.conftest import Counter
from tests.offchain.commands.test_result import completed
from tests.offchain.test_evaluated import a_job, a_model, an_evaluation
from tests.support.tasks import BARE, unposted
from tests.support.terminal import run


class Served:
    """A task whose solver has committed to all checkpoints, and serves states without logs, and logs."""

    def __init__(self, asked: Asked, folder: Path) -> None:
        self.training: Any = offchain.compile(asked, threads=1)  # type: ignore[arg-type]
        self.task = self.training.task
        self.terms = unposted(**{name: getattr(self.task, name) for name in BARE})
        self.blobs = BlobStore(folder)
        points = tuple(self.commit() for _ in range(self.task.intervals))
        self.view = TaskView(1, self.terms, "0xRequester", "0xSolver", Status.TRAINING, 0, 0, 1, 0, points)

    def commit(self) -> CheckpointView:
        self.training.run(self.task.interval)
        state, root, graph = self.training.arrays(), self.training.state_root, self.task.graph
        tree, name = state_tree(state), state_name(self.terms, root)
        uri = self.blobs.publish(name, lambda path: save_state(path, graph, state, tree=tree, log=False))
        self.blobs.publish(log_name(self.terms, root), lambda path: save_log(path, graph, state[-1], tree))
        return CheckpointView(root, 0, 0, 0, uri)


class Case:
    """A task that was paid for, its result and its certificate, both made by the command line."""

    def __init__(self, counter: Counter, asked: Asked, command: Callable[..., str]) -> None:
        self.counter, self.served = counter, Served(asked, counter.file("served"))
        self.model, self.file, task = (counter.file(name) for name in ("a.safetensors", "a.cert.json", "a.task"))
        save_task(self.served.task, task)
        with BlobServer(self.served.blobs.folder, "127.0.0.1", 0) as server:
            number = completed(counter, self.served, server.url)  # type: ignore[arg-type]
            rest = "--file", str(task), *counter.options
            command("task", "result", str(number), "-o", str(self.model), *rest)
            command("certificate", "make", str(number), "-o", str(self.file), *rest)
        self.made = statement.read(self.file)

    def changed(self, tensors: dict[str, Any], texts: dict[str, Any]) -> Path:
        """The result with other tensors and metadata."""
        with opened(self.model, None) as held:
            kept = {name: np.array(held.handle.get_tensor(name)) for name in held.names()}
            said = dict(held.metadata)
        file = self.model.with_name("changed.safetensors")
        write(file, kept | tensors, said | {name: json.dumps(text) for name, text in texts.items()})
        return file

    def refused(self, why: str, made: Certificate | None = None, **changes: Any) -> None:
        model = self.changed(changes.get("tensors", {}), changes.get("texts", {}))
        statement.write(self.file, made or self.made)
        with pytest.raises(BadBlob, match=why):
            check(statement.read(self.file), model, None, None)

    def of(self, **changes: Any) -> Certificate:
        """The certificate with other figures."""
        binding = self.made.binding
        assert binding.figures is not None
        return replace(self.made, binding=replace(binding, figures=replace(binding.figures, **changes)))


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    def asked(*words: str) -> str:
        code, out, err = run(capsys, monkeypatch, *words)
        assert (code, err) == (0, ""), err
        return out

    return asked


def figure(value: float) -> str:
    return str(np.float32(value))


def test_the_result_of_an_evaluation_is_certified(counter: Counter, command: Callable[..., str]) -> None:
    case = Case(counter, an_evaluation(a_model()), command)
    metrics = case.served.training.metrics
    said = ", ".join(f"{name} {figure(row[-1])}" for name, row in metrics.items())
    out = command("certificate", "verify", str(case.file), str(case.model), "--with-node", *counter.options)
    assert f"  its log says of the last step: {said}\n" in out and "accuracy 0." in said
    assert out.index(said) < out.index("only said, by whoever made it") < out.index("these figures have these names")
    assert "  the figures of the last step that it names are those of the log\n" in out

    better = {**metrics, "accuracy": [*metrics["accuracy"][:-1], 1.0]}
    case.refused("accuracy: is not what the certified log says of the last step, 0", texts={"metrics": better})
    case.refused("accuracy: is not what", texts={"metrics": {**metrics, "accuracy": metrics["accuracy"][:-1]}})
    case.refused("accuracy: is not what", texts={"metrics": {**metrics, "accuracy": 1}})
    case.refused("metrics: not a JSON object", texts={"metrics": []})
    confusion = case.served.task.model_arrays(case.served.training.arrays())["confusion"]
    case.refused("confusion: is not what the certified state", tensors={"confusion": confusion + np.eye(3, dtype="i4")})
    held = case.made.binding.figures
    assert held is not None
    (raw, proof) = held.chunks[0]
    case.refused("not lead to the final", case.of(chunks=((raw[:-1] + b"\1", proof),)))
    case.refused("not lead to the final", case.of(chunks=((raw, (bytes(32),)),)))
    case.refused("not lead to the final", case.of(names=held.names[:-1]))  # other rows
    case.refused("not have the last row", case.of(chunks=()))
    case.refused("not have the last row", case.of(names=(held.names[0], *held.names[:-1])))
    work = case.made.work
    case.refused("final_root is not what", replace(case.made, work=replace(work, final_root=bytes(32))))
    other = replace(case.made, work=replace(work, chain_id=work.chain_id + 1))
    with pytest.raises(BadBlob, match="is of chain 1338 and another market than"):
        check(other, case.changed({}, {}), None, counter.quick("stranger"))
    bare = replace(case.made, binding=replace(case.made.binding, figures=None))
    statement.write(case.file, bare)
    out = command("certificate", "verify", str(case.file), str(case.model))
    assert "the last step" not in out and "  figures that it names: the certificate has none" in out


def test_the_result_of_a_job_with_an_evaluation_is_certified(counter: Counter, command: Callable[..., str]) -> None:
    case = Case(counter, a_job(), command)
    found = case.served.training.evaluation
    out = command("certificate", "verify", str(case.file), str(case.model))
    assert f"evaluation.accuracy {figure(found['accuracy'])}" in out and "are those of the log\n" in out
    matrix = [[*row] for row in found["confusion"]]
    for name, value in {
        "accuracy": 1.0,
        "loss": "0",
        "perplexity": True,
        "unheard": 1.0,
        "confusion": [[row[0] + 1, *row[1:]] for row in matrix],
    }.items():
        case.refused(f"evaluation {name}: is not what", texts={"evaluation": {**found, name: value}})
    for wrong in ([], [[]], matrix[0], [*matrix[:-1], 1], [*matrix[:-1], matrix[0][:-1]], [[2.0, 1, 1]] * 3):
        case.refused("evaluation confusion: is not", texts={"evaluation": {**found, "confusion": wrong}})
    case.refused(r"0\.weight, .*: is not what the certified state", tensors={"0.weight": np.zeros((8, 6), np.float32)})
    assert check(case.made, case.changed({}, {"evaluation": {"accuracy": None}}), None, None).shown
