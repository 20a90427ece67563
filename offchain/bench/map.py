"""`offchain bench map`: chains of elementwise operations beside eager torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from offchain.bench.alone import ALL, computing, updating
from offchain.bench.timing import Call, Row, Settings, Stepping, Watch, unwatched
from offchain.task import Task

PAIRS: Final = 20
ELEMENTS: Final = 1 << 22
QUICK_ELEMENTS: Final = 1 << 12
LENGTH: Final = 64  # of a sequence, in the softmax
RATE: Final = 1e-3


def gelu(x: Tensor) -> Tensor:
    """GELU as GPT-2 and minGPT write it."""
    return 0.5 * x * (1.0 + torch.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * torch.pow(x, 3.0))))


def softmax(x: Tensor, mask: Tensor) -> Tensor:
    """The softmax of causal attention's scores."""
    return F.softmax((x * 0.125).masked_fill(mask == 0, float("-inf")), dim=-1)


def rows(settings: Settings, watch: Watch = unwatched) -> Iterator[Row]:
    """Each chain beside the same expression in eager torch, and beside torch's own kernel where it has one."""
    elements = QUICK_ELEMENTS if settings.quick else ELEMENTS
    random = torch.Generator().manual_seed(0)
    x = torch.randn(elements, generator=random)
    scores, mask = x.reshape(-1, LENGTH, LENGTH), torch.tril(torch.ones(LENGTH, LENGTH))
    here, there, keep = (tensor.to(settings.device) for tensor in (x, scores, mask))
    tasks: dict[str, tuple[Task, dict[str, Call]]] = {
        "GELU": (computing(gelu, x), {"eager": lambda: gelu(here), "kernel": lambda: F.gelu(here, approximate="tanh")}),
        "softmax": (computing(softmax, scores, mask), {"eager": lambda: softmax(there, keep)}),
        "Adam": (updating(x, torch.optim.Adam, lr=RATE), {"eager": _adam(here, False), "kernel": _adam(here, True)}),
    }
    for name, (task, peers) in tasks.items():
        ours = Stepping(task, settings.runs(task, watch, ALL))
        for peer, call in peers.items():
            label = f"{name} / {peer}"
            yield Row.of(label, 0, settings.measure(ours, call, settings.pairs(PAIRS), watch, label))


def _adam(gradient: Tensor, fused: bool) -> Callable[[], None]:
    """Torch's move by that gradient: operation by operation, or its fused kernel."""
    weight = nn.Parameter(torch.zeros_like(gradient))
    weight.grad = gradient
    optimizer = torch.optim.Adam([weight], lr=RATE, fused=fused, foreach=False)
    return lambda: optimizer.step()
