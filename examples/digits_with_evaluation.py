"""A perceptron learns digits, and the same task ends with what it is then worth on digits that it never saw.

The figures are part of the task: verifiers compute them again, and a false one is convicted like a false update.
`offchain run` and `offchain task result` show them; `Training.evaluation` has them with the confusion matrix.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from offchain import Evaluation, Job
from offchain.job import DEFAULT_BITS

sys.path.insert(0, str(Path(__file__).parent))  # for its neighbour, however this file is run
import mlp_digits


def job(seed: int = 0, steps: int = 300, bits: int = DEFAULT_BITS, batch_size: int = 64) -> Job:
    images, labels, others, wanted = mlp_digits.split()
    model = mlp_digits.model(seed)
    return Job(
        model=model,
        loss=mlp_digits.loss,
        optimizer=(torch.optim.SGD, {"lr": 0.2, "momentum": 0.9, "weight_decay": 1e-4}),
        schedule=lambda t: 1 - t / steps,
        dataset={"image": images, "label": labels},
        batch_size=64,
        steps=steps,
        interval=steps // 10 or 1,
        seed=seed,
        bits=bits,
        evaluation=Evaluation(
            model,
            {"image": others, "label": wanted},
            ["accuracy", "loss", "perplexity", "confusion"],
            batch_size,
            lambda model, batch: model(batch["image"]),
            target="label",
            classes=10,
        ),
        name="digits, perceptron and what it is worth",
    )
