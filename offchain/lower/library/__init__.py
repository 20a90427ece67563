"""Library expansions: transcendental functions as fixed sequences of primitives.

Each states its largest error against the exact value in units in the last place of that value's binade, as measured
by `scripts/ulp.py` (docs/library.md says at which inputs). NaN, infinities, overflow, subnormals and
signed zeros are as in C99, Annex F. Polynomials are minimax fits made for this package, unless they name a source.
"""

from offchain.ir.division import floor_divide, remainder, truncated_divide, truncated_remainder
from offchain.lower.library.basic import clamp, head, horner, with_sign_of
from offchain.lower.library.error import erf, erfc, erfinv
from offchain.lower.library.exponential import exp, exp2, expm1, sigmoid
from offchain.lower.library.gamma import MOST_DERIVATIVES, digamma, lgamma, polygamma, trigamma
from offchain.lower.library.hyperbolic import acosh, asinh, atanh, cosh, sinh, tanh
from offchain.lower.library.inverse import acos, asin, atan, atan2
from offchain.lower.library.logarithm import log, log1p, log2, log10, power, softplus
from offchain.lower.library.remainders import SHORT, floor_quotient, fmod, fmod_begun, modulo
from offchain.lower.library.rounding import (
    ceil,
    floor,
    fmax,
    fmin,
    hypot,
    maximum,
    minimum,
    reciprocal,
    rsqrt,
    trunc,
)
from offchain.lower.library.trigonometric import cos, sin, tan

__all__ = [
    "MOST_DERIVATIVES",
    "SHORT",
    "acos",
    "acosh",
    "asin",
    "asinh",
    "atan",
    "atan2",
    "atanh",
    "ceil",
    "clamp",
    "cos",
    "cosh",
    "digamma",
    "erf",
    "erfc",
    "erfinv",
    "exp",
    "exp2",
    "expm1",
    "floor",
    "floor_divide",
    "floor_quotient",
    "fmax",
    "fmin",
    "fmod",
    "fmod_begun",
    "head",
    "horner",
    "hypot",
    "lgamma",
    "log",
    "log1p",
    "log2",
    "log10",
    "maximum",
    "minimum",
    "modulo",
    "polygamma",
    "power",
    "reciprocal",
    "remainder",
    "rsqrt",
    "sigmoid",
    "sin",
    "sinh",
    "softplus",
    "tan",
    "tanh",
    "trigamma",
    "trunc",
    "truncated_divide",
    "truncated_remainder",
    "with_sign_of",
]
