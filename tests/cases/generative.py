"""Random numbers in the loss, and generative models."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F

from tests.cases.common import case, digits, generator, images, mlp


@case("torch.distributions in a traced loss (pytorch validate_args looks at values)")
def vae_distributions():
    from torch.distributions import Normal, kl_divergence

    m = nn.ModuleDict({"e": mlp(64, 32, 8), "d": mlp(4, 32, 64)})

    def loss(m, b):
        mu, s = m["e"](b[0]).chunk(2, 1)
        q = Normal(mu, F.softplus(s) + 0.0001)
        x = m["d"](q.rsample())
        return (
            F.mse_loss(x, b[0], reduction="sum") / len(x)
            + kl_divergence(q, Normal(torch.zeros_like(mu), torch.ones_like(mu))).sum(1).mean()
        )

    return m, loss, (digits()[0],)


@case("torch.distributions.Categorical in a policy-gradient loss (PPO)")
def ppo():
    from torch.distributions import Categorical

    m = nn.ModuleDict({"a": mlp(8, 32, 4, act=nn.Tanh), "v": mlp(8, 32, 1, act=nn.Tanh)})
    g = generator()

    def loss(m, b):
        x, a, old, adv, ret = b
        d = Categorical(logits=m["a"](x))
        r = (d.log_prob(a) - old).exp()
        return (
            -torch.min(r * adv, r.clamp(0.8, 1.2) * adv).mean()
            + 0.5 * F.mse_loss(m["v"](x).squeeze(-1), ret)
            - 0.01 * d.entropy().mean()
        )

    return (
        m,
        loss,
        (
            torch.randn(256, 8, generator=g),
            torch.randint(0, 4, (256,), generator=g),
            torch.randn(256, generator=g) * 0.1 - 1.4,
            torch.randn(256, generator=g),
            torch.randn(256, generator=g),
        ),
        {"clip_norm": 0.5},
    )


@case("pytorch Gumbel-softmax straight-through")
def gumbel():
    m = nn.ModuleDict({"e": nn.Linear(64, 32), "d": nn.Linear(32, 64)})
    return (
        m,
        lambda m, b: F.mse_loss(
            m["d"](F.gumbel_softmax(m["e"](b[0]).view(-1, 4, 8), tau=0.7, hard=True).flatten(1)), b[0]
        ),
        (digits()[0],),
    )


class VQ(nn.Module):
    """Codebook moved by exponential averages: buffers written in forward."""

    def __init__(self):
        super().__init__()
        self.e, self.d = nn.Linear(64, 8), nn.Linear(8, 64)
        self.register_buffer("c", torch.randn(16, 8, generator=generator()))
        self.register_buffer("n", torch.ones(16))
        self.register_buffer("m", self.c.clone())

    def forward(self, x):
        z = self.e(x)
        i = (
            torch.cdist(z, self.c).argmin(1)
            if not getattr(self, "own", 0)
            else (z[:, None] - self.c[None]).square().sum(-1).argmin(1)
        )
        o = F.one_hot(i, 16).float()
        if self.training:
            with torch.no_grad():
                self.n.mul_(0.9).add_(o.sum(0), alpha=0.1)
                self.m.mul_(0.9).add_(o.t() @ z, alpha=0.1)
                self.c.copy_(self.m / (self.n + 1e-5)[:, None])
        q = self.c[i]
        return self.d(z + (q - z).detach()), 0.25 * F.mse_loss(z, q.detach())


def vq_loss(m, b):
    x, c = m(b[0])
    return F.mse_loss(x, b[0]) + c


@case("VQ-VAE with EMA codebook and torch.cdist (lucidrains/vector-quantize-pytorch)")
def vqvae_cdist():
    return VQ(), vq_loss, (digits()[0],)


@case("VQ-VAE with EMA codebook, distances written out")
def vqvae():
    m = VQ()
    m.own = 1
    return m, vq_loss, (digits()[0],)


class Res(nn.Module):
    def __init__(self, c, t):
        super().__init__()
        self.n1, self.c1, self.n2, self.c2, self.t = (
            nn.GroupNorm(4, c),
            nn.Conv2d(c, c, 3, padding=1),
            nn.GroupNorm(4, c),
            nn.Conv2d(c, c, 3, padding=1),
            nn.Linear(t, c),
        )

    def forward(self, x, t):
        h = self.c1(F.silu(self.n1(x))) + self.t(F.silu(t))[:, :, None, None]
        return x + self.c2(F.silu(self.n2(h)))


class DDPM(nn.Module):
    def __init__(self, c=16):
        super().__init__()
        self.i, self.r1, self.dn, self.r2, self.q, self.up, self.r3, self.o = (
            nn.Conv2d(1, c, 3, padding=1),
            Res(c, 32),
            nn.Conv2d(c, c, 3, 2, 1),
            Res(c, 32),
            nn.MultiheadAttention(c, 2, batch_first=True),
            nn.ConvTranspose2d(c, c, 4, 2, 1),
            Res(c, 32),
            nn.Conv2d(2 * c, 1, 1),
        )
        self.register_buffer("ab", torch.cumprod(1 - torch.linspace(0.0001, 0.02, 100), 0))
        self.m = nn.Sequential(nn.Linear(16, 32), nn.SiLU(), nn.Linear(32, 32))

    def forward(self, x, t):
        f = torch.exp(-math.log(1e4) * torch.arange(8) / 8)
        a = t[:, None].float() * f[None]
        e = self.m(torch.cat([a.sin(), a.cos()], -1))
        h = self.r1(self.i(x), e)
        k = self.r2(self.dn(h), e)
        w = k.flatten(2).transpose(1, 2)
        k = k + self.q(w, w, w, need_weights=False)[0].transpose(1, 2).view_as(k)
        return self.o(torch.cat([self.r3(self.up(k), e), h], 1))


@case("huggingface/diffusers UNet (torch.compile reports, e.g. diffusers#11477)")
def ddpm():

    def loss(m, b):
        t = torch.randint(0, 100, (b[0].shape[0],))
        n = torch.randn_like(b[0])
        a = m.ab[t].view(-1, 1, 1, 1)
        return F.mse_loss(m(a.sqrt() * b[0] + (1 - a).sqrt() * n, t), n)

    return DDPM(), loss, (images()[0] * 2 - 1,), {"optimizer": (torch.optim.AdamW, {"lr": 0.001})}


@case("normalizing flows (RealNVP)")
def realnvp():

    class M(nn.Module):
        def __init__(self):
            super().__init__()
            self.n = nn.ModuleList(mlp(2, 24, 4) for _ in range(4))
            self.register_buffer("k", torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]]))

        def forward(self, x):
            ld = torch.zeros(x.shape[0])
            for i, n in enumerate(self.n):
                k = self.k[i]
                a, c = n(x * k).chunk(2, 1)
                a = torch.tanh(a) * (1 - k)
                x = x * a.exp() + c * (1 - k)
                ld = ld + a.sum(1)
            return x, ld

    def loss(m, b):
        z, ld = m(b[0])
        return (0.5 * z.square().sum(1) + math.log(2 * math.pi) - ld).mean()

    return M(), loss, (torch.randn(300, 2, generator=generator()) * torch.tensor([2.0, 0.5]),)


class Gaussian(nn.Module):
    """A density of three numbers, with a mean and a full covariance for each row (mixture density networks)."""

    def __init__(self):
        super().__init__()
        self.f = mlp(64, 32, 9)

    def forward(self, x):
        mean, scale, below = self.f(x).split(3, 1)
        tril = torch.diag_embed(F.softplus(scale) + 0.1)
        rows, columns = torch.tril_indices(3, 3, -1)
        tril[:, rows, columns] = below
        return mean, tril


@case("MultivariateNormal with a scale_tril of a network (mixture density networks)")
def gaussian_tril():

    def loss(m, b):
        mean, tril = m(b[0])
        return -torch.distributions.MultivariateNormal(mean, scale_tril=tril).log_prob(b[0][:, 10:13]).mean()

    return Gaussian(), loss, digits()


@case("MultivariateNormal with a covariance matrix, and a sample of it by rsample")
def gaussian_covariance():

    def loss(m, b):
        mean, tril = m(b[0])
        made = torch.distributions.MultivariateNormal(mean, covariance_matrix=tril @ tril.mT)
        return -made.log_prob(b[0][:, 10:13]).mean() + made.rsample().square().mean()

    return Gaussian(), loss, digits()
