"""Elementwise operations of torch: gradients against autograd in float64, bits of all executors against each other."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Beta, Gamma, kl_divergence
from torch.nn import functional as F

from offchain.errors import Unsupported
from offchain.lower import compile
from tests.support.gradients import assert_gradients, gradient_job

Function = Callable[[Tensor], Tensor]
WIDTH = 6


def positive(v: Tensor) -> Tensor:
    return v * v + 0.5


def inner(v: Tensor) -> Tensor:
    """From −0.9 to 0.9."""
    return 0.9 * torch.tanh(v)


class Each(nn.Module):
    """Every function on a linear layer of its own, so that the name of a wrong gradient tells the function."""

    def __init__(self, functions: dict[str, Function]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.functions = functions
        self.layers = nn.ModuleDict({name: nn.Linear(WIDTH, WIDTH) for name in functions})

    def forward(self, x: Tensor) -> Tensor:
        outputs = [self.functions[name](layer(x)) for name, layer in self.layers.items()]
        return sum((out.square().mean() for out in outputs), torch.zeros(()))


GROUPS: dict[str, dict[str, Function]] = {
    "trigonometric": {
        "sin": torch.sin,
        "cos": torch.cos,
        "tan": lambda v: torch.tan(inner(v)),
        "asin": lambda v: torch.asin(inner(v)),
        "acos": lambda v: torch.acos(inner(v)),
        "atan": torch.atan,
        "atan2": lambda v: torch.atan2(v, 0.5 * v - 2.0),
        "sinc": torch.sinc,
    },
    "hyperbolic": {
        "sinh": torch.sinh,
        "cosh": torch.cosh,
        "tanh": torch.tanh,
        "asinh": torch.asinh,
        "acosh": lambda v: torch.acosh(1 + positive(v)),
        "atanh": lambda v: torch.atanh(inner(v)),
        "erf": torch.erf,
        "erfc": torch.erfc,
        "erfinv": lambda v: torch.erfinv(inner(v)),
    },
    "gamma": {
        "lgamma": lambda v: torch.lgamma(positive(v)),
        "lgamma below 0": lambda v: torch.lgamma(0.4 * inner(v) - 0.5),
        "digamma": lambda v: torch.digamma(positive(v)),
        "mvlgamma": lambda v: torch.mvlgamma(2 + positive(v), 3),
        "beta": lambda v: Beta(positive(v), 2 * positive(v)).log_prob(v.new_full((), 0.3)),
        "gammas": lambda v: kl_divergence(Gamma(positive(v), positive(v)), Gamma(2 * positive(v), 1 + positive(v))),
        "poisson": lambda v: F.poisson_nll_loss(v, v.detach().abs().round(), full=True, reduction="none"),
    },
    "exponentials": {
        "exp": torch.exp,
        "exp2": torch.exp2,
        "expm1": torch.expm1,
        "log": lambda v: torch.log(positive(v)),
        "log1p": lambda v: torch.log1p(positive(v)),
        "log2": lambda v: torch.log2(positive(v)),
        "log10": lambda v: torch.log10(positive(v)),
        "logaddexp": lambda v: torch.logaddexp(v, 2 * v),
        "xlogy": lambda v: torch.xlogy(v, positive(v)),
        "logit": lambda v: torch.logit(torch.sigmoid(v)),
        "logit-eps": lambda v: torch.logit(torch.sigmoid(v), 0.2),
    },
    "powers": {
        "square": torch.square,
        "fifth": lambda v: v**5,
        "twelfth": lambda v: inner(v) ** 12,
        "real": lambda v: positive(v) ** 2.5,
        "inverse": lambda v: positive(v) ** -2,
        "exponent": lambda v: 2.5**v,
        "both": lambda v: positive(v) ** v,
        "rsqrt": lambda v: torch.rsqrt(positive(v)),
        "hypot": lambda v: torch.hypot(v, positive(v)),
        "whole": lambda v: v * torch.arange(WIDTH) ** 3,
    },
    "smooth activations": {
        "softplus": F.softplus,
        "softplus-beta": lambda v: F.softplus(v, 2.0, 1.5),
        "logsigmoid": F.logsigmoid,
        "mish": F.mish,
        "silu": F.silu,
        "gelu": F.gelu,
        "selu": F.selu,
        "celu": F.celu,
        "elu": F.elu,
        "softsign": F.softsign,
        "tanhshrink": F.tanhshrink,
    },
    "broken lines": {
        "hardswish": F.hardswish,
        "hardsigmoid": F.hardsigmoid,
        "hardtanh": F.hardtanh,
        "relu6": F.relu6,
        "leaky": F.leaky_relu,
        "threshold": lambda v: F.threshold(v, 0.1, 0.2),
        "softshrink": lambda v: F.softshrink(v, 0.2),
        "hardshrink": lambda v: F.hardshrink(v, 0.2),
        "clamp": lambda v: v.clamp(-0.3, 0.4),
        "clamp-min": lambda v: v.clamp(min=0.1),
        "clamp-tensor": lambda v: torch.clamp(v, min=0.1 * v - 0.2, max=0.1 * v + 0.5),
        "fmax": lambda v: torch.fmax(v, -2 * v),
        "fmin": lambda v: torch.fmin(v, -2 * v),
    },
    "remainders": {
        "fmod": lambda v: torch.fmod(v, 0.3),
        "fmod-tensor": lambda v: torch.fmod(v, positive(v)),
        "remainder": lambda v: torch.remainder(v, 0.3),
        "remainder-tensor": lambda v: torch.remainder(v, positive(v)),
        "frac": torch.frac,
        "round": lambda v: v + v.round(decimals=1),
        "ldexp": lambda v: torch.ldexp(v, 0.5 * v),
        "fmod-whole": lambda v: v * torch.fmod(torch.arange(WIDTH) - 3, 3),
        "floor-whole": lambda v: v * ((torch.arange(WIDTH) - 3) // 7),
    },
    "mixtures": {
        "lerp": lambda v: torch.lerp(v, v.sin(), 0.3),
        "lerp-tensor": lambda v: torch.lerp(v, v.sin(), v.cos()),
        "addcmul": lambda v: torch.addcmul(v, v.sin(), v, value=0.5),
        "addcdiv": lambda v: torch.addcdiv(v, v.sin(), positive(v), value=0.5),
        "heaviside": lambda v: v * torch.heaviside(v.detach(), v.new_full((), 0.5)),
        "sign": lambda v: v * v.sign(),
        "signbit": lambda v: v * v.signbit(),
        "copysign": lambda v: torch.copysign(v, v.cos() - 0.9),
        "isfinite": lambda v: v * v.isfinite(),
        "nan_to_num": torch.nan_to_num,
    },
}


@pytest.mark.parametrize("group", GROUPS)
def test_gradients(group: str) -> None:
    x = torch.randn(12, WIDTH, generator=torch.Generator().manual_seed(1))
    assert_gradients(Each(GROUPS[group]), lambda model, batch: model(batch["x"]), {"x": x})


def test_integer_power_with_a_tensor_for_exponent_is_refused() -> None:
    model = Each({"power": lambda v: v * torch.arange(WIDTH) ** torch.arange(WIDTH)})
    job = gradient_job(model, lambda model, batch: model(batch["x"]), {"x": torch.ones(2, WIDTH)})
    with pytest.raises(Unsupported, match="integer power with a tensor"):
        compile(job)
