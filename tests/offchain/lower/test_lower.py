"""Lowered steps against plain torch: the same initial state, the same batches, close losses and parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from offchain.errors import BadInput, Unsupported
from offchain.exec.make import make_executor
from offchain.ir.graph import Source
from offchain.ir.kinds import Kind
from offchain.job import Job
from offchain.lower import compile
from offchain.lower.order import uniform_rows
from offchain.lower.philox import philox
from offchain.task import Task

ROWS, WIDTH, CLASSES, BATCH = 24, 6, 5, 8
SGD = (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9})


def data() -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(3)
    return {
        "x": torch.randn(ROWS, WIDTH, generator=g),
        "y": torch.randint(0, CLASSES, (ROWS,), generator=g),
        "z": torch.randn(ROWS, CLASSES, generator=g),
    }


def cross_entropy(model: Any, batch: dict[str, Tensor]) -> Tensor:
    return F.cross_entropy(model(batch["x"]), batch["y"])


def mse(model: Any, batch: dict[str, Tensor]) -> Tensor:
    return F.mse_loss(model(batch["x"]), batch["z"])


def network(*middle: nn.Module, width: int = 7) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(WIDTH, width), *middle, nn.Linear(width, CLASSES))


def a_job(model: nn.Module | None = None, **changes: Any) -> Job:
    fields: dict[str, Any] = {
        "model": model or network(nn.ReLU()),
        "loss": cross_entropy,
        "optimizer": SGD,
        "dataset": data(),
        "batch_size": BATCH,
        "steps": 6,
        "interval": 6,
        "bits": 21,
    }
    return Job(**{**fields, **changes})


def executed(task: Task, steps: int, executor: str = "torch") -> list[np.ndarray]:
    run = make_executor(executor, task.graph, task.constants, task.datasets)
    state = run.load(task.state)
    for t in range(steps):
        state = run.step(state, t)
    return run.dump(state)


def plain(job: Job, steps: int) -> tuple[list[float], dict[str, np.ndarray]]:
    """Losses, parameters and buffers of ordinary float32 training."""
    kind, options = job.optimizer
    optimizer = kind(job.model.parameters(), **options)
    losses = []
    for t in range(steps):
        rows = uniform_rows(torch.tensor(t, dtype=torch.int32), job.seed, job.rows, job.batch_size)
        batch = {name: tensor[rows.long()] for name, tensor in job.dataset.items()}
        optimizer.zero_grad()
        loss = job.loss(job.model, batch)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, {name: tensor.numpy() for name, tensor in job.model.state_dict().items()}


def assert_trains_alike(job: Job, steps: int = 6, tolerance: float = 2e-5) -> None:
    task = compile(job)
    state = executed(task, steps)
    losses, parameters = plain(job, steps)
    log = state[-1].reshape(job.interval, -1)
    np.testing.assert_allclose(log[:steps, 0], losses, rtol=tolerance, atol=tolerance)
    for name, value in task.parameter_arrays(state).items():
        np.testing.assert_allclose(value, parameters[name], rtol=tolerance * 10, atol=tolerance * 10, err_msg=name)


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(7, 7), nn.Tanh())

    def forward(self, x: Tensor) -> Tensor:
        return x + self.inner(x)


MODULES: Mapping[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "gelu": nn.GELU,
    "gelu-tanh": lambda: nn.GELU(approximate="tanh"),
    "sigmoid": nn.Sigmoid,
    "silu": nn.SiLU,
    "softplus": nn.Softplus,
    "elu": nn.ELU,
    "group-norm": lambda: nn.GroupNorm(1, 7),
    "leaky-relu": nn.LeakyReLU,
    "hardtanh": nn.Hardtanh,
    "softmax": lambda: nn.Softmax(-1),
    "log-softmax": lambda: nn.LogSoftmax(-1),
    "layer-norm": lambda: nn.LayerNorm(7),
    "linear": lambda: nn.Linear(7, 7, bias=False),
    "residual": Residual,
}


@pytest.mark.parametrize("name", MODULES)
def test_module(name: str) -> None:
    assert_trains_alike(a_job(network(MODULES[name]())))


@pytest.mark.parametrize("loss", [cross_entropy, mse])
def test_loss(loss: Callable[..., Tensor]) -> None:
    assert_trains_alike(a_job(loss=loss))


@pytest.mark.parametrize(
    "loss",
    [
        lambda m, b: F.cross_entropy(m(b["x"]), b["y"], label_smoothing=0.1),
        lambda m, b: F.cross_entropy(m(b["x"]), b["y"], reduction="sum") * 0.1,
        lambda m, b: F.cross_entropy(m(b["x"]), b["y"], ignore_index=2),
        lambda m, b: F.binary_cross_entropy_with_logits(m(b["x"]), b["z"].sigmoid()),
        lambda m, b: F.l1_loss(m(b["x"]), b["z"]),
        lambda m, b: F.smooth_l1_loss(m(b["x"]), b["z"]),
        lambda m, b: (m(b["x"]).amax(1) - b["z"].sum(1)).pow(2).mean(),
        lambda m, b: (
            (m(b["x"]) * (b["z"] > 1).any(1, keepdim=True) * (b["z"] > -2).all(1, keepdim=True)).square().mean()
        ),
        lambda m, b: torch.cat([m(b["x"]), b["z"][:, 1:4].flip(0)], 1).square().mean(),
    ],
    ids=["smoothing", "sum", "ignore", "bce", "l1", "smooth-l1", "amax", "any-all", "cat"],
)
def test_other_losses(loss: Callable[..., Tensor]) -> None:
    assert_trains_alike(a_job(loss=loss))


class Tokens(nn.Module):
    """Embeddings, a batched product and a shared weight."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(CLASSES, 4)
        self.mix = nn.Linear(4, 4)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens)
        attended = (x @ x.transpose(1, 2)).softmax(-1) @ x
        return self.mix(attended).mean(1) @ self.embedding.weight.T


