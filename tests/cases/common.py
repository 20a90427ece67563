"""How a case is written down, and what many cases share.

A case is a small model as people describe it in public: the model, `loss(model, tensors)`, the tensors, and further
fields of a Job, where `optimizer` may be a function of the model. It names the report that it stands for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from offchain.job import Job

Made = tuple[Any, ...]  # (model, loss, tensors) or (model, loss, tensors, fields)
STEPS: Final = 4
ROWS: Final = 8


@dataclass(frozen=True)
class Case:
    """A model, by the report that it stands for."""

    source: str
    make: Callable[[], Made]

    def job(self, **changes: Any) -> Job:
        """A job of a few steps with this model. Raises what a job raises."""
        torch.manual_seed(changes.get("seed", 0))
        model, loss, tensors, *more = self.make()
        fields: dict[str, Any] = {"optimizer": (torch.optim.SGD, {"lr": 0.1}), **(more[0] if more else {}), **changes}
        if not isinstance(fields["optimizer"], tuple):
            fields["optimizer"] = fields["optimizer"](model)
        names = [f"x{i}" for i in range(len(tensors))]
        return Job(
            model=model,
            loss=lambda model, batch: loss(model, tuple(batch[name] for name in names)),
            dataset=dict(zip(names, tensors, strict=True)),
            **{"batch_size": ROWS, "steps": STEPS, "interval": STEPS, "bits": 21, **fields},
        )


CASES: Final[dict[str, Case]] = {}


def case(source: str) -> Callable[[Callable[[], Made]], Callable[[], Made]]:
    """Registers a case under its function's name."""

    def registered(make: Callable[[], Made]) -> Callable[[], Made]:
        CASES[make.__name__] = Case(source, make)
        return make

    return registered


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@cache
def digits() -> tuple[Tensor, Tensor]:
    """scikit-learn's digits: float32 (1797, 64) in [0, 1], and int64 labels."""
    from sklearn.datasets import load_digits

    found = load_digits()
    return torch.tensor(found.data / 16, dtype=torch.float32), torch.tensor(found.target)


def images() -> tuple[Tensor, Tensor]:
    """The digits as images: float32 (1797, 1, 8, 8)."""
    x, y = digits()
    return x.view(-1, 1, 8, 8), y


def tokens(rows: int = 200, length: int = 16, vocabulary: int = 50) -> tuple[Tensor, Tensor]:
    """Random text and, for each token, the next one."""
    text = torch.randint(0, vocabulary, (rows, length + 1), generator=generator())
    return text[:, :-1].contiguous(), text[:, 1:].contiguous()


def cross_entropy(model: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
    return F.cross_entropy(model(batch[0]), batch[1])


def next_token(model: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
    return F.cross_entropy(model(batch[0]).flatten(0, 1), batch[1].flatten())


def mlp(*sizes: int, act: Callable[[], nn.Module] = nn.ReLU) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in pairwise(sizes):
        layers += [act()] if layers else []
        layers.append(nn.Linear(before, after))
    return nn.Sequential(*layers)
