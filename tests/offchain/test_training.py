"""offchain.compile: a run beside plain torch, what it must not change, and refusals of silent errors."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Event, get_ident
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import offchain
from offchain.commit import closing
from offchain.errors import BadInput, OffchainError, Unsupported
from offchain.job import Job
from offchain.lower import compile as lower
from offchain.native import jit
from offchain.store.taskfile import load_task
from offchain.task import Task
from offchain.training import Run

ROWS, WIDTH, CLASSES, BATCH = 12, 4, 3, 6
Forward = Callable[[Any, Tensor], Tensor]


def in_turn(t: Tensor) -> Tensor:
    return (torch.arange(BATCH, dtype=torch.int32) + t * BATCH) % ROWS


def cross_entropy(model: Any, batch: dict[str, Tensor]) -> Tensor:
    return F.cross_entropy(model(batch["x"]), batch["y"])


def fields(model: nn.Module | None = None, **changes: Any) -> dict[str, Any]:
    g = torch.Generator().manual_seed(2)
    torch.manual_seed(0)
    own: dict[str, Any] = {
        "model": model or nn.Linear(WIDTH, CLASSES),
        "loss": cross_entropy,
        "optimizer": (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9}),
        "dataset": {"x": torch.randn(ROWS, WIDTH, generator=g), "y": torch.arange(ROWS) % CLASSES},
        "batch_size": BATCH,
        "steps": 6,
        "interval": 3,
        "bits": 21,
        "order": in_turn,
    }
    return {**own, **changes}


class Odd(nn.Module):
    """A linear layer with a counter, and something else in its forward pass."""

    def __init__(self, forward: Forward, first: int = 0, dtype: torch.dtype = torch.int64) -> None:
        super().__init__()
        self.linear = nn.Linear(WIDTH, CLASSES)
        self.register_buffer("seen", torch.tensor(first, dtype=dtype))
        self.also = forward

    def forward(self, x: Tensor) -> Tensor:
        return self.also(self, x)


def counting(count: Callable[[Tensor, Tensor], Tensor], **first: Any) -> Odd:
    def forward(model: Any, x: Tensor) -> Tensor:
        model.seen.copy_(count(model.seen, x))
        return model.linear(x)

    return Odd(forward, **first)


# --- offchain.compile


def test_a_run_beside_plain_torch() -> None:
    model = nn.Sequential(nn.Linear(WIDTH, 5), nn.Dropout(0.25), nn.Tanh(), nn.Linear(5, CLASSES))
    metrics = {"size": lambda m, b: m[0].weight.abs().mean()}
    training = offchain.compile(**fields(model, metrics=metrics, order=None), threads=1)
    plain = training.plain()
    training.run(4)
    for _ in range(4):
        plain.step()
    for name in ("loss", "size"):
        np.testing.assert_allclose(training.metrics[name], plain.metrics[name], rtol=2e-6)
    assert (training.losses, training.t, len(training.state_roots)) == (training.metrics["loss"], 4, 1)
    training.run()
    plain.run()
    assert len(training.losses) == len(plain.losses) == 6
    assert training.state_roots[-1] == training.state_root
    for run in (training, plain):
        with pytest.raises(BadInput, match="left"):
            run.step()


def test_executors_may_change_in_the_middle() -> None:
    job = Job(**fields())
    training, other = offchain.compile(job), offchain.compile(job, executor="reference")
    training.run(2)
    training.use("reference")
    training.run(2)
    training.use("torch", threads=1)
    training.run()
    other.run()
    assert training.state_roots == other.state_roots
    assert training.losses == other.losses


def test_the_next_interval_runs_while_a_state_is_hashed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where hashing waits until the next interval's steps are done, they are done: a state is hashed in the end."""
    training, other = (offchain.compile(**fields(), executor="torch", threads=1) for _ in range(2))
    other.run()
    go, threads, right = Event(), set[int](), closing.state_tree

    def slow(state: list[Any]) -> Any:
        assert go.wait(30)
        threads.add(get_ident())
        return right(state)

    monkeypatch.setattr(closing, "state_tree", slow)
    training.run(5)
    assert training.t == 5
    assert training.losses == other.losses[:5]
    assert not threads  # nothing was hashed yet
    go.set()
    training.run()
    assert training.state_roots == other.state_roots
    assert len(threads) >= 1
    assert get_ident() not in threads


