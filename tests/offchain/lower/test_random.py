"""Random operations: counters that anybody can recompute, the same numbers in eager torch, gradients through masks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from offchain.errors import Unsupported
from offchain.ir.graph import Graph
from offchain.lower import compile
from offchain.lower.order import uniform_rows
from offchain.lower.random import replayed
from tests.support.cases import Cases, total
from tests.support.gradients import assert_same_bits, gradient_job, gradients64, run

SEED = 0x1234_5678_9ABC
SHAPE = (3, 5)
DATA = {"x": torch.linspace(-1, 1, 15).reshape(SHAPE), "p": torch.linspace(0.05, 0.95, 15).reshape(SHAPE)}
Draw = Callable[[Tensor], Tensor]


EXACT: dict[str, Draw] = {
    "bernoulli": torch.bernoulli,
    "bernoulli-p": lambda p: torch.empty(SHAPE).bernoulli_(0.3),
    "bernoulli-tensor": lambda p: torch.empty(SHAPE).bernoulli_(p),
    "rand": lambda p: torch.rand(SHAPE),
    "rand-like": torch.rand_like,
    "uniform": lambda p: torch.empty(SHAPE).uniform_(-2, 3),
    "randint": lambda p: torch.randint(7, SHAPE).float(),
    "randint-low": lambda p: torch.randint(-5, 1000, SHAPE).float(),
    "randint-like": lambda p: torch.randint_like(p.long(), 3, 9).float(),
    "dropout": lambda p: F.dropout(p, 0.4),
    "dropout1d": lambda p: F.dropout1d(p, 0.4),
    "dropout2d": lambda p: F.dropout2d(p.reshape(1, 15, 1, 1), 0.4).reshape(SHAPE),
    "native-dropout": lambda p: torch.native_dropout(p, 0.4, True)[0],
    "second": lambda p: torch.rand(SHAPE) * 0 + torch.rand(SHAPE),
}
CLOSE: dict[str, Draw] = {
    "randn": lambda p: torch.randn(SHAPE),
    "randn-like": torch.randn_like,
    "normal": lambda p: torch.empty(SHAPE).normal_(2, 3),
    "normal-size": lambda p: torch.normal(2.0, 3.0, SHAPE),
    "normal-mean": lambda p: torch.normal(p, 3.0),
    "normal-std": lambda p: torch.normal(2.0, p),
    "normal-both": lambda p: torch.normal(p, p),
    "exponential": lambda p: torch.empty(SHAPE).exponential_(2.0),
    "gumbel": F.gumbel_softmax,
    "alpha-dropout": lambda p: F.alpha_dropout(p, 0.4, True),
    "feature-alpha": lambda p: F.feature_alpha_dropout(p, 0.4, True),
}


@pytest.mark.parametrize(("draws", "exact"), [(EXACT, True), (CLOSE, False)], ids=["exact", "close"])
def test_eager_torch_draws_the_same(draws: dict[str, Draw], exact: bool) -> None:
    """All of them in one step, so that each must count the operations before it."""
    model = Cases({name: lambda w, b: w for name in draws}, DATA["p"])

    def loss(model: Any, batch: dict[str, Tensor]) -> Tensor:
        return torch.stack([(model.w[name] * draw(batch["p"])).sum() for name, draw in draws.items()]).sum()

    state = run(assert_same_bits(gradient_job(model, loss, DATA, seed=SEED)))
    with replayed(SEED, 0):
        wanted = {name: draw(DATA["p"]).numpy() for name, draw in draws.items()}
    for name, numbers in wanted.items():
        got = state[f"momentum.w.{name}"]
        if exact:
            np.testing.assert_array_equal(got, numbers, err_msg=name)
        else:
            np.testing.assert_allclose(got, numbers, rtol=2e-6, atol=2e-6, err_msg=name)


def philox(counter: tuple[int, ...], seed: int) -> list[int]:
    """Philox4x32-10 as in the paper, on unbounded integers."""
    c, keys, word = list(counter), [seed & 0xFFFFFFFF, seed >> 32], 0xFFFFFFFF
    for _ in range(10):
        first, second = c[0] * 0xD2511F53, c[2] * 0xCD9E8D57
        c = [second >> 32 ^ c[1] ^ keys[0], second & word, first >> 32 ^ c[3] ^ keys[1], first & word]
        keys = [(keys[0] + 0x9E3779B9) & word, (keys[1] + 0xBB67AE85) & word]
    return c


@pytest.mark.parametrize("t", [0, 3])
@pytest.mark.parametrize("number", [0, 2])
def test_counters_are_step_block_number_and_domain(t: int, number: int) -> None:
    with replayed(SEED, t):
        got = [torch.rand(SHAPE) for _ in range(number + 1)][-1]
    words = [word for block in range(4) for word in philox((t, block, number, 1), SEED)][:15]
    assert got.reshape(-1).tolist() == [(word >> 8) / 2**24 for word in words]


def test_compiled_steps_draw_anew_and_forget_nothing() -> None:
    """Several optimizer steps of a small network with dropout, in plain torch under `replayed`."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 5), nn.AlphaDropout(0.1))

    def loss(model: Any, batch: dict[str, Tensor]) -> Tensor:
        return (model(batch["x"] + 0.1 * torch.randn_like(batch["x"])) - batch["p"]).square().mean()

    job = gradient_job(model, loss, DATA, seed=SEED, steps=6, interval=6)
    losses = run(assert_same_bits(job, steps=3), steps=6)["log"][:, 0]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    for t in range(6):
        optimizer.zero_grad()
        with replayed(SEED, t):
            value = loss(model, DATA)
            value.backward()
        optimizer.step()
        assert value.item() == pytest.approx(float(losses[t]), rel=1e-5)


