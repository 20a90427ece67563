"""State that lies far from a job's own variables: in objects that C made, in modules, on disk, in the system."""

from __future__ import annotations

import builtins
import csv
import decimal
import hashlib
import io
import logging
import math
import queue
import random
import sqlite3
import subprocess
import sys
import time
import uuid
import weakref
from collections.abc import Callable
from mmap import mmap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import offchain
from tests.offchain.lower.refused import ROWS, WIDTH, Batch, fields, line, network, refused, square

LATE = 1000  # a count that only a late step reaches
ROW = ["1"] * 99
NAME = "offchain_test_counted"
PAGE, VIEW, MEMORY = mmap(-1, 4), memoryview(bytearray(4)), io.BytesIO(b"\1" * 99)
LINES, QUEUE, HASH = csv.reader(ROW), queue.SimpleQueue[int](), hashlib.md5()
BASE = sqlite3.connect(":memory:")
BASE.execute("create table t (n)").execute("insert into t values (0)")


class _Held:
    n = 0


HELD = _Held()
REFERENCE = weakref.ref(HELD)
TENSOR, LOGS = torch.zeros(()), logging.Handler()
for _ in range(99):
    QUEUE.put(1)


def _page() -> int:
    PAGE[0] += 1
    return PAGE[0]


def _view() -> int:
    VIEW[0] += 1
    return VIEW[0]


def _base() -> int:
    BASE.execute("update t set n = n + 1")
    return int(BASE.execute("select n from t").fetchone()[0])


def _hash() -> int:
    HASH.update(b"x")
    return HASH.digest()[0] // 255


def _reference() -> int:
    held = REFERENCE()
    held.n += 1  # type: ignore[union-attr]
    return int(held.n)  # type: ignore[union-attr]


def _tensor() -> int:
    TENSOR.n = getattr(TENSOR, "n", 0) + 1  # type: ignore[attr-defined]
    return int(TENSOR.n)  # type: ignore[attr-defined]


def _handler() -> int:
    LOGS.n = getattr(LOGS, "n", 0) + 1  # type: ignore[attr-defined]
    return int(LOGS.n)  # type: ignore[attr-defined]


def _by_name() -> int:
    setattr(math, NAME, getattr(math, NAME, 0) + 1)
    return int(getattr(math, NAME))


def _built_in() -> int:
    vars(builtins)[NAME] = vars(builtins).get(NAME, 0) + 1
    return int(vars(builtins)[NAME])


def _module() -> int:
    sys.modules[NAME] = sys.modules.get(NAME, 0) + 1  # type: ignore[assignment, operator]
    return int(sys.modules[NAME])  # type: ignore[call-overload]


def _global() -> int:
    globals()[NAME] = globals().get(NAME, 0) + 1
    return int(globals()[NAME])


def _context() -> int:
    decimal.getcontext().prec += 1
    return decimal.getcontext().prec


CHANGING: list[tuple[Callable[[], int], str]] = [
    (_page, "global variable 'PAGE'"),
    (_view, "global variable 'VIEW'"),
    (lambda: MEMORY.read(1)[0], "global variable 'MEMORY'"),
    (lambda: int(next(LINES)[0]), "global variable 'LINES'"),
    (lambda: QUEUE.get(), "global variable 'QUEUE'"),
    (_base, "global variable 'BASE'"),
    (_hash, "global variable 'HASH'"),
    (_reference, "attribute 'n' of global variable 'REFERENCE'"),
    (_tensor, "attribute 'n' of global variable 'TENSOR'"),
    (_handler, "attribute 'n' of global variable 'LOGS'"),
    (_by_name, f"entry {NAME!r} of module math"),
    (_built_in, f"entry {NAME!r} of module builtins"),
    (_module, f"entry {NAME!r} of attribute 'modules' of module sys"),
    (_global, f"entry {NAME!r} of global variables"),
    (_context, "attribute 'prec' of decimal's context"),
]
READ: list[tuple[Callable[[], float], str]] = [
    (lambda: float(np.datetime64("now").astype(int)), "the clock (numpy.datetime64)"),
    (lambda: uuid.uuid1().time, "the clock (uuid.uuid1)"),
    (lambda: len(subprocess.check_output(["true"])), "another program (subprocess)"),
]


def _job(number: Callable[[], float]) -> Callable[[Any, Batch], Tensor]:
    return lambda model, batch: square(model, batch) * (2.0 if number() > LATE else 1.0)


@pytest.fixture(autouse=True)
def _as_before() -> Any:
    with decimal.localcontext():
        yield
    for left in (vars(math), vars(builtins), sys.modules, globals()):
        left.pop(NAME, None)


