"""Random operations: counters that anybody can recompute, the same numbers in eager torch, gradients through masks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import offchain
from offchain.errors import OffchainError, Unsupported
from offchain.ir.graph import Graph
from offchain.lower import compile
from offchain.lower.order import uniform_rows
from offchain.lower.random import replayed
from tests.support import beside
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
    "random": lambda p: torch.empty(SHAPE).random_(),
    "random-to": lambda p: torch.empty(SHAPE, dtype=torch.int64).random_(9).float(),
    "random-from": lambda p: torch.empty(SHAPE).random_(-3, 9),
    "randperm": lambda p: torch.randperm(15).reshape(SHAPE).float(),
    "randperm-rows": lambda p: p[torch.randperm(3)],  # mixup's partners
    "randperm-some": lambda p: p.flatten()[torch.randperm(15, dtype=torch.int32)[:5].long()].expand(SHAPE),
    "randperm-one": lambda p: torch.randperm(1).float().expand(SHAPE),
    "multinomial": lambda p: torch.multinomial(p, 1).float().expand(SHAPE),
    "multinomial-all": lambda p: torch.multinomial(p, 5).float(),
    "multinomial-again": lambda p: torch.multinomial(p, 5, True).float(),
    "multinomial-line": lambda p: torch.multinomial(p[0], 5, True).float().expand(SHAPE),
    "categorical": lambda p: (
        torch.distributions.Categorical(logits=p).sample((2,)).sum(0)[:, None].expand(SHAPE).float()
    ),
    "dropout": lambda p: F.dropout(p, 0.4),
    "dropout1d": lambda p: F.dropout1d(p, 0.4),
    "dropout2d": lambda p: F.dropout2d(p.reshape(1, 15, 1, 1), 0.4).reshape(SHAPE),
    "rrelu": lambda p: F.rrelu(p - 0.5, 0.1, 0.3, training=True),
    "rrelu-inplace": lambda p: F.rrelu_((p - 0.5).clone(), training=True),
    "rrelu-evaluated": lambda p: F.rrelu(p - 0.5, training=False),
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
    "log-normal": lambda p: torch.empty(SHAPE).log_normal_(0.1, 0.2),
    "cauchy": lambda p: torch.empty(SHAPE).cauchy_(1.0, 2.0).clamp(-9, 9),
    "geometric": lambda p: torch.empty(SHAPE).geometric_(0.4),
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
    [
        *(nn.Dropout(0.5), nn.Dropout1d(0.5), nn.AlphaDropout(0.2), nn.Dropout(0.0), nn.Dropout(1.0)),
        *(nn.RReLU(0.1, 0.9), nn.RReLU(0.5, 0.5), nn.RReLU().eval()),
        nn.Sequential(nn.Linear(4, 4), nn.RReLU(0.1, 0.9, inplace=True)),
    ],
    ids=lambda layer: str(layer).replace("\n", ""),
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
    with replayed(SEED, 2):
        slopes = -F.rrelu(-torch.ones(40_000), 0.1, 0.5, training=True)
    assert slopes.min() >= 0.1 and slopes.max() < 0.5
    assert (slopes.mean().item(), slopes.std().item()) == pytest.approx((0.3, 0.4 / 12**0.5), abs=0.002)
    counts = torch.bincount(whole + 2)
    assert len(counts) == 5 and counts.min() > 7_700


def test_other_distributions() -> None:
    with replayed(SEED, 1):
        logs = torch.empty(40_000).log_normal_(0.1, 0.2).log()
        cauchy = torch.empty(40_000).cauchy_(1.0, 2.0)
        trials = torch.empty(40_000, dtype=torch.int64).geometric_(0.4)
    assert (logs.mean().item(), logs.std().item()) == pytest.approx((0.1, 0.2), abs=0.005)
    quarters = cauchy.quantile(torch.tensor([0.25, 0.5, 0.75]))
    assert quarters.tolist() == pytest.approx([-1, 1, 3], abs=0.1)
    chances = 0.4 * 0.6 ** torch.arange(12)
    assert chi_square(torch.bincount(trials, minlength=13)[1:13], chances) < 33  # 11 degrees: one of 2000 exceeds
    with replayed(SEED, 1), pytest.raises(RuntimeError, match=r"p to be in \(0, 1\)"):
        torch.empty(3).geometric_(1.0)


def chi_square(counts: Tensor, chances: Tensor) -> float:
    wanted = counts.sum() * chances
    return float(((counts - wanted) ** 2 / wanted).sum())


def test_permutations_are_uniform() -> None:
    """All 24 of four elements; and where the elements of 50 go."""
    seen: Counter[tuple[int, ...]] = Counter()
    places = torch.zeros(50, 50)
    for t in range(800):
        with replayed(SEED, t):
            seen[tuple(torch.randperm(4).tolist())] += 1
            found = torch.randperm(50)
        assert found.sort()[0].equal(torch.arange(50))
        places[torch.arange(50), found] += 1
    assert len(seen) == 24
    assert chi_square(torch.tensor([*seen.values()]), torch.full((24,), 1 / 24)) < 50  # 23 degrees: one of 1000 exceeds
    assert abs(chi_square(places.flatten(), torch.full((2500,), 1 / 2500)) - 49 * 49) < 4 * (2 * 49 * 49) ** 0.5


def test_multinomial_has_its_chances() -> None:
    p = torch.tensor([0.1, 0.0, 0.5, 0.25, 0.15])
    rows = (3 * p).expand(20_000, 5)  # weights need not add up to 1
    with replayed(SEED, 0):
        one, again, all_of_them = (torch.multinomial(rows, *of) for of in ((1,), (4, True), (4,)))
    kept = p > 0
    for drawn in (one, again, all_of_them[:, :1]):
        counts = torch.bincount(drawn.flatten(), minlength=5)
        assert counts[1] == 0
        assert chi_square(counts[kept], p[kept]) < 16  # 3 degrees: one of 1000 exceeds
    assert all_of_them.sort(1)[0].equal(torch.tensor([0, 2, 3, 4]).expand(20_000, 4))
    pairs = torch.zeros(5, 5).index_put_((all_of_them[:, 0], all_of_them[:, 1]), torch.ones(20_000), accumulate=True)
    chances = p[:, None] * p / (1 - p[:, None]) * (1 - torch.eye(5))
    assert chi_square(pairs[chances > 0], chances[chances > 0]) < 31  # 11 degrees


@pytest.mark.parametrize(
    ("p", "count", "words"),
    [
        (torch.tensor([0.5, -0.5]), 1, "element < 0"),
        (torch.tensor([0.5, float("nan")]), 1, "`nan`"),
        (torch.zeros(2), 2, "sum of probabilities <= 0"),
        (torch.ones(2), 3, "without replacement"),
    ],
)
def test_weights_that_torch_refuses(p: Tensor, count: int, words: str) -> None:
    with replayed(SEED, 0), pytest.raises(RuntimeError, match=words):
        torch.multinomial(p, count)
    with pytest.raises(RuntimeError, match=words):
        torch.multinomial(p, count)
    case: Any = lambda w, b: w * torch.multinomial(b["p"][0, 0] * 0 + p, count).sum()  # noqa: E731
    with pytest.raises(OffchainError, match=words):
        compile(gradient_job(Cases({"w": case}, DATA["x"]), total({"w": case}), DATA))


def test_weights_that_are_none_in_a_later_row() -> None:
    data = {**DATA, "p": torch.cat([torch.rand(9, 5), torch.tensor([[0.1, 0.2, -0.3, 0.4, 0.5]])])[:, :5]}
    data["x"] = torch.ones(10, 5)
    job = gradient_job(
        nn.Linear(5, 1), lambda m, b: m(b["x"]).sum() * torch.multinomial(b["p"], 2).sum(), data, batch_size=2,
        order=lambda t: torch.arange(2, dtype=torch.int32) + 2 * t, steps=5, interval=5,
    )  # fmt: skip
    with pytest.raises(OffchainError, match="index"):
        compile(job)


class Mixing(nn.Module):
    """mixup and cutmix as people write them, and a shuffled batch norm's way back."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(5, 3)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        order = torch.randperm(x.size(0))
        back = torch.argsort(order)
        share = torch.rand(())
        mixed = share * x + (1 - share) * x[order]
        out = self.net(mixed[order])[back]
        loss: Tensor = share * F.cross_entropy(out, y) + (1 - share) * F.cross_entropy(out, y[order])
        return loss


