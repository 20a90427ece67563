"""Small jobs as people write them that were found to be refused with a poor line, or not at all, and now are not."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.nn import functional as F
from torch.optim.swa_utils import SWALR

from offchain.errors import BadInput, Unsupported
from offchain.job import Job
from offchain.training import Run, Training
from tests.offchain.lower.refused import WIDTH, Batch, fields, line, refused, square

g = torch.Generator().manual_seed(0)
ROWS = torch.randn(24, WIDTH, generator=g)


def trained(**changes: Any) -> None:
    """A job that ends where plain torch does, whatever runs it."""
    given = {"dataset": {"x": ROWS}, **changes}
    training = Training(Job(**fields(**given)), executor="torch", threads=1)
    fused, plain = Run(training.task, threads=1), training.plain()
    for run in (training, fused, plain):
        run.run()
    assert training.state_root == fused.state_root
    for name, want in plain.parameters.items():
        torch.testing.assert_close(training.state_dict()[name], want, rtol=1e-4, atol=1e-5)


class Buckets(nn.Module):
    """The relative positions of T5: a logarithm of constants, as integers."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Embedding(8, 1)

    def forward(self, x: Tensor) -> Tensor:
        far = (torch.arange(WIDTH * 4)[:, None] - torch.arange(WIDTH)).abs()
        large = 4 + (torch.log(far.float() / 4) / math.log(4) * 4).to(torch.long)
        large = torch.min(large, torch.full_like(large, 7))
        return (x @ self.bias(torch.where(far < 4, far, large))[..., 0].T).square().mean()


def test_integers_of_constants_have_their_own_bounds() -> None:
    trained(model=Buckets(), loss=lambda m, b: m(b["x"]))


class Matrix(nn.Module):
    def __init__(self, rows: list[list[float]]) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor(rows))


@pytest.mark.parametrize("rows", [[[1.0, 2.0], [2.0, 4.0]], [[1.0, 2.0, 3.0], [2.0, 4.0, 6.0], [1.0, 0.0, 1.0]]])
def test_the_gradient_of_a_determinant_that_is_zero_is_torchs(rows: list[list[float]]) -> None:
    trained(model=Matrix(rows), loss=lambda m, b: torch.linalg.det(m.w) * b["x"].mean() + m.w[0].square().sum() * 0.01)


def test_a_cholesky_factor_solves() -> None:
    def loss(model: Any, batch: Batch) -> Tensor:
        y = model(batch["x"])
        k = (y @ y.T).tanh() * 0.1 + torch.eye(2)
        factor = torch.linalg.cholesky(k)
        return torch.cholesky_solve(y, factor).square().mean() + torch.cholesky_solve(y, factor.mT, upper=True).mean()

    trained(loss=loss)


class Whitens(torch.optim.Optimizer):
    """A step that solves, as Shampoo's with an inverse."""

    def __init__(self, params: Any, lr: float = 0.1) -> None:
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for p in group["params"]:
                grad = p.grad.reshape(len(p), -1)
                state = self.state[p]
                state.setdefault("left", torch.eye(len(p)) * 0.1).add_(grad @ grad.T)
                p.sub_(group["lr"] * torch.linalg.solve(state["left"], grad).reshape(p.shape))


def test_an_optimizer_that_solves_equations() -> None:
    trained(optimizer=(Whitens, {}))


# --- refusals that name what helps


