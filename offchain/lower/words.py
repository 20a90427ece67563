"""Lowerings of random words and of shifts."""

from __future__ import annotations

import torch

from offchain.errors import Unsupported
from offchain.ir.program import Value
from offchain.lower.philox import ROUNDS, WORDS, philox
from offchain.lower.refs import Ref
from offchain.lower.registry import Context, lowers

aten = torch.ops.aten


@lowers(torch.ops.offchain.random_words.default)
def _random_words(c: Context, t: Ref, seed: int, blocks: int, number: int, domain: int) -> Ref:
    """Two maps, since ten rounds of Philox do not fit one program.

    After half of the rounds the four words of a counter become the columns of one tensor, and again at the end.
    """
    shape = (blocks, WORDS)

    def first(t: Value) -> Value:
        p = t.program
        return _column(philox((t, p.index(0), p.whole(number), p.whole(domain)), seed, 0, ROUNDS // 2))

    def second(*words: Value) -> Value:
        a, b, c, d = words
        return _column(philox((a, b, c, d), seed, ROUNDS // 2, ROUNDS))

    half = c.builder.generate(shape, first, t)
    return c.builder.generate(shape, second, *(half.slice(1, j, 1).expand(shape) for j in range(WORDS)))


@lowers(aten.bitwise_left_shift.Tensor_Scalar, aten.__lshift__.Scalar)
def _left(c: Context, x: Ref, count: int) -> Ref:
    """By as many bits as torch's integers have, or more, nothing is left."""
    if not 0 <= count < (64 if c.checked else 32):
        return Ref.constant(c.dtype, 0, c.shape)
    if count > 31:
        raise Unsupported(f"64-bit integers that are shifted by {count} do not fit int32; use smaller, or float32")
    return c.elementwise(lambda v: v << count, x)


@lowers(aten.bitwise_right_shift.Tensor_Scalar, aten.__rshift__.Scalar)
def _right(c: Context, x: Ref, count: int) -> Ref:
    """By as many bits as an int32 has, or more, its sign is left."""
    shift = min(count, 31) if count >= 0 else 31
    return c.elementwise(lambda v: v >> shift, x)


def _column(words: tuple[Value, ...]) -> Value:
    """Word j in column j."""
    out = words[-1]
    for j in reversed(range(WORDS - 1)):
        out = out.program.index(1).eq(j).where(words[j], out)
    return out
