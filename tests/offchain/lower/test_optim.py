"""Every optimizer, option by option, against torch's own class in float32 and float64."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from offchain import Lion
from offchain.errors import BadInput, Unsupported
from offchain.job import Job
from offchain.lower import compile
from offchain.lower.capture import batch_of
from offchain.training import Run, Training

ROWS, WIDTH, CLASSES, STEPS = 12, 5, 3, 8
optim = torch.optim


class Net(nn.Module):
    """Smooth, with gradients of different sizes."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(1)
            self.first, self.last = nn.Linear(WIDTH, 4), nn.Linear(4, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.tanh(self.first(x)))


def cross_entropy(model: Any, batch: dict[str, Tensor]) -> Tensor:
    return F.cross_entropy(model(batch["x"]), batch["y"])


def in_turn(t: Tensor) -> Tensor:
    """Half of the rows, then the other half: a smaller graph than the default order's."""
    return (torch.arange(6, dtype=torch.int32) + t * 6) % ROWS


def a_job(optimizer: Any, model: nn.Module | None = None, **changes: Any) -> Job:
    g = torch.Generator().manual_seed(2)
    fields: dict[str, Any] = {
        "model": model or Net(),
        "loss": cross_entropy,
        "optimizer": optimizer,
        "dataset": {"x": torch.randn(ROWS, WIDTH, generator=g), "y": torch.arange(ROWS) % CLASSES},
        "batch_size": 6,
        "steps": STEPS,
        "interval": STEPS,
        "bits": 21,
        "order": in_turn,
    }
    return Job(**{**fields, **changes})


def in_float64(job: Job) -> dict[str, Tensor]:
    """Parameters after all steps of torch's own optimizer in float64, which both float32 forms approximate."""
    kind, groups = job.groups
    model = Net().double()
    named = dict(model.named_parameters())
    optimizer = kind([{"params": [named[name] for name in group.names], **group.options} for group in groups])
    for t in range(job.steps):
        batch = batch_of(job, job.dataset, torch.tensor(t, dtype=torch.int32))
        optimizer.zero_grad()
        job.loss(model, {**batch, "x": batch["x"].double()}).backward()
        optimizer.step()
    return {name: parameter.detach() for name, parameter in named.items()}


def assert_close(values: dict[str, Any], expected: dict[str, Tensor], tolerance: float) -> None:
    """Within `tolerance` of the tensor's own scale."""
    for name, want in expected.items():
        have, want = torch.as_tensor(values[name]).double(), want.double()
        assert float((have - want).abs().max()) <= tolerance * float(want.abs().max()), name


def assert_moves_like_torch(job: Job, tolerance: float = 1e-5) -> Training:
    """All steps beside plain torch; the reference executor gives the same bits."""
    training = Training(job, threads=1)
    plain, slow = training.plain(), Run(training.task, "reference")
    for run in (training, plain, slow):
        run.run()
    assert training.state_root == slow.state_root
    assert_close(training.state_dict(), plain.parameters, tolerance)
    np.testing.assert_allclose(training.losses, plain.losses, rtol=tolerance)
    return training


