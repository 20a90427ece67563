"""Reductions over two coordinates that lie as far apart as a legal tensor allows: `python -m tests.support.far STRIDE`.

Of the tensor only what the view reads is there. To touch anything else ends the process.
"""

from __future__ import annotations

import ctypes
import sys

import numpy as np

from offchain.exec.fused.reductions import mask_kernel, max_kernel, sum_kernel
from offchain.exec.reference import evaluate
from offchain.ir.arrays import Array
from offchain.ir.graph import Axis, Input, Node, Source, View
from offchain.ir.kinds import Kind
from offchain.ir.primitives import DType
from offchain.native.jit import ENTRY, compiler
from offchain.native.kernel import NativeKernel
from tests.support.guarded import PAGE, fenced, open_page, reserved, whole_pages

_ROWS, _K = 5, 8


def sparse(length: int, ends: int) -> Array:
    """A tensor whose first and last `ends` elements hold numbers; the pages between are closed."""
    size = whole_pages(4 * length)
    place = reserved(size)
    first = size // 4 - length
    for element in (first, first + ends - 1, first + length - ends, first + length - 1):
        open_page(place + 4 * element // PAGE * PAGE)
    tensor: Array = np.ctypeslib.as_array((ctypes.c_float * length).from_address(place + 4 * first))
    tensor[:ends] = np.arange(ends)
    tensor[-ends:] = -np.arange(ends)
    return tensor


def run(kernel: NativeKernel, *tensors: Array) -> None:
    pointers = (ctypes.c_void_p * len(tensors))(*(tensor.ctypes.data for tensor in tensors))
    ENTRY(compiler().load([kernel])[kernel.name])(ctypes.addressof(pointers), 0, kernel.tasks)


def main(stride: int) -> None:
    size = abs(stride) + _ROWS
    view = View(_ROWS - 1 if stride > 0 else size - 1, (Axis(-1, 0, _ROWS), Axis(stride, 0, 2)))
    item, tensor = Input(Source.STATE, 0, DType.F32, size, view), sparse(size, _ROWS)
    index = Input(Source.STATE, 1, DType.I32, _K, View(0, (Axis(0, 0, _ROWS), Axis(1, 0, _K))))
    rows = np.arange(_K, dtype=np.int32)
    for kind, make, items in (
        (Kind.SUM, sum_kernel, (item,)),
        (Kind.MAX, max_kernel, (item,)),
        (Kind.SCATTER_ADD, mask_kernel, (item, index)),
    ):
        node = Node(kind, DType.F32, (_ROWS,), items, _K, 0 if kind is Kind.MAX else 21)
        sources = [tensor, rows][: len(items)]
        out = fenced(_ROWS, np.float32, low=False)
        run(make(node), out, *sources)
        assert out.tobytes() == evaluate(node, sources, 0).tobytes(), kind.name


if __name__ == "__main__":
    main(int(sys.argv[1]))