def test_embedding_attention_and_tied_weights() -> None:
    torch.manual_seed(0)
    tokens = torch.randint(0, CLASSES, (ROWS, 3))
    assert_trains_alike(a_job(Tokens(), dataset={"x": tokens, "y": tokens[:, 0].clone()}))


def test_transformer_layer() -> None:
    torch.manual_seed(0)
    model = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    rows = torch.randn(ROWS, 3, 8)

    def loss(model: Any, batch: dict[str, Tensor]) -> Tensor:
        return F.cross_entropy(model(batch["x"]).mean(1)[:, :CLASSES], batch["y"])

    assert_trains_alike(a_job(model, loss=loss, dataset={"x": rows, "y": data()["y"]}), tolerance=1e-4)


LAYERS = ["linear", "relu", "tanh", "gelu", "gelu-tanh", "sigmoid", "layer-norm", "residual"]


@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.sampled_from(LAYERS), min_size=1, max_size=4), st.sampled_from([cross_entropy, mse]))
def test_composition(layers: list[str], loss: Callable[..., Tensor]) -> None:
    model = network(*(MODULES[name]() for name in layers))
    assert_trains_alike(a_job(model, loss=loss), steps=3)


def test_executors_and_fusion_give_the_same_bits() -> None:
    job = a_job(network(nn.GELU(), nn.LayerNorm(7)), metrics={"z": lambda m, b: b["z"].abs().amax()})
    fused, unfused = compile(job), compile(job, fused=False)
    assert len(fused.graph.nodes) < len(unfused.graph.nodes) * 2 / 3
    states = [executed(fused, 3), executed(unfused, 3), executed(fused, 3, "reference")]
    for arrays in zip(*states, strict=True):
        assert len({array.tobytes() for array in arrays}) == 1


def test_compile_is_deterministic() -> None:
    one, two = compile(a_job()), compile(a_job())
    assert one.graph == two.graph
    assert (one.graph_root, one.state_root) == (two.graph_root, two.state_root)


def test_log_restarts_with_each_interval_and_carries_within_it() -> None:
    def row(_: Any, batch: dict[str, Tensor]) -> Tensor:
        return batch["x"].mean()

    task = compile(a_job(steps=8, interval=4, metrics={"row": row}))
    assert task.graph.metrics == ("loss", "row")
    after = [executed(task, steps)[-1].reshape(4, 2) for steps in (1, 3, 4, 5)]
    assert [int((log != 0).any(1).sum()) for log in after] == [1, 3, 4, 1]
    assert (after[2][:3] == after[1][:3]).all()
    losses, _ = plain(a_job(steps=8, interval=4), 5)
    np.testing.assert_allclose(after[3][0, 0], losses[4], rtol=1e-5)


def test_first_step_of_an_interval_ignores_the_old_log() -> None:
    task = compile(a_job(steps=8, interval=4))
    run = make_executor("torch", task.graph, task.constants, task.datasets)
    spoiled = [*task.state[:-1], np.full_like(task.state[-1], np.nan)]
    for t, same in ((4, True), (5, False)):
        ends = [run.dump(run.step(run.load(state), t))[-1].tobytes() for state in (task.state, spoiled)]
        assert (ends[0] == ends[1]) is same


def test_frozen_parameters_and_buffers_are_constants() -> None:
    model = network(nn.ReLU())
    model[0].weight.requires_grad_(False)
    task = compile(a_job(model))
    assert [name for name in task.tensors(task.state) if name.startswith("0.")] == ["0.bias"]
    assert [constant.size for constant in task.constants] == [7 * WIDTH]


