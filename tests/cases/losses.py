"""Losses that compare the rows of a batch with each other, and copies of a model."""

from __future__ import annotations

import copy
import math

import torch
from torch import nn
from torch.nn import functional as F

from tests.cases.common import case, digits, generator, mlp, tokens


@case("open_clip contrastive loss (CLIP), learned temperature")
def clip():

    class M(nn.Module):
        def __init__(self):
            super().__init__()
            self.i, self.t = mlp(32, 32, 16), nn.Sequential(nn.EmbeddingBag(50, 16), nn.Linear(16, 16))
            self.s = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def loss(m, b):
        i, t = F.normalize(m.i(b[0]), dim=-1), F.normalize(m.t(b[1]), dim=-1)
        z = m.s.exp().clamp(max=100) * i @ t.t()
        y = torch.arange(len(z))
        return (F.cross_entropy(z, y) + F.cross_entropy(z.t(), y)) / 2

    return (
        M(),
        loss,
        (torch.randn(200, 32, generator=generator()), torch.randint(0, 50, (200, 6), generator=generator(1))),
    )


@case("SimCLR NT-Xent and supervised contrastive loss: masked diagonal")
def supcon():

    def loss(m, b):
        z = F.normalize(m(torch.cat([b[0], b[0] + 0.1 * torch.randn_like(b[0])])), dim=1)
        s = z @ z.T / 0.2
        y = b[1].repeat(2)
        e = torch.eye(len(y), dtype=torch.bool)
        p = (y[:, None] == y[None]) & ~e
        part = s - torch.logsumexp(s.masked_fill(e, float("-inf")), 1, keepdim=True)
        return -(part.masked_fill(~p, 0).sum(1) / p.sum(1)).mean()

    return mlp(64, 32, 16), loss, digits()


@case("triplet loss with batch-hard mining, torch.cdist (pytorch-metric-learning)")
def triplet_cdist():

    def loss(m, b):
        z = m(b[0])
        d = torch.cdist(z, z)
        s = b[1][:, None] == b[1][None]
        return F.relu((d * s).amax(1) - d.masked_fill(s, 1e9).amin(1) + 0.2).mean()

    return mlp(64, 32, 8), loss, digits()


@case("the same with the refusal's remedy for cdist (its diagonal is sqrt(0): NaN in torch)")
def triplet_remedy():

    def loss(m, b):
        z = m(b[0])
        d = (z.unsqueeze(-2) - z.unsqueeze(-3)).square().sum(-1).sqrt()
        s = b[1][:, None] == b[1][None]
        return F.relu((d * s).amax(1) - d.masked_fill(s, 1e9).amin(1) + 0.2).mean()

    return mlp(64, 32, 8), loss, digits()


@case("huggingface/trl DPO: frozen copy of the policy")
def dpo():

    class P(nn.Module):
        def __init__(self):
            super().__init__()
            self.e, self.r, self.o = nn.Embedding(50, 16), nn.GRU(16, 24, batch_first=True), nn.Linear(24, 50)

        def forward(self, t):
            return self.o(self.r(self.e(t))[0])

    p = P()
    m = nn.ModuleDict({"p": p, "ref": copy.deepcopy(p).requires_grad_(False).eval()})

    def lp(n, t):
        return n(t[:, :-1]).log_softmax(-1).gather(2, t[:, 1:, None]).squeeze(-1).sum(1)

    def loss(m, b):
        with torch.no_grad():
            r = lp(m["ref"], b[0]) - lp(m["ref"], b[1])
        return -F.logsigmoid(0.1 * (lp(m["p"], b[0]) - lp(m["p"], b[1]) - r)).mean()

    return m, loss, (tokens(100, 4)[0], torch.randint(0, 50, (100, 4), generator=generator(9)))


@case("knowledge distillation: frozen BatchNorm teacher outside of the model")
def distill():
    torch.manual_seed(5)
    t = nn.Sequential(nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 10)).eval()

    def loss(m, b):
        with torch.no_grad():
            q = F.softmax(t(b[0]) / 2, -1)
        z = m(b[0])
        return F.kl_div(F.log_softmax(z / 2, -1), q, reduction="batchmean") * 4 + F.cross_entropy(
            z, b[1], weight=torch.ones(10)
        )

    return mlp(64, 16, 10), loss, digits()


