"""Batch prediction: every row once and in order, a short last batch, the model's own numbers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import offchain
from offchain.errors import BadInput, Unsupported
from offchain.inference import Inference
from offchain.lower import compile as lower
from offchain.training import Run

ROWS = 23


def a_model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(), nn.Tanh(), nn.Linear(8, 3))


def rows() -> Tensor:
    return torch.randn(ROWS, 4, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("batch_size", "interval"), [(5, None), (5, 2), (23, 1), (40, None), (1, 4)])
def test_predictions_are_the_model_s_for_every_batch_size(batch_size: int, interval: int | None) -> None:
    model, x = a_model(), rows()
    program = Inference(model, (x,), batch_size, bits=21, interval=interval)
    run = offchain.compile(program, threads=1)
    run.run()
    assert model.training
    with torch.no_grad():
        wanted = model.eval()(x)
    model.train()
    assert run.outputs["prediction"].shape == (ROWS, 3)
    torch.testing.assert_close(run.outputs["prediction"], wanted, rtol=1e-5, atol=1e-6)
    assert run.task.model == () and [slot.spec.name for slot in run.task.graph.slots] == ["outputs.prediction", "log"]


def test_executors_agree_and_plain_torch_is_the_same_program() -> None:
    program = Inference(
        a_model(),
        {"x": rows(), "n": torch.arange(ROWS)},
        5,
        lambda model, batch: {"scores": model(batch["x"]).softmax(1), "n": batch["n"]},
        outputs=("scores", "n"),
        interval=2,
    )
    runs = [Run(lower(program), executor, threads=1) for executor in ("reference", "torch", "fused")]
    for run in runs:
        run.run()
    assert runs[0].state_roots == runs[1].state_roots == runs[2].state_roots
    assert runs[0].output_arrays["n"].tolist() == list(range(ROWS))
    plain = offchain.compile(program, executor="torch").plain()
    plain.run()
    torch.testing.assert_close(
        torch.from_numpy(runs[2].output_arrays["scores"]), plain.outputs["scores"], atol=1e-3, rtol=0
    )
    assert runs[2].metrics["mean"] == pytest.approx(plain.metrics["mean"], abs=1e-4)


def test_padding_counts_in_no_metric() -> None:
    program = Inference(nn.Identity(), (torch.arange(1.0, 8.0).reshape(7, 1),), 3, interval=4)
    run = offchain.compile(program, executor="torch", threads=1)
    run.run()
    assert run.metrics["mean"] == [2.0, 5.0, 7.0, 0.0]  # the last step has no rows
    assert run.outputs["prediction"].flatten().tolist() == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"batch_size": 0}, "batch_size is 0, must be a positive integer"),
        ({"interval": 0}, "interval is 0, must be a positive integer"),
        ({"model": 3}, "model is 3, must be a torch.nn.Module"),
        ({"dataset": (rows().double(),)}, "float64"),
        ({"outputs": ()}, r"outputs is \(\), must be a name, or a list of names"),
        ({"outputs": 3}, "outputs is 3, must be a name, or a list of names"),
        ({"forward": "f"}, "forward is 'f', must be a function"),
        ({"bits": 1}, "bits is 1"),
    ],
)
def test_fields_that_no_prediction_can_have_are_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=said) as raised:
        Inference(**{"model": a_model(), "dataset": (rows(),), "batch_size": 5, **fields})
    assert str(raised.value).startswith("inference at ") and "test_inference.py" in str(raised.value)


@pytest.mark.parametrize(
    ("forward", "error", "said"),
    [
        (lambda m, b: m(b[0]).mean(), BadInput, r"forward at .*test_inference.py:[0-9]+ gives a tensor of shape \(\)"),
        (lambda m, b: m(b[0])[1:], BadInput, r"test_inference.py:[0-9]+ gives a tensor of shape \(4, 3\)"),
        (lambda m, b: {"other": m(b[0])}, BadInput, "test_inference.py:[0-9]+ gives 'other', but outputs= names 'pred"),
        (lambda m, b: m(b[0]).tolist(), Unsupported, "test_inference.py:[0-9]+: the step depends on a tensor's value"),
    ],
)
def test_a_forward_that_gives_no_rows_is_refused_with_its_line(forward: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        lower(Inference(a_model(), (rows(),), 5, forward))


def test_a_forward_that_python_changes_is_refused_with_its_line() -> None:
    seen: list[int] = []

    def forward(model: Any, batch: Any) -> Tensor:
        seen.append(1)
        scores: Tensor = model(batch[0])
        return scores

    with pytest.raises(Unsupported, match=r"variable 'seen' at .*test_inference.py:[0-9]+: changes in every step"):
        lower(Inference(a_model(), (rows(),), 5, forward))


def test_an_operation_that_no_graph_can_be_is_refused_with_its_module() -> None:
    class Looks(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * 2 if x.sum() > 0 else x

    with pytest.raises(Unsupported, match=r"in module 1 at .*test_inference.py"):
        lower(Inference(nn.Sequential(nn.Linear(4, 4), Looks()), (rows(),), 5))


def test_a_model_that_does_not_take_the_columns_is_refused_with_the_line_of_the_call() -> None:
    with pytest.raises(BadInput, match=r"in module Linear at .*test_inference.py:[0-9]+: TypeError"):
        lower(Inference(nn.Linear(4, 3), {"image": rows()}, 5))
