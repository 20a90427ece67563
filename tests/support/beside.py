"""A job's run beside the same job in plain torch."""

from __future__ import annotations

import pytest
import torch

from offchain.job import Job
from offchain.training import Training


def trained(job: Job) -> Training:
    """All steps; losses and tensors are those of plain torch."""
    training = Training(job, executor="torch", threads=1)
    plain = training.plain()
    for run in (training, plain):
        run.run()
    assert training.losses == pytest.approx(plain.losses, rel=1e-5)
    for name, want in plain.parameters.items():
        assert torch.allclose(training.state_dict()[name], want, rtol=1e-4, atol=1e-6), name
    return training
