"""Torch's own samples of every operator, compiled and compared with float64 autograd.

`torch.testing` has a database of operators with sample inputs. Each sample becomes a job whose parameters are the
sample's float tensors and whose loss is a fixed combination of all outputs; value and gradients must agree.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

from offchain.errors import OffchainError
from offchain.exec.make import make_executor
from offchain.job import Job
from offchain.lower import compile

TOLERANCE: Final = 1e-4  # of the largest element: covers sums of 21 bits and the operation's own conditioning
MAX_ELEMENTS: Final = 4096
WEIGHTS: Final = torch.cos(torch.arange(1 << 18, dtype=torch.float64)).float()  # of the outputs' elements in the loss
RANDOM: Final = (
    "empty",
    "dropout",
    "bernoulli",
    "rand",
    "normal",
    "uniform",
    "exponential",
    "cauchy",
    "geometric",
    "rrelu",
    "multinomial",
)


@dataclass
class Verdict:
    """The outcome of an operator's samples."""

    name: str
    passed: int = 0
    differentiable: bool = False
    refused: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    skipped: int = 0

    @property
    def status(self) -> str:
        """`yes`, `partly` (some samples are refused), `no` or `wrong`."""
        if self.wrong:
            return "wrong"
        if self.passed:
            return "partly" if self.refused else "yes"
        return "no" if self.refused else "untested"


class Sampled(nn.Module):
    """The float tensors of one sample as parameters, the others as they are."""

    def __init__(self, call: Callable[..., Any], leaves: list[Any], spec: Any) -> None:
        super().__init__()
        self.call, self.spec = call, spec
        self.leaves = [None if _trainable(leaf) else leaf for leaf in leaves]
        for number, leaf in enumerate(leaves):
            if _trainable(leaf):
                self.register_parameter(f"p{number}", nn.Parameter(leaf.detach().clone()))

    def forward(self) -> list[Tensor]:
        # copies, since an operator may write to its sample in place
        leaves = [getattr(self, f"p{i}").clone() if leaf is None else leaf for i, leaf in enumerate(self.leaves)]
        args, kwargs = tree_unflatten(leaves, self.spec)
        outputs, _ = tree_flatten(self.call(*args, **kwargs))
        return [output for output in outputs if isinstance(output, Tensor)]


def _trainable(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and leaf.dtype is torch.float32


def _loss(model: Any, batch: dict[str, Tensor]) -> Tensor:
    total = batch["x"].sum()
    for output in model():
        if output.is_complex():
            output = torch.view_as_real(output)
        weights = WEIGHTS[: output.numel()]
        value = output.to(total.dtype if not output.is_floating_point() else output.dtype).reshape(-1)
        total = total + (value * weights.to(value.dtype)).sum()
    for parameter in model.parameters():  # every parameter gets a gradient, even of an operation without one
        total = total + parameter.sum()
    return total


def samples(op: Any, limit: int) -> Iterator[Any]:
    """The first samples of an operator, in float32."""
    yield from islice(op.sample_inputs("cpu", torch.float32, requires_grad=False), limit)


def check(op: Any, limit: int) -> Verdict:
    """Compile up to `limit` samples of an operator of torch's database and compare each with float64."""
    verdict = Verdict(op.full_name)
    torch.manual_seed(0)
    try:
        found = list(samples(op, limit))
    except Exception as error:  # the database's own generators fail where an optional package is missing
        verdict.refused.append(f"no samples: {error}".split("\n")[0])
        return verdict
    for sample in found:
        _check_sample(op, sample, verdict)
    return verdict


def _check_sample(op: Any, sample: Any, verdict: Verdict) -> None:
    leaves, spec = tree_flatten(((sample.input, *sample.args), sample.kwargs))
    floats = [leaf for leaf in leaves if _trainable(leaf)]
    if any(isinstance(leaf, Tensor) and leaf.layout is not torch.strided for leaf in leaves):
        verdict.refused.append("sparse tensors: use dense ones with a mask")
        return
    if not floats or any(not f.numel() or f.numel() > MAX_ELEMENTS or not f.isfinite().all() for f in floats):
        verdict.skipped += 1
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = Sampled(op.op, leaves, spec)
        try:
            wanted = _truth(model)
        except Exception:  # torch itself cannot do this sample in float64
            verdict.skipped += 1
            return
        if not np.isfinite(wanted["loss"]):  # a sum that holds an infinity is NaN by definition here
            verdict.skipped += 1
            return
        try:
            got = _compiled(model)
        except OffchainError as error:
            verdict.refused.append(str(error).split("\n")[0])
            return
        except Exception as error:
            verdict.wrong.append(f"{type(error).__name__}: {error}".split("\n")[0])
            return
    random = any(word in op.full_name for word in RANDOM) or sample.kwargs.get("dropout_p")
    fault = None if random else _fault(got, wanted)
    if fault:
        verdict.wrong.append(fault)
    else:
        verdict.passed += 1
        verdict.differentiable |= bool(op.supports_autograd)


def _truth(model: Sampled) -> dict[str, np.ndarray[Any, Any]]:
    """Loss and gradients by autograd in float64."""
    torch.manual_seed(0)
    leaves = [tree_map(lambda x: x.double() if _trainable(x) else x, leaf) for leaf in model.leaves]
    double = Sampled(model.call, [None] * len(leaves), model.spec)
    double.leaves = leaves
    for name, parameter in model.named_parameters():
        double.register_parameter(name, nn.Parameter(parameter.detach().double()))
    loss = _loss(double, {"x": torch.zeros(1, dtype=torch.float64)})
    loss.backward()
    found = {name: p.grad.numpy() for name, p in double.named_parameters() if p.grad is not None}
    return {"loss": loss.detach().numpy(), **found}


def _compiled(model: Sampled) -> dict[str, np.ndarray[Any, Any]]:
    job = Job(
        model=model,
        loss=_loss,
        optimizer=(torch.optim.SGD, {"lr": 1.0, "momentum": 0.5}),
        dataset={"x": torch.zeros(1, 1)},
        batch_size=1,
        steps=1,
        interval=1,
        bits=24,
        order=lambda t: torch.zeros(1, dtype=torch.int32),
    )
    task = compile(job)
    engine = make_executor("torch", task.graph, task.constants, task.datasets)
    state = engine.dump(engine.step(engine.load(task.state), 0))
    named = task.tensors(state)
    gradients = {name: named[f"momentum.{name}"] for name, _ in model.named_parameters()}
    return {"loss": named["log"][0, 0], **gradients}


def _fault(got: dict[str, Any], wanted: dict[str, Any]) -> str | None:
    for name, true in wanted.items():
        value = np.asarray(got[name], np.float64)
        finite = np.isfinite(true)
        scale = max(float(np.abs(true[finite]).max()) if finite.any() else 1.0, 1.0)
        same = np.isclose(value, true, rtol=0, atol=TOLERANCE * scale, equal_nan=True)
        if not same.all():
            at = np.argmin(same) if same.ndim else 0
            return f"{name}: {value.reshape(-1)[at]:.6g}, float64 has {true.reshape(-1)[at]:.6g}"
    return None
