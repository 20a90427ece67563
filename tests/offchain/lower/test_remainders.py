"""Remainders of floats: C's fmod bit for bit, and torch's rules for signs, for any two numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from offchain.exec.reference import canonical
from offchain.ir.program import Value
from offchain.lower import library
from tests.offchain.lower.test_library import floats, run
from tests.support.gradients import assert_same_bits, gradient_job

Array = np.ndarray[Any, Any]
WORDS = st.integers(0, (1 << 32) - 1)
EDGES = (0.0, np.inf, np.nan, 1.0, 1e-45, 1.1754942e-38, 1.1754944e-38, 3.0, 0.1, 2.0**127, 3.4028235e38, 2.0**-126)


def pairs(count: int = 20_000) -> tuple[Array, Array]:
    """Random words, near quotients, and all pairs of special numbers."""
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 1 << 32, (2, count), dtype=np.uint64).astype(np.uint32).view(np.float32)
    near = rng.standard_normal(count // 4).astype(np.float32), rng.standard_normal(count // 4).astype(np.float32)
    grid = np.array(np.meshgrid(*[[sign * edge for sign in (1, -1) for edge in EDGES]] * 2), np.float32).reshape(2, -1)
    return np.concatenate([a, 1000 * near[0], grid[0]]), np.concatenate([b, near[1], grid[1]])


def fmod(x: Value, y: Value) -> Value:
    return library.fmod(x, y, library.fmod_begun(x, y))


def assert_words(got: Array, wanted: Array) -> None:
    np.testing.assert_array_equal(got.view(np.uint32), canonical(wanted).view(np.uint32))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_remainders_are_exact() -> None:
    x, y = pairs()
    rest = np.fmod(x, y)
    assert_words(run(fmod, x, y), rest)
    across = (rest != 0) & ((rest < 0) ^ (y < 0))
    assert_words(run(lambda a, b: library.modulo(a, b, fmod(a, b)), x, y), np.where(across, rest + y, rest))


def test_floored_quotients_are_torchs() -> None:
    x, y = pairs(5_000)
    wanted = torch.div(torch.from_numpy(x), torch.from_numpy(y), rounding_mode="floor").numpy()
    assert_words(run(lambda a, b: library.floor_quotient(a, b, fmod(a, b)), x, y), wanted)
    some = run(lambda a, b: library.floor_quotient(a, b, fmod(a, b)), floats(1.0, -1.0, 6.0), floats(0.1, -0.1, 2.0))
    assert some.tolist() == [9, 9, 3]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(
    "by", [0.3, -6.2831855, 1.0, -4.0, 2.0**-140, 1e-30, 1e-40, 3e38, 2.0**127, 0.0, np.inf, np.nan]
)
def test_remainders_by_constants_are_exact(by: float) -> None:
    x, _ = pairs(2_000)
    assert_words(run(lambda a: library.fmod(a, a.program.real(by)), x), np.fmod(x, np.float32(by)))


def test_a_remainder_of_the_largest_number() -> None:
    x, y = (np.array([word], np.uint32).view(np.float32) for word in (0x7F7FFFFF, 0xFF000000))
    assert run(fmod, x, y).view(np.uint32).tolist() == [0x7EFFFFFE]


@given(WORDS, WORDS)
def test_remainders_of_any_two_words(a: int, b: int) -> None:
    x, y = (np.array([word], np.uint32).view(np.float32) for word in (a, b))
    with np.errstate(all="ignore"):
        assert_words(run(fmod, canonical(x), canonical(y)), np.fmod(x, y))


class Remainders(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.values = nn.Parameter(torch.tensor([3e38, -7.5, 1e-40, -0.0, 5.0, 1e30]))
        self.by = nn.Parameter(torch.tensor([-1e38, 0.3, 1e-45, 2.0, -3.0, 7.0]))

    def forward(self) -> Tensor:
        whole = torch.div(self.values, self.by, rounding_mode="floor")
        made = [self.values % self.by, torch.fmod(self.values, self.by), whole, self.values % 0.3, self.values % 1e-35]
        return sum((values.sum() for values in made), torch.zeros(()))


def test_all_executors_agree() -> None:
    assert_same_bits(gradient_job(Remainders(), lambda m, b: m(), {"x": torch.zeros(1)}))
