"""Roots of jobs stay what they were: a task that somebody built must be built again to the same roots.

Initial values are dyadic numbers, so that no root depends on how a processor rounds while a job is made. Whoever
changes how steps are lowered or fused changes graph roots, and says so in the change log; a state root changes only
with the numerics.
"""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any, Final

import pytest
import torch

from offchain.job import Job
from offchain.lower import compile as lower
from offchain.training import Run

FOLDER: Final = Path(__file__).resolve().parents[2] / "examples"
STEPS: Final = 4
ROOTS: Final = {  # of the graph, of the initial state, of the state after STEPS steps
    "mlp_digits": (
        "4ac82505a0f4c5f9438f120c844b9e0d767ec2396c73017bb655f1a8ba1529c2",
        "5f84f3e8b6e84c5cdf1714d460043b0505ba7dd226cf1e57dd0a7a4632a0ddb8",
        "95f7d1afcbdd986e0b78f6fa128a7e8686303e7d4ef68421733fa5dfa09c6e38",
    ),
    "cnn_digits": (
        "9270f0fc0319d64e56405c0d6629195828357c061801dbd040c972df420a7447",
        "e91cbe8fa1b19a0fdb48c44e787043c63ee6a4d492bc232e17160b787d424319",
        "ad5d84c36e9c0d7e021d28a5ced1e8112ccbfb734f941d92b68cb5d07653e58a",
    ),
    "gpt_text": (
        "335e493392c2a20c67646f4ce6528aeade5b39e729b66a3d72e3d76709dc721f",
        "772a3bdcf8d226286e89aee68c1e66237637518e7a06f593368e61ed0637bba2",
        "11e5b3e831394d23e3cd4b74bc76654a26304f53cce53e21a319080a2c8d6c63",
    ),
}
SIZES: Final[dict[str, dict[str, int]]] = {"cnn_digits": {"batch_size": 8}, "gpt_text": {"layers": 1, "batch_size": 2}}


def a_job(name: str) -> Job:
    file: dict[str, Any] = runpy.run_path(str(FOLDER / f"{name}.py"), run_name="__job__")
    job: Job = file["job"](steps=STEPS, bits=21, **SIZES.get(name, {}))
    with torch.no_grad():
        for parameter in job.model.parameters():
            numbers = torch.arange(parameter.numel(), dtype=torch.float32).reshape(parameter.shape)
            parameter.copy_((numbers * 37 % 101 - 50) / 512)
    return job


@pytest.mark.parametrize("name", sorted(ROOTS))
def test_the_roots_of_an_example(name: str) -> None:
    run = Run(lower(a_job(name)), threads=1)
    run.run()
    roots = (run.task.graph_root.hex(), run.task.state_root.hex(), run.state_root.hex())
    assert roots == ROOTS[name]
