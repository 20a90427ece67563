"""Code that goes another way while it is captured than in plain torch, or than in the next step: refused, or right."""

from __future__ import annotations

import inspect
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.compiler import is_compiling
from torch.distributions import Distribution
from torch.nn import functional as F

import offchain
from offchain import Program
from offchain.errors import BadInput, Unsupported
from offchain.job import Job
from offchain.lower.capture import batch_of, capture
from offchain.lower.faithful import _compare
from offchain.lower.losses import training_form
from tests.offchain.lower.refused import ROWS, WIDTH, Batch, fields, line, refused, square

HERE = Path(__file__)
DATA = {"x": torch.linspace(-1, 1, ROWS * WIDTH).reshape(ROWS, WIDTH)}


class Thing:
    """Shown with its address, which also orders it."""


def _scaled(asked: Callable[[], bool]) -> Callable[[Any, Batch], Tensor]:
    return lambda model, batch: square(model, batch) * (1.0078125 if asked() else 1.0)


# --- what asks whether it is traced hears what plain torch says


def _dynamo() -> bool:
    import torch._dynamo

    return bool(torch._dynamo.is_compiling())


ASKED: dict[str, Callable[[], bool]] = {
    "compiler": lambda: torch.compiler.is_compiling(),
    "imported": lambda: is_compiling(),
    "dynamo": _dynamo,
    "exporting": lambda: torch.compiler.is_exporting(),
    "jit": lambda: torch.jit.is_tracing() or torch.jit.is_scripting(),
    "state": lambda: torch._C._get_tracing_state() is not None,
    "guards": lambda: torch._guards.detect_fake_mode() is not None,
}


@pytest.mark.parametrize("asked", ASKED.values(), ids=ASKED)
def test_questions_about_the_tracer_are_answered_as_in_plain_torch(asked: Callable[[], bool]) -> None:
    training = offchain.compile(**fields(loss=_scaled(asked), dataset=DATA), executor="torch")
    plain = training.plain()
    training.run()
    plain.run()
    np.testing.assert_allclose(training.metrics["loss"], plain.losses, rtol=1e-5)
    assert not is_compiling()


def test_tensors_are_of_the_class_that_they_have_in_plain_torch() -> None:
    def loss(model: Any, batch: Batch) -> Tensor:
        x, weight = batch["x"], next(model.parameters())
        odd = isinstance(x, FakeTensor) or type(x) is not Tensor or x.requires_grad or not weight.requires_grad
        return square(model, batch) * (2.0 if odd or not weight.is_leaf or x.is_meta else 1.0)

    training = offchain.compile(**fields(loss=loss, dataset=DATA), executor="torch")
    plain = training.plain()
    training.run(2)
    plain.run(2)
    np.testing.assert_allclose(training.metrics["loss"], plain.losses, rtol=1e-5)


TRACER: list[Callable[[Tensor], Any]] = [
    lambda x: torch._C._functorch.maybe_current_level() is not None,
    lambda x: torch._C._functorch.is_functorch_wrapped_tensor(x),
    lambda x: torch._is_functional_tensor(x),
    lambda x: torch._C._len_torch_dispatch_stack() > 9,
]


@pytest.mark.parametrize("asked", TRACER)
def test_questions_that_the_tracer_answers_otherwise_are_refused(asked: Callable[[Tensor], Any]) -> None:
    def loss(model: Any, batch: Batch) -> Tensor:
        return square(model, batch) * (2.0 if asked(batch["x"]) else 1.0)

    text = refused(loss=loss)
    assert text.startswith("the tracer (") and f" at {line(asked)}: in plain torch it says something else" in text


def test_a_loss_that_is_another_number_while_it_is_captured() -> None:
    def loss(model: Any, batch: Batch) -> Tensor:
        found = square(model, batch)
        return found * (2.0 if "Functional" in repr(found) else 1.0)

    text = refused(loss=loss, dataset=DATA)
    assert f"loss at {line(loss)}: the first step's is " in text and "asks whether it is traced" in text


