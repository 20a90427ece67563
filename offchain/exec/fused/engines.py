"""Chooses what multiplies quantised operands on this processor, the BLAS or digits, by timing both once.

Both are exact, so the choice changes no bit.
"""

from __future__ import annotations

import ctypes
import time
from dataclasses import dataclass
from functools import cache
from math import prod
from typing import Final

import llvmlite.binding as llvm
import numpy as np
import numpy.typing as npt

from offchain.exec.fused.blas import REPEATS, TRY, Blas, fastest
from offchain.exec.fused.digits import FEATURES, dot_kernel
from offchain.exec.fused.planes import MAX_BITS, SINGLE, Digits, lying
from offchain.exec.plan.planning import ALIGN
from offchain.exec.plan.products import SINGLE_BITS, product_of
from offchain.ir.graph import Axis, Input, Node, Source, View
from offchain.ir.kinds import Kind
from offchain.ir.primitives import DType
from offchain.native.jit import ENTRY, compiler

_SEVERAL_BITS: Final = 21  # of operands that take several planes


@dataclass(frozen=True)
class Engines:
    """The BLAS, and the lanes of digits for operands of a single plane and of several; 0 where the BLAS is faster."""

    blas: Blas
    single: int
    several: int

    def digits(self, bits: int) -> Digits | None:
        """How operands of `bits` bits are held; None where the BLAS multiplies them."""
        lanes = self.single if bits <= SINGLE else self.several
        return Digits(bits, lanes) if lanes and bits <= MAX_BITS else None


@cache
def engines() -> Engines:
    """The fastest on this processor. Raises OffchainError where no BLAS can be called."""
    blas = fastest()
    single, several = (
        _fastest(bits, blas.seconds(kind)) for bits, kind in ((SINGLE_BITS, "float"), (_SEVERAL_BITS, "double"))
    )
    return Engines(blas, single, several)


def lanes() -> list[int]:
    """The lanes of the vectors of digits that this processor multiplies."""
    features = llvm.get_host_cpu_features()
    return [count for count, feature in FEATURES.items() if features.get(feature)]


def _fastest(bits: int, blas: float) -> int:
    times = {0: blas, **{count: _seconds(Digits(bits, count)) for count in lanes()}}
    return min(times, key=times.__getitem__)


def _seconds(digits: Digits) -> float:
    """The least time of a product by digits in one thread."""
    rows, k, columns = TRY
    views = [
        View(0, (Axis(first, 0, rows), Axis(second, 0, columns), Axis(1, 0, k))) for first, second in ((k, 0), (0, k))
    ]
    items = tuple(Input(Source.NODE, n, DType.F32, prod((size, k)), views[n]) for n, size in enumerate((rows, columns)))
    node = Node(Kind.DOT, DType.F32, (rows, columns), items, bits=digits.bits, extent=k)
    product = product_of(node)
    kernel = dot_kernel(product, node.shape, digits)
    address = compiler().load([kernel])[kernel.name]
    run = ENTRY(address)
    arrays = [_zeros(4 * rows * columns), *(_zeros(4 * lying(product, side, digits).words) for side in (0, 1))]
    arrays += [_zeros(8 * rows), _zeros(8 * columns)]
    pointers, times = (ctypes.c_void_p * len(arrays))(*(array.ctypes.data for array in arrays)), []
    for _ in range(REPEATS):
        start = time.thread_time()
        run(ctypes.addressof(pointers), 0, kernel.tasks)
        times.append(time.thread_time() - start)
    return min(times)


def _zeros(size: int) -> npt.NDArray[np.uint8]:
    """`size` bytes, aligned as buffers of a plan are."""
    whole = np.zeros(size + ALIGN, np.uint8)
    start = -whole.ctypes.data % ALIGN
    return whole[start : start + size]
