"""An evaluation: accuracy, loss, perplexity, confusion and one's own figures are those of plain torch over all rows."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import offchain
from offchain.errors import BadInput
from offchain.evaluation import IGNORED, Evaluation
from offchain.lower import compile as lower
from offchain.training import Run

ROWS, CLASSES = 23, 3


def a_model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Dropout(), nn.Tanh(), nn.Linear(8, CLASSES))


def data() -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(1)
    return {"x": torch.randn(ROWS, 4, generator=g), "y": torch.randint(0, CLASSES, (ROWS,), generator=g)}


def forward(model: Any, batch: Any) -> Tensor:
    scores: Tensor = model(batch["x"])
    return scores


def largest(scores: Tensor, batch: Any) -> Tensor:
    return scores.amax(1) - batch["y"]


def an_evaluation(**changes: Any) -> Evaluation:
    fields: dict[str, Any] = {
        "model": a_model(),
        "dataset": data(),
        "metrics": {
            "accuracy": "accuracy",
            "loss": "loss",
            "ppl": "perplexity",
            "confusion": "confusion",
            "own": largest,
        },
        "batch_size": 5,
        "forward": forward,
        "target": "y",
        "classes": CLASSES,
        "interval": 2,
        "bits": 21,
    }
    return Evaluation(**{**fields, **changes})


def test_figures_are_those_of_plain_torch_over_all_rows() -> None:
    run = offchain.compile(an_evaluation(), threads=1)
    run.run()
    with torch.no_grad():
        scores, y = a_model().eval()(data()["x"]), data()["y"]
    found = {name: values[-1] for name, values in run.metrics.items()}
    loss = F.cross_entropy(scores, y).item()
    wanted = {
        "accuracy": (scores.argmax(1) == y).float().mean().item(),
        "loss": loss,
        "ppl": torch.tensor(loss).exp().item(),
        "own": (scores.amax(1) - y).mean().item(),
    }
    assert found == pytest.approx(wanted, rel=1e-5)
    matrix = torch.zeros(CLASSES, CLASSES, dtype=torch.int32)
    for true, taken in zip(y, scores.argmax(1), strict=True):
        matrix[true, taken] += 1
    assert run.state["confusion"].tolist() == matrix.tolist() and int(run.state["loss"]["count"]) == ROWS


def test_executors_agree() -> None:
    runs = [Run(lower(an_evaluation(bits=8)), executor, threads=1) for executor in ("reference", "torch", "fused")]
    for run in runs:
        run.run()
    assert runs[0].state_roots == runs[1].state_roots == runs[2].state_roots


def test_scores_of_every_token_and_targets_that_do_not_count() -> None:
    g = torch.Generator().manual_seed(2)
    table = nn.Embedding(7, 7)
    ids, y = torch.randint(0, 7, (9, 6), generator=g), torch.randint(0, 7, (9, 6), generator=g)
    y[::2, 3:] = IGNORED
    program = Evaluation(
        table,
        {"ids": ids, "y": y},
        ["accuracy", "perplexity", "confusion"],
        4,
        lambda model, batch: model(batch["ids"]),
        target="y",
        classes=7,
        bits=21,
    )
    run = offchain.compile(program, executor="torch", threads=1)
    run.run()
    with torch.no_grad():
        scores = table(ids)
    counted = y != IGNORED
    assert run.metrics["accuracy"][-1] == pytest.approx((scores.argmax(-1) == y)[counted].float().mean().item())
    mean = F.cross_entropy(scores.flatten(0, 1), y.flatten()).exp().item()
    assert run.metrics["perplexity"][-1] == pytest.approx(mean, rel=1e-5)
    assert int(run.state["confusion"].sum()) == int(counted.sum())


def test_a_confusion_matrix_alone_logs_how_many_rows_were_read() -> None:
    run = offchain.compile(an_evaluation(metrics="confusion", interval=5), executor="torch", threads=1)
    run.run()
    assert run.metrics == {"rows": [5, 5, 5, 5, 3]}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"metrics": []}, "metrics is \\[\\], must be words"),
        ({"metrics": ["recall"]}, "metric 'recall' is 'recall', must be a function or one of accuracy, loss"),
        ({"metrics": {"a": 3}}, "metric 'a' is 3"),
        ({"target": None}, "target is None, must name the column"),
        ({"target": "z"}, "target is 'z', must name the column"),
        ({"classes": 10**9}, "classes is 1000000000, of which a confusion matrix may have 8192"),
        ({"classes": None}, "classes is None, must be how many"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"classes": 2}, "target 'y' holds the class 2, must be 0 to 1, since classes is 2"),
        (
            {"dataset": {**data(), "y": data()["y"] - 1}, "metrics": "loss", "classes": None},
            "the class -1, must be 0 or",
        ),
        ({"dataset": {**data(), "y": data()["y"].float()}}, "target 'y' is torch.float32, must be class numbers"),
        ({"dataset": {name: column[:0] for name, column in data().items()}}, "must be a tensor with at least one row"),
        ({"forward": "f"}, "forward is 'f', must be a function"),
        (
            {"dataset": {**data(), "y": torch.full((ROWS,), IGNORED)}},
            "target 'y' holds nothing but -100, which does not",
        ),
    ],
)
def test_fields_that_no_evaluation_can_have_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=said) as raised:
        an_evaluation(**changes)
    assert str(raised.value).startswith("evaluation at ") and "test_evaluation.py" in str(raised.value)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"metrics": {"own": lambda made, batch: made.mean()}}, r"metric 'own' at .*test_evaluation.py:[0-9]+ gives a"),
        (
            {"forward": lambda model, batch: model(batch["x"])[:, 0]},
            "test_evaluation.py:[0-9]+ gives a tensor of shape",
        ),
        ({"classes": 4}, "gives scores of 3 classes, and classes is 4; give classes=3"),
        (
            {"dataset": {**data(), "y": data()["y"] + 1}, "metrics": "accuracy", "classes": None},
            "test_evaluation.py:[0-9]+ gives scores of 3 classes, and row [0-9]+ of the target holds the class 3",
        ),
    ],
)
def test_what_has_no_value_for_each_row_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        lower(an_evaluation(**changes))
