"""`offchain bench gemm`: an exact matrix product beside BLAS."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import torch

from offchain.bench.alone import ALL, computing
from offchain.bench.timing import Row, Settings, Stepping, Watch, unwatched

PAIRS: Final = 20
SIZE: Final = (1024, 768, 3072)  # rows, K, columns
SMALL: Final = (48, 32, 40)


def rows(settings: Settings, watch: Watch = unwatched) -> Iterator[Row]:
    """A dot of float32 operands by the chosen executor, at each precision, beside float32 and float64 BLAS."""
    m, k, n = SMALL if settings.quick else SIZE
    a, b = (torch.randn(shape, generator=torch.Generator().manual_seed(0)) for shape in ((m, k), (k, n)))
    singles = [x.to(settings.device) for x in (a, b)]
    doubles = [x.double() for x in singles]
    peers = {"float32": lambda: singles[0] @ singles[1], "float64": lambda: doubles[0] @ doubles[1]}
    for bits in settings.bits:
        task = computing(torch.matmul, a, b, bits=bits)
        ours = Stepping(task, settings.runs(task, watch, ALL))
        for peer, other in peers.items():
            label = f"dot / {peer} BLAS"
            yield Row.of(label, bits, settings.measure(ours, other, settings.pairs(PAIRS), watch, label))
