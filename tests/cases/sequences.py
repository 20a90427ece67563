"""Models of sequences: state spaces, rotary embeddings, recurrent layers, attention."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F

from tests.cases.common import case, cross_entropy, digits, generator, next_token, tokens


class Mamba(nn.Module):
    def __init__(self, d=16, n=4):
        super().__init__()
        self.e = nn.Embedding(50, d)
        self.i = nn.Linear(d, 2 * d)
        self.c = nn.Conv1d(d, d, 3, padding=2, groups=d)
        self.x = nn.Linear(d, 1 + 2 * n)
        self.dt = nn.Linear(1, d)
        self.A = nn.Parameter(torch.log(torch.arange(1, n + 1).float()).repeat(d, 1))
        self.D = nn.Parameter(torch.ones(d))
        self.o = nn.Linear(d, 50)
        self.n = n

    def forward(self, t):
        x, z = self.i(self.e(t)).chunk(2, -1)
        L = x.shape[1]
        x = F.silu(self.c(x.transpose(1, 2))[..., :L].transpose(1, 2))
        dt, B, C = self.x(x).split([1, self.n, self.n], -1)
        dt = F.softplus(self.dt(dt))
        A = -torch.exp(self.A)
        dA = torch.exp(torch.einsum("bld,dn->bldn", dt, A))
        dB = torch.einsum("bld,bln,bld->bldn", dt, B, x)
        h = torch.zeros(x.shape[0], x.shape[2], self.n)
        y = []
        for i in range(L):
            h = dA[:, i] * h + dB[:, i]
            y.append(torch.einsum("bdn,bn->bd", h, C[:, i]))
        return self.o((torch.stack(y, 1) + x * self.D) * F.silu(z))


@case("pytorch/pytorch#130150 (Mamba export), johnma2006/mamba-minimal#18")
def mamba_loop():
    return Mamba(), next_token, tokens(length=6)


class RWKV(nn.Module):
    def __init__(self, d=16):
        super().__init__()
        self.e = nn.Embedding(50, d)
        self.sh = nn.ZeroPad2d((0, 0, 1, -1))
        self.mk, self.mv = nn.Parameter(torch.full((d,), 0.5)), nn.Parameter(torch.full((d,), 0.4))
        self.k, self.v, self.r = (nn.Linear(d, d, bias=False) for _ in range(3))
        self.w, self.u = nn.Parameter(torch.zeros(d)), nn.Parameter(torch.zeros(d))
        self.o = nn.Linear(d, 50)

    def forward(self, t):
        x = self.e(t)
        y = self.sh(x)
        k = self.k(x * self.mk + y * (1 - self.mk))
        v = self.v(x * self.mv + y * (1 - self.mv))
        r = self.r(x).sigmoid()
        w = -self.w.exp()
        a = b = torch.zeros_like(k[:, 0])
        p = torch.full_like(a, -1e38)
        o = []
        for i in range(x.shape[1]):
            q = torch.maximum(p, self.u + k[:, i])
            e1, e2 = (p - q).exp(), (self.u + k[:, i] - q).exp()
            o.append((e1 * a + e2 * v[:, i]) / (e1 * b + e2))
            q = torch.maximum(p + w, k[:, i])
            e1, e2 = (p + w - q).exp(), (k[:, i] - q).exp()
            a, b, p = e1 * a + e2 * v[:, i], e1 * b + e2, q
        return self.o(r * torch.stack(o, 1))


@case("RWKV time mixing: loop, running maximum, ZeroPad2d with a negative side")
def rwkv():
    return RWKV(), next_token, tokens(length=5)


@case("Llama's own rotary embedding: torch.polar and view_as_complex")
def rope_complex():

    class M(nn.Module):
        def __init__(self):
            super().__init__()
            self.e = nn.Embedding(50, 32)
            self.q, self.k, self.v = (nn.Linear(32, 32) for _ in range(3))
            self.o = nn.Linear(32, 50)
            self.f = torch.polar(
                torch.ones(16, 8), torch.outer(torch.arange(16).float(), 1 / 1e4 ** (torch.arange(0, 16, 2) / 16))
            )

        def rot(self, x):
            return torch.view_as_real(torch.view_as_complex(x.reshape(*x.shape[:-1], -1, 2)) * self.f).flatten(-2)

        def forward(self, t):
            x = self.e(t)
            q, k, v = (part(x).view(*t.shape, 2, 16).transpose(1, 2) for part in (self.q, self.k, self.v))
            return self.o(
                F.scaled_dot_product_attention(self.rot(q), self.rot(k), v, is_causal=True).transpose(1, 2).flatten(2)
            )

    return M(), next_token, tokens()


@case("pytorch/pytorch#171978, #162375, #112044 (pack_padded_sequence)")
def packed():
    from torch.nn.utils.rnn import pack_padded_sequence as pk
    from torch.nn.utils.rnn import pad_packed_sequence as pd

    class M(nn.Module):
        def __init__(self):
            super().__init__()
            self.r, self.o = nn.LSTM(4, 16, batch_first=True), nn.Linear(16, 2)

        def forward(self, x, n):
            return self.o(
                pd(
                    self.r(pk(x, n.cpu(), batch_first=True, enforce_sorted=False))[0],
                    batch_first=True,
                    total_length=x.shape[1],
                )[0].sum(1)
            )

    return (
        M(),
        lambda m, b: F.cross_entropy(m(b[0], b[1]), b[2]),
        (
            torch.randn(100, 5, 4, generator=generator()),
            torch.randint(1, 6, (100,), generator=generator(1)),
            torch.randint(0, 2, (100,), generator=generator(2)),
        ),
    )


@case("the same, masked: last valid output gathered")
def masked_lstm():

    class M(nn.Module):
        def __init__(self):
            super().__init__()
            self.r, self.o = nn.LSTM(4, 16, 2, batch_first=True, dropout=0.2), nn.Linear(16, 2)

        def forward(self, x, n):
            h = self.r(x)[0]
            return self.o(h.gather(1, (n - 1).view(-1, 1, 1).expand(-1, 1, 16)).squeeze(1))

    return (
        M(),
        lambda m, b: F.cross_entropy(m(b[0], b[1]), b[2]),
        (
            torch.randn(100, 5, 4, generator=generator()),
            torch.randint(1, 6, (100,), generator=generator(1)),
            torch.randint(0, 2, (100,), generator=generator(2)),
        ),
    )


@case("pytorch/pytorch#122729, #141845, functorch#993 (torch.utils.checkpoint)")
def checkpointed():
    from torch.utils.checkpoint import checkpoint

    class M(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = nn.Linear(64, 64), nn.Linear(64, 64), nn.Linear(64, 10)

        def forward(self, x):
            return self.c(checkpoint(lambda y: F.gelu(self.b(F.gelu(self.a(y)))), x, use_reentrant=False))

    return M(), cross_entropy, digits()


@case("pytorch/pytorch#163640, #97111 (TransformerEncoder with src_key_padding_mask)")
def padded_encoder():

    class M(nn.Module):
        def __init__(self):
            super().__init__()
            self.e = nn.Embedding(50, 32, padding_idx=0)
            self.t = nn.TransformerEncoder(nn.TransformerEncoderLayer(32, 4, 64, batch_first=True), 1)
            self.o = nn.Linear(32, 2)

        def forward(self, t):
            p = t == 0
            h = self.t(self.e(t), src_key_padding_mask=p)
            return self.o(h.masked_fill(p[..., None], 0).sum(1) / (~p).sum(1, keepdim=True))

    t = torch.randint(1, 50, (100, 12), generator=generator())
    n = torch.randint(3, 13, (100, 1), generator=generator(1))
    t = torch.where(torch.arange(12) < n, t, 0)
    return M(), cross_entropy, (t, n[:, 0] % 2)


class Block(nn.Module):
    """nanoGPT's, with attention written out over a tril buffer."""

    def __init__(self, d=32, h=4):
        super().__init__()
        self.h = h
        self.l1, self.l2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.a, self.p = nn.Linear(d, 3 * d), nn.Linear(d, d)
        self.f, self.q = nn.Linear(d, 4 * d), nn.Linear(4 * d, d)
        self.dr = nn.Dropout(0.1)
        self.register_buffer("bias", torch.tril(torch.ones(16, 16)).view(1, 1, 16, 16))

    def forward(self, x):
        b, t, d = x.size()
        q, k, v = self.a(self.l1(x)).split(d, 2)
        q, k, v = (z.view(b, t, self.h, d // self.h).transpose(1, 2) for z in (q, k, v))
        w = (q @ k.transpose(-2, -1)) * (1.0 / math.sqrt(k.size(-1)))
        w = w.masked_fill(self.bias[:, :, :t, :t] == 0, float("-inf"))
        w = self.dr(F.softmax(w, -1))
        x = x + self.dr(self.p((w @ v).transpose(1, 2).contiguous().view(b, t, d)))
        return x + self.dr(self.q(F.gelu(self.f(self.l2(x)))))


class GPT(nn.Module):
    def __init__(self):
        super().__init__()
        self.w, self.p, self.b = nn.Embedding(50, 32), nn.Embedding(16, 32), nn.Sequential(Block(), Block())
        self.n, self.o = nn.LayerNorm(32), nn.Linear(32, 50, bias=False)
        self.w.weight = self.o.weight

    def forward(self, t):
        return self.o(self.n(self.b(self.w(t) + self.p(torch.arange(t.size(1), device=t.device)))))


@case("karpathy/nanoGPT: tril buffer, tied weights, decay groups, warm-up written with `if`")
def nanogpt():
    def optimizer(m):
        groups = [
            {"params": [p for p in m.parameters() if p.dim() >= 2], "weight_decay": 0.1},
            {"params": [p for p in m.parameters() if p.dim() < 2], "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.95), fused=False)

    return GPT(), next_token, tokens(), {"optimizer": optimizer, "clip_norm": 1.0}