def test_a_state_that_cannot_be_hashed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(state: list[Any]) -> Any:
        raise MemoryError("no room for a tree")

    monkeypatch.setattr(closing, "state_tree", full)
    training = offchain.compile(**fields(), executor="torch", threads=1)
    training.run(4)
    with pytest.raises(MemoryError, match="no room"):
        _ = training.state_roots


def test_a_file_that_turns_gradients_off_is_trained_in_plain_torch_too() -> None:
    with torch.no_grad():
        training = offchain.compile(**fields(nn.Linear(WIDTH, CLASSES), steps=2, interval=1))
        plain = training.plain()
        plain.run()
    training.run()
    assert plain.losses == pytest.approx(training.losses, rel=1e-3)


def test_the_model_the_dataset_and_the_task_stay_as_they_were() -> None:
    own = fields(nn.Sequential(nn.Linear(WIDTH, CLASSES), counting(lambda seen, x: seen + 1)), steps=2, interval=1)
    own["model"][1].linear = nn.Linear(CLASSES, CLASSES)
    before = copy.deepcopy(own["model"].state_dict())
    training = offchain.compile(**own)
    roots = training.task.state_root, training.task.graph_root
    training.run(1)
    training.plain().run()
    assert all(torch.equal(value, before[key]) for key, value in own["model"].state_dict().items())
    assert all(parameter.grad is None for parameter in own["model"].parameters())
    with torch.no_grad():
        own["dataset"]["x"].zero_()
        own["model"][0].weight.zero_()
    training.use("reference")
    task = training.task
    assert (
        Task(task.graph, task.constants, task.datasets, task.state, task.steps).state_root,
        task.graph_root,
    ) == roots
    again = offchain.training.Run(task)
    again.run(1)
    assert again.state_roots == training.state_roots


def test_state_dict_has_every_name_and_dtype() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(CLASSES, CLASSES)
            self.head = nn.Linear(CLASSES, CLASSES, bias=False)
            self.head.weight = self.embedding.weight
            self.register_buffer("seen", torch.tensor(7))
            self.register_buffer("scale", torch.tensor([2.0]))

        def forward(self, x: Tensor) -> Tensor:
            self.seen = self.seen + 1  # bound anew, not written
            return self.head(self.embedding(x)) * self.scale

    model = Tied()
    y = torch.arange(ROWS) % CLASSES
    training = offchain.compile(**fields(model, dataset={"x": y.flip(0), "y": y}))
    plain = training.plain()
    training.run()
    plain.run()
    state = training.state_dict()
    assert (int(state["seen"]), state["seen"].dtype, float(state["scale"])) == (13, torch.int64, 2.0)
    assert torch.equal(state["head.weight"], state["embedding.weight"])
    torch.testing.assert_close(state["embedding.weight"], plain.parameters["embedding.weight"], rtol=1e-5, atol=1e-6)
    assert int(plain.parameters["seen"]) == 13
    assert int(model.seen) == 7
    model.load_state_dict(state)


def test_saved_task_is_the_same_task(tmp_path: Path) -> None:
    training = offchain.compile(**fields(counting(lambda seen, x: seen + 1)))
    training.save(tmp_path / "a.task")
    other = Run(load_task(tmp_path / "a.task"), "reference")
    training.run()
    other.run()
    assert training.state_roots == other.state_roots


def test_loss_that_is_not_finite_does_not_stop_a_run() -> None:
    training = offchain.compile(
        **fields(optimizer=(torch.optim.SGD, {"lr": 1e38}), loss=lambda m, b: m(b["x"]).square().mean())
    )
    training.run()
    assert np.isfinite(training.losses[0])
    assert not np.isfinite(training.losses[-1])


