"""A graph that does not fit says in one line which node needs how much, and ends with an exit code."""

from __future__ import annotations

import resource
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

import offchain.commands.task  # its imports want memory of their own
from offchain import cli
from offchain.errors import OutOfMemory
from offchain.exec.make import make_executor
from offchain.exec.plan.memory import memory_for, shown
from offchain.ir.graph import Axis, Graph, Input, Node, Slot, Source, TensorSpec, View
from offchain.ir.kinds import Kind
from offchain.ir.primitives import DType, Instr, Op
from offchain.store.taskfile import save_task
from offchain.task import Task
from tests.support.terminal import run

ROOT = Path(__file__).resolve().parents[4]
F32 = DType.F32
HUGE = 1 << 34  # elements, as many as a tensor may have: 69 GB
LIMIT = 16 << 30  # bytes of address space of a process that has to run out of memory
WIDE = 1 << 28  # elements of a slot that fits once
READ = 1 << 25  # elements of a file's tensor that there is no memory for


def spreading(length: int, *, kept: bool) -> Graph:
    """A node that spreads one number over so many elements, which a sum reads or a slot keeps."""
    program = (Instr(Op.INPUT),)
    one = Node(Kind.MAP, F32, (1,), (), program=(Instr.const(F32, 0x3F800000),))
    rows, columns = 16, length // 16
    still = View(0, (Axis(0, 0, rows), Axis(0, 0, columns)))
    spread = Node(Kind.MAP, F32, (rows, columns), (Input(Source.NODE, 0, F32, 1, still),), program=program)
    each = Input(Source.NODE, 1, F32, length, View.contiguous((rows, columns)))
    total = Node(Kind.SUM, F32, (rows,), (each,), columns, 20)
    wide = TensorSpec("wide", F32, (length if kept else rows,))
    slots = (Slot(wide, Source.NODE, 1 if kept else 2), Slot(TensorSpec("log", F32, (1, 1)), Source.NODE, 0))
    return Graph((one, spread, total), slots, (), (), (), (), ("loss",))


def starve(limit: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def load_twice(executor: str) -> None:
    """Run in a process of its own: a state that fits once."""
    made = make_executor(executor, spreading(WIDE, kept=True), (), ())
    state = [np.zeros(WIDE, np.float32), np.zeros(1, np.float32)]
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    starve(used + 2 * WIDE)
    made.load(state)


def read_starved(path: str) -> None:
    """Run in a process of its own: its memory fits the file, and not its tensor too."""
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    starve(used + 5 * READ)
    sys.argv = ["offchain", "task", "inspect", path]
    cli.main()


@pytest.mark.parametrize(
    ("executor", "wanted"),
    [
        ("fused", "68.7 GB"),
        pytest.param("torch", "68.7 GB", marks=pytest.mark.slow),
        pytest.param("reference", "137 GB", marks=pytest.mark.slow),
    ],
)
def test_run_names_the_node_that_does_not_fit(executor: str, wanted: str, tmp_path: Path) -> None:
    path = tmp_path / "huge.task"
    state = (np.zeros(16, np.float32), np.zeros(1, np.float32))
    save_task(Task(spreading(HUGE, kept=False), (), (), state, steps=1), path)
    command = [sys.executable, "-m", "offchain", "run", str(path), "--executor", executor]
    ended = subprocess.run(
        command, cwd=ROOT, preexec_fn=partial(starve, LIMIT), capture_output=True, text=True, check=False
    )
    (line,) = [line for line in ended.stderr.splitlines() if "error" in line]
    assert line.startswith(f"error: node 1 (map) needs {wanted} to make an output of shape (16, 1073741824)")
    assert "Traceback" not in ended.stderr
    assert ended.returncode == OutOfMemory.exit_code != 0


@pytest.mark.parametrize("executor", ["fused", pytest.param("torch", marks=pytest.mark.slow)])
def test_a_state_that_does_not_fit_names_its_slot(executor: str) -> None:
    code = f"from tests.offchain.exec.plan.test_memory import load_twice; load_twice({executor!r})"
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    last = ended.stderr.splitlines()[-1]
    assert last.endswith("OutOfMemory: slot 'wide' needs 1.07 GB in each state: not enough memory")


def test_a_task_file_that_does_not_fit_names_its_tensor(tmp_path: Path) -> None:
    """The reader of files panics then, which is no exception that a worker would survive."""
    path = tmp_path / "wide.task"
    state = (np.zeros(READ, np.float32), np.zeros(1, np.float32))
    save_task(Task(spreading(READ, kept=True), (), (), state, steps=1), path)
    code = f"from tests.offchain.exec.plan.test_memory import read_starved; read_starved({str(path)!r})"
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    wanted = f"error: {path}: state.wide needs 134 MB to be read: not enough memory"
    assert ended.stderr.splitlines()[-1] == wanted  # before it stands what the reader says of its panic
    assert ended.returncode == OutOfMemory.exit_code


def test_what_no_node_is_to_blame_for_is_one_line_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(offchain.commands.task, "load_task", lambda path, validated: np.empty(1 << 50))
    told = run(capsys, monkeypatch, "task", "inspect", "line.task")
    assert told[0] == OutOfMemory.exit_code
    assert told[2].startswith("error: not enough memory (Unable to allocate 8.00 PiB")
    assert told[2].count("\n") == 1


def test_sizes_are_shown_in_the_largest_unit() -> None:
    assert [shown(n) for n in (0, 999, 1000, 4 << 20, 3.14e9, 7e15)] == [
        "0 B", "999 B", "1 kB", "4.19 MB", "3.14 GB", "7e+03 TB",
    ]  # fmt: skip


def test_torch_and_numpy_say_how_much_they_wanted() -> None:
    told = r"^node 3 \(dot\) needs 1\.1[35]e\+03 TB for nothing: not enough memory$"
    for ask in (lambda: torch.empty(1 << 50, dtype=torch.uint8), lambda: np.empty(1 << 50, np.uint8)):
        with pytest.raises(OutOfMemory, match=told), memory_for("node 3 (dot)", "for nothing"):
            ask()


def test_what_is_not_about_memory_stays_what_it_is() -> None:
    with pytest.raises(RuntimeError, match="shape"), memory_for("node 3 (dot)", "for nothing"):
        torch.empty(3).reshape(2)
