"""Layers of other libraries: parametrizations, mixtures of experts, splines."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from tests.cases.common import case, cross_entropy, digits, generator, images, mlp


@case("pytorch/executorch#3946, pytorch/pytorch#118742, #121304 (weight_norm)")
def weight_norm():
    W = torch.nn.utils.parametrizations.weight_norm
    return (
        nn.Sequential(W(nn.Conv2d(1, 8, 3, padding=1)), nn.ReLU(), nn.Flatten(), W(nn.Linear(512, 10))),
        cross_entropy,
        images(),
    )


@case("pytorch/pytorch#21275, #118742 (old hook-based weight_norm)")
def weight_norm_old():
    W = torch.nn.utils.weight_norm
    return nn.Sequential(W(nn.Linear(64, 32)), nn.ReLU(), W(nn.Linear(32, 10))), cross_entropy, digits()


@case("spectral_norm parametrization: power iteration writes buffers in forward")
def spectral_norm():
    S = torch.nn.utils.parametrizations.spectral_norm
    return nn.Sequential(S(nn.Linear(64, 32)), nn.ReLU(), S(nn.Linear(32, 10))), cross_entropy, digits()


@case("orthogonal parametrization (matrix exponential / Cayley)")
def orthogonal():
    return (
        nn.Sequential(
            torch.nn.utils.parametrizations.orthogonal(nn.Linear(64, 64), orthogonal_map="cayley"),
            nn.Tanh(),
            nn.Linear(64, 10),
        ),
        cross_entropy,
        digits(),
    )


class MixtralMoE(nn.Module):
    def __init__(self, k):
        super().__init__()
        self.k = k
        self.g = nn.Linear(64, 4, bias=False)
        self.x = nn.ModuleList(mlp(64, 32, 64, act=nn.SiLU) for _ in range(4))
        self.h = nn.Linear(64, 10)

    def forward(self, x):
        w, i = torch.topk(F.softmax(self.g(x), 1), self.k, dim=-1)
        w = w / w.sum(-1, keepdim=True)
        y = torch.zeros_like(x)
        mask = F.one_hot(i, 4).permute(2, 1, 0)
        for e in range(4):
            j, t = torch.where(mask[e])
            y.index_add_(0, t, self.x[e](x[t]) * w[t, j, None])
        return self.h(y)


@case("huggingface/transformers#30793, pytorch/pytorch#117628, pytorch/torchtitan#2369 (Mixtral routing)")
def moe_mixtral():
    return MixtralMoE(2), cross_entropy, digits()


class DenseMoE(nn.Module):
    """Every expert on every token, unchosen weights masked: what gpt-fast#149 and torchtitan do for static shapes."""

    def __init__(self, topk=True):
        super().__init__()
        self.topk = topk
        self.g = nn.Linear(64, 4)
        self.w = nn.Parameter(torch.randn(4, 64, 32, generator=generator()) * 0.1)
        self.v = nn.Parameter(torch.randn(4, 32, 10, generator=generator(1)) * 0.1)

    def forward(self, x):
        p = self.g(x).softmax(-1)
        if self.topk:
            v, i = p.topk(2, -1)
            p = torch.zeros_like(p).scatter(1, i, v)
        else:
            p = p * (p >= p.masked_fill(F.one_hot(p.argmax(-1), 4).bool(), -1).amax(-1, keepdim=True)).float()
        p = p / p.sum(-1, keepdim=True)
        return torch.einsum(
            "be,beo->bo", p, torch.einsum("beh,eho->beo", torch.einsum("bd,edh->beh", x, self.w).relu(), self.v)
        )


@case("meta-pytorch/gpt-fast#149 (dense MoE, topk + scatter)")
def moe_dense_topk():
    return DenseMoE(), cross_entropy, digits()


@case("the same with amax and argmax in topk's place")
def moe_dense_amax():
    return DenseMoE(False), cross_entropy, digits()


@case("Switch transformer: top-1 by max, load-balancing loss")
def moe_switch():

    class M(DenseMoE):
        def forward(self, x):
            p = self.g(x).softmax(-1)
            v, i = p.max(-1)
            o = F.one_hot(i, 4).float()
            self.aux = 4 * (o.mean(0) * p.mean(0)).sum()
            return v[:, None] * torch.einsum(
                "be,beo->bo", o, torch.einsum("beh,eho->beo", torch.einsum("bd,edh->beh", x, self.w).relu(), self.v)
            )

    return M(), lambda m, b: F.cross_entropy(m(b[0]), b[1]) + 0.01 * m.aux, digits()


class KAN(nn.Module):
    def __init__(self, i, o, g=5, k=3):
        super().__init__()
        self.k = k
        self.register_buffer("grid", (torch.arange(-k, g + k + 1) * (2 / g) - 1).expand(i, -1).contiguous())
        self.b = nn.Parameter(torch.randn(o, i, generator=generator()) * 0.1)
        self.c = nn.Parameter(torch.randn(o, i, g + k, generator=generator(1)) * 0.1)

    def forward(self, x):
        g, y = self.grid, x.unsqueeze(-1)
        b = ((y >= g[:, :-1]) & (y < g[:, 1:])).to(x.dtype)
        for k in range(1, self.k + 1):
            b = (y - g[:, : -(k + 1)]) / (g[:, k:-1] - g[:, : -(k + 1)]) * b[..., :-1] + (g[:, k + 1 :] - y) / (
                g[:, k + 1 :] - g[:, 1:-k]
            ) * b[..., 1:]
        return F.linear(F.silu(x), self.b) + F.linear(b.flatten(1), self.c.flatten(1))


@case("Blealtan/efficient-kan#16 (B-spline KAN), PINA-org/PINA#612")
def kan():
    return nn.Sequential(KAN(64, 16), KAN(16, 10)), cross_entropy, digits()


class ChebyKAN(nn.Module):
    def __init__(self, i, o, d=4):
        super().__init__()
        self.c = nn.Parameter(torch.randn(i, o, d + 1, generator=generator()) / (i * (d + 1)))
        self.register_buffer("a", torch.arange(0, d + 1))

    def forward(self, x):
        x = torch.tanh(x)[..., None].expand(-1, -1, len(self.a)).acos() * self.a
        return torch.einsum("bid,iod->bo", x.cos(), self.c)


@case("Chebyshev KAN: arccos and cosine")
def cheby_kan():
    return nn.Sequential(ChebyKAN(64, 16), nn.LayerNorm(16), ChebyKAN(16, 10)), cross_entropy, digits()


@case("top-k routing by k rounds of argmax (what a lowering of topk could do)")
def moe_rounds():

    class M(DenseMoE):
        def forward(self, x):
            p = self.g(x).softmax(-1)
            left = p.detach().clone()
            keep = torch.zeros_like(p)
            for _ in range(2):
                o = F.one_hot(left.argmax(-1), 4).float()
                keep = keep + o
                left = left - 2 * o
            p = p * keep
            p = p / p.sum(-1, keepdim=True)
            return torch.einsum(
                "be,beo->bo", p, torch.einsum("beh,eho->beo", torch.einsum("bd,edh->beh", x, self.w).relu(), self.v)
            )

    return M(), cross_entropy, digits()
