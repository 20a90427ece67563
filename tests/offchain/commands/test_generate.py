"""`offchain generate`: text as it grows, from checkpoints that were checked, fit for a terminal."""

from __future__ import annotations

import json
import sys
from io import StringIO
from pathlib import Path

import pytest
from safetensors import safe_open

from offchain.commit.roots import state_root
from offchain.lower import compile as lower
from offchain.store.serve import BlobServer
from offchain.store.taskfile import save_task
from offchain.store.tensorfile import write
from offchain.text import one_line
from offchain.worker.names import outputs_name
from tests.offchain.commands.conftest import Counter
from tests.offchain.test_program import a_program
from tests.support import tasks
from tests.support.generated import Spoken
from tests.support.terminal import run


@pytest.fixture
def spoken(tmp_path: Path) -> Spoken:
    return Spoken(tmp_path / "solver")


def committed(counter: Counter, spoken: Spoken, url: str, count: int, **changes: str) -> int:
    """A task with so many checkpoints, whose outputs are served."""
    save_task(spoken.task, counter.file("a.task"))
    number = tasks.award(counter, spoken.task, **changes)
    for checkpoint, state in enumerate(spoken.states[:count]):
        root, name = spoken.publish(counter.quick("solver").terms(number), state)
        counter.quick("solver").commit(number, checkpoint, root, f"{url}/{name}")
    return number


def words(counter: Counter, number: int, *more: str) -> list[str]:
    return ["generate", str(number), "--file", str(counter.file("a.task")), *counter.options, *more]


def test_the_text_of_a_completed_task(
    counter: Counter, spoken: Spoken, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert any("\x1b" in text or "\n" in text for text in spoken.texts)  # what no terminal must get
    with BlobServer(spoken.blobs.folder, "127.0.0.1", 0) as server:
        number = committed(counter, spoken, server.url, 2)
        counter.close_windows(number)
        counter.quick("solver").collect(number)
        code, out, err = run(capsys, monkeypatch, *words(counter, number))
        assert (code, err) == (0, "")
        lines = out.splitlines()
        assert lines[-3:] == [f"{row}: {one_line(text)}" for row, text in enumerate(spoken.texts)]
        assert all(line.startswith("checkpoint ") for line in lines[:-3]) and "\x1b" not in out
        code, out, _ = run(capsys, monkeypatch, *words(counter, number, "--json"))
        *pieces, texts = map(json.loads, out.splitlines())
        assert code == 0 and [row["prompt"] + row["text"] for row in texts["texts"]] == spoken.texts
        assert texts["status"] == "completed" and texts["paid"] == 2 and all(row["done"] for row in texts["texts"])
        assert "".join(piece["text"] for piece in pieces if piece["row"] == 0) == texts["texts"][0]["text"]
        last = outputs_name(counter.quick("solver").terms(number), state_root(spoken.states[1]))
        spoken.blobs.path(last).unlink()
        monkeypatch.setattr("offchain.worker.gathered.ALL", 1.0)
        code, out, err = run(capsys, monkeypatch, *words(counter, number))
        assert code == 1 and "the outputs of checkpoints 1 are served by nobody any more" in err
        assert out.splitlines()[-3:] != lines[-3:] and out.splitlines()[-3].startswith("0: ")  # what there is


def test_the_result_and_its_certificate_need_no_cache(
    counter: Counter, spoken: Spoken, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody serves the final state, whose cache may be large, nor the logs."""
    result, file = counter.file("a.safetensors"), counter.file("a.cert.json")
    with BlobServer(spoken.blobs.folder, "127.0.0.1", 0) as server:
        number = committed(counter, spoken, server.url, 2)
        counter.close_windows(number)
        counter.quick("solver").collect(number)
        rest = [str(number), "--file", str(counter.file("a.task")), *counter.options, "-o"]
        code, _, err = run(capsys, monkeypatch, "task", "result", *rest, str(result))
        assert (code, err) == (0, "")
        code, out, err = run(capsys, monkeypatch, "certificate", "make", *rest, str(file))
        assert (code, err) == (0, "") and "nobody serves that log any more" in out
    with safe_open(result, "np") as held:
        assert [*held.keys()] == ["token"] and held.get_tensor("token").tolist() == spoken.tokens.tolist()
        told = json.loads(held.metadata()["texts"])
    assert all(text.endswith(said) for text, said in zip(spoken.texts, told, strict=True))
    code, out, err = run(capsys, monkeypatch, "certificate", "verify", str(file), str(result))
    assert (code, err) == (0, "") and f"  {result} holds what the steps output, bit for bit\n" in out
    assert "  the rest of the final state: " in out and "  figures that it names: the certificate has none" in out
    with pytest.MonkeyPatch.context() as patch, safe_open(result, "np") as held:
        write(result.with_name("b"), {"token": held.get_tensor("token") + 1}, {})
        code, _, err = run(capsys, patch, "certificate", "verify", str(file), str(result.with_name("b")))
    assert code == 2 and "token: is not what checkpoint 0 holds" in err


def test_what_there_is_now(
    counter: Counter, spoken: Spoken, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with BlobServer(spoken.blobs.folder, "127.0.0.1", 0) as server:
        number = committed(counter, spoken, server.url, 0)
        code, out, err = run(capsys, monkeypatch, *words(counter, number, "--now"))
        assert (code, out) == (1, "")
        assert err == f"error: task {number} has no outputs yet; without --now this waits for them\n"
        root, name = spoken.publish(counter.quick("solver").terms(number), spoken.states[0])
        counter.quick("solver").commit(number, 0, root, f"{server.url}/{name}")
        code, out, err = run(capsys, monkeypatch, *words(counter, number, "--now"))
        part = spoken.program.texts(spoken.tokens[:5])
        assert (code, err) == (0, "")
        assert out.splitlines() == [f"{row}: {one_line(text)}" for row, text in enumerate(part)]
        code, out, _ = run(capsys, monkeypatch, *words(counter, number, "--now", "--json"))
        assert code == 0 and not any(row["done"] for row in json.loads(out)["texts"])


class Screen(StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal(
    counter: Counter, spoken: Spoken, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    screen = Screen()
    with BlobServer(spoken.blobs.folder, "127.0.0.1", 0) as server:
        number = committed(counter, spoken, server.url, 1)
        with monkeypatch.context() as patched:
            patched.setattr(sys, "stdout", screen)
            code, _, err = run(capsys, monkeypatch, *words(counter, number, "--now"))
    shown = screen.getvalue()
    assert (code, err) == (0, "") and f"task {number}: training for checkpoint 1" in shown
    assert "\x1b[2J" not in shown and "0 of 2 checkpoints paid" in shown


def test_what_is_no_generation_is_refused(
    counter: Counter, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    task = lower(a_program())
    save_task(task, counter.file("a.task"))
    number = tasks.award(counter, task)
    code, out, err = run(capsys, monkeypatch, *words(counter, number))
    assert (code, out) == (2, "")
    assert err == f"error: task {task.name!r} is no generation: its steps do not continue prompts by tokens\n"
    code, out, err = run(capsys, monkeypatch, *words(counter, 77))
    assert (code, out, err) == (3, "", "error: there is no task 77 here; `offchain task status` lists them\n")


def test_a_task_that_is_never_done_has_no_text(
    counter: Counter, spoken: Spoken, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    number = tasks.post(counter, spoken.task)
    save_task(spoken.task, counter.file("a.task"))
    tasks.lapse(counter, number)
    code, out, err = run(capsys, monkeypatch, *words(counter, number))
    assert (code, out) == (1, "") and err == f"error: task {number} is cancelled: what it output counts no more\n"