def test_an_interval_is_chosen_where_none_is_named() -> None:
    own = fields(steps=203)
    del own["interval"]
    assert offchain.compile(**own).task.interval == 29


def test_compile_takes_a_job_or_its_fields() -> None:
    with pytest.raises(BadInput, match="not both"):
        offchain.compile(Job(**fields()), steps=3)
    with pytest.raises(BadInput, match=r"missing .* 'loss'"):
        offchain.compile(model=nn.Linear(2, 2), steps=3)
    with pytest.raises(BadInput, match="epochs"):
        offchain.compile(**fields(), epochs=3)
    with pytest.raises(BadInput, match="no executor 'fpga'"):
        offchain.compile(**fields(), executor="fpga")
    for device in ("nowhere", "meta"):
        with pytest.raises(BadInput, match=f"device '{device}'"):
            offchain.compile(**fields(), device=device)


def test_what_an_executor_cannot_do_is_not_a_bad_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Like a kernel that LLVM cannot parse, for which it raises a RuntimeError."""
    monkeypatch.setattr(jit, "_PREAMBLE", "declare what")
    jit.compiler.cache_clear()
    try:
        with pytest.raises(RuntimeError, match="LLVM IR parsing error"):
            offchain.compile(**fields())
    finally:
        jit.compiler.cache_clear()


def test_importing_offchain_does_not_import_torch() -> None:
    code = "import sys, offchain; assert 'torch' not in sys.modules; offchain.Lion; assert 'torch' in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


# --- what is refused

OUTSIDE = torch.ones(WIDTH)


def _halve_weight(model: Any, batch: dict[str, Tensor]) -> Tensor:
    with torch.no_grad():
        model.weight.mul_(0.5)
    return cross_entropy(model, batch)


def _outside(model: Any, batch: dict[str, Tensor]) -> Tensor:
    OUTSIDE.mul_(2)
    return cross_entropy(model, {**batch, "x": batch["x"] * OUTSIDE})


@pytest.mark.parametrize("loss", [_halve_weight, _outside])
@pytest.mark.parametrize("where", ["loss", "metric"])
def test_writing_inputs_in_place_is_refused(loss: Any, where: str) -> None:
    changes = {"loss": loss} if where == "loss" else {"metrics": {"m": loss}}
    with pytest.raises(Unsupported, match="in-place tricks on inputs") as caught:
        lower(Job(**fields(**changes)))
    assert "\n" not in str(caught.value)
    assert (OUTSIDE == 1).all()


def test_rebinding_a_name_of_the_batch_is_no_writing() -> None:
    def loss(model: Any, batch: dict[str, Tensor]) -> Tensor:
        batch["x"] = batch["x"] * 2
        return cross_entropy(model, batch)

    training = offchain.compile(**fields(loss=loss, metrics={"x": lambda m, b: b["x"].mean()}))
    plain = training.plain()
    training.run()
    plain.run()
    for name in ("loss", "x"):
        np.testing.assert_allclose(training.metrics[name], plain.metrics[name], rtol=1e-5, atol=1e-7)


def _branch(model: Any, x: Tensor) -> Tensor:
    return model.linear(x) if x.sum() > 0 else model.linear(-x)


def _item(model: Any, x: Tensor) -> Tensor:
    return model.linear(x) * x.sum().item()


@pytest.mark.parametrize("forward", [_branch, _item])
def test_control_flow_on_values_is_refused(forward: Forward) -> None:
    with pytest.raises(Unsupported, match=r"test_training\.py:\d+: the step depends on a tensor's value") as caught:
        lower(Job(**fields(Odd(forward))))
    assert "\n" not in str(caught.value)


TOP = 1 << 30


@pytest.mark.parametrize(
    ("count", "first", "dtype", "ends"),
    [
        (lambda seen, x: seen + 1, 0, torch.int64, 6),
        (lambda seen, x: seen + 1, TOP - 6, torch.int64, TOP),
        (lambda seen, x: seen - 2 + 1, 6 - TOP, torch.int64, -TOP),
        (lambda seen, x: torch.where(x.sum() > 1e9, seen, seen + 5), 0, torch.int64, 30),
        (lambda seen, x: torch.zeros_like(seen) + 9, 3, torch.int64, 9),
        (lambda seen, x: seen * 3, 1 << 29, torch.int32, (3**6 << 29) % (1 << 32)),  # wraps in torch too
    ],
    ids=["one", "to-the-top", "down", "where", "constant", "int32"],
)
def test_counters_that_fit(count: Any, first: int, dtype: torch.dtype, ends: int) -> None:
    training = offchain.compile(**fields(counting(count, first=first, dtype=dtype)))
    plain = training.plain()
    training.run()
    plain.run()
    assert int(training.state_dict()["seen"]) == int(plain.parameters["seen"])
    assert int(training.state_dict()["seen"]) % (1 << 32) == ends % (1 << 32)


@pytest.mark.parametrize(
    ("count", "first"),
    [
        (lambda seen, x: seen + 1, TOP - 5),
        (lambda seen, x: seen - 1, 5 - TOP),
        (lambda seen, x: seen + (1 << 28), 0),
        (lambda seen, x: torch.where(x.sum() > 0, seen - 1, seen + 1), TOP - 5),
        (lambda seen, x: seen * 2, 1),
        (lambda seen, x: torch.ones_like(seen), TOP + 1),
        (lambda seen, x: (seen * 1).clamp(max=TOP - 1) + 2, 0),
    ],
)
def test_int64_state_that_may_outgrow_int32_is_refused(count: Any, first: int) -> None:
    with pytest.raises(Unsupported, match=r"int64|64-bit"):
        lower(Job(**fields(counting(count, first=first))))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16, torch.uint8, torch.int16])
def test_other_dtypes_are_refused(dtype: torch.dtype) -> None:
    with pytest.raises(OffchainError, match=f"{dtype}; use float32"):
        Job(**fields(dataset={"x": torch.ones(ROWS, WIDTH).to(dtype)}))


@pytest.mark.parametrize("kind", [torch.optim.AdamW, torch.optim.SGD, torch.optim.Adadelta])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_parameter_that_the_loss_does_not_use_stays_as_it_is(kind: Any, accumulate: int) -> None:
    """Torch's optimizers pass over it, with its weight decay and momentum."""
    torch.manual_seed(0)
    model = nn.ModuleDict({"used": nn.Linear(WIDTH, CLASSES), "not": nn.Linear(WIDTH, CLASSES)})
    loss = lambda m, b: nn.functional.cross_entropy(m["used"](b["x"]), b["y"]) + m["not"](b["x"]).detach().mean()  # noqa: E731
    changes = {"loss": loss, "optimizer": (kind, {"lr": 0.1, "weight_decay": 0.5}), "accumulate": accumulate}
    training = offchain.compile(**fields(model, **changes), executor="reference")
    plain = training.plain()
    training.run()
    plain.run()
    for name, want in plain.parameters.items():
        torch.testing.assert_close(training.state_dict()[name], want, rtol=1e-4, atol=1e-5)
    assert torch.equal(plain.parameters["not.weight"], model["not"].weight)


def test_a_buffer_that_the_first_step_registers() -> None:
    class Registering(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            if not hasattr(self, "scale"):
                self.register_buffer("scale", torch.full((CLASSES,), 0.5))
            return super().forward(x) * self.scale

    training = offchain.compile(**fields(Registering(WIDTH, CLASSES)), executor="reference")
    assert list(training.job.model.state_dict()) == ["weight", "bias"]
    plain = training.plain()
    training.run()
    plain.run()
    np.testing.assert_allclose(training.losses, plain.losses, rtol=1e-5)
    assert list(training.state_dict()) == ["weight", "bias"]
