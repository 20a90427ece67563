"""Images, graphs and tables."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F

from tests.cases.common import case, cross_entropy, digits, generator, images


@case("timm: drop path, layer scale, squeeze-excite, hard swish (opacus#462 ConvNeXt)")
def timm_block():

    class M(nn.Module):
        def __init__(self, c=16):
            super().__init__()
            self.i = nn.Conv2d(1, c, 3, padding=1, bias=False)
            self.b = nn.BatchNorm2d(c)
            self.d = nn.Conv2d(c, c, 5, padding=2, groups=c, bias=False)
            self.e = nn.Sequential(
                nn.AdaptiveAvgPool2d(1), nn.Conv2d(c, 4, 1), nn.ReLU(inplace=True), nn.Conv2d(4, c, 1), nn.Hardsigmoid()
            )
            self.g = nn.Parameter(0.1 * torch.ones(c))
            self.h = nn.Linear(c, 10)

        def forward(self, x):
            x = F.hardswish(self.b(self.i(x)))
            y = self.d(x)
            y = y * self.e(y) * self.g.view(-1, 1, 1)
            if self.training:
                k = x.new_empty((x.shape[0], 1, 1, 1)).bernoulli_(0.8)
                y = y * k.div_(0.8)
            return self.h((x + y).mean((2, 3)))

    return (
        M(),
        cross_entropy,
        images(),
        {"optimizer": (torch.optim.RMSprop, {"lr": 0.001, "alpha": 0.9, "momentum": 0.9})},
    )


@case("spatial transformer: affine_grid and grid_sample")
def stn():

    class M(nn.Module):
        def __init__(self):
            super().__init__()
            self.l, self.h = nn.Linear(64, 6), nn.Linear(64, 10)
            nn.init.zeros_(self.l.weight)
            self.l.bias.data.copy_(torch.tensor([1.0, 0, 0, 0, 1, 0]))

        def forward(self, x):
            return self.h(
                F.grid_sample(
                    x,
                    F.affine_grid(self.l(x.flatten(1)).view(-1, 2, 3), x.shape, align_corners=False),
                    align_corners=False,
                ).flatten(1)
            )

    return M(), cross_entropy, images()


@case("sub-pixel super-resolution: PixelShuffle, PReLU (zkonduit/ezkl#394), reflection padding")
def espcn():
    m = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1, padding_mode="reflect"),
        nn.PReLU(8),
        nn.Conv2d(8, 4, 3, padding=1),
        nn.PixelShuffle(2),
    )
    return (
        m,
        lambda m, b: F.l1_loss(m(F.interpolate(b[0], scale_factor=0.5, mode="bicubic", antialias=False)), b[0]),
        images(),
    )


@case("pyg-team GAT: softmax over incoming edges by scatter_reduce amax")
def gat_scatter():

    class M(nn.Module):
        def __init__(self):
            super().__init__()
            self.w, self.a, self.o = (
                nn.Linear(8, 16),
                nn.Parameter(torch.randn(32, generator=generator()) * 0.1),
                nn.Linear(16, 3),
            )
            self.register_buffer("e", torch.randint(0, 20, (2, 80), generator=generator()))

        def forward(self, x):
            h = self.w(x)
            i, j = self.e
            z = F.leaky_relu(torch.cat([h[:, i], h[:, j]], -1) @ self.a, 0.2)
            n = (x.shape[0], 20)
            J = j.expand_as(z)
            mx = torch.full(n, -1e9).scatter_reduce(1, J, z.detach(), "amax")
            w = (z - mx.gather(1, J)).exp()
            d = torch.zeros(n).scatter_add(1, J, w)
            return self.o(F.elu(torch.zeros_like(h).index_add(1, j, h[:, i] * (w / d.gather(1, J))[..., None])))

    return (
        M(),
        lambda m, b: F.cross_entropy(m(b[0]).flatten(0, 1), b[1].flatten()),
        (torch.randn(60, 20, 8, generator=generator()), torch.randint(0, 3, (60, 20), generator=generator(1))),
    )


@case("whole-graph GCN: one row a dataset entry cannot be sampled; nodes masked by a train mask")
def gcn_full():

    class M(nn.Module):
        def __init__(self):
            super().__init__()
            a = (torch.rand(40, 40, generator=generator()) < 0.1).float()
            a = (a + a.T > 0).float() + torch.eye(40)
            d = a.sum(1).rsqrt()
            self.register_buffer("A", d[:, None] * a * d[None])
            self.register_buffer("x", torch.randn(40, 8, generator=generator(1)))
            self.a, self.b = nn.Linear(8, 16), nn.Linear(16, 3)

        def forward(self):
            return self.b(self.A @ F.dropout(F.relu(self.a(self.A @ self.x)), 0.5, self.training))

    def loss(m, b):
        return F.cross_entropy(m()[b[0]], b[1])

    return M(), loss, (torch.arange(20), torch.randint(0, 3, (20,), generator=generator(2)))


@case("DLRM / recommender: EmbeddingBag with offsets, sparse gradients")
def dlrm_sparse():

    class M(nn.Module):
        def __init__(self):
            super().__init__()
            self.e, self.o = nn.EmbeddingBag(1000, 8, mode="sum", sparse=True), nn.Linear(8, 1)

        def forward(self, i):
            return self.o(self.e(i)).squeeze(1)

    return (
        M(),
        lambda m, b: F.binary_cross_entropy_with_logits(m(b[0]), b[1]),
        (
            torch.randint(0, 1000, (200, 5), generator=generator()),
            torch.randint(0, 2, (200,), generator=generator(1)).float(),
        ),
        {"optimizer": (torch.optim.SGD, {"lr": 0.1})},
    )


@case("NeRF: positional encoding, exclusive cumprod, SIREN")
def nerf():

    class M(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.o = nn.Linear(12, 32), nn.Linear(32, 4)

        def forward(self, o, d):
            t = torch.linspace(0.1, 1, 8)
            x = o[:, None] + d[:, None] * t[None, :, None]
            f = torch.cat(
                [x.mul(2**k * math.pi).sin() for k in range(2)] + [x.mul(2**k * math.pi).cos() for k in range(2)], -1
            )
            y = self.o(torch.sin(5 * self.a(f)))
            a = 1 - torch.exp(-F.softplus(y[..., 3]) * 0.13)
            T = torch.cumprod(torch.cat([torch.ones_like(a[:, :1]), 1 - a + 1e-10], 1), 1)[:, :-1]
            return ((a * T)[..., None] * y[..., :3].sigmoid()).sum(1)

    return (
        M(),
        lambda m, b: F.mse_loss(m(b[0], b[1]), b[2]),
        (
            torch.rand(200, 3, generator=generator()),
            F.normalize(torch.randn(200, 3, generator=generator(1)), dim=1),
            torch.rand(200, 3, generator=generator(2)),
        ),
    )


@case("RBM: contrastive divergence, Bernoulli samples, free energy")
def rbm():

    class M(nn.Module):
        def __init__(self):
            super().__init__()
            self.w, self.a, self.b = (
                nn.Parameter(torch.randn(64, 16, generator=generator()) * 0.05),
                nn.Parameter(torch.zeros(64)),
                nn.Parameter(torch.zeros(16)),
            )

        def free(self, v):
            return -(v @ self.a) - F.softplus(v @ self.w + self.b).sum(1)

    def loss(m, b):
        v = torch.bernoulli(b[0])
        h = torch.bernoulli(torch.sigmoid(v @ m.w + m.b))
        n = torch.bernoulli(torch.sigmoid(h @ m.w.T + m.a)).detach()
        return (m.free(v) - m.free(n)).mean()

    return M(), loss, (digits()[0],), {"optimizer": (torch.optim.SGD, {"lr": 0.05})}


@case("quantisation-aware training: round with straight-through, learned step (LSQ)")
def lsq():

    class M(nn.Module):
        def __init__(self):
            super().__init__()
            self.l, self.o = nn.Linear(64, 32), nn.Linear(32, 10)
            self.s = nn.Parameter(torch.tensor(0.05))

        def forward(self, x):
            w = (self.l.weight / self.s).clamp(-8, 7)
            w = ((w.round() - w).detach() + w) * self.s
            return self.o(F.linear(x, w, self.l.bias).relu())

    return M(), cross_entropy, digits()


@case("torch.fake_quantize_per_channel_affine (ao QAT)")
def fake_quant():

    class M(nn.Module):
        def __init__(self):
            super().__init__()
            self.l = nn.Linear(64, 10)

        def forward(self, x):
            w = self.l.weight
            return F.linear(
                torch.fake_quantize_per_tensor_affine(x, 0.01, 0, -128, 127),
                torch.fake_quantize_per_channel_affine(
                    w, w.detach().abs().amax(1) / 127, torch.zeros(10, dtype=torch.int32), 0, -128, 127
                ),
                self.l.bias,
            )

    return M(), cross_entropy, digits()


@case("the spatial transformer with grid_sample written as four gathers at computed indices")
def stn_gather():

    class M(nn.Module):
        def __init__(self):
            super().__init__()
            self.l, self.h = nn.Linear(64, 6), nn.Linear(64, 10)
            nn.init.zeros_(self.l.weight)
            self.l.bias.data.copy_(torch.tensor([1.0, 0, 0, 0, 1, 0]))

        def forward(self, x):
            n = len(x)
            g = F.affine_grid(self.l(x.flatten(1)).view(-1, 2, 3), x.shape, align_corners=False)
            p = ((g + 1) * 8 - 1) / 2
            q = p.detach().floor()
            w = p - q
            f = x.flatten(1)
            out = 0
            for dy in (0, 1):
                for dx in (0, 1):
                    ix, iy = q[..., 0] + dx, q[..., 1] + dy
                    ok = ((ix >= 0) & (ix < 8) & (iy >= 0) & (iy < 8)).float()
                    i = (iy.clamp(0, 7) * 8 + ix.clamp(0, 7)).long().view(n, -1)
                    out = out + f.gather(1, i).view(n, 8, 8) * ok * (w[..., 0] if dx else 1 - w[..., 0]) * (
                        w[..., 1] if dy else 1 - w[..., 1]
                    )
            return self.h(out.flatten(1))

    return M(), cross_entropy, images()