def test_mixup_trains_like_plain_torch() -> None:
    torch.manual_seed(0)
    data = {"x": torch.randn(24, 5), "y": torch.arange(24) % 3}
    job = gradient_job(
        Mixing(), lambda m, b: m(b["x"], b["y"]), data, seed=SEED, steps=4, interval=4, batch_size=8,
        order=lambda t: torch.randperm(24)[:8].int(),
    )  # fmt: skip
    assert_same_bits(job, 3)
    training = beside.trained(job)
    assert len(set(training.losses)) == 4


def test_a_program_permutes_and_draws() -> None:
    def step(state: Any, batch: Any, t: Tensor) -> Any:
        order = torch.randperm(6)
        drawn = torch.multinomial(batch["p"][0], 2)
        kept = state["kept"][order] + drawn.sum()
        return {"kept": kept}, {"first": kept[0]}

    program = offchain.Program(step, {"kept": torch.arange(6.0)}, DATA, steps=4, interval=4, seed=SEED)
    made = offchain.compile(program, executor="torch")
    plain = made.plain()
    for run_of in (made, plain):
        run_of.run()
    assert torch.equal(torch.as_tensor(made.state["kept"]), plain.state["kept"])


@pytest.mark.parametrize(
    ("draw", "words"),
    [
        (lambda p: torch.randperm(16_385)[:15].reshape(SHAPE), r"at most 16384 are sorted .*torch.rand\(16385\).topk"),
        (lambda p: torch.randperm(int(p.sum())).sum(), r"depends on a tensor's value"),
        (lambda p: torch.randperm(15, generator=torch.Generator()).reshape(SHAPE), "generator"),
        (lambda p: torch.empty(SHAPE, dtype=torch.int64).random_(), "64 bits; give bounds"),
        (lambda p: torch.poisson(p), "poisson"),
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
    with replayed(SEED, 0), pytest.raises(Unsupported, match="poisson"):
        torch.poisson(torch.ones(4))
    with replayed(SEED, 0), pytest.raises(Unsupported, match="generator"):
        torch.empty(4).uniform_(generator=torch.Generator())