def test_buffers_that_move_are_slots() -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(WIDTH, CLASSES)
            self.register_buffer("seen", torch.zeros((), dtype=torch.int64))
            self.register_buffer("average", torch.zeros(CLASSES))

        def forward(self, x: Tensor) -> Tensor:
            out = self.linear(x)
            self.seen += 1
            self.average.lerp_(out.detach().mean(0), 0.1)
            return out

    task = compile(a_job(Counting()))
    state = dict(zip([slot.spec.name for slot in task.graph.slots], executed(task, 3), strict=True))
    assert state["seen"].tolist() == [3]
    assert {"seen", "average"} < set(task.parameters)
    assert (state["average"] != 0).all()


def test_remainders_of_a_counter() -> None:
    class Alternating(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(WIDTH, CLASSES)
            self.register_buffer("seen", torch.full((), -2))

        def forward(self, x: Tensor) -> Tensor:
            self.seen += 1
            return self.linear(x) * (1 + self.seen % 3 + 10 * torch.fmod(self.seen, 3))

    model = Alternating()
    metrics = {"both": lambda m, b: (m.seen % 3 + 10 * torch.fmod(m.seen, 3)).float()}
    log = executed(compile(a_job(model, metrics=metrics)), 6)[-1].reshape(6, 2)
    assert log[:, 1].tolist() == [2 - 10, 0, 1 + 10, 2 + 20, 0, 1 + 10]


def test_step_number_is_data_not_a_constant() -> None:
    task = compile(a_job())
    one, two = executed(task, 1), executed(task, 2)
    assert any(node.kind is Kind.GATHER and node.inputs[0].source is Source.DATA for node in task.graph.nodes)
    assert one[-1].reshape(6, 1)[0, 0] == two[-1].reshape(6, 1)[0, 0] != two[-1].reshape(6, 1)[1, 0]


def test_custom_order() -> None:
    def in_turn(t: Tensor) -> Tensor:
        return (t * BATCH + torch.arange(BATCH, dtype=torch.int32)) % ROWS

    task = compile(a_job(order=in_turn, metrics={"x": lambda m, b: b["x"][0, 0]}))
    log = executed(task, 6)[-1].reshape(6, 2)
    assert log[:, 1].tolist() == data()["x"][torch.arange(6) * BATCH % ROWS, 0].tolist()


def test_philox_known_answers() -> None:
    """Test vectors of Random123 (kat_vectors), philox4x32 10."""

    def words(counter: int, seed: int) -> list[int]:
        filled = torch.tensor(counter - (1 << 32) if counter >> 31 else counter, dtype=torch.int32)
        return [int(word) & 0xFFFFFFFF for word in philox((filled, filled, filled, filled), seed)]

    assert words(0, 0) == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]
    assert words(0xFFFFFFFF, (1 << 64) - 1) == [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]


def test_rows_are_uniform() -> None:
    rows = uniform_rows(torch.tensor(5, dtype=torch.int32), 9, 10, 20001)
    assert rows.shape == (20001,)
    counts = torch.bincount(rows, minlength=10)
    assert rows.min() == 0 and rows.max() == 9 and counts.min() > 1800


def failing(forward: Callable[[nn.Module, Tensor], Tensor]) -> Job:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(WIDTH, CLASSES)

        def forward(self, x: Tensor) -> Tensor:
            return forward(self, self.linear(x))

    return a_job(nn.Sequential(nn.Identity(), Odd()))


def _branch(_: nn.Module, x: Tensor) -> Tensor:
    return x * 2 if x.sum() > 0 else x


@pytest.mark.parametrize(
    ("forward", "parts"),
    [
        (lambda m, x: x.double().float(), ["_to_copy", "float64", "module 1", "test_lower.py"]),
        (lambda m, x: torch.linalg.svd(x)[0] @ x, ["_linalg_svd", "module 1", "use products"]),
        (lambda m, x: x * x.sum().item(), [".item()", "test_lower.py"]),
        (_branch, ["if", "test_lower.py"]),
        (lambda m, x: x + torch.poisson(x.abs()), ["poisson", "module 1", "count gaps"]),
    ],
    ids=["float64", "svd", "item", "if", "poisson"],
)
def test_unsupported_names_operation_place_and_remedy(
    forward: Callable[[nn.Module, Tensor], Tensor], parts: list[str]
) -> None:
    with pytest.raises(Unsupported) as caught:
        compile(failing(forward))
    text = str(caught.value)
    assert "\n" not in text
    assert all(part in text for part in parts), text


def test_int64_arithmetic_that_could_overflow_is_refused() -> None:
    with pytest.raises(Unsupported, match="do not fit int32"):
        compile(a_job(metrics={"big": lambda m, b: (b["y"] * 1_000_000_007).float().mean()}))


def test_loss_that_is_no_scalar_is_refused() -> None:
    with pytest.raises(BadInput, match="one number"):
        compile(a_job(loss=lambda m, b: m(b["x"])))


def test_order_of_the_wrong_length_is_refused() -> None:
    with pytest.raises(BadInput, match="order"):
        compile(a_job(order=lambda t: torch.arange(3, dtype=torch.int32) + t))
