"""Lowering of random words: two maps, since ten rounds of Philox do not fit one program."""

from __future__ import annotations

import torch

from offchain.ir.program import Value
from offchain.lower.philox import ROUNDS, WORDS, philox
from offchain.lower.refs import Ref
from offchain.lower.registry import Context, lowers


@lowers(torch.ops.offchain.random_words.default)
def _random_words(c: Context, t: Ref, seed: int, blocks: int, number: int, domain: int) -> Ref:
    """After half of the rounds the four words of a counter become the columns of one tensor, and again at the end."""
    shape = (blocks, WORDS)

    def first(t: Value) -> Value:
        p = t.program
        return _column(philox((t, p.index(0), p.whole(number), p.whole(domain)), seed, 0, ROUNDS // 2))

    def second(*words: Value) -> Value:
        a, b, c, d = words
        return _column(philox((a, b, c, d), seed, ROUNDS // 2, ROUNDS))

    half = c.builder.generate(shape, first, t)
    return c.builder.generate(shape, second, *(half.slice(1, j, 1).expand(shape) for j in range(WORDS)))


def _column(words: tuple[Value, ...]) -> Value:
    """Word j in column j."""
    out = words[-1]
    for j in reversed(range(WORDS - 1)):
        out = out.program.index(1).eq(j).where(words[j], out)
    return out
