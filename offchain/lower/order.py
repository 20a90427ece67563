"""The default data order: uniform sampling with a counter-based generator, in int32 torch operations."""

from __future__ import annotations

from torch import Tensor

from offchain.lower.philox import high_product, random_words


def uniform_rows(t: Tensor, seed: int, rows: int, count: int) -> Tensor:
    """`count` rows out of `rows`, int32, with replacement, for step t (an int32 scalar).

    Row = high half of word·rows, whose bias is below rows/2^32.
    """
    return high_product(random_words(t, seed, count), rows).reshape(-1)[:count]
