"""Gradients taken inside the loss, and autograd functions of the requester's own."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from tests.cases.common import case, digits, generator, mlp


@case("pytorch/pytorch#47870; lululxvi/deepxde#1607")
def pinn_autograd():

    def loss(m, b):
        x = b[0].clone().requires_grad_(True)
        u = m(x)
        (du,) = torch.autograd.grad(u.sum(), x, create_graph=True)
        (d2,) = torch.autograd.grad(du.sum(), x, create_graph=True)
        return (d2 + u).square().mean() + (m(torch.zeros(1, 1)) - 1).square().mean()

    return mlp(1, 24, 24, 1, act=nn.Tanh), loss, (torch.rand(200, 1, generator=generator()) * 3,)


@case("pytorch/pytorch#47870, with the remedy torch.func.grad")
def pinn_func():

    def loss(m, b):
        def u(x):
            return m(x.view(1, 1)).squeeze()

        d2 = torch.func.vmap(torch.func.grad(torch.func.grad(u)))(b[0][:, 0])
        return (d2 + m(b[0])[:, 0]).square().mean() + (m(torch.zeros(1, 1)) - 1).square().mean()

    return mlp(1, 24, 24, 1, act=nn.Tanh), loss, (torch.rand(200, 1, generator=generator()) * 3,)


@case("lululxvi/deepxde#1607 (forward mode)")
def pinn_jvp():

    def loss(m, b):
        u, du = torch.func.jvp(m, (b[0],), (torch.ones_like(b[0]),))
        return (du + u).square().mean() + (m(torch.zeros(1, 1)) - 1).square().mean()

    return mlp(1, 24, 1, act=nn.Tanh), loss, (torch.rand(200, 1, generator=generator()),)


class GAN(nn.Module):
    def __init__(self):
        super().__init__()
        self.g, self.d = mlp(4, 32, 2), mlp(2, 32, 1, act=lambda: nn.LeakyReLU(0.2))


@case("pytorch/pytorch#181581, #91469 (WGAN-GP)")
def wgan_gp():

    def loss(m, b):
        z = torch.randn(b[0].shape[0], 4)
        f = m.g(z).detach()
        e = torch.rand(b[0].shape[0], 1)
        x = (e * b[0] + (1 - e) * f).requires_grad_(True)
        (g,) = torch.autograd.grad(m.d(x).sum(), x, create_graph=True)
        return m.d(f).mean() - m.d(b[0]).mean() + 10 * (g.norm(dim=1) - 1).square().mean()

    return GAN(), loss, (torch.randn(200, 2, generator=generator()),)


@case("pytorch/pytorch#181581, with torch.func.grad")
def wgan_gp_func():

    def loss(m, b):
        z = torch.randn(b[0].shape[0], 4)
        f = m.g(z).detach()
        e = torch.rand(b[0].shape[0], 1)
        g = torch.func.grad(lambda x: m.d(x).sum())(e * b[0] + (1 - e) * f)
        return m.d(f).mean() - m.d(b[0]).mean() + 10 * (g.norm(dim=1) - 1).square().mean()

    return GAN(), loss, (torch.randn(200, 2, generator=generator()),)


@case("Lightning-AI/pytorch-lightning#2737 (two optimizers): both players in one loss, groups with their own rates")
def gan_one_loss():

    def loss(m, b):
        n = b[0].shape[0]
        f = m.g(torch.randn(n, 4))
        frozen = {k: v.detach() for k, v in m.d.named_parameters()}
        d = F.softplus(-m.d(b[0])).mean() + F.softplus(m.d(f.detach())).mean()
        return d + F.softplus(-torch.func.functional_call(m.d, frozen, (f,))).mean()

    return (
        GAN(),
        loss,
        (torch.randn(200, 2, generator=generator()),),
        {
            "optimizer": lambda m: torch.optim.Adam(
                [{"params": m.g.parameters(), "lr": 0.001}, {"params": m.d.parameters(), "lr": 0.004}], betas=(0.5, 0.9)
            )
        },
    )


class Reverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.view_as(x)

    @staticmethod
    def backward(ctx, g):
        return -0.3 * g


@case("rwth-i6/returnn#229 (DANN, gradient reversal as autograd.Function)")
def dann_function():
    m = nn.ModuleDict({"f": mlp(64, 32, 16), "y": nn.Linear(16, 10), "dom": nn.Linear(16, 2)})
    return (
        m,
        lambda m, b: (
            lambda h: F.cross_entropy(m["y"](h), b[1]) + F.cross_entropy(m["dom"](Reverse.apply(h)), b[1] % 2)
        )(m["f"](b[0]).relu()),
        digits(),
    )
