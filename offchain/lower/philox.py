"""Philox4x32-10 (Salmon et al., 2011): random words as a pure function of a counter, so that anybody can compute the
words of any step alone. The rounds are written once, for torch tensors and for values of a `map` program.
"""

from __future__ import annotations

from typing import Final, TypeVar

import torch
from torch import Tensor

from offchain.ir.program import Value

WORDS: Final = 4  # that one counter gives
ROUNDS: Final = 10
_MULTIPLIERS: Final = (0xD2511F53, 0xCD9E8D57)
_WEYL: Final = (0x9E3779B9, 0xBB67AE85)
Word = TypeVar("Word", Tensor, Value)  # int32, wrapping


def random_words(t: Tensor, seed: int, count: int, number: int = 0, domain: int = 0) -> Tensor:
    """At least `count` words, int32 of shape (blocks, 4): block i is that of counter (t, i, number, domain).

    `t` is an int32 scalar; `seed` (64 bits) is the key. In a captured step this is a single operation.
    """
    key = (seed & 0xFFFFFFFFFFFFFFFF) - ((seed >> 63 & 1) << 64)
    words: Tensor = torch.ops.offchain.random_words(t, key, -(-count // WORDS), number, domain)
    return words


def _random_words(t: Tensor, seed: int, blocks: int, number: int, domain: int) -> Tensor:
    block = torch.arange(blocks, dtype=torch.int32, device=t.device)
    counter = (t.expand(blocks), block, torch.full_like(block, number), torch.full_like(block, domain))
    return torch.stack(philox(counter, seed), 1)


def philox(
    words: tuple[Word, Word, Word, Word], seed: int, start: int = 0, end: int = ROUNDS
) -> tuple[Word, Word, Word, Word]:
    """The four words after rounds start to end: of a counter if all are done."""
    for round_ in range(start, end):
        k0, k1 = (_signed((seed >> 32 * i) + round_ * _WEYL[i]) for i in range(2))
        a, b, c, d = words
        words = (
            high_product(c, _MULTIPLIERS[1]) ^ b ^ k0,
            c * _signed(_MULTIPLIERS[1]),
            high_product(a, _MULTIPLIERS[0]) ^ d ^ k1,
            a * _signed(_MULTIPLIERS[0]),
        )
    return words


def high_product(x: Word, factor: int) -> Word:
    """High 32 bits of the unsigned product with a constant, from 16-bit limbs."""
    low, high = x & 0xFFFF, _shift16(x)
    factor_low, factor_high = factor & 0xFFFF, factor >> 16
    middle = high * factor_low + _shift16(low * factor_low)
    other = low * factor_high + (middle & 0xFFFF)
    return high * factor_high + _shift16(middle) + _shift16(other)


def _shift16(x: Word) -> Word:
    return (x >> 16) & 0xFFFF


def _signed(word: int) -> int:
    word &= 0xFFFFFFFF
    return word - (1 << 32) if word >> 31 else word


LIBRARY: Final = torch.library.Library("offchain", "DEF")  # type: ignore[no-untyped-call]
LIBRARY.define("random_words(Tensor t, int seed, int blocks, int number, int domain) -> Tensor")  # type: ignore[no-untyped-call]
LIBRARY.impl("random_words", _random_words, "CompositeExplicitAutograd")  # type: ignore[no-untyped-call]