@pytest.mark.parametrize(
    "layer",
    [nn.Dropout(0.5), nn.Dropout1d(0.5), nn.AlphaDropout(0.2), nn.Dropout(0.0), nn.Dropout(1.0)],
    ids=lambda layer: f"{type(layer).__name__}-{layer.p}",
)
def test_backward_sees_the_mask_of_forward(layer: nn.Module) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), layer, nn.Tanh(), nn.Linear(4, 2))

    def loss(model: Any, batch: dict[str, Tensor]) -> Tensor:
        return model(batch["x"]).square().sum()

    with replayed(SEED, 0):
        wanted = gradients64(model, loss, DATA)
    state = run(compile(gradient_job(model, loss, DATA, seed=SEED)))
    for name, gradient in wanted.items():
        np.testing.assert_allclose(state[f"momentum.{name}"], gradient, rtol=1e-5, atol=1e-5, err_msg=name)


def graph(*middle: nn.Module) -> Graph:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), *middle, nn.Linear(4, 2))
    return compile(gradient_job(model, lambda m, b: m(b["x"]).square().mean(), DATA)).graph


def test_dropout_in_evaluation_is_no_operation() -> None:
    assert graph(nn.Dropout(0.5).eval()).nodes == graph(nn.Identity()).nodes


def test_a_mask_costs_two_nodes() -> None:
    assert len(graph(nn.Dropout(0.5)).nodes) <= len(graph().nodes) + 3  # and keeps forward and backward apart


def test_seed_and_step_change_the_numbers_and_the_order_has_its_own() -> None:
    t = torch.tensor(2, dtype=torch.int32)
    with replayed(SEED, 2):
        one = torch.randint(1000, (64,))
    with replayed(SEED, 3):
        later = torch.randint(1000, (64,))
    with replayed(SEED + 1, 2):
        other = torch.randint(1000, (64,))
    rows = uniform_rows(t, SEED, 1000, 64)
    for numbers in (later, other, rows):
        assert int((one == numbers).sum()) < 5


def test_distributions() -> None:
    with replayed(SEED, 1):
        uniform, normal, kept = torch.rand(40_000), torch.randn(40_000), torch.empty(40_000).bernoulli_(0.2)
        whole = torch.randint(-2, 3, (40_000,))
    assert uniform.min() >= 0 and uniform.max() < 1
    assert uniform.mean().item() == pytest.approx(0.5, abs=0.01)
    assert (normal.mean().item(), normal.std().item()) == pytest.approx((0, 1), abs=0.02)
    assert ((normal.abs() > 1.96).float().mean().item(), (normal**4).mean().item()) == pytest.approx((0.05, 3), abs=0.1)
    assert torch.corrcoef(normal.reshape(-1, 2).T)[0, 1].abs() < 0.02
    assert kept.mean().item() == pytest.approx(0.2, abs=0.01)
    counts = torch.bincount(whole + 2)
    assert len(counts) == 5 and counts.min() > 7_700


@pytest.mark.parametrize(
    ("draw", "words"),
    [
        (lambda p: torch.randperm(15).reshape(SHAPE), "Job.order"),
        (lambda p: torch.poisson(p), "poisson"),
        (lambda p: torch.multinomial(p, 5), "Gumbel"),
        (lambda p: F.rrelu(p, training=True), "LeakyReLU"),
        (lambda p: torch.rand(SHAPE, generator=torch.Generator()), "generator"),
        (lambda p: torch.randint(-(1 << 40), 1 << 40, SHAPE), "int32"),
        (lambda p: torch.rand(SHAPE, dtype=torch.float64).float(), "float64"),
    ],
)
def test_refused(draw: Draw, words: str) -> None:
    def case(w: Tensor, b: dict[str, Tensor]) -> Tensor:
        return w * draw(b["p"])

    with pytest.raises(Unsupported, match=words):
        compile(gradient_job(Cases({"w": case}, DATA["x"]), total({"w": case}), DATA))


def test_replay_refuses_what_has_no_counter() -> None:
    with replayed(SEED, 0), pytest.raises(Unsupported, match="randperm"):
        torch.randperm(4)
    with replayed(SEED, 0), pytest.raises(Unsupported, match="generator"):
        torch.empty(4).uniform_(generator=torch.Generator())
