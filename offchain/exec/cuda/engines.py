"""Matrix products of integers, exact in whatever the device multiplies fast.

Each engine takes both operands quantised, in its own layout, and gives totals in parts: what a dot sums is the sum of
the parts, each times its weight. Three ways, one result:

- float64 holds every partial sum of a legal dot.
- float32 holds sums of up to 2^24, so that k is cut; only where the device multiplies float32 as such (no TF32).
- int8 holds digits. An integer q of p bits is Σ_n digit_n·256^n with digits from -128 to 127, and so a product is
  Σ_w 256^w · Σ_{i+j=w} A_i·B_j. The inner sums of one w are one product over a longer k: the digits of A lie one
  after the other along k, those of B in the opposite order. int32 holds it for up to 131,071 terms; k is cut above.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

import torch

from offchain.exec.plan.precision import single_is_exact
from offchain.exec.plan.products import SINGLE_BITS, Operand, Product
from offchain.ir.graph import Axis, Input, View, row_major

Tensor = torch.Tensor

INT8_TERMS: Final = (1 << 17) - 1  # products of two int8 whose sum an int32 holds
_EVEN: Final = 16  # what CUDA's int8 product wants rows, columns and k to be multiples of
_LEAST_ROWS: Final = 32  # it takes no fewer than 17 rows


@dataclass(frozen=True)
class Packing:
    """How a quantised operand lies in memory: (batch, rows, chunks of k, digits, k within a chunk) at its strides."""

    dtype: torch.dtype
    sizes: tuple[int, int, int, int, int]
    places: tuple[int, int, int, int, int]
    strides: tuple[int, ...]  # of the axes that the operand is read over, without k
    length: int
    backwards: bool = False  # the order of digits

    @property
    def kind(self) -> str:
        """The name that Triton has for the dtype."""
        return str(self.dtype).removeprefix("torch.")

    @property
    def digits(self) -> int:
        return self.sizes[3]

    @property
    def padded(self) -> int:
        """k with the zeros behind it."""
        return self.sizes[2] * self.sizes[4]

    def place(self, k: str) -> str:
        """Where k lies, as an expression."""
        span = self.sizes[4]
        return f"{k} * {self.places[4]}" if self.sizes[2] == 1 else f"({k} // {span}) * {self.places[2]} + {k} % {span}"

    def digit(self, n: int) -> int:
        """Where digit n lies, counted from the least."""
        return (self.digits - 1 - n if self.backwards else n) * self.places[3]

    def view(self, packed: Tensor) -> Tensor:
        return packed[: self.length].as_strided(self.sizes, self.places)

    def pack(self, q: Tensor) -> Tensor:
        """Integers (batch, rows, k) in this layout, by torch."""
        packed = torch.zeros(self.length, dtype=self.dtype, device=q.device)
        batch, rows, extent = q.shape
        whole = torch.zeros((batch, rows, self.padded), dtype=q.dtype, device=q.device)
        whole[:, :, :extent] = q
        rest = whole.reshape(batch, rows, self.sizes[2], self.sizes[4])
        for n in range(self.digits):
            last = n == self.digits - 1
            digit = rest if last else ((rest + 128) & 255) - 128
            self.view(packed)[:, :rows, :, self.digits - 1 - n if self.backwards else n] = digit.to(self.dtype)
            rest = (rest - digit) >> 8
        return packed


@dataclass(frozen=True)
class Engine(ABC):
    """One way to the totals of one product. Called with totals (parts, batch, rows, columns) and both operands."""

    product: Product
    bits: int

    name = ""

    @property
    @abstractmethod
    def packings(self) -> tuple[Packing, Packing]:
        """How the operands lie."""

    @property
    @abstractmethod
    def weights(self) -> tuple[int, ...]:
        """The weight of each part of the totals."""

    @property
    @abstractmethod
    def total(self) -> torch.dtype:
        """Type of the totals."""

    @abstractmethod
    def __call__(self, *tensors: Tensor) -> None: ...

    @property
    def types(self) -> tuple[torch.dtype, ...]:
        return self.total, *(packing.dtype for packing in self.packings)

    @property
    def rows(self) -> tuple[int, int]:
        """Rows and columns of a total, those included that nobody reads."""
        first, second = self.packings
        return first.sizes[1], second.sizes[1]

    @property
    def part(self) -> int:
        """Elements of a part."""
        return self.product.batch * self.rows[0] * self.rows[1]

    @property
    def read(self) -> Input:
        """The read of a part at the node's coordinates."""
        first, second, item = self.product.first.rows, self.product.second.rows, self.product.total
        outer, inner = self.rows

        def moved(stride: int) -> int:
            if stride < second:
                return stride
            return stride // second * inner if stride < first * second else stride // (first * second) * outer * inner

        axes = tuple(Axis(moved(axis.stride), axis.lo, axis.hi) for axis in item.view.axes)
        return replace(item, length=self.part, view=View(item.view.offset, axes))

    def whole(self, totals: Tensor) -> Tensor:
        """The exact sums as int64 (batch, rows, columns), by torch."""
        outer, inner = self.rows
        parts = totals[: len(self.weights) * self.part].view(len(self.weights), self.product.batch, outer, inner)
        whole = torch.zeros((self.product.batch, outer, inner), dtype=torch.int64, device=totals.device)
        for part, weight in zip(parts, self.weights, strict=True):
            whole += part.long() * weight
        return whole[:, : self.product.first.rows, : self.product.second.rows]


