"""Optimizers that requesters write: their own `step` is traced, and trains like plain torch."""

from __future__ import annotations

import random
import re
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from offchain.errors import Unsupported
from offchain.job import Job
from offchain.lower import compile
from offchain.training import Run, Training
from tests.published.schedule_free import AdamWScheduleFree
from tests.support import beside

Base = torch.optim.Optimizer
STEPS = 6


def a_model() -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))


def a_job(optimizer: Any, model: nn.Module | None = None, **changes: Any) -> Job:
    fields: dict[str, Any] = {
        "model": model or a_model(),
        "loss": lambda model, batch: F.cross_entropy(model(batch["x"]), batch["y"]),
        "optimizer": optimizer,
        "dataset": {"x": torch.linspace(-1, 1, 48).reshape(12, 4), "y": torch.arange(12) % 3},
        "batch_size": 6,
        "steps": STEPS,
        "interval": STEPS,
        "bits": 21,
    }
    return Job(**{**fields, **changes})


def trained(job: Job) -> Training:
    """All steps beside plain torch; the reference executor gives the same bits."""
    training = beside.trained(job)
    slow = Run(training.task, "reference")
    slow.run()
    assert training.state_root == slow.state_root
    return training


class Own(Base):
    """What the optimizers below share."""

    def __init__(self, params: Any, lr: float = 0.1) -> None:
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self.move(p, self.state[p], group)

    def move(self, p: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        raise NotImplementedError


class Counting(Own):
    """Adam without its first moment: counters and corrections in Python, state made in the first update."""

    def move(self, p: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        if len(state) == 0:
            state["step"], state["square"] = 0, torch.zeros_like(p)
        state["step"] += 1
        state["square"].mul_(0.9).addcmul_(p.grad, p.grad, value=0.1)
        correction = 1 - 0.9 ** state["step"]
        p.addcdiv_(p.grad, (state["square"] / correction).sqrt_().add_(1e-8), value=-group["lr"] / state["step"])


class Looking(Own):
    """Lookahead: every third update goes back to a slow copy; made when the optimizer is."""

    def __init__(self, params: Any, lr: float = 0.1) -> None:
        super().__init__(params, lr)
        self.count = 0
        for p in (p for group in self.param_groups for p in group["params"]):
            self.state[p]["slow"] = {"copy": p.detach().clone()}

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        super().step()
        self.count += 1

    def move(self, p: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        p.data = p.data - group["lr"] * p.grad
        if self.count % 3 == 2:
            state["slow"]["copy"].lerp_(p, 0.5)
            p.data.copy_(state["slow"]["copy"])


class Tensors(Own):
    """Counts in tensors, of a parameter and of a group, so that nothing in Python changes."""

    def move(self, p: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        state.setdefault("step", torch.zeros(()))
        group.setdefault("calls", torch.zeros((), dtype=torch.int64))
        state["step"] += 1
        group["calls"] += 1
        p.add_(p.grad * torch.where(state["step"] > 2, 0.1, 0.5) / group["calls"].sqrt(), alpha=-group["lr"])


class Layered(Own):
    """LAMB's trust ratio, whose norms need whole parameters, and a norm over all of them."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        total = torch.stack([p.grad.norm() for group in self.param_groups for p in group["params"]]).norm()
        for group in self.param_groups:
            for p in group["params"]:
                move, size = p.grad / (total + 1), p.norm()
                ratio = torch.where(size > 0, size / (move.norm() + 1e-6), torch.ones_like(size)).clamp(max=10)
                p.sub_(move * ratio, alpha=group["lr"])


class Noisy(Own):
    """Langevin dynamics (Welling and Teh, 2011): noise in every update."""

    def move(self, p: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        p.add_(p.grad, alpha=-group["lr"]).add_(torch.randn_like(p), alpha=0.1 * group["lr"])


class Replacing(Own):
    """State that is replaced, not written; matrices alone are normalised, by products."""

    def move(self, p: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        state["m"] = 0.9 * state.get("m", torch.zeros_like(p)) + p.grad
        move = state["m"]
        if p.ndim == 2:
            move = 1.5 * move - 0.5 * move @ move.mT @ move
        p.copy_(p - group["lr"] * move)


class Halving(torch.optim.AdamW):
    """A class of torch's with a change."""

    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            group["weight_decay"] /= 2
        return super().step(closure)


class Lookahead(Base):
    """As it is often written: around another optimizer, whose groups it shares, with the slow weights in a list."""

    def __init__(self, params: Any, lr: float = 0.1) -> None:
        self.optimizer = torch.optim.Adam(params, lr)
        super().__init__(self.optimizer.param_groups, {"lr": lr})
        self.optimizer.param_groups = self.param_groups
        self.slow = [[p.detach().clone() for p in group["params"]] for group in self.param_groups]
        self.count = 0

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        self.optimizer.step()
        self.count += 1
        if self.count % 2:
            return
        for group, slow in zip(self.param_groups, self.slow, strict=True):
            for p, q in zip(group["params"], slow, strict=True):
                q.add_(p.detach() - q, alpha=0.5)
                p.data.copy_(q)


OWN = [Lookahead, Counting, Looking, Tensors, Layered, Noisy, Replacing, Halving]


@pytest.mark.parametrize("kind", OWN)
def test_an_optimizer_of_the_requester(kind: Any) -> None:
    trained(a_job((kind, {"lr": 0.05})))


@pytest.mark.parametrize("kind", [Counting, Noisy])
def test_with_schedule_accumulation_clipping_and_groups(kind: Any) -> None:
    model = a_model()
    optimizer = kind([{"params": model[0].parameters(), "lr": 0.2}, {"params": model[2].parameters()}])
    trained(a_job(optimizer, model, accumulate=2, clip_norm=0.5, schedule=lambda t: 1 / (1 + t)))


@pytest.mark.parametrize("foreach", [False, True])
def test_schedule_free_adamw_as_it_is_published(foreach: bool) -> None:
    model = a_model()
    optimizer = AdamWScheduleFree(model.parameters(), lr=0.05, warmup_steps=3, weight_decay=0.1, foreach=foreach)
    optimizer.train()
    training = trained(a_job(optimizer, model))
    assert {"z.0.weight", "exp_avg_sq.2.bias"} <= set(training.task.tensors(training.task.state))
    assert not any(optimizer.state.values()) and optimizer.param_groups[0]["k"] == 0  # the requester's own stays fresh


@pytest.mark.parametrize("kind", [Looking, Noisy])
def test_all_executors_give_the_same_bits(kind: Any) -> None:
    task, roots = compile(a_job((kind, {"lr": 0.05}), steps=4, interval=4)), set()
    for executor in ("reference", "torch", "fused"):
        run = Run(task, executor, threads=1)
        run.run()
        roots.add(run.state_root)
    assert len(roots) == 1


def test_a_requesters_adam_is_ours() -> None:
    """Counting and branching included, beside the rule that follows torch."""
    mine = type("Mine", (torch.optim.AdamW,), {})
    ours, theirs = (trained(a_job((kind, {"lr": 0.05}))) for kind in (torch.optim.AdamW, mine))
    assert ours.losses == pytest.approx(theirs.losses, rel=1e-6)


def test_a_count_in_a_tensor_needs_no_table() -> None:
    """So a million steps are recorded in a few updates, and a job of a few steps is as large."""
    few, many = (compile(a_job((Tensors, {}), steps=steps, interval=STEPS)) for steps in (STEPS, 600_000))
    assert len(few.graph.nodes) == len(many.graph.nodes)
    assert len(many.constants) <= 1


class Looks(Own):
    def move(self, p: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        if p.grad.abs().max() > 1:
            p.sub_(p.grad)


class Chances(Own):
    def move(self, p: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        p.sub_(p.grad, alpha=random.random())


class Doubles(Own):
    def move(self, p: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        state["m"] = p.grad.double()
        p.sub_(p.grad)


class Remembers(Own):
    def move(self, p: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        state.setdefault("all", []).append(p.grad.clone())
        p.sub_(sum(state["all"]))


class Shares(Own):
    def move(self, p: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        p.sub_(p.grad)
        state["before"] = p.data


OUTSIDE = torch.zeros(3)


class Outside(Own):
    def move(self, p: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        OUTSIDE.add_(1)
        p.sub_(p.grad * OUTSIDE.sum())


class Hidden(Own):
    """Keeps its momentum in an object of its own."""

    def move(self, p: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        box = state.setdefault("box", SimpleNamespace(m=torch.zeros_like(p)))
        box.m = 0.9 * box.m + p.grad
        p.sub_(box.m)


class Rolls(Own):
    def move(self, p: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        state["k"] = state.get("k", 0) + 1
        p.sub_(p.grad.roll(state["k"], 0))


class Closing(Own):
    def step(self, closure: Any) -> None:  # type: ignore[override]
        closure()


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Looks, r"p\.grad\.abs\(\)\.max\(\) > 1 in optimizer Looks at {}: the step depends on .* use torch\.where"),
        (Chances, r"optimizer Chances at {}: its step differs when it runs again"),
        (Doubles, r"optimizer Doubles at {}: keeps torch\.float64 in its state \(m\.0\.weight\); use float32"),
        (Remembers, r"optimizer Remembers at {}: takes more than 6 different courses in its first 7 updates; keep the"),
        (
            Shares,
            r"optimizer Shares at {}: its state before\.0\.weight shares memory with parameter 0\.weight; keep a",
        ),
        (Outside, r"optimizer Outside at {}: writes to a tensor that is neither a parameter nor"),
        (Hidden, r"optimizer Hidden at {}: keeps a tensor where it is not found again; keep it in self\.state\[param"),
        (Rolls, r"optimizer Rolls at {}: takes more than 6 different courses"),
        (
            Closing,
            r"job at {}: optimizer Closing takes the loss several times in an update, by a closure; use one of: S",
        ),
    ],
)
def test_what_is_refused(kind: Any, message: str) -> None:
    with pytest.raises(Unsupported) as caught:
        compile(a_job((kind, {}), steps=8, interval=8))
    text = str(caught.value)
    assert "\n" not in text
    assert re.match(message.format(rf"{re.escape(__file__)}:\d+"), text), text


def test_too_many_numbers_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("offchain.lower.optim.history.MOST_CALLS", 400)
    with pytest.raises(Unsupported, match=r"operations, the most that are recorded; keep the count in a tensor of"):
        compile(a_job((Counting, {}), steps=60, interval=60))
    assert compile(a_job((Tensors, {}), steps=60, interval=60)).steps == 60  # which is the remedy