CASES: list[tuple[Any, dict[str, Any]]] = [
    (optim.SGD, {}),
    (optim.SGD, {"momentum": 0.9}),
    (optim.SGD, {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    (optim.SGD, {"momentum": 0.9, "dampening": 0.5, "maximize": True}),
    (optim.Adam, {}),
    (optim.Adam, {"betas": (0.0, 0.5), "weight_decay": 0.1}),
    (optim.Adam, {"amsgrad": True, "maximize": True, "eps": 1e-3}),
    (optim.Adam, {"weight_decay": 0.1, "decoupled_weight_decay": True}),
    (optim.AdamW, {}),
    (optim.AdamW, {"amsgrad": True, "weight_decay": 0.3}),
    (optim.NAdam, {"weight_decay": 0.1}),
    (optim.NAdam, {"weight_decay": 0.1, "decoupled_weight_decay": True, "momentum_decay": 0.1}),
    (optim.Adamax, {"weight_decay": 0.1}),
    (optim.RMSprop, {"alpha": 0.9}),
    (optim.RMSprop, {"momentum": 0.9, "weight_decay": 0.1, "maximize": True}),
    (optim.RMSprop, {"centered": True, "momentum": 0.5, "eps": 1e-2}),
    (optim.Adagrad, {"lr_decay": 0.1, "weight_decay": 0.1}),
    (optim.Adagrad, {"initial_accumulator_value": 0.1, "maximize": True}),
    (optim.Adadelta, {"rho": 0.8, "weight_decay": 0.1}),
    (Lion, {"weight_decay": 0.1}),
    (Lion, {"betas": (0.5, 0.9), "maximize": True}),
    (optim.Adafactor, {"weight_decay": 0.1, "lr": 0.3}),
    (optim.Adafactor, {"eps": (1e-2, 1e-1), "d": 1.5, "beta2_decay": -0.5, "maximize": True}),
    # from here on by their own step
    (optim.RAdam, {"weight_decay": 0.1}),
    (optim.ASGD, {"t0": 3, "lambd": 0.1}),
    (optim.Rprop, {}),
]


@pytest.mark.parametrize(
    ("kind", "options"), CASES, ids=lambda x: getattr(x, "__name__", None) or "-".join(x) or "plain"
)
def test_optimizer(kind: Any, options: dict[str, Any]) -> None:
    job = a_job((kind, {"lr": 0.01, **options}))
    training = assert_moves_like_torch(job)
    if "initial_accumulator_value" not in options:  # in_float64 hands options to groups, where torch ignores it
        assert_close(training.state_dict(), in_float64(job), 1e-5)


def test_bias_correction_is_accurate_at_once_and_after_many_moves() -> None:
    """1 − 0.999^n by expm1 within 2 ulp, where 1 − exp or a rounded power would lose digits."""
    from offchain.lower.optim.rules import _correction

    counts = torch.tensor([0, 1, 5, 100, 10_000, 1_000_000], dtype=torch.int32)
    have = torch.as_tensor(_correction(0.999, counts)).double()
    assert float((have / (1 - 0.999 ** (counts.double() + 1)) - 1).abs().max()) < 3e-7


def test_slots_are_named_as_torch_names_its_state() -> None:
    for kind, options in ((optim.Adam, {"amsgrad": True}), (optim.RMSprop, {"centered": True, "momentum": 0.5})):
        model = Net()
        made = kind(model.parameters(), **options)
        model(torch.ones(1, WIDTH)).sum().backward()
        made.step()
        buffers = {f"{key}.first.bias" for key in made.state[model.first.bias] if key != "step"}
        task = compile(a_job((kind, {"lr": 0.1, **options})))
        assert buffers == {name for name in task.tensors(task.state) if name.endswith(".first.bias")}


def decay_groups(model: Net) -> list[dict[str, Any]]:
    """nanoGPT's groups: matrices decay, biases do not."""
    return [
        {"params": [p for p in model.parameters() if p.ndim == 2], "weight_decay": 0.5},
        {"params": [p for p in model.parameters() if p.ndim < 2], "weight_decay": 0.0, "lr": 0.05},
    ]


@pytest.mark.parametrize("kind", [optim.AdamW, optim.SGD, Lion])
def test_parameter_groups_of_a_built_optimizer_count(kind: Any) -> None:
    model = Net()
    job = a_job(kind(decay_groups(model), lr=0.01), model)
    assert [(group.names, group.options["lr"], group.options["weight_decay"]) for group in job.groups[1]] == [
        (("first.weight", "last.weight"), 0.01, 0.5),
        (("first.bias", "last.bias"), 0.05, 0.0),
    ]
    assert_moves_like_torch(job)


def test_a_built_optimizer_and_its_options_are_the_same_task() -> None:
    model = Net()
    built = compile(a_job(optim.Adam(model.parameters(), lr=0.01, foreach=False), model))
    assert built.graph_root == compile(a_job((optim.Adam, {"lr": 0.01}))).graph_root


def test_parameters_in_no_group_are_frozen() -> None:
    model = Net()
    training = assert_moves_like_torch(a_job(optim.SGD(model.last.parameters(), lr=0.1), model))
    assert training.task.parameters == ("last.weight", "last.bias")
    assert torch.equal(training.state_dict()["first.weight"], model.first.weight)
    assert model.first.weight.requires_grad


def test_low_rank_adapters_on_a_frozen_base() -> None:
    class Adapted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.base = nn.Linear(WIDTH, CLASSES).requires_grad_(False)
            self.a = nn.Parameter(torch.full((WIDTH, 2), 0.1))
            self.b = nn.Parameter(torch.zeros(2, CLASSES))

        def forward(self, x: Tensor) -> Tensor:
            return self.base(x) + x @ self.a @ self.b

    model = Adapted()
    training = assert_moves_like_torch(a_job((optim.AdamW, {"lr": 0.01}), model))
    assert training.task.parameters == ("a", "b")
    assert not any("base" in name for name in training.task.tensors(training.task.state))


def test_schedule_is_a_factor_on_every_group() -> None:
    model = Net()
    groups = decay_groups(model)
    job = a_job(optim.AdamW(groups, lr=0.01), model, schedule=lambda t: torch.minimum(t / 4, 1 / (1 + t)))
    training = assert_moves_like_torch(job)
    assert training.losses[0] != training.losses[1]
    first = Training(job, threads=1)
    first.run(1)
    assert all(torch.equal(value, dict(Net().named_parameters())[key]) for key, value in first.state_dict().items())


def test_schedule_equals_lambda_lr() -> None:
    def factor(t: Any) -> Any:
        return 1 / (1 + t)

    job = a_job((optim.SGD, {"lr": 0.1, "momentum": 0.9}), schedule=factor)
    model = Net()
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    scheduler = optim.lr_scheduler.LambdaLR(optimizer, factor)
    for t in range(STEPS):
        optimizer.zero_grad()
        cross_entropy(model, batch_of(job, job.dataset, torch.tensor(t, dtype=torch.int32))).backward()
        optimizer.step()
        scheduler.step()
    training = Training(job, threads=1)
    training.run()
    assert_close(training.state_dict(), {n: p.detach() for n, p in model.named_parameters()}, 1e-5)


@pytest.mark.parametrize(
    "clip",
    [{"clip_norm": 100.0}, {"clip_norm": 0.05}, {"clip_value": 0.02}, {"clip_norm": 0.2, "clip_value": 0.05}],
    ids=["norm-large", "norm-small", "value", "both"],
)
def test_clipping(clip: dict[str, float]) -> None:
    training = assert_moves_like_torch(a_job((optim.SGD, {"lr": 0.5, "momentum": 0.5}), **clip))
    free = Training(a_job((optim.SGD, {"lr": 0.5, "momentum": 0.5})), threads=1)
    free.run()
    assert np.allclose(training.losses, free.losses, rtol=1e-6) is (clip.get("clip_norm") == 100.0)


@pytest.mark.parametrize("kind", [optim.SGD, optim.AdamW])
def test_accumulated_gradients(kind: Any) -> None:
    """Bias correction and schedule count updates, not steps."""
    changes = {"accumulate": 4, "schedule": lambda t: 1 / (1 + t), "clip_norm": 0.1}
    training = assert_moves_like_torch(a_job((kind, {"lr": 0.05}), **changes))
    again = Training(training.job, threads=1)
    before = again.state_dict()
    for move in (False, False, False, True):
        again.step()
        assert torch.equal(again.state_dict()["first.bias"], before["first.bias"]) is not move
        assert again.task.tensors(again.arrays())["grad.first.bias"].any() != move


def test_accumulation_equals_a_larger_batch() -> None:
    """The batches of two steps in one."""

    def whole(t: Tensor) -> Tensor:
        return torch.arange(ROWS, dtype=torch.int32) + t * 0

    optimizer = (optim.AdamW, {"lr": 0.05})
    two = Training(a_job(optimizer, accumulate=2), threads=1)
    one = Training(a_job(optimizer, order=whole, batch_size=ROWS, steps=4, interval=4), threads=1)
    for run in (one, two):
        run.run()
    assert_close(two.state_dict(), one.state_dict(), 1e-5)


def test_lion_in_plain_torch_is_the_published_algorithm() -> None:
    """Beside algorithm 2 of Chen et al. (2023) in Python's own floats, on the loss Σ(p − target)²."""
    target, lr, (beta1, beta2), decay = (1.0, -2.0), 0.05, (0.9, 0.99), 0.1
    parameter = nn.Parameter(torch.zeros(2, dtype=torch.float64))
    optimizer = Lion([parameter], lr=lr, betas=(beta1, beta2), weight_decay=decay)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = (parameter - torch.tensor(target)).square().sum()
        loss.backward()
        return loss.detach()

    p, m = [0.0, 0.0], [0.0, 0.0]
    for _ in range(60):
        wanted = sum((x - y) ** 2 for x, y in zip(p, target, strict=True))
        assert float(optimizer.step(closure)) == pytest.approx(wanted)
        for i in range(2):
            gradient = 2 * (p[i] - target[i])
            direction = math.copysign(1, beta1 * m[i] + (1 - beta1) * gradient)
            p[i] -= lr * (direction + decay * p[i])
            m[i] = beta2 * m[i] + (1 - beta2) * gradient
    assert parameter.tolist() == pytest.approx(p)
    assert optimizer.state[parameter]["exp_avg"].tolist() == pytest.approx(m)


def test_lion_refuses_options_out_of_range() -> None:
    parameter = nn.Parameter(torch.zeros(2))
    for wrong in ({"lr": -1.0}, {"betas": (1.0, 0.9)}, {"weight_decay": -1.0}):
        with pytest.raises(ValueError, match="Invalid"):
            Lion([parameter], **wrong)


def test_an_optimizer_that_takes_closures_is_refused() -> None:
    with pytest.raises(Unsupported, match=r"optimizer LBFGS takes the loss several times .* use one of: SGD, Adam"):
        compile(a_job((optim.LBFGS, {"lr": 1})))


def test_unknown_option_of_a_group_is_refused_by_name() -> None:
    model = Net()
    groups = [{"params": list(model.parameters()), "layer_decay": 0.9}]
    with pytest.raises(Unsupported, match=r"option layer_decay=0\.9 of AdamW"):
        compile(a_job(optim.AdamW(groups, lr=0.1), model))


@pytest.mark.parametrize("kind", [optim.SGD, optim.Adam, optim.RMSprop])
def test_an_optimizer_with_which_torch_cannot_step_is_refused(kind: type[optim.Optimizer]) -> None:
    """torch differentiates the update of a parameter, which is in place, and then refuses it."""
    with pytest.raises(Unsupported, match=rf"option differentiable=True of {kind.__name__}, group 0 .*; leave it out"):
        compile(a_job((kind, {"lr": 0.1, "differentiable": True})))


def test_an_option_for_gpus_is_trained_with_in_plain_torch_too() -> None:
    training = Training(a_job((optim.Adam, {"lr": 0.1, "capturable": True})))
    plain = training.plain()
    training.run()
    plain.run()
    assert training.losses == pytest.approx(plain.losses, rel=1e-3)


def moved_optimizer(model: nn.Module) -> torch.optim.Optimizer:
    optimizer = optim.Adam(model.parameters())
    model(torch.ones(1, WIDTH)).sum().backward()
    optimizer.step()
    return optimizer


def scheduled_optimizer(model: nn.Module) -> torch.optim.Optimizer:
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    optim.lr_scheduler.StepLR(optimizer, 1)
    return optimizer


def hooked_optimizer(model: nn.Module) -> torch.optim.Optimizer:
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    optimizer.register_step_pre_hook(lambda *_: None)
    return optimizer


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (moved_optimizer, "was used already; give a fresh one"),
        (scheduled_optimizer, "a scheduler is attached to the optimizer; give it as Job"),
        (hooked_optimizer, "has hooks"),
        (lambda model: optim.SGD(Net().parameters(), lr=0.1), "not the model's"),
        (lambda model: optim.SGD(model.requires_grad_(False).parameters(), lr=0.1), "nothing to train"),
        (lambda model: (optim.SGD, {"lr": -1}), "SGD: Invalid learning rate: -1"),
        (lambda model: (optim.SGD, {"lr": 0.1, "nesterov": True}), "SGD: Nesterov momentum requires"),
        (lambda model: (optim.Adam, {"betas": (2, 0.9)}), "Adam: Invalid beta parameter"),
        (lambda model: (optim.Adam, {"learning_rate": 1}), "Adam: .*learning_rate"),
        (lambda model: (optim.SGD, {"lr": float("nan")}), "option 'lr' of the optimizer is nan"),
        (lambda model: optim.SGD, "optimizer must be"),
        (lambda model: ("SGD", {"lr": 1}), "optimizer must be"),
    ],
)
def test_optimizer_that_makes_no_sense_is_refused(make: Any, message: str) -> None:
    model = Net()
    with pytest.raises(BadInput, match=message) as caught:
        a_job(make(model), model)
    assert "\n" not in str(caught.value)


def test_schedule_that_gives_no_number_is_refused() -> None:
    with pytest.raises(BadInput, match="schedule"):
        compile(a_job((optim.SGD, {"lr": 0.1}), schedule=lambda t: torch.ones(3) * t))


def test_a_module_named_like_a_slot_is_refused() -> None:
    class Clash(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(WIDTH, CLASSES))
            self.momentum = nn.Linear(WIDTH, CLASSES)

        def forward(self, x: Tensor) -> Tensor:
            return x @ self.weight + self.momentum(x)

    with pytest.raises(BadInput, match=r"'momentum\.weight'"):
        compile(a_job((optim.SGD, {"lr": 0.1, "momentum": 0.9}), Clash()))
