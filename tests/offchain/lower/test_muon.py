"""Muon: torch orthogonalises in bfloat16, here it has the precision of the job's products."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from offchain.training import Run, Training
from tests.offchain.lower.test_optim import Net, a_job, assert_close

OPTIONS = [{}, {"nesterov": False, "adjust_lr_fn": "match_rms_adamw", "ns_steps": 3, "weight_decay": 0.0}]


def orthogonal(x: Tensor, coefficients: tuple[float, float, float], steps: int, eps: float) -> Tensor:
    """The iteration of torch.optim.Muon in float64."""
    a, b, c = coefficients
    y = x.double().T if x.shape[0] > x.shape[1] else x.double()
    y = y / y.norm().clamp(min=eps)
    for _ in range(steps):
        gram = y @ y.T
        y = a * y + (b * gram + c * gram @ gram) @ y
    return (y.T if x.shape[0] > x.shape[1] else y).to(x.dtype)


def both(options: dict[str, Any]) -> tuple[Training, dict[str, Tensor]]:
    """A job with torch.optim.Muon after all steps, repeated by the reference executor, and plain torch's parameters."""
    model = Net()
    matrices = [parameter for parameter in model.parameters() if parameter.ndim == 2]
    training = Training(a_job(torch.optim.Muon(matrices, lr=0.05, **options), model), executor="torch", threads=1)
    plain, slow = training.plain(), Run(training.task, "reference")
    for run in (training, plain, slow):
        run.run()
    assert training.state_root == slow.state_root
    assert training.task.parameters == ("first.weight", "last.weight")
    return training, plain.parameters


@pytest.mark.parametrize("options", OPTIONS)
def test_muon_is_torchs_with_an_exact_iteration(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.optim._muon._zeropower_via_newtonschulz", orthogonal)
    training, plain = both(options)
    assert_close(training.state_dict(), plain, 1e-4)


@pytest.mark.parametrize("options", OPTIONS)
def test_muon_is_torchs_within_its_bfloat16(options: dict[str, Any]) -> None:
    training, plain = both(options)
    assert_close(training.state_dict(), plain, 0.03)