def test_such_a_loss_that_is_hardly_another_number() -> None:
    def loss(model: Any, batch: Batch) -> Tensor:
        return square(model, batch) * (1.0 if Distribution._validate_args else 1.0001)

    text = refused(loss=loss, dataset=DATA)
    assert f"loss at {line(loss)}: the first step's is " in text


def test_a_loss_that_rounding_errors_may_move() -> None:
    def loss(model: Any, batch: Batch) -> Tensor:
        far = model(batch["x"]) + 1000
        return far.square().mean() - far.mean().square()

    for given, off in ((loss, 1e-3), (square, 0.0)):
        job = Job(**fields(loss=given, dataset=DATA))
        captured = capture(training_form(job))
        plain = given(job.model, batch_of(job, DATA, torch.zeros((), dtype=torch.int32))).item()
        _compare(job, captured, plain * (1 + off))
        with pytest.raises(Unsupported, match="in plain torch"):
            _compare(job, captured, plain * (1.02 if off else 1.0001))


def test_what_torch_leaves_undefined_is_zero_and_no_other_number() -> None:
    def loss(model: Any, batch: Batch) -> Tensor:
        left = [torch.full((ROWS, WIDTH), 1e30) for _ in range(8)]  # what memory holds that is given out again
        del left
        return square(model, batch) + torch.empty_like(batch["x"]).sum() + torch.empty(ROWS, WIDTH).sum()

    training = offchain.compile(**fields(loss=loss, dataset=DATA), executor="torch")
    training.run()
    assert max(training.losses) < 1e3


# --- what torch refuses to a step that is captured is not caught


def _item(y: Tensor) -> float:
    return 2.0 if y.item() > 1e9 else 1.0


CAUGHT: dict[str, Callable[[Tensor], Any]] = {
    "item": _item,
    "if": lambda y: 2.0 if y > 1e9 else 1.0,
    "float": lambda y: 2.0 if float(y) > 1e9 else 1.0,
    "numpy": lambda y: 2.0 if y.detach().numpy() > 1e9 else 1.0,
    "asarray": lambda y: 2.0 if np.asarray(y.detach()) > 1e9 else 1.0,
    "tolist": lambda y: 2.0 if y.tolist() > 1e9 else 1.0,
    "equal": lambda y: 2.0 if torch.equal(y, y + 1) else 1.0,
    "autocast": lambda y: F.linear(y.reshape(1, 1), torch.ones(1, 1)).sum(),
    "one_hot": lambda y: F.one_hot(torch.ones(1, dtype=torch.int64)).sum(),
    "generator": lambda y: torch.rand((), generator=torch.Generator()),
}


@pytest.mark.parametrize("read", CAUGHT.values(), ids=CAUGHT)
def test_a_refusal_that_a_job_catches_is_raised_all_the_same(read: Callable[[Tensor], Any]) -> None:
    def loss(model: Any, batch: Batch) -> Tensor:
        y = square(model, batch)
        try:
            with torch.autocast("cpu", enabled=read is CAUGHT["autocast"]):
                return y * read(y)
        except Exception:
            return y

    text = refused(loss=loss, dataset=DATA)
    assert f" at {HERE}:" in text and text.endswith("plain torch does not raise the error that is caught here"), text


def test_backward_in_a_try_statement() -> None:
    def loss(model: Any, batch: Batch) -> Tensor:
        y = square(model, batch)
        try:
            y.backward()
        except RuntimeError:
            y = y * 2
        return y

    assert "leave backward() out" in refused(BadInput, loss=loss, dataset=DATA)


def test_an_error_of_plain_torchs_may_be_caught() -> None:
    def loss(model: Any, batch: Batch) -> Tensor:
        try:
            return model(batch["x"][:, 1:]).mean()
        except RuntimeError:
            return square(model, batch)

    def bare(model: Any, batch: Batch) -> Tensor:
        return square(model, batch)

    roots = {offchain.compile(**fields(loss=f), executor="torch").task.graph_root for f in (loss, bare)}
    assert len(roots) == 1


# --- what lies in memory, on the stack and on the disk


