"""Integer division by constants, as fixed sequences of primitives."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from offchain.errors import Unsupported
from offchain.ir.program import ProgramBuilder, Value


def multiply_high(x: Value, factor: int) -> Value:
    """High 32 bits of the unsigned 64-bit product with a constant, from 16-bit limbs."""
    low, high = x & 0xFFFF, x.shr(16)
    factor_low, factor_high = factor & 0xFFFF, factor >> 16
    middle = high * factor_low + (low * factor_low).shr(16)
    other = low * factor_high + (middle & 0xFFFF)
    return high * factor_high + middle.shr(16) + other.shr(16)


def floor_divide(x: Value, divisor: int) -> Value:
    """⌊x/divisor⌋ for any int32 and a positive constant: multiply-high by a rounded-up reciprocal, exact for 31 bits
    (Granlund and Montgomery, 1994). A negative x goes through ~x, since ⌊x/d⌋ = ~⌊~x/d⌋.
    """
    if divisor < 1:
        raise Unsupported(f"integer division by {divisor}; only positive constants are supported")
    if divisor & (divisor - 1) == 0:
        return x >> (divisor.bit_length() - 1)
    if divisor >= 1 << 31:
        return x >> 31
    shift = (divisor - 1).bit_length()
    magic = -(-(1 << (31 + shift)) // divisor)
    with _wrapping(x.program):
        sign = x >> 31
        quotient = multiply_high(x ^ sign, magic).shr(shift - 1) ^ sign
    return _bounded(quotient, x.bounds[0] // divisor, x.bounds[1] // divisor)


@contextmanager
def _wrapping(program: ProgramBuilder) -> Iterator[None]:
    """While open, integers may wrap: these are halves of longer ones."""
    checked, program.checked = program.checked, False
    yield
    program.checked = checked


def _bounded(x: Value, low: int, high: int) -> Value:
    return Value(x.program, x.id, x.dtype, (low, high))


def remainder(x: Value, divisor: int) -> Value:
    """x − divisor·⌊x/divisor⌋, in [0, divisor)."""
    if divisor & (divisor - 1) == 0 and divisor > 0:
        return x & (divisor - 1)
    with _wrapping(x.program):  # the multiple may: the difference is right by its last 32 bits
        rest = x - floor_divide(x, divisor) * divisor
    return _bounded(rest, 0, divisor - 1)


def truncated_divide(x: Value, divisor: int) -> Value:
    """x/divisor rounded towards 0, for a positive constant."""
    if x.bounds[0] >= 0 or divisor < 2:
        return floor_divide(x, divisor)
    with _wrapping(x.program):  # no sum does, as what is added to is negative
        quotient = floor_divide(x.lt(0).where(x + (divisor - 1), x), divisor)
    low, high = x.bounds
    return _bounded(quotient, -(-low // divisor), high // divisor if high >= 0 else -(-high // divisor))


def truncated_remainder(x: Value, divisor: int) -> Value:
    """x − divisor·truncated_divide(x, divisor), in (−divisor, divisor), with the sign of x."""
    with _wrapping(x.program):
        rest = x - truncated_divide(x, divisor) * divisor
    return _bounded(rest, max(1 - divisor, min(x.bounds[0], 0)), min(divisor - 1, max(x.bounds[1], 0)))