class Around(torch.optim.Optimizer):
    """Lookahead as most repositories have it: no optimizer to torch, but one that holds another."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.param_groups = inner, inner.param_groups
        self.state, self.defaults = inner.state, inner.defaults


class Lookahead(torch.optim.SGD):
    """The remedy."""

    count = 0

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        super().step()
        self.count += 1
        for p in (p for group in self.param_groups for p in group["params"]):
            slow = self.state[p].setdefault("slow", p.detach().clone())
            if self.count % 2 == 0:
                p.copy_(slow.lerp_(p, 0.5))


def test_an_optimizer_around_another() -> None:
    model = nn.Linear(WIDTH, WIDTH)
    around = Around(torch.optim.SGD(model.parameters(), lr=0.1))
    text = refused(BadInput, model=model, optimizer=around)
    assert "Around did not call Optimizer.__init__" in text and "class Lookahead(torch.optim.SGD)" in text
    trained(optimizer=(Lookahead, {"lr": 0.1}))


def test_a_slice_that_begins_at_a_tensor() -> None:
    def order(t: Tensor) -> Tensor:
        return torch.arange(24)[t * 2 : t * 2 + 2]

    text = refused(order=order)
    assert f" in order at {line(order, 1)}: " in text and "index with the places, as x[i + torch.arange(n)]" in text
    trained(order=lambda t: torch.arange(24)[t * 2 + torch.arange(2)])

    def erases(model: Any, batch: Batch) -> Tensor:
        x, k = batch["x"].clone(), torch.randint(3, ())
        x[:, k : k + 2] = 0.0
        return square(model, {"x": x})

    assert "write there with .index_copy(0, i + torch.arange(n), rows)" in refused(loss=erases)

    def erased(model: Any, batch: Batch) -> Tensor:
        places = torch.randint(3, ()) + torch.arange(2)
        return square(model, {"x": batch["x"].T.index_copy(0, places, torch.zeros(2, 2)).T})

    trained(loss=erased)


@torch.no_grad()
def _without_gradient(model: Any, batch: Batch) -> Tensor:
    return square(model, batch)


@torch.inference_mode()
def _in_inference_mode(model: Any, batch: Batch) -> Tensor:
    return square(model, batch)


def _copies(model: Any, batch: Batch) -> Tensor:
    return square(copy.deepcopy(model), batch)


@pytest.mark.parametrize(
    ("kind", "loss", "said"),
    [
        (BadInput, _without_gradient, f"job: loss at {__file__}:"),
        (Unsupported, _in_inference_mode, "leave torch.inference_mode() out"),
        (Unsupported, _copies, "a tensor of a step is copied as an object of Python: copy before the job is built"),
    ],
)
def test_what_is_said_of_a_loss(kind: Any, loss: Any, said: str) -> None:
    assert said in refused(kind, loss=loss)


def test_what_is_said_there_helps() -> None:
    """What needs no gradient, and a copy that gets other weights."""

    def held_to_itself(model: Any, batch: Batch) -> Tensor:
        with torch.no_grad():
            wanted = model(batch["x"]).tanh()
        return (model(batch["x"]) - wanted).square().mean()

    def copies(model: Any, batch: Batch) -> Tensor:
        smaller = {name: weight.clone() * 0.9 for name, weight in model.named_parameters()}
        return square(model, batch) + torch.func.functional_call(model, smaller, batch["x"]).square().mean()

    trained(loss=held_to_itself)
    trained(loss=copies)


def test_rows_that_order_gives_below_the_first() -> None:
    def order(t: Tensor) -> Tensor:
        return torch.arange(2) - 1 - t

    assert "index_select in order at " in refused(BadInput, order=order)


@pytest.mark.parametrize("value", [1.5, -0.5])
def test_targets_of_probabilities_in_a_late_row(value: float) -> None:
    y = torch.rand(24, WIDTH, generator=g)
    loss = lambda m, b: F.binary_cross_entropy(m(b["x"]).sigmoid(), b["y"])  # noqa: E731
    trained(loss=loss, dataset={"x": ROWS, "y": y})
    y[20, 1] = value
    text = refused(BadInput, loss=loss, dataset={"x": ROWS, "y": y})
    assert f" in loss at {line(loss)}: row 20 of dataset 'y' is outside of what the function takes; correct" in text


class Shares(nn.Module):
    """Two layers, of which `share` lets the second have memory of the first."""

    def __init__(self, share: Any) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        share(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.a(x).tanh()) + getattr(self, "mean", 0.0)


def _shares_data(m: Any) -> None:
    m.b.weight.data = m.a.weight.data


def _overlaps(m: Any) -> None:
    weights = torch.randn(2 * WIDTH, WIDTH)
    m.a.weight, m.b.weight = nn.Parameter(weights[:WIDTH]), nn.Parameter(weights[2 : 2 + WIDTH])


def _is_seen_by_a_buffer(m: Any) -> None:
    m.register_buffer("mean", m.a.weight.data[0])


@pytest.mark.parametrize("share", [_shares_data, _overlaps, _is_seen_by_a_buffer])
def test_tensors_that_share_memory(share: Any) -> None:
    text = refused(BadInput, model=Shares(share))
    assert text.startswith("model: 'a.weight' and ") and "share memory" in text and "or one a copy (.clone())" in text


def _is_the_same(m: Any) -> None:
    m.b.weight = m.a.weight


def _has_a_copy(m: Any) -> None:
    m.b.weight.data = m.a.weight.data.clone()


def _has_columns_of_its_own(m: Any) -> None:
    weights = torch.randn(WIDTH, 2 * WIDTH) * 0.3
    m.a.weight, m.b.weight = nn.Parameter(weights[:, :WIDTH]), nn.Parameter(weights[:, WIDTH:])


def _reads_a_constant(m: Any) -> None:
    table = torch.linspace(0, 1, 2 * WIDTH)
    m.register_buffer("table", table)
    m.register_buffer("mean", table[WIDTH:].expand(2, WIDTH))


@pytest.mark.parametrize("share", [_is_the_same, _has_a_copy, _has_columns_of_its_own, _reads_a_constant])
def test_tensors_that_no_write_joins(share: Any) -> None:
    trained(model=Shares(share))


def test_a_parameter_whose_elements_share_memory() -> None:
    def expands(m: Any) -> None:
        m.b.bias = nn.Parameter(torch.zeros(1).expand(WIDTH))

    assert "elements of 'b.bias' share memory" in refused(BadInput, model=Shares(expands))


def test_a_step_that_was_replaced() -> None:
    model = nn.Linear(WIDTH, WIDTH)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    usual = optimizer.step

    def step(closure: Any = None) -> Any:
        for p in model.parameters():
            p.grad.mul_(0.1)  # type: ignore[union-attr]
        return usual(closure)

    optimizer.step = step  # type: ignore[method-assign]
    assert "derive a class from the optimizer's own" in refused(BadInput, model=model, optimizer=optimizer)

    class Slow(torch.optim.SGD):
        def step(self, closure: Any = None) -> Any:
            for group in self.param_groups:
                for p in group["params"]:
                    p.grad.mul_(0.1)
            return super().step(closure)

    trained(optimizer=(Slow, {"lr": 0.1}))


def test_a_scheduler_of_weight_averaging() -> None:
    model = nn.Linear(WIDTH, WIDTH)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    trained(model=model, optimizer=optimizer, schedule=SWALR(optimizer, 0.01, 2))


def test_what_torch_compile_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Distribution, "_validate_args", Distribution._validate_args)  # torch.compile sets it
    model = nn.Linear(WIDTH, WIDTH)
    made: Any = torch.compile(model, backend="eager")
    assert "give the module, or the function, that torch.compile was given" in refused(model=made)
    assert "that torch.compile was given" in refused(loss=torch.compile(square, backend="eager"))
    trained(model=made._orig_mod)


def _freezes(model: Any, batch: Batch) -> Tensor:
    model[0].weight.requires_grad_(False)
    return square(model, batch)


def _thaws(model: Any, batch: Batch) -> Tensor:
    model[0].bias.requires_grad = not model[0].bias.requires_grad
    return square(model, batch)


@pytest.mark.parametrize("loss", [_freezes, _thaws])
def test_a_parameter_that_a_step_freezes(loss: Any) -> None:
    assert "the requires_grad of a parameter is changed: freeze what no step trains" in refused(loss=loss)


class Freezes(nn.Module):
    """The remedy: the first layer is trained in two steps."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.register_buffer("n", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.n += 1
        h = self.a(x).tanh()
        return self.b(torch.where(self.n > 2, h.detach(), h))


def test_a_layer_that_only_some_steps_train() -> None:
    model = Freezes()
    own = copy.deepcopy(model)
    training = Training(
        Job(**fields(model=model, dataset={"x": ROWS}, order=lambda t: torch.arange(2, dtype=torch.int32) + 2 * t)),
        executor="torch",
        threads=1,
    )
    training.run()
    for t in range(4):
        for p in own.a.parameters():
            p.requires_grad = t < 2
        square(own, {"x": ROWS[2 * t : 2 * t + 2]}).backward()
        with torch.no_grad():
            for p in own.parameters():
                p -= 0.1 * (0 if p.grad is None else p.grad)
                p.grad = None
    torch.testing.assert_close(training.state_dict()["a.weight"], own.a.weight.detach())


def test_a_parameter_that_a_step_makes() -> None:
    class Late(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            if "gain" not in self._parameters:
                self.gain = nn.Parameter(torch.ones(WIDTH))
            return super().forward(x) * self.gain

    assert "a step gives the model a new parameter: make it before" in refused(model=Late(WIDTH, WIDTH))