def _version(model: Any, batch: Batch) -> Tensor:
    return square(model, batch) * (1.0 + next(model.parameters())._version)


def test_the_version_of_a_tensor_is_refused() -> None:
    assert f" at {line(_version, 1)}: _version counts writes" in refused(loss=_version)


STACK: list[Callable[[], Any]] = [
    lambda: len(inspect.stack()),
    lambda: sys._getframe(1).f_lineno,
    lambda: inspect.currentframe().f_back.f_lineno,  # type: ignore[union-attr]
    lambda: len(traceback.extract_stack()),
    lambda: sys.getrefcount(DATA),
]


@pytest.mark.parametrize("asked", STACK)
def test_the_stack_is_refused(asked: Callable[[], Any]) -> None:
    text = refused(loss=_scaled(lambda: asked() > 10**6))
    assert text.startswith("the stack (sys.") and f" at {line(asked)}: differs from step to step" in text


def test_the_depth_of_the_stack_is_found_by_another() -> None:
    def deep(frames: int = 0) -> int:
        try:
            return deep(frames + 1)
        except RecursionError:
            return frames

    text = refused(loss=lambda m, b: square(m, b) * deep())
    assert "differs when the step is traced again" in text


def _first(one: object, two: object) -> float:
    """1.0 if a set of both begins with the second."""
    return 1.0 if next(iter({one, two})) is two else 0.0


ORDERED: list[Callable[[], float]] = [
    lambda: _first(Thing(), Thing()),
    lambda: _first(object(), object()),
    lambda: hash(repr(object())) % 1009,
    lambda: hash(f"{Thing()}") % 1009,
    lambda: float(str(Thing())[-3:-1] > "88"),
]


@pytest.mark.parametrize("number", ORDERED)
def test_the_order_and_the_addresses_of_new_objects_are_refused(number: Callable[[], float]) -> None:
    text = refused(loss=lambda m, b: square(m, b) * (1.0 + number()))
    assert "differs when the step is traced again" in text and f" at {HERE}:" in text


def test_a_set_whose_order_is_the_same_in_every_step() -> None:
    def loss(model: Any, batch: Batch) -> Tensor:
        return square(model, batch) * sum({1.0, 2.0, 4.0}) + sum(p.sum() for p in set(model.parameters()))

    offchain.compile(**fields(loss=loss), executor="torch")


DISK: list[Callable[[], Any]] = [
    lambda: os.stat(HERE).st_mtime,
    lambda: os.path.getmtime(HERE),
    lambda: HERE.stat().st_atime,
    lambda: os.path.getsize(HERE),
    lambda: len(os.listdir(HERE.parent)),
    lambda: len(list(HERE.parent.glob("*.py"))),
    lambda: next(iter(os.scandir(HERE.parent))).stat().st_size,
]


@pytest.mark.parametrize("asked", DISK)
def test_what_the_disk_says_is_refused(asked: Callable[[], Any]) -> None:
    text = refused(loss=_scaled(lambda: asked() < 0))
    assert text.startswith("the disk (os.") and f" at {line(asked)}: differs from step to step" in text
    assert text.endswith("ask for it before the job is built, and let the loss use what it gave")


def test_a_file_that_is_there_may_be_asked_for() -> None:
    def loss(model: Any, batch: Batch) -> Tensor:
        import json  # noqa: F401  Python looks for modules on the disk

        return square(model, batch) * (2.0 if HERE.exists() and os.path.isfile(HERE) else 1.0)

    offchain.compile(**fields(loss=loss), executor="torch")


def test_a_program_is_held_to_plain_torch_too() -> None:
    def step(state: Any, batch: Any, t: Tensor) -> Any:
        found = state["w"].sum()
        try:
            scale = 2.0 if found.item() > 0 else 1.0
        except RuntimeError:
            scale = 3.0
        return {"w": state["w"] * scale}, {"m": found}

    with pytest.raises(Unsupported, match="is caught here"):
        offchain.compile(Program(step, {"w": torch.ones(2)}, (torch.arange(6.0),), 6, 3), threads=1)