class BYOL(nn.Module):
    def __init__(self):
        super().__init__()
        self.f = mlp(64, 32, 8)
        self.t = copy.deepcopy(self.f).requires_grad_(False)
        self.p = mlp(8, 16, 8)

    def forward(self, x):
        with torch.no_grad():
            for a, c in zip(self.t.parameters(), self.f.parameters(), strict=True):
                a.mul_(0.9).add_(c, alpha=0.1)
            y = self.t(x + 0.1)
        return -F.cosine_similarity(self.p(self.f(x)), y).mean()


@case("lucidrains/byol-pytorch: EMA of weights, frozen parameters written in forward")
def byol():
    return BYOL(), lambda m, b: m(b[0]), (digits()[0],)


@case("CTC loss in export/ONNX training (microsoft/onnxruntime#19464 custom losses)")
def ctc():
    m = nn.Sequential(nn.Conv1d(8, 16, 3, padding=1), nn.ReLU(), nn.Conv1d(16, 11, 1))

    def loss(m, b):
        lp = m(b[0]).permute(2, 0, 1).log_softmax(-1)
        n = len(b[0])
        return F.ctc_loss(lp, b[1], torch.full((n,), 20), torch.full((n,), 4), zero_infinity=True)

    return (
        m,
        loss,
        (torch.randn(100, 8, 20, generator=generator()), torch.randint(1, 11, (100, 4), generator=generator(1))),
    )


@case("CTC written out: the forward recursion in log space with logsumexp")
def ctc_loop():
    m = nn.Sequential(nn.Conv1d(8, 16, 3, padding=1), nn.ReLU(), nn.Conv1d(16, 11, 1))

    def loss(m, b):
        lp = m(b[0]).permute(2, 0, 1).log_softmax(-1)
        n = len(b[0])
        e = torch.zeros(n, 9, dtype=torch.int64)
        e[:, 1::2] = b[1]
        skip = F.pad((e[:, 2:] != e[:, :-2]) & (e[:, 2:] != 0), (2, 0))
        NEG = -1e4
        a = torch.cat([lp[0].gather(1, e[:, :2]), torch.full((n, 7), NEG)], 1)
        for t in range(1, 20):
            s1, s2 = F.pad(a[:, :-1], (1, 0), value=NEG), F.pad(a[:, :-2], (2, 0), value=NEG)
            a = torch.logsumexp(torch.stack([a, s1, torch.where(skip, s2, torch.tensor(NEG))]), 0) + lp[t].gather(1, e)
        return -torch.logsumexp(a[:, -2:], 1).mean() / 4

    return (
        m,
        loss,
        (torch.randn(100, 8, 20, generator=generator()), torch.randint(1, 11, (100, 4), generator=generator(1))),
    )


@case("torch.where and NaN gradients (pytorch docs and many reports)")
def where_nan():
    return (
        mlp(8, 16, 1),
        lambda m, b: (lambda y: torch.where(y > 0, y.clamp(min=0).sqrt(), -y).mean())(m(b[0])),
        (torch.randn(100, 8, generator=generator()),),
    )


@case("Sinkhorn optimal transport in a loss")
def sinkhorn():

    def loss(m, b):
        c = (m(b[0])[:, None] - b[1][None]).square().sum(-1)
        f = torch.zeros(len(c))
        g = torch.zeros(len(c))
        part = -math.log(len(c))
        for _ in range(4):
            f = -0.5 * torch.logsumexp((g[None] - c) / 0.5 + part, 1)
            g = -0.5 * torch.logsumexp((f[:, None] - c) / 0.5 + part, 0)
        return f.mean() + g.mean()

    return (
        mlp(2, 24, 2),
        loss,
        (torch.randn(200, 2, generator=generator()), torch.randn(200, 2, generator=generator(1)) + 2),
    )
