"""Optimizers of all kinds, schedules, and habits of plain torch."""

from __future__ import annotations

import math
import random

import torch
from torch import nn
from torch.nn import functional as F

from tests.cases.common import case, cross_entropy, digits, mlp


@case("KellerJordan/Muon#40, pytorch torch.optim.Muon (bfloat16 Newton-Schulz)")
def muon():
    return (
        mlp(64, 32, 10),
        cross_entropy,
        digits(),
        {"optimizer": lambda m: torch.optim.Muon([p for p in m.parameters() if p.ndim == 2], lr=0.02)},
    )


class ScheduleFree(torch.optim.Optimizer):
    """Schedule-free SGD as facebookresearch/schedule_free writes it."""

    def __init__(self, params, lr=0.1, beta=0.9):
        super().__init__(params, {"lr": lr, "beta": beta, "k": 0})

    @torch.no_grad()
    def step(self, closure=None):
        for g in self.param_groups:
            c = 1 / (g["k"] + 1)
            g["k"] += 1
            for p in g["params"]:
                if p.grad is None:
                    continue
                st = self.state[p]
                if not st:
                    st["z"] = p.clone()
                z = st["z"]
                p.lerp_(z, c)
                p.add_(p.grad, alpha=g["lr"] * (g["beta"] * (1 - c) - 1))
                z.sub_(p.grad, alpha=g["lr"])


@case("facebookresearch/schedule_free#22 (an optimizer of the user's own)")
def schedule_free():
    return mlp(64, 32, 10), cross_entropy, digits(), {"optimizer": (ScheduleFree, {"lr": 0.1})}


@case("pytorch/pytorch#123479, #131398 (LBFGS closures)")
def lbfgs():
    return mlp(64, 32, 10), cross_entropy, digits(), {"optimizer": (torch.optim.LBFGS, {"lr": 0.1})}


@case("SAM written in the loss: gradient at the perturbed weights by torch.func.grad")
def sam():

    def loss(m, b):
        p = dict(m.named_parameters())

        def f(q):
            return F.cross_entropy(torch.func.functional_call(m, q, (b[0],)), b[1])

        g = torch.func.grad(f)({k: v.detach() for k, v in p.items()})
        n = sum(v.square().sum() for v in g.values()).sqrt()
        return f({k: p[k] + 0.05 * g[k] / (n + 1e-12) for k in p})

    return mlp(64, 32, 10), loss, digits(), {"optimizer": (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9})}


@case("nanoGPT get_lr: warm-up by `if`, cosine by math.cos")
def lr_by_if():

    def lr(t):
        return (t + 1) / 5 if t < 5 else 0.5 * (1 + math.cos(math.pi * t / 20))

    return mlp(64, 32, 10), cross_entropy, digits(), {"schedule": lr}


@case("math.cos in a schedule, as LambdaLR's documentation")
def lr_by_math():
    return mlp(64, 32, 10), cross_entropy, digits(), {"schedule": lambda t: 0.5 * (1 + math.cos(math.pi * t / 20))}


@case("layer-wise learning-rate decay (timm, BEiT)")
def layer_lr():
    return (
        mlp(64, 32, 32, 10),
        cross_entropy,
        digits(),
        {
            "optimizer": lambda m: torch.optim.AdamW(
                [{"params": m[i].parameters(), "lr": 0.001 * 0.5 ** (2 - i // 2)} for i in (0, 2, 4)]
            )
        },
    )


@case("torch.autocast in the loss (AMP habit)")
def autocast():

    def loss(m, b):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            z = m(b[0])
        return F.cross_entropy(z.float(), b[1])

    return mlp(64, 32, 10), loss, digits()


@case("KL annealing by a counter in Python: what a trace freezes")
def python_counter():

    class M(nn.Module):
        def __init__(self):
            super().__init__()
            self.f, self.n = mlp(64, 32, 10), 0

        def forward(self, x):
            self.n += 1
            z = self.f(x)
            return z, min(1.0, self.n / 10) * z.square().mean()

    return M(), lambda m, b: (lambda o: F.cross_entropy(o[0], b[1]) + o[1])(m(b[0])), digits()


@case("teacher forcing by random.random(): what a trace freezes")
def python_random():
    return (
        mlp(64, 32, 10),
        lambda m, b: F.cross_entropy(m(b[0]), b[1]) * (2.0 if random.random() < 0.5 else 1.0),
        digits(),
    )


@case("forward hook for an activation penalty, tensor.register_hook to scale a gradient")
def hooks():
    m = mlp(64, 32, 10)
    m[0].register_forward_hook(lambda mod, i, o: setattr(mod, "act", o))

    def loss(m, b):
        z = m(b[0])
        h = m[0].act
        h.register_hook(lambda g: g * 0.5) if h.requires_grad else None
        return F.cross_entropy(z, b[1]) + 0.001 * h.abs().mean()

    return m, loss, digits()


@case("L1 and orthogonality penalties over model.parameters() in the loss")
def penalties():
    return (
        mlp(64, 32, 10),
        lambda m, b: (
            cross_entropy(m, b)
            + 0.0001 * sum(p.abs().sum() for p in m.parameters())
            + 0.001 * (m[0].weight @ m[0].weight.T - torch.eye(32)).square().sum()
        ),
        digits(),
    )


@case("activation, dropout and normalisation zoo")
def zoo():
    m = nn.Sequential(
        nn.Linear(64, 64),
        nn.SELU(),
        nn.AlphaDropout(0.1),
        nn.Linear(64, 64),
        nn.Mish(),
        nn.Unflatten(1, (4, 16)),
        nn.InstanceNorm1d(4, affine=True),
        nn.Dropout1d(0.1),
        nn.Conv1d(4, 8, 3, stride=2, dilation=2),
        nn.GLU(1),
        nn.RMSNorm(6),
        nn.CELU(),
        nn.LPPool1d(2, 2),
        nn.Flatten(),
        nn.Linear(12, 10),
        nn.LogSoftmax(1),
    )
    return m, lambda m, b: F.nll_loss(m(b[0]), b[1]), digits(), {"optimizer": (torch.optim.NAdam, {"lr": 0.002})}


@case("mixup as its paper's code: numpy.random.beta; pytorch/pytorch#197085 (a trace freezes host randomness)")
def mixup_numpy():
    import numpy as np

    def loss(m, b):
        part = np.random.beta(0.4, 0.4)
        z = m(part * b[0] + (1 - part) * b[0].roll(1, 0))
        return part * F.cross_entropy(z, b[1]) + (1 - part) * F.cross_entropy(z, b[1].roll(1))

    return mlp(64, 32, 10), loss, digits()


class Clip(torch.autograd.Function):
    @staticmethod
    def forward(x):
        return x.round()

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(inputs[0])

    @staticmethod
    def backward(ctx, g):
        return g * (ctx.saved_tensors[0].abs() < 1).float()


@case("Dao-AILab/flash-attention#2071, functorch#207: autograd.Function with setup_context")
def function_setup():
    return mlp(64, 32, 10), lambda m, b: F.cross_entropy(m[2](Clip.apply(m[0](b[0]))), b[1]), digits()


@case("a check for NaN that stops the program (many training loops)")
def nan_check():

    def loss(m, b):
        z = m(b[0])
        if torch.isnan(z).any():
            raise ValueError("NaN in the logits")
        return F.cross_entropy(z, b[1])

    return mlp(64, 32, 10), loss, digits()
