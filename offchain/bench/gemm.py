"""`offchain bench gemm`: an exact matrix product beside BLAS."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import torch
from torch import Tensor

from offchain.bench.alone import computing
from offchain.bench.timing import Call, Row, Settings, Stepping, Watch, unwatched
from offchain.exec.torch_words import exponent_of_magnitude, magnitude, quantise, scale

PAIRS: Final = 20
SIZE: Final = (1024, 768, 3072)  # rows, K, columns
SMALL: Final = (48, 32, 40)
SINGLE_BITS: Final = 8  # up to here float32 sums exactly over slices of K


def rows(settings: Settings, watch: Watch = unwatched) -> Iterator[Row]:
    """The product alone and the whole dot, at each precision, beside float32 and float64 BLAS."""
    m, k, n = SMALL if settings.quick else SIZE
    a, b = (torch.randn(shape, generator=torch.Generator().manual_seed(0)) for shape in ((m, k), (k, n)))
    here = [x.to(settings.device) for x in (a, b)]
    doubles = [x.double() for x in here]
    for bits in settings.bits:
        task = computing(torch.matmul, a, b, bits=bits)
        ours: dict[str, Call] = {
            "product": product(here[0], here[1], bits),
            "dot": Stepping(task, settings.runs(task, watch)),
        }
        peers = {"float32": lambda: here[0] @ here[1], "float64": lambda: doubles[0] @ doubles[1]}
        for name, call in ours.items():
            for peer, other in peers.items():
                label = f"{name} / {peer} BLAS"
                yield Row.of(label, bits, settings.measure(call, other, settings.pairs(PAIRS), watch, label))


def product(a: Tensor, b: Tensor, bits: int) -> Callable[[], Tensor]:
    """The exact product of a (M, K) and b (K, N), quantised already: integer sums by BLAS, one rounding to float32.

    In float32 over slices of K where `bits` is at most 8, else in float64.
    """
    single = bits <= SINGLE_BITS
    exponents = [exponent_of_magnitude(magnitude(x).amax(dim, keepdim=True)) for x, dim in ((a, 1), (b, 0))]
    dtype = torch.float32 if single else torch.float64
    qa, qb = (quantise(x, e, bits, dtype) for x, e in zip((a, b), exponents, strict=True))
    width = 1 << (24 - 2 * (bits - 1)) if single else a.shape[1]
    slices = list(zip(torch.split(qa, width, 1), torch.split(qb, width, 0), strict=True))

    def multiply() -> Tensor:
        total = torch.zeros((), dtype=torch.float64, device=a.device)
        for x, y in slices:
            total = total + (x @ y)
        for e in exponents:
            total = total * scale(e, bits)
        return total.float()

    return multiply
