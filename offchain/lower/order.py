"""The default data order: uniform sampling with a counter-based generator, in int32 torch operations.

Philox4x32-10 (Salmon et al., 2011): a pure function of seed, step and position, so that anybody can compute the
rows of any step alone. The same function runs eagerly and traced into the graph.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

_MULTIPLIERS: Final = (0xD2511F53, 0xCD9E8D57)
_WEYL: Final = (0x9E3779B9, 0xBB67AE85)
_ROUNDS: Final = 10
_WORDS: Final = 4


def uniform_rows(t: Tensor, seed: int, rows: int, count: int) -> Tensor:
    """`count` rows out of `rows`, int32, with replacement, for step t (an int32 scalar).

    Row = high half of word·rows, whose bias is below rows/2^32.
    """
    blocks = -(-count // _WORDS)
    counter = torch.arange(blocks, dtype=torch.int32).reshape(blocks, 1).expand(blocks, _WORDS)
    step = t.expand(blocks, _WORDS)
    zero = torch.zeros((blocks, _WORDS), dtype=torch.int32)
    return high_product(philox((step, counter, zero, zero), seed), rows).reshape(-1)[:count]


def philox(counters: tuple[Tensor, Tensor, Tensor, Tensor], seed: int) -> Tensor:
    """Philox4x32-10 words of counters of shape (n, 4) that are equal along each row; word j in column j.

    Half-way the four words become the columns of one tensor, so that fusion makes two nodes of it all.
    """
    words = counters
    keys = (seed & 0xFFFFFFFF, seed >> 32 & 0xFFFFFFFF)
    for round_ in range(_ROUNDS):
        if round_ == _ROUNDS // 2:
            columns = _columns(words)
            a, b, c, d = (columns[:, j : j + 1].expand(columns.shape) for j in range(_WORDS))
            words = (a, b, c, d)
        k0, k1 = (_signed(key + round_ * weyl) for key, weyl in zip(keys, _WEYL, strict=True))
        a, b, c, d = words
        words = (
            high_product(c, _MULTIPLIERS[1]) ^ b ^ k0,
            c * _signed(_MULTIPLIERS[1]),
            high_product(a, _MULTIPLIERS[0]) ^ d ^ k1,
            a * _signed(_MULTIPLIERS[0]),
        )
    return _columns(words)


def high_product(x: Tensor, factor: int) -> Tensor:
    """High 32 bits of the unsigned product of int32 words with a constant, from 16-bit limbs."""
    low, high = x & 0xFFFF, _shift16(x)
    factor_low, factor_high = factor & 0xFFFF, factor >> 16
    middle = high * factor_low + _shift16(low * factor_low)
    other = low * factor_high + (middle & 0xFFFF)
    return high * factor_high + _shift16(middle) + _shift16(other)


def _columns(words: tuple[Tensor, ...]) -> Tensor:
    column = torch.arange(_WORDS, dtype=torch.int32)
    out = words[-1]
    for j in range(_WORDS - 1):
        out = torch.where(column == j, words[j], out)
    return out


def _shift16(x: Tensor) -> Tensor:
    return (x >> 16) & 0xFFFF


def _signed(word: int) -> int:
    word &= 0xFFFFFFFF
    return word - (1 << 32) if word >> 31 else word
