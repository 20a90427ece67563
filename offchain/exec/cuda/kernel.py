"""Launches, and how a generated text becomes a Triton kernel.

The text of a kernel is a file in the cache folder, named by its hash, so that equal work in equal shapes is one kernel.
Triton keeps its machine code in a cache of its own.
"""

from __future__ import annotations

import gc
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import Any, Final, Protocol

import torch

from offchain.errors import BadInput
from offchain.exec.cuda.text import KernelText
from offchain.native.cache import cache_folder, trusted
from offchain.progress import Count

# No product and sum as one, and no library function that flushes subnormals (which Triton asks of it by default).
OPTIONS: Final[Mapping[str, bool]] = {"enable_fp_fusion": False, "enable_reflect_ftz": False}
_SWITCH: Final = Lock()
_HEADER: Final = """import triton
import triton.language as tl

from offchain.exec.cuda import device


@triton.jit
"""


class Launch(Protocol):
    """Work over tensors, whose dtypes it states: buffers are read as those."""

    @property
    def types(self) -> tuple[torch.dtype, ...]: ...

    def __call__(self, *tensors: torch.Tensor) -> None: ...


@dataclass(frozen=True)
class TritonKernel:
    """`name` is the hash of `text`."""

    name: str
    text: str
    grid: tuple[int, ...]
    types: tuple[torch.dtype, ...]

    def __call__(self, *tensors: torch.Tensor) -> None:
        function(self)[self.grid](*tensors, **OPTIONS)

    def prepare(self) -> Any:
        """Compiles it, unless that is done. Returns what Triton makes of it."""
        return function(self).warmup(*self.types, grid=self.grid, **OPTIONS)


@dataclass(frozen=True)
class Fill:
    """Every element becomes `value`."""

    value: int
    types: tuple[torch.dtype, ...] = (torch.int64,)

    def __call__(self, *tensors: torch.Tensor) -> None:
        tensors[0].fill_(self.value)


def kernel(parameters: Mapping[str, torch.dtype], source: KernelText, grid: Sequence[int]) -> TritonKernel:
    text = f"{_HEADER}def run({', '.join(parameters)}):\n" + "\n".join(source.lines) + "\n"
    return TritonKernel(sha256(text.encode()).hexdigest(), text, tuple(grid), tuple(parameters.values()))


def prepare(kernels: Sequence[TritonKernel], watch: Count) -> dict[str, Any]:
    """Compiles kernels for the current device, on all cores. Returns what Triton made, by name."""
    from triton import AsyncCompileMode

    different = {kernel.name: kernel for kernel in kernels}
    with _uncollected(), ThreadPoolExecutor(os.cpu_count()) as threads, AsyncCompileMode(threads) as mode:
        made = {name: kernel.prepare() for name, kernel in different.items()}
        compiled = len(mode.raw_futures)  # none in the interpreter
        for done, _ in enumerate(as_completed(mode.raw_futures), len(made) - compiled + 1):
            watch(done, len(made))
    return made


@contextmanager
def _uncollected() -> Iterator[None]:
    """Turns garbage collection off: a collection lets threads switch inside Python's parser, which counts its depth
    once for all threads and then raises SystemError. Callers take turns, because the switch belongs to the process.
    """
    with _SWITCH:
        before = gc.isenabled()
        gc.disable()
        try:
            yield
        finally:
            if before:
                gc.enable()


def require_triton(device: torch.device) -> None:
    """Raises BadInput where Triton is missing, or cannot run kernels on such a device."""
    try:
        from triton import knobs
    except ImportError:
        raise BadInput(
            f"executor fused needs Triton on {device}: pip install triton, or take --executor torch"
        ) from None
    if device.type == "cpu" and not knobs.runtime.interpret:
        raise BadInput("Triton's kernels run on a CPU only in its interpreter: set TRITON_INTERPRET=1")


@cache
def _functions() -> dict[str, Any]:
    return {}


def function(kernel: TritonKernel) -> Any:
    """The kernel as Triton's function, from the file in the cache folder."""
    known = _functions()
    if kernel.name not in known:
        names: dict[str, Any] = {"__name__": f"offchain.exec.cuda.generated.{kernel.name}"}
        exec(compile(kernel.text, str(_file(kernel)), "exec"), names)  # Triton reads the file again, for its own parser
        known[kernel.name] = names["run"]
    return known[kernel.name]


def _file(kernel: TritonKernel) -> Path:
    """The file of its text, in the cache folder, or in a folder of this process where that is not trusted."""
    folder = cache_folder() if trusted(cache_folder()) else Path(_own_folder().name)
    path = folder / f"{kernel.name}.py"
    try:
        if path.read_text() == kernel.text:
            return path
    except (OSError, UnicodeDecodeError):
        pass
    part = path.with_suffix(f".{os.getpid()}")
    part.write_text(kernel.text)
    part.replace(path)
    return path


@cache
def _own_folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="offchain-kernels-")
