"""The optimizer of a job as a pure function of parameters, gradients and the tensors that it keeps."""

from __future__ import annotations

from offchain.job import Job
from offchain.lower.optim.by_rule import by_rule, has_rule
from offchain.lower.optim.functional import Functional
from offchain.lower.optim.traced import traced

__all__ = ["Functional", "functional"]


def functional(job: Job) -> Functional:
    """The pure form of a job's optimizer: by a rule, or its own step. Raises Unsupported, naming what cannot be."""
    return by_rule(job) if has_rule(job) else traced(job)
