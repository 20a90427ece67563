"""The BLAS of torch and of NumPy, called from the kernels' own threads.

A sum of integers is the same in any order, so any BLAS gives it. NumPy's was the faster one wherever both were measured
(docs/decisions/0010); torch's is taken where it is clearly faster.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import llvmlite.binding as llvm
import numpy as np
import torch

from offchain.errors import OffchainError
from offchain.exec.fused.choice import Choices, Run
from offchain.native.jit import compiler

TRY: Final = (192, 512, 256)  # rows, k, columns of a product that is worth a few milliseconds


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

    def product(self) -> Run:
        """A product of doubles, in one thread."""
        rows, k, columns = TRY
        integer = ctypes.c_int64 if self.integer == "i64" else ctypes.c_int32
        a, b, c = (np.ones(shape) for shape in ((rows, k), (columns, k), (rows, columns)))
        sizes = [ctypes.byref(integer(n)) for n in (columns, rows, k, k, k, columns)]
        one, zero = ctypes.byref(ctypes.c_double(1.0)), ctypes.byref(ctypes.c_double(0.0))
        gemm = getattr(self.library, self.dgemm)

        def run() -> None:
            at = [ctypes.c_void_p(array.ctypes.data) for array in (a, b, c)]
            with self.alone():
                gemm(b"T", b"N", *sizes[:3], one, at[1], sizes[3], at[0], sizes[4], zero, at[2], sizes[5])

        return run


def calls_blas(text: str) -> bool:
    """Whether a kernel of that text calls one."""
    return any(f"@{name}_" in text for name in _INSTALLED)


@cache
def fastest() -> Blas:
    """The one to use here. Raises OffchainError where none can be called."""
    found = {name: blas for name, find in _INSTALLED.items() if (blas := find()) is not None}
    if not found:
        raise OffchainError("neither torch's nor numpy's BLAS can be called here: take --executor torch")
    choices = Choices(f"{compiler().processor}, numpy {np.__version__}, torch {torch.__version__}")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        best = found[choices.choose("blas", next(iter(found)), {name: blas.product for name, blas in found.items()})]
    finally:
        torch.set_num_threads(threads)
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


_INSTALLED: Final[dict[str, Callable[[], Blas | None]]] = {"numpy": _numpy, "torch": _torch}
