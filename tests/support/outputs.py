"""What functions of a batch give in a compiled step, in the bits that all executors agree on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tests.support.gradients import assert_same_bits, gradient_job, run

Function = Callable[[dict[str, Tensor]], Tensor]
Array = np.ndarray[Any, Any]


class Kept(nn.Module):
    """A buffer for the result of each function, which a step fills."""

    def __init__(self, functions: Mapping[str, Function], dataset: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.ones(1))
        self.functions = functions
        for name, function in functions.items():
            self.register_buffer(name, torch.zeros_like(function(dict(dataset))))

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        for name, function in self.functions.items():
            getattr(self, name).copy_(function(batch))
        return self.w.sum()


def outputs(functions: Mapping[str, Function], dataset: Mapping[str, Tensor]) -> dict[str, Array]:
    """The results by name. Fails where executors, or the unfused graph, give other bits."""
    job = gradient_job(Kept(functions, dataset), lambda model, batch: model(batch), dataset)
    state = run(assert_same_bits(job, 1))
    return {name: state[name] for name in functions}
