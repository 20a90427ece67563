"""Library expansions: transcendental functions as fixed sequences of primitives.

Each states its largest error against the exact value in units in the last place of that value's binade, as measured
at all 2^32 inputs by `scripts/ulp.py` (docs/library.md holds its table). NaN, infinities, overflow, subnormals and
signed zeros are as in C99, Annex F. Polynomials are minimax fits made for this package, unless they name a source.
"""

from offchain.lower.library.basic import clamp, head, horner, with_sign_of
from offchain.lower.library.error import erf
from offchain.lower.library.exponential import exp, exp2, expm1, sigmoid, tanh
from offchain.lower.library.logarithm import log, log1p, log2, log10, power, softplus
from offchain.lower.library.rounding import (
    ceil,
    floor,
    floor_divide,
    maximum,
    minimum,
    reciprocal,
    remainder,
    rsqrt,
    trunc,
)
from offchain.lower.library.trigonometric import cos, sin, tan

__all__ = [
    "ceil",
    "clamp",
    "cos",
    "erf",
    "exp",
    "exp2",
    "expm1",
    "floor",
    "floor_divide",
    "head",
    "horner",
    "log",
    "log1p",
    "log2",
    "log10",
    "maximum",
    "minimum",
    "power",
    "reciprocal",
    "remainder",
    "rsqrt",
    "sigmoid",
    "sin",
    "softplus",
    "tan",
    "tanh",
    "trunc",
    "with_sign_of",
]
