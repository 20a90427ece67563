"""The BLAS of torch and of NumPy, called from the kernels' own threads.

A sum of integers is the same in any order, so any BLAS gives it. Which one is faster depends on the processor: both are
timed once.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import llvmlite.binding as llvm
import numpy as np
import torch

from offchain.errors import OffchainError

TRY: Final = (192, 512, 256)  # rows, k, columns of a product that is worth a few milliseconds
REPEATS: Final = 5


@dataclass(frozen=True)
class Blas:
    """A library with Fortran's `dgemm` and `sgemm`, under the linker's names `<name>_dgemm` and `<name>_sgemm`."""

    name: str
    integer: str  # LLVM type of its integers
    library: ctypes.CDLL
    dgemm: str
    sgemm: str
    threads: tuple[str, str] | None = None  # its functions to get and to set the number of its own threads

    def publish(self) -> None:
        for kind in ("dgemm", "sgemm"):
            function = getattr(self.library, getattr(self, kind))
            llvm.add_symbol(f"{self.name}_{kind}", ctypes.cast(function, ctypes.c_void_p).value)

    def is_called(self, text: str) -> bool:
        """Whether a kernel of that text calls it."""
        return f"@{self.name}_" in text

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Its calls stay in the calling thread: the kernels' threads share the work."""
        if self.threads is None:
            yield  # torch's uses one thread when one thread of many calls it
            return
        get, put = (getattr(self.library, name) for name in self.threads)
        before = get()
        put(1)
        try:
            yield
        finally:
            put(before)

    def seconds(self, kind: str = "double") -> float:
        """The least time of a product of doubles, or of singles ("float"), in one thread."""
        rows, k, columns = TRY
        integer = ctypes.c_int64 if self.integer == "i64" else ctypes.c_int32
        dtype, number = (np.float64, ctypes.c_double) if kind == "double" else (np.float32, ctypes.c_float)
        a, b, c = (np.ones(shape, dtype) for shape in ((rows, k), (columns, k), (rows, columns)))
        sizes = [ctypes.byref(integer(n)) for n in (columns, rows, k, k, k, columns)]
        one, zero = ctypes.byref(number(1.0)), ctypes.byref(number(0.0))
        arrays = [ctypes.c_void_p(array.ctypes.data) for array in (a, b, c)]
        gemm, times = getattr(self.library, self.dgemm if kind == "double" else self.sgemm), []
        with self.alone():
            for _ in range(REPEATS):
                start = time.thread_time()
                gemm(b"T", b"N", *sizes[:3], one, arrays[1], sizes[3], arrays[0], sizes[4], zero, arrays[2], sizes[5])
                times.append(time.thread_time() - start)
        return min(times)


@cache
def fastest() -> Blas:
    """The faster of those that are installed. Raises OffchainError where neither can be called."""
    found = [blas for blas in (_torch(), _numpy()) if blas is not None]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        best = min(found, key=Blas.seconds, default=None)
    finally:
        torch.set_num_threads(threads)
    if best is None:
        raise OffchainError("neither torch's nor numpy's BLAS can be called here: take --executor torch")
    best.publish()
    return best


def _torch() -> Blas | None:
    path = next((Path(torch.__file__).parent / "lib").glob("libtorch_cpu.*"), None)
    library = ctypes.CDLL(str(path)) if path else None
    return Blas("torch", "i32", library, "dgemm_", "sgemm_") if hasattr(library, "sgemm_") and library else None


def _numpy() -> Blas | None:
    path = next((Path(np.__file__).parent.parent / "numpy.libs").glob("libscipy_openblas64_*"), None)
    if path is None:
        return None
    threads = ("scipy_openblas_get_num_threads64_", "scipy_openblas_set_num_threads64_")
    return Blas("numpy", "i64", ctypes.CDLL(str(path)), "scipy_dgemm_64_", "scipy_sgemm_64_", threads)