class Float(Engine):
    """Products in a floating-point type that holds every partial sum of `longest` terms."""

    @property
    def longest(self) -> int:
        return self.product.extent

    @property
    def total(self) -> torch.dtype:
        return torch.float64

    @property
    def weights(self) -> tuple[int, ...]:
        return (1,) * -(-self.product.extent // self.longest)

    @cached_property
    def packings(self) -> tuple[Packing, Packing]:
        return self._packing(self.product.first), self._packing(self.product.second)

    def _packing(self, side: Operand) -> Packing:
        batch, extent = self.product.batch, self.product.extent
        row, k = (1, side.rows) if side.down else (extent, 1)
        sizes, size = (batch, side.rows, 1, 1, extent), side.rows * extent
        return Packing(self.total, sizes, (size, row, 0, 0, k), side.strides[:-1], batch * size)

    def __call__(self, *tensors: Tensor) -> None:
        totals, *packed = tensors
        first, second = (p.view(q)[:, :, 0, 0] for p, q in zip(self.packings, packed, strict=True))
        out = totals[: len(self.weights) * self.part].view(len(self.weights), self.product.batch, *self.rows)
        for n, part in enumerate(out):
            k = slice(n * self.longest, (n + 1) * self.longest)
            self._multiply(first[:, :, k], second[:, :, k].transpose(1, 2), part)

    def _multiply(self, a: Tensor, b: Tensor, out: Tensor) -> None:
        torch.bmm(a, b, out=out)


class Float64(Float):
    name = "float64"


class Float32(Float):
    name = "float32"

    @property
    def longest(self) -> int:
        return self.product.longest

    @property
    def total(self) -> torch.dtype:
        return torch.float32

    def _multiply(self, a: Tensor, b: Tensor, out: Tensor) -> None:
        if single_is_exact():
            torch.bmm(a, b, out=out)
        else:  # somebody allowed TF32 since the engine was chosen
            out.copy_(torch.bmm(a.double(), b.double()))


class Int8(Engine):
    name = "int8"

    @property
    def total(self) -> torch.dtype:
        return torch.int32

    @property
    def weights(self) -> tuple[int, ...]:
        chunks, digits = self.packings[0].sizes[2:4]
        return tuple(256**w for _ in range(chunks) for w in range(2 * digits - 1))

    @cached_property
    def packings(self) -> tuple[Packing, Packing]:
        return self._packing(self.product.first, False), self._packing(self.product.second, True)

    def _packing(self, side: Operand, backwards: bool) -> Packing:
        digits = digits_of(self.bits)
        span = min(_even(self.product.extent), INT8_TERMS // digits // _EVEN * _EVEN)
        chunks = -(-self.product.extent // span)
        rows = max(_even(side.rows), _LEAST_ROWS)
        row = chunks * digits * span
        places = (rows * row, row, digits * span, span, 1)
        strides = tuple(s * row if s < side.rows else s // side.rows * places[0] for s in row_major(side.shape))
        sizes = (self.product.batch, rows, chunks, digits, span)
        return Packing(torch.int8, sizes, places, strides, self.product.batch * places[0], backwards)

    def __call__(self, *tensors: Tensor) -> None:
        totals, *packed = tensors
        first, second = (p.view(q).flatten(3) for p, q in zip(self.packings, packed, strict=True))
        _, _, chunks, digits, span = self.packings[0].sizes
        out = totals[: len(self.weights) * self.part].view(chunks, -1, self.product.batch, *self.rows)
        for c in range(chunks):
            for w in range(2 * digits - 1):
                low, high = max(0, w - digits + 1), min(w, digits - 1) + 1
                start = digits - 1 - w + low
                a = first[:, :, c, low * span : high * span]
                b = second[:, :, c, start * span : (start + high - low) * span]
                for n in range(self.product.batch):
                    torch._int_mm(a[n], b[n].t(), out=out[c, w, n])


def digits_of(bits: int) -> int:
    """The number of digits from -128 to 127 that hold integers of `bits` bits, both ends included."""
    digits = 1
    while 127 * (256**digits - 1) // 255 < (1 << (bits - 1)) - 1:
        digits += 1
    return digits


def engines(product: Product, bits: int) -> list[Engine]:
    """The engines that give exact totals for this product, float64 first."""
    single = bits <= SINGLE_BITS and product.kind == "float" and single_is_exact()
    return [Float64(product, bits), *([Float32(product, bits)] if single else []), Int8(product, bits)]


def _even(n: int) -> int:
    return -(-n // _EVEN) * _EVEN


def named(choices: Sequence[Engine], name: str) -> Engine | None:
    return next((engine for engine in choices if engine.name == name), None)
