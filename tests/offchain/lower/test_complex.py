"""Complex numbers and Fourier transforms: gradients beside float64, and the stated error of transforms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, fft, nn

from offchain.errors import BadInput, Unsupported
from offchain.job import Job
from offchain.lower import compile
from tests.offchain.lower.refused import fields, refused
from tests.support.cases import Batch, Case, Cases, assert_cases, total
from tests.support.gradients import assert_gradients, gradient_job, run
from tests.support.outputs import Kept, outputs

g = torch.Generator().manual_seed(4)
W = torch.randn(4, 6, generator=g)
TURNS = torch.polar(torch.ones(3), torch.arange(3.0) * 1.3)


def both(w: Tensor) -> Tensor:
    return torch.complex(w, w.flip(0))


NUMBERS: dict[str, Case] = {
    "rotary": lambda w, b: torch.view_as_real(torch.view_as_complex(w.reshape(4, 3, 2)) * TURNS.to(both(w).dtype)),
    "arithmetic": lambda w, b: torch.view_as_real(
        (both(w) / torch.complex(w + 3, w)).exp() * 1j + both(w).conj() * w - 2
    ),
    "products": lambda w, b: torch.view_as_real(both(w) @ torch.complex(w.T, w.T * 2)),
    "sizes": lambda w, b: both(w).abs() + both(w).angle() + torch.stack([both(w), both(w) ** 2], 1).abs().sum(1),
    "logarithms": lambda w, b: torch.view_as_real(both(w).log() + both(w).sgn() + both(w).reciprocal()),
    "sums_of_both": lambda w, b: torch.view_as_real(
        3 - torch.add(both(w), both(w.flip(1)), alpha=2) - torch.sub(w, both(w), alpha=3) + 2.5
    ),
    "sums": lambda w, b: torch.view_as_real(both(w).sum(0) + both(w)[1:3].mean(0)),
    "chosen": lambda w, b: torch.where(w > 0, both(w), both(w).conj()).imag * both(w).real,
}
TRANSFORMS: dict[str, Case] = {
    "spectrum": lambda w, b: fft.rfft(w).abs(),
    "odd": lambda w, b: fft.irfft(fft.rfft(w[:, :5]), n=5) * fft.rfft(w[:, 1:]).abs()[:, :1],
    "filter": lambda w, b: fft.irfft(fft.rfft(w) * torch.complex(w[:, :4], w[:, 2:])),
    "convolution": lambda w, b: fft.irfft(fft.rfft(w, n=16) * fft.rfft(w.flip(1), n=16), n=16)[:, :6],
    "ortho": lambda w, b: torch.view_as_real(fft.fft(w, dim=0, norm="ortho")),
    "inverse": lambda w, b: fft.ifft(fft.fft(w) * 1j).imag * w,
    "planes": lambda w, b: fft.irfft2(fft.rfft2(w) * 2, s=(4, 6)) * fft.fftn(w).real,
    "hermitian": lambda w, b: fft.hfft(both(w)),
    "windows": lambda w, b: torch.stft(
        w.reshape(2, 12), 8, hop_length=2, window=torch.hann_window(8).to(w.dtype), return_complex=True
    ).abs(),
}


def test_gradients_of_numbers() -> None:
    assert_cases(NUMBERS, W, {"x": torch.zeros(1)})


def test_gradients_of_transforms() -> None:
    """At the fewest bits that a job takes for its products: transforms do not follow them."""
    assert_gradients(Cases(TRANSFORMS, W), total(TRANSFORMS), {"x": torch.zeros(1)}, bits=4)


@pytest.mark.parametrize("n", [1, 7, 64, 97, 360, 509, 4096])
def test_the_error_of_a_transform(n: int) -> None:
    """Beside the root of the line's energy, as docs/library.md states."""
    x = torch.randn(2, n, generator=torch.Generator().manual_seed(n))
    functions = {
        "there": lambda b: torch.view_as_real(fft.fft(b["x"])),
        "back": lambda b: fft.irfft(fft.rfft(b["x"]), n=n),
    }
    made = _values(functions, {"x": x})
    bound = (8e-6 if n == 509 else 1.5e-6) * float(x.double().square().sum(1).sqrt().min())
    exact = torch.view_as_real(fft.fft(x.double())).numpy()
    assert np.abs(made["there"] - exact).max() <= bound
    assert np.abs(made["back"] - x.numpy()).max() <= bound


def _values(functions: dict[str, Any], data: Batch) -> dict[str, Any]:
    state = run(compile(gradient_job(Kept(functions, data), lambda model, batch: model(batch), data)))
    return {name: state[name] for name in functions}


def test_all_executors_give_the_same_bits() -> None:
    outputs({"out": lambda b: fft.rfft(b["x"]).abs()}, {"x": torch.randn(2, 130, generator=g)})


class Rotated(nn.Module):
    """A complex table in a buffer, as Llama keeps it."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 6)
        self.register_buffer("turns", TURNS.clone())

    def forward(self, x: Tensor) -> Tensor:
        turns = self.turns.to(torch.complex128 if x.dtype is torch.float64 else torch.complex64)
        return torch.view_as_real(torch.view_as_complex(self.layer(x).reshape(-1, 3, 2)) * turns)


def test_a_complex_buffer_is_a_constant() -> None:
    torch.manual_seed(0)
    assert_gradients(Rotated(), lambda m, b: m(b["x"]).square().mean() + m(b["x"]).sum(), {"x": W})


class Moving(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.ones(3))
        self.register_buffer("turns", TURNS.clone())

    def forward(self, x: Tensor) -> Tensor:
        self.turns.mul_(1j)
        return self.w * self.turns.real


def test_what_stays_refused() -> None:
    loss = lambda m, b: m(b["x"]).sum()  # noqa: E731
    assert "real and imaginary parts as two tensors" in refused(model=Moving(), loss=loss)
    with pytest.raises(BadInput, match=r"dataset 'x' is torch.complex64; keep torch.view_as_real of it"):
        Job(**fields(dataset={"x": torch.ones(6, 4, dtype=torch.complex64)}))
    powers: Any = lambda m, b: (torch.complex(m(b["x"]), m(b["x"])) ** 0.5).abs().sum()  # noqa: E731
    assert "use torch.exp of a multiple of its logarithm" in refused(loss=powers)
    sines: Any = lambda m, b: torch.complex(m(b["x"]), m(b["x"])).sin().abs().sum()  # noqa: E731
    assert "write it with real and imaginary parts" in refused(loss=sines)


def test_a_transform_with_a_large_prime_is_refused_and_padding_serves() -> None:
    x = torch.randn(1, 521, generator=g)
    functions = {"out": lambda b: fft.rfft(b["x"]).abs()}
    with pytest.raises(Unsupported, match="has the factor 521; at most 512: give n=, which pads or crops to it"):
        _values(functions, {"x": x})
    padded = {"out": lambda b: fft.rfft(b["x"], n=540).abs()}
    np.testing.assert_allclose(_values(padded, {"x": x})["out"], padded["out"]({"x": x}).numpy(), rtol=0, atol=1e-4)


def test_a_root_is_an_exponential_of_a_logarithm() -> None:
    """The remedy of the refused power, carried out."""
    data = {"x": torch.randn(4, 6, generator=g)}
    made = outputs({"out": lambda b: torch.view_as_real((0.5 * both(b["x"]).log()).exp())}, data)["out"]
    np.testing.assert_allclose(made, torch.view_as_real(both(data["x"]) ** 0.5).numpy(), rtol=0, atol=1e-6)
