"""A program: any step in plain torch becomes a task, whose executors, outputs and results are as plain torch's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torch import Tensor, nn
from torch.nn import functional as F

import offchain
from offchain.errors import BadBlob, BadInput, OffchainError, Unsupported
from offchain.lower import compile as lower
from offchain.program import Program
from offchain.store.checkpoint import save_model
from offchain.store.taskfile import load_task, save_task
from offchain.task import Task
from offchain.training import Run

ROWS, STEPS, INTERVAL = 20, 8, 4
X = torch.linspace(-1, 1, ROWS * 3).reshape(ROWS, 3)
Y = X.sum(1, keepdim=True).sin()


def averaged(state: Any, batch: Any, t: Tensor) -> Any:
    """SGD on a linear model, an average of its weights, a counter, and a scale that no step changes."""

    def loss(weights: dict[str, Tensor]) -> Tensor:
        return F.mse_loss(batch["x"] @ weights["w"] + weights["b"], batch["y"] * state["scale"])

    gradients, value = torch.func.grad_and_value(loss)(state["model"])
    moved = {name: weight - 0.1 * gradients[name] for name, weight in state["model"].items()}
    mean = [0.5 * old + 0.5 * new for old, new in zip(state["mean"], moved.values(), strict=True)]
    state["seen"].add_(len(batch["x"]))  # a step may write to what it is given
    after = {"model": moved, "mean": mean, "seen": state["seen"], "scale": state["scale"]}
    said = {"prediction": batch["x"] @ moved["w"], "row": torch.stack([t, t + 1]).long()}
    return after, {"loss": value, "step": t}, said


def a_program(**changes: Any) -> Program:
    weights = {"w": torch.full((3, 1), 0.5), "b": torch.zeros(1)}
    state = {
        "model": weights,
        "mean": list(weights.values()),
        "seen": torch.zeros((), dtype=torch.int64),
        "scale": torch.tensor([2.0]),
    }
    fields: dict[str, Any] = {
        "step": averaged,
        "state": state,
        "data": {"x": X, "y": Y},
        "steps": STEPS,
        "interval": INTERVAL,
        "outputs": {"prediction": 30, "row": None},
        "batch_size": 5,
        "bits": 21,
    }
    return Program(**{**fields, **changes})


def stepping(step: Any, **changes: Any) -> Program:
    """A program of one number, of which `step(x, t)` makes what the test asks about."""
    fields = {"state": {"x": torch.ones(2)}, "data": None, "steps": 2, "interval": 1, "outputs": ()}
    return Program(step, **{**fields, **changes})


def test_executors_agree_and_the_result_is_plain_torch_s() -> None:
    run = offchain.compile(a_program(), executor="fused", threads=1)
    run.run()
    roots = {Run(run.task, executor, threads=1) for executor in ("reference", "torch")}
    for other in roots:
        other.run()
        assert other.state_roots == run.state_roots
    plain = run.plain()
    plain.run()
    torch.testing.assert_close(run.state, plain.state, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(run.outputs, plain.outputs, rtol=1e-5, atol=1e-6)
    assert run.metrics["step"] == plain.metrics["step"] == list(range(STEPS))
    assert run.metrics["loss"] == pytest.approx(plain.metrics["loss"], rel=1e-4)
    assert run.state["seen"].item() == 40 and run.state["seen"].dtype is torch.int64


def test_what_no_step_changes_is_a_constant_and_outputs_take_one_interval() -> None:
    slots = {slot.spec.name: slot.spec.shape for slot in lower(a_program()).graph.slots}
    assert "scale" not in slots
    assert slots["outputs.prediction"] == (INTERVAL, 5, 1) and slots["outputs.row"] == (INTERVAL, 2)
    longer = lower(a_program(steps=8 * STEPS))
    assert {slot.spec.name: slot.spec.shape for slot in longer.graph.slots} == slots


def test_outputs_are_cut_joined_and_kept_in_their_dtype() -> None:
    run = offchain.compile(a_program(), threads=1)
    run.run(6)  # one interval and a half
    assert run.outputs["prediction"].shape == (30, 1)
    assert run.outputs["row"].tolist() == [n for t in range(6) for n in (t, t + 1)]
    assert run.outputs["row"].dtype is torch.int64
    run.run()
    assert run.outputs["prediction"].shape == (30, 1) and run.outputs["row"].shape == (2 * STEPS,)


def test_a_task_file_keeps_outputs_and_the_result_holds_them(tmp_path: Path) -> None:
    task = lower(a_program())
    save_task(task, tmp_path / "a.task")
    loaded = load_task(tmp_path / "a.task")
    assert loaded.outputs == task.outputs and loaded.graph_root == task.graph_root
    run = Run(loaded, "torch")
    run.run()
    save_model(tmp_path / "a.safetensors", loaded, run.arrays(), run.metrics, outputs=run.output_arrays)
    held = load_file(tmp_path / "a.safetensors")
    assert set(held) == {"model.w", "model.b", "mean.0", "mean.1", "seen", "prediction", "row"}
    assert held["row"].dtype == np.int64 and held["prediction"].shape == (30, 1)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda task: [("nothing", "float32", 1)], "no slot holds such rows"),
        (lambda task: [("prediction", "int32", 1)], "no slot holds such rows"),
        (lambda task: [("prediction", "float32", 41)], "no slot holds such rows"),
        (lambda task: [("row", "int64", 0)], "not a list of outputs"),
        (lambda task: [("row", "float64", 1)], "not a list of outputs"),
        (lambda task: [("row", "int64", 1)] * 2, "have the same name"),
    ],
)
def test_a_task_file_that_lies_about_outputs_is_refused(tmp_path: Path, change: Any, said: str) -> None:
    from dataclasses import replace

    from offchain.task import Output

    task = lower(a_program())
    false: Task = replace(task, outputs=tuple(Output(*row) for row in change(task)))
    save_task(false, tmp_path / "a.task")
    with pytest.raises(BadBlob, match=said):
        load_task(tmp_path / "a.task")


def test_whole_columns_random_numbers_and_gradients_of_gradients() -> None:
    """Without batch_size a step reads the whole data; here it also draws, and takes a second derivative."""

    def step(state: Any, data: Any, t: Tensor) -> Any:
        noise = torch.rand(4, 1)

        def value(x: Tensor) -> Tensor:
            return (torch.tanh(x * state["a"])).sum()

        second = torch.func.grad(lambda x: torch.func.grad(value)(x).square().sum())(noise)
        (row,) = data
        return {"a": state["a"] + 0.1 * second.mean() + row[t] * 0}, {"a": state["a"].sum(), "row": row[t]}

    run = offchain.compile(Program(step, {"a": torch.ones(())}, (torch.arange(6.0),), 6, 3), threads=1)
    run.run()
    plain = run.plain()
    plain.run()
    assert run.metrics["row"] == [0, 1, 2, 3, 4, 5]
    assert run.metrics["a"] == pytest.approx(plain.metrics["a"], rel=1e-5)


def test_autograd_and_a_module_from_outside() -> None:
    teacher = nn.Linear(3, 1)

    def step(state: Any, batch: Any, t: Tensor) -> Any:
        x = state["x"].detach().requires_grad_()
        value = (teacher(x) - 1).square().sum()
        (gradient,) = torch.autograd.grad(value, x)
        return {"x": state["x"] - 0.1 * gradient}, {"value": value}

    run = offchain.compile(Program(step, {"x": torch.ones(3)}, None, 4, 2, bits=21), threads=1)
    run.run()
    plain = run.plain()
    plain.run()
    assert run.metrics["value"] == pytest.approx(plain.metrics["value"], rel=1e-4)
    assert len(run.task.graph.slots) == 2


def test_buffers_that_a_model_changes_are_state() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))

    def step(state: Any, batch: Any, t: Tensor) -> Any:
        def loss(weights: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
            moved = {name: buffer.clone() for name, buffer in state["buffers"].items()}
            made = torch.func.functional_call(model, {**weights, **moved}, (batch["x"],))
            return F.mse_loss(made, batch["y"]), moved

        gradients, (value, moved) = torch.func.grad_and_value(loss, has_aux=True)(state["weights"])
        after = {name: weight - 0.1 * gradients[name] for name, weight in state["weights"].items()}
        return {"weights": after, "buffers": moved}, {"loss": value}

    state = {"weights": dict(model.named_parameters()), "buffers": dict(model.named_buffers())}
    run = offchain.compile(Program(step, state, {"x": X, "y": Y}, 4, 2, batch_size=8, bits=21), executor="torch")
    run.run()
    plain = run.plain()
    plain.run()
    assert run.state["buffers"]["1.num_batches_tracked"].tolist() == 4
    torch.testing.assert_close(run.state, plain.state, rtol=1e-4, atol=1e-5)


COUNT = [0]


def counting(state: Any, batch: Any, t: Tensor) -> Any:
    COUNT[0] += 1
    return {"x": state["x"] + COUNT[0]}, {"x": state["x"].sum()}


GROWN: list[int] = []


def growing(state: Any, batch: Any, t: Tensor) -> Any:
    GROWN.append(1)
    return {"x": state["x"] * 2}, {"x": state["x"].sum()}, {"y": state["x"].repeat(len(GROWN))}


def metric(state: Any) -> dict[str, Tensor]:
    return {"x": state["x"].sum()}


@pytest.mark.parametrize(
    ("step", "error", "said"),
    [
        (lambda s, b, t: s, BadInput, "step at .*test_program.py:[0-9]+ returns a dict of .x.; return state, metrics"),
        (lambda s, b, t: ({"x": s["x"][:1]}, metric(s)), BadInput, r"state 'x' as float32 of shape \(1,\), but got"),
        (lambda s, b, t: ({"x": torch.cat([s["x"], s["x"]])}, metric(s)), BadInput, r"test_program.py:.*shape \(4,\)"),
        (lambda s, b, t: ({"x": s["x"].double()}, metric(s)), OffchainError, "test_program.py:.*float64"),
        (lambda s, b, t: ({"x": None}, metric(s)), BadInput, "test_program.py:.* None as state 'x'"),
        (lambda s, b, t: ({}, metric(s)), BadInput, "test_program.py:.*leaves out state 'x'"),
        (lambda s, b, t: ({**s, "y": s["x"]}, metric(s)), BadInput, "test_program.py:.*adds state 'y'"),
        (lambda s, b, t: ([s["x"]], metric(s)), BadInput, "test_program.py:.*a list as its next state"),
        (lambda s, b, t: ({"x": s["x"] + 1}, {}), BadInput, "test_program.py:.*at least one number"),
        (lambda s, b, t: ({"x": s["x"] + 1}, {"x": s["x"]}), BadInput, "test_program.py:.*metric 'x' is float32 of"),
        (lambda s, b, t: (s, metric(s), {"y": s["x"]}), BadInput, "outputs 'y', but outputs= names nothing"),
        (lambda s, b, t: (s, metric(s), 3), BadInput, "returns 3 as outputs"),
        (lambda s, b, t: ({"x": s["x"] * (2 if s["x"].sum() > 0 else 1)}, metric(s)), Unsupported, "use torch.where"),
        (counting, Unsupported, "test_program.py:[0-9]+: changes in every step"),
    ],
)  # fmt: skip
def test_a_step_that_no_graph_can_be_is_refused_with_its_line(step: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said) as raised:
        lower(stepping(step))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (lambda s, b, t: (s, metric(s)), "test_program.py:.*outputs nothing, but outputs= names 'y'"),
        (lambda s, b, t: (s, metric(s), {"y": s["x"].sum()}), r"test_program.py:.*output 'y' is float32 of shape \(\)"),
        (lambda s, b, t: (s, metric(s), {"y": s["x"].double()}), "test_program.py:.*float64"),
        (lambda s, b, t: (s, metric(s), {"y": s["x"][:0]}), "test_program.py:.*output 'y' has no elements"),
        (lambda s, b, t: (s, metric(s), {"y": s["x"][: int(t) + 1]}), "test_program.py:[0-9]+: .*depends on a tensor"),
        (growing, "test_program.py:[0-9]+: changes in every step"),
    ],
)  # fmt: skip
def test_outputs_that_no_slot_can_hold_are_refused_with_the_line(step: Any, said: str) -> None:
    with pytest.raises(OffchainError, match=said):
        lower(stepping(step, outputs=["y"]))


def test_more_rows_than_there_are_cannot_be_kept() -> None:
    with pytest.raises(BadInput, match="has 4 rows in all steps, fewer than the 5 to be kept"):
        lower(stepping(lambda s, b, t: (s, metric(s), {"y": s["x"]}), outputs={"y": 5}))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"state": {"x": torch.ones(2, dtype=torch.float64)}}, "test_program.py:[0-9]+: state 'x' is torch.float64"),
        ({"state": {"x": None}}, "test_program.py:[0-9]+: state 'x' is None, which no graph can hold"),
        ({"state": {"x": [torch.ones(2), 3]}}, "state 'x.1' is 3, which"),
        ({"state": {"x": nn.Linear(1, 1)}}, "dict\\(module.named_parameters"),
        ({"state": [torch.ones(2)]}, "state is a list, must be a dict"),
        ({"state": {"x": torch.tensor([float("nan")])}}, "state 'x' holds values that are not finite"),
        ({"state": {"log": torch.ones(2)}}, "'log' is reserved"),
        ({"state": {"a.b": torch.ones(2), "a": {"b": torch.ones(2)}}}, "two tensors of the state are named 'a.b'"),
        ({"state": {"x": torch.ones(0)}}, "has no elements"),
        ({"outputs": ["x"]}, "output 'x' has the name of a tensor of the state"),
        ({"outputs": ["x"], "state": {"outputs.x": torch.ones(1)}}, "output 'x' has the name of a tensor of the state"),
        ({"outputs": 3}, "outputs is 3, must be names"),
        ({"outputs": {"y": 0}}, "rows of output 'y' is 0"),
        ({"steps": 3, "interval": 2}, "steps 3 is not a multiple of interval 2"),
        ({"batch_size": 2}, "batch_size is given, but no data"),
        ({"data": {"x": X}, "batch_size": 21}, "batch_size 21 is larger than the 20 rows"),
        ({"order": lambda t: t}, "order chooses the rows of a batch; give batch_size too"),
        ({"step": 3}, "step is 3, must be a function"),
        ({"bits": 40}, "bits is 40, must be 2 to 27"),
    ],
)
def test_fields_that_no_task_can_have_are_refused(changes: dict[str, Any], said: str) -> None:
    fields = {"state": {"x": torch.ones(2)}, "data": None, "steps": 2, "interval": 1, **changes}
    with pytest.raises(BadInput, match=said) as raised:
        Program(**{"step": averaged, **fields})
    assert str(raised.value).startswith("program at ") and "\n" not in str(raised.value)


def test_state_that_is_read_around_the_step_is_refused() -> None:
    weight = torch.ones(2)

    def step(state: Any, batch: Any, t: Tensor) -> Any:
        return {"x": state["x"] * weight}, metric(state)

    with pytest.raises(Unsupported, match="reads 'x' of the state as it is before the first step"):
        lower(stepping(step, state={"x": weight}))
