"""Discrete Fourier transforms, by products with small matrices of roots of unity (Cooley and Tukey, 1965).

A length n = a·b is a transform of length a, a factor for each element, and one of length b. Each is an exact sum of
operands of 22 bits or more, whatever the job's bits, so an output is off by about 2^-22 of the largest input of its
line for each of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, partial
from math import prod, sqrt
from typing import Any, Final

import numpy as np
import torch

from offchain.errors import Unsupported
from offchain.ir.arrays import Array
from offchain.ir.kinds import Kind
from offchain.ir.legality import most_bits
from offchain.ir.program import F32, Value
from offchain.lower.builder import GraphBuilder
from offchain.lower.pairs import mapped, pairs, product
from offchain.lower.refs import Complex, Ref
from offchain.lower.registry import Context
from offchain.lower.shapes import concatenated

aten = torch.ops.aten
LONGEST: Final = 1 << 16
DIRECT: Final = 64  # lengths up to here are one product
PRIME: Final = 512  # the largest prime length that is one product


@cache
def _split(n: int) -> int:
    """The largest factor of n up to DIRECT: n itself, or the first of two lengths; n for a prime up to PRIME."""
    if n <= DIRECT:
        return n
    factor = max(a for a in range(1, DIRECT + 1) if n % a == 0)
    if factor == 1 and n > PRIME:
        raise Unsupported(
            f"a Fourier transform whose length has the factor {n}; at most {PRIME}: give n=, which pads or crops to it"
        )
    return n if factor == 1 else factor


def _roots(rows: int, columns: int, n: int, sign: int) -> tuple[Array, Array]:
    """exp(sign·2πi·j·k/n) for rows j and columns k."""
    angle = 2 * np.pi / n * (np.outer(np.arange(rows), np.arange(columns)) % n)
    return np.cos(angle).astype(np.float32), (sign * np.sin(angle)).astype(np.float32)


def _constant(builder: GraphBuilder, parts: tuple[Array, Array]) -> Complex:
    real, imag = (builder.constant(np.ascontiguousarray(part)) for part in parts)
    return Complex(real, imag)


def _each(z: Complex, f: Any) -> Complex:
    return Complex(f(z.real), f(z.imag))


def transform(c: Context, z: Complex, sign: int) -> Complex:
    """Σ_j z[…, j]·exp(sign·2πi·j·k/n) along the last axis of a tensor of shape (lines, n)."""
    lines, n = z.shape
    first = _split(n)
    if first == n:
        matrix = _constant(c.builder, _roots(n, n, n, sign))  # symmetric
        bits = most_bits(Kind.DOT, 2 * n)
        return product(c.builder, _each(z, lambda x: x.unsqueeze(1)), _each(matrix, lambda x: x.unsqueeze(0)), bits)
    rest = n // first

    def turned(ref: Ref, shape: tuple[int, ...], out: tuple[int, ...]) -> Ref:
        return c.builder.reshape(c.builder.reshape(ref, shape).permute([0, 2, 1]), out)

    inner = _each(z, lambda x: turned(x, (lines, first, rest), (lines * rest, first)))
    inner = transform(c, inner, sign)
    factors = _constant(c.builder, _roots(rest, first, n, sign))
    wide = _each(inner, lambda x: c.builder.reshape(x, (lines, rest, first)))
    twisted = mapped(c, lambda p, q, r, s: p * r - q * s, lambda p, q, r, s: p * s + q * r, wide, factors)
    outer = transform(c, _each(twisted, lambda x: turned(x, (lines, rest, first), (lines * first, rest))), sign)
    return _each(outer, lambda x: turned(x, (lines, first, rest), (lines, n)))


def along(c: Context, z: Complex, dim: int, sign: int) -> Complex:
    """The transform along one axis of any tensor."""
    order = [*(d for d in range(len(z.shape)) if d != dim), dim]
    shape = tuple(z.shape[d] for d in order)
    n = shape[-1]
    if n > LONGEST:
        raise Unsupported(f"a Fourier transform of {n} points; at most {LONGEST}: transform windows of it")

    def rows(x: Ref) -> Ref:
        return c.builder.reshape(c.builder.solid(x).permute(order), (prod(shape[:-1]), n))

    made = transform(c, _each(z, rows), sign)
    return _each(made, lambda x: c.builder.reshape(x, shape).permute([order.index(d) for d in range(len(order))]))


def _scaled(c: Context, z: Complex, points: int, normalization: int) -> Complex:
    """torch's numbers: 0 as it is, 1 by the root of the number of points, 2 by the number."""
    by = (1.0, 1 / sqrt(points), 1 / points)[normalization]
    return z if by == 1 else _each(z, lambda x: c.builder.map(lambda v: v * by, x))


@pairs(aten._fft_c2c.default)
def _c2c(c: Context, z: Complex, dims: Sequence[int], normalization: int, forward: bool) -> Complex:
    axes = [d % len(z.shape) for d in dims]
    for d in axes:
        z = along(c, z, d, -1 if forward else 1)
    return _scaled(c, z, prod(z.shape[d] for d in axes), normalization)


@pairs(aten._fft_r2c.default)
def _r2c(c: Context, x: Ref, dims: Sequence[int], normalization: int, onesided: bool) -> Complex:
    axes = [d % len(x.shape) for d in dims]
    z = along(c, Complex.of(x), axes[-1], -1)
    if onesided:
        last = axes[-1]
        z = _each(z, lambda part: part.slice(last, 0, part.shape[last] // 2 + 1))
    for d in axes[:-1]:
        z = along(c, z, d, -1)
    return _scaled(c, z, prod(x.shape[d] for d in axes), normalization)


@pairs(aten._fft_c2r.default)
def _c2r(c: Context, z: Complex, dims: Sequence[int], normalization: int, size: int) -> Ref:
    """Of the half that is given and its mirror image; elements that mirror themselves are taken for real."""
    axes = [d % len(z.shape) for d in dims]
    for d in axes[:-1]:
        z = along(c, z, d, 1)
    last = axes[-1]
    real, imag = (c.builder.solid(part).slice(last, 0, size // 2 + 1) for part in (z.real, z.imag))
    imag = c.builder.generate(imag.shape, partial(_own_mirror, last, size), imag)
    made = along(c, Complex(_mirrored(c, real, last, size, 1.0), _mirrored(c, imag, last, size, -1.0)), last, 1)
    points = prod(z.shape[d] for d in axes[:-1]) * size
    return _scaled(c, made, points, normalization).real


def _own_mirror(axis: int, size: int, v: Value) -> Value:
    """0 at elements that mirror themselves: the first, and that in the middle of an even length."""
    at = v.program.index(axis)
    own = at.eq(0) if size % 2 else at.eq(0) | at.eq(size // 2)
    return own.where(0.0, v)


def _mirrored(c: Context, part: Ref, axis: int, size: int, sign: float) -> Ref:
    half = (size - 1) // 2
    if not half:
        return part
    tail = part.slice(axis, half, half, -1)
    return concatenated(c.builder, [part, c.builder.map(lambda v: v * sign, tail)], axis, F32)
