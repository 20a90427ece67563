"""`offchain certificate`: made from a task that is completed, and checked by whoever gets the file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from offchain.store.checkpoint import save_model
from offchain.store.serve import BlobServer
from offchain.store.taskfile import save_task
from tests.offchain.commands.conftest import Counter
from tests.offchain.commands.test_result import completed, solved
from tests.offchain.worker.test_results import Solved
from tests.support.terminal import run

__all__ = ["solved"]


def test_a_certificate_is_made_and_checked(
    counter: Counter, solved: Solved, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    task, model, file = counter.file("a.task"), counter.file("a.safetensors"), counter.file("a.cert.json")
    save_task(solved.task, task)
    save_model(model, solved.task, solved.training.arrays(), {})
    with BlobServer(solved.blobs.folder, "127.0.0.1", 0) as server:
        number = completed(counter, solved, server.url)
        words = ["certificate", "make", str(number), "-o", str(file), "--file", str(task), *counter.options]
        code, out, err = run(capsys, monkeypatch, *words, "--json")
    assert (code, err) == (0, "")
    made = json.loads(out)
    assert made["file"] == str(file)
    code, out, err = run(capsys, monkeypatch, "certificate", "verify", str(file), str(model))
    assert (code, err) == (0, "")
    assert f"  {model} holds a part of the final state, bit for bit\n" in out
    assert out.index("shown\n") < out.index("only said, by whoever made it\n") < out.index("not shown\n")
    hashed = ["certificate", "verify", str(file), "--block-hash", made["block_hash"], "--json"]
    code, out, err = run(capsys, monkeypatch, *hashed)
    assert (code, err) == (0, "") and json.loads(out)["shown"][0].startswith(f"block {made['block']} of chain 1337")
    code, out, err = run(capsys, monkeypatch, "certificate", "verify", str(file), "--with-node", *counter.options)
    assert (code, err) == (0, "") and "\n  0 drawn verifiers replayed 0 of its 2 intervals" in out


def test_what_is_wrong_is_said_in_one_line(
    counter: Counter, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a.cert.json"
    file.write_text("[" * 100_000)
    for words, why in (
        ([str(file)], "not a certificate"),
        ([str(tmp_path / "none")], "No such file"),
        ([str(file), "--block-hash", "0x12"], "is not a hash of 32 bytes"),
    ):
        code, out, err = run(capsys, monkeypatch, "certificate", "verify", *words)
        assert code == 2 and why in err and not out
    words = ["certificate", "make", "99", "-o", str(file), *counter.options]
    code, out, err = run(capsys, monkeypatch, *words)
    assert code == 3 and "99" in err and err.count("\n") == 1
