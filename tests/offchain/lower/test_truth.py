"""Truth values and shifts as torch has them: a sum of two truths is one, and 64 bits are more than 32."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import offchain
from offchain.errors import Unsupported
from offchain.inference import Inference
from offchain.lower import compile as lower
from offchain.training import Run

g = torch.Generator().manual_seed(0)
MASK = torch.rand(6, 5, generator=g) > 0.5
WHOLE = torch.randint(-9, 10, (6, 5), generator=g)
Function = Callable[[Tensor, Tensor], Tensor]


def program(f: Function) -> Inference:
    return Inference(nn.Identity(), (MASK, WHOLE), 3, lambda model, batch: f(*batch))


def agree(f: Function) -> None:
    """Both executors with plain torch, in every row."""
    run = offchain.compile(program(f), executor="torch", threads=1)
    run.run()
    reference = Run(run.task, "reference", threads=1)
    reference.run()
    assert reference.state_roots == run.state_roots
    wanted = torch.cat([f(MASK[:3], WHOLE[:3]), f(MASK[3:], WHOLE[3:])])
    assert torch.equal(run.outputs["prediction"].to(wanted.dtype), wanted)


TRUTHS: dict[str, Function] = {
    "sum": lambda m, w: (m + m.flip(1)).long(),
    "sum in place": lambda m, w: m.clone().add_(m.flip(0)).sum(1),
    "sum with a number": lambda m, w: (m + True).long(),
    "product": lambda m, w: (m * m.flip(1)).long(),
    "maximum": lambda m, w: torch.maximum(m, m.flip(1)).long(),
    "copy of integers": lambda m, w: m.clone().copy_(w).long(),
    "entries of integers": lambda m, w: m.clone().index_copy_(1, torch.arange(2), w[:, :2].bool()).long(),
    "number in an entry": lambda m, w: torch.full((3, 5), 2, dtype=torch.bool).long() + m,
    "number like another": lambda m, w: torch.full_like(m, 3).long() + m,
    "number where a mask is": lambda m, w: m.masked_fill(w > 0, 2).long(),
    "number that is scattered": lambda m, w: m.clone().scatter_(1, w.abs() % 5, 7).long(),
    "number that fills": lambda m, w: m.clone().fill_(4).long(),
    "sums over an axis": lambda m, w: m.sum(1, dtype=torch.bool).long(),
    "entries that are added": lambda m, w: (
        m.clone().index_put_((torch.arange(3)[:, None], w.abs() % 5), m, accumulate=True).long()
    ),
    "scattered sums": lambda m, w: torch.zeros_like(m).scatter_add_(1, torch.zeros_like(w), m).long(),
    "rows that are added": lambda m, w: torch.zeros_like(m).index_add_(1, torch.zeros(5, dtype=torch.long), m).long(),
}


@pytest.mark.parametrize("name", TRUTHS)
def test_truths_stay_truths(name: str) -> None:
    agree(TRUTHS[name])


SHIFTS: dict[str, Function] = {
    "left": lambda m, w: w << 3,
    "left by more than there is": lambda m, w: w << 64,
    "left of 32 bits by more than there is": lambda m, w: w.int() << 32,
    "right": lambda m, w: w >> 1,
    "right by more than 32": lambda m, w: w >> 40,
    "right by more than there is": lambda m, w: w >> 64,
    "right of 32 bits by more than there is": lambda m, w: w.int() >> 33,
    "by a tensor, looked up": lambda m, w: w * torch.tensor([1, 2, 4, 8])[w % 4],
}


@pytest.mark.parametrize("name", SHIFTS)
def test_shifts(name: str) -> None:
    agree(SHIFTS[name])


def test_shifts_that_are_refused() -> None:
    for f, remedy in (
        (lambda m, w: (w << 40) % 97, "64-bit integers that are shifted by 40 do not fit int32; use smaller, or"),
        (lambda m, w: w << (w % 4), "shift by a number, or look the factor up: x * torch.tensor([1, 2, 4, 8])[n]"),
    ):
        with pytest.raises(Unsupported) as caught:
            lower(program(f))
        assert remedy in str(caught.value)