@pytest.mark.parametrize(("number", "what"), CHANGING, ids=[what for _, what in CHANGING])
def test_what_a_late_step_would_see(number: Callable[[], int], what: str) -> None:
    assert f"{what} at {__file__}:" in refused(loss=_job(number))


@pytest.mark.parametrize(("number", "what"), READ, ids=[what for _, what in READ])
def test_what_the_system_says(number: Callable[[], float], what: str) -> None:
    assert refused(loss=_job(number)).startswith(f"{what} at {__file__}:")


def test_a_file_that_a_step_reads_and_writes(tmp_path: Path) -> None:
    count, log = tmp_path / "count", tmp_path / "log"
    count.write_text("0")

    def counts() -> int:
        n = int(count.read_text()) + 1
        count.write_text(str(n))
        return n

    def logs() -> int:
        log.write_text("a step")
        return int(count.read_text()) * 0

    text = refused(loss=_job(counts))
    assert text.startswith(f"the file {count}, which a step reads and writes at {line(counts, 2)}: "), text
    offchain.compile(**fields(loss=_job(logs)), executor="torch")


# --- schedules


def _counting() -> Callable[[Any], Any]:
    calls = [0]

    def schedule(t: Any) -> float:
        calls[0] += 1
        return 1 / calls[0]

    return schedule


def _scaled(t: Tensor) -> Tensor:
    return t * random.random()


SCHEDULES: list[tuple[Any, str]] = [
    (_counting(), "gives other numbers when it is asked again"),
    (lambda t: random.random(), "gives other numbers when it is asked again"),
    (_scaled, "gives other numbers when it is asked again"),
    (lambda t: 1.0 if time.time() > 0 else 0.5, "the clock (time.time) differs"),
]


@pytest.mark.parametrize(("schedule", "said"), SCHEDULES)
def test_a_schedule_that_does_not_follow_from_t(schedule: Any, said: str) -> None:
    text = refused(schedule=schedule)
    assert text.startswith(f"schedule at {line(schedule)}: {said}") and text.endswith("let it follow from t alone")


def test_such_a_scheduler_of_torch() -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, _counting())
    assert "gives other numbers" in refused(model=model, optimizer=optimizer, schedule=scheduler)


def test_a_schedule_may_give_a_number_of_numpys() -> None:
    offchain.compile(**fields(schedule=lambda t: np.float32(np.cos(float(t)))), executor="torch")


# --- tensors without memory


def test_a_sparse_tensor_and_one_whose_data_a_step_replaces() -> None:
    sparse, left = torch.eye(2).to_sparse(), torch.zeros(2, WIDTH)

    def replaces(model: Any, batch: Batch) -> Tensor:
        y = model(batch["x"])
        loss = (y - left).square().mean()
        left.data = y.detach().data
        return loss

    data = {"x": torch.randn(ROWS, WIDTH)}
    times = lambda m, b: (torch.sparse.mm(sparse, m(b["x"]))).square().mean()  # noqa: E731
    assert "from outside the model; use a dense one" in refused(loss=times, dataset=data)
    assert "what a model keeps for the next step is a buffer (register_buffer)" in refused(loss=replaces, dataset=data)


# --- settings of torch that are on while a job is built


def test_anomaly_detection_changes_nothing() -> None:
    def detects(model: Any, batch: Batch) -> Tensor:
        torch.autograd.set_detect_anomaly(True)
        return square(model, batch)

    try:
        wanted = offchain.compile(**fields(loss=square), executor="torch").task.graph_root
        assert offchain.compile(**fields(loss=detects), executor="torch").task.graph_root == wanted
        torch.autograd.set_detect_anomaly(True)
        assert offchain.compile(**fields(loss=square), executor="torch").task.graph_root == wanted
        assert torch.is_anomaly_enabled()
    finally:
        torch.autograd.set_detect_anomaly(False)


def test_a_buffer_that_lets_only_other_steps_train() -> None:
    class Every(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(WIDTH, WIDTH)
            self.register_buffer("on", torch.tensor(True))

        def forward(self, x: Tensor) -> Tensor:
            self.on.logical_not_()
            return self.linear(x) * self.on

    training = offchain.compile(**fields(model=Every(), dataset={"x": torch.randn(ROWS, WIDTH)}), executor="torch")
    plain = training.plain()
    for run in (training, plain):
        run.run()
    assert training.losses == pytest.approx(plain.losses)
    assert training.losses[0] == 0 < training.losses[1]
