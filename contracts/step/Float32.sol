// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

/// @title IEEE-754 binary32 on raw bits
/// @notice The primitives of the step graph's numerics. Every function accepts every bit pattern and
/// none reverts. Subnormals are kept, rounding is to nearest with ties to even, and every NaN that
/// comes out is `NAN`, whichever NaN went in.
/// @dev Values are plain `uint32`, because a program's registers are words that float, integer and
/// logical operations share. A finite value is `mantissa * 2^exponent` with integer parts
/// (`_unpack`). Operations compute on these exactly, or note (`sticky`) that a positive rest was cut
/// off below the last bit. `round` packs the result; nothing else rounds to a float.
library Float32 {
    /// @notice The canonical NaN.
    uint32 internal constant NAN = 0x7FC00000;

    uint256 private constant SIGN = 0x80000000;
    uint256 private constant MAGNITUDE = 0x7FFFFFFF;
    uint256 private constant INFINITY = 0x7F800000;

    // ---------------------------------------------------------------- arithmetic

    /// @notice a + b. A sum of opposite equals is +0.
    function add(uint32 a, uint32 b) internal pure returns (uint32) {
        unchecked {
            uint256 x = a & MAGNITUDE;
            uint256 y = b & MAGNITUDE;
            if (y > x) (a, b, x, y) = (b, a, y, x);
            // Infinities and NaNs have the largest magnitudes, so x is one if either is.
            if (x >= INFINITY) return x > INFINITY || (y == INFINITY && a != b) ? NAN : a;

            (uint256 large, int256 exponent_) = _unpack(x);
            (uint256 small, int256 smallExponent) = _unpack(y);
            uint256 gap = uint256(exponent_ - smallExponent);
            // 32 more bits are exact up to that gap. Beyond it the smaller operand is below 2^-8 of the
            // larger one's last bit, too little to move the result, and what is cut off less still.
            large <<= 32;
            small = (small << 32) >> gap;
            exponent_ -= 32;

            if ((a ^ b) & SIGN == 0) return round(a & SIGN, large + small, exponent_, false);
            if (x == y) return 0;
            return round(a & SIGN, large - small, exponent_, false);
        }
    }

    /// @notice a - b.
    function sub(uint32 a, uint32 b) internal pure returns (uint32) {
        return add(a, b ^ uint32(SIGN));
    }

    /// @notice a * b.
    function mul(uint32 a, uint32 b) internal pure returns (uint32) {
        unchecked {
            uint256 sign = (a ^ b) & SIGN;
            uint256 x = a & MAGNITUDE;
            uint256 y = b & MAGNITUDE;
            if (x >= INFINITY || y >= INFINITY) {
                bool invalid = x > INFINITY || y > INFINITY || x == 0 || y == 0;
                return invalid ? NAN : uint32(sign | INFINITY);
            }
            (uint256 m, int256 e) = _unpack(x);
            (uint256 n, int256 f) = _unpack(y);
            return round(sign, m * n, e + f, false);
        }
    }

    /// @notice a / b. A finite nonzero number over a zero is an infinity.
    function div(uint32 a, uint32 b) internal pure returns (uint32) {
        unchecked {
            uint256 sign = (a ^ b) & SIGN;
            uint256 x = a & MAGNITUDE;
            uint256 y = b & MAGNITUDE;
            if (x >= INFINITY || y >= INFINITY) {
                if (x > INFINITY || y > INFINITY || x == y) return NAN;
                return uint32(x == INFINITY ? sign | INFINITY : sign);
            }
            if (y == 0) return x == 0 ? NAN : uint32(sign | INFINITY);

            (uint256 m, int256 e) = _unpack(x);
            (uint256 n, int256 f) = _unpack(y);
            // 48 more bits give a nonzero quotient the 25 that `round` needs beside `sticky`, even
            // for the smallest dividend over the widest divisor.
            m <<= 48;
            uint256 quotient = m / n;
            return round(sign, quotient, e - f - 48, quotient * n != m);
        }
    }

    /// @notice The square root; of -0 it is -0, of other negative numbers NaN.
    function sqrt(uint32 a) internal pure returns (uint32) {
        unchecked {
            if (a & MAGNITUDE == 0) return a;
            if (a >= INFINITY) return a == INFINITY ? a : NAN;

            (uint256 m, int256 e) = _unpack(a);
            // Into [2^50, 2^52) with an even exponent: the root then has 26 bits, and one first
            // approximation serves all.
            uint256 shift = 51 - _log2(m);
            shift -= (uint256(e) ^ shift) & 1;
            m <<= shift;
            // sqrt(t) is within 3.4% of t/3 + 0.694 on [1, 4), which three Newton steps turn into
            // 1e-14; they end at the floor or one above it.
            uint256 root = m / (3 << 25) + 23286776;
            root = (root + m / root) >> 1;
            root = (root + m / root) >> 1;
            root = (root + m / root) >> 1;
            if (root * root > m) --root;
            return round(0, root, (e - int256(shift)) >> 1, root * root != m);
        }
    }

    /// @notice a with the other sign.
    function neg(uint32 a) internal pure returns (uint32) {
        return _isNan(a) ? NAN : a ^ uint32(SIGN);
    }

    /// @notice a without its sign.
    function abs(uint32 a) internal pure returns (uint32) {
        return _isNan(a) ? NAN : a & uint32(MAGNITUDE);
    }

    /// @notice The nearest integer, ties to even, with the sign of `a` even if it is zero.
    function rint(uint32 a) internal pure returns (uint32) {
        unchecked {
            uint256 x = a & MAGNITUDE;
            if (x >= 0x4B000000) return canonical(a); // from 2^23 on, all are integers
            (uint256 m, int256 e) = _unpack(x);
            return round(a & SIGN, _shiftRight(m, uint256(-e), false), 0, false);
        }
    }

    /// @notice a * 2^n with one rounding, for any n.
    function ldexp(uint32 a, int32 n) internal pure returns (uint32) {
        unchecked {
            uint256 x = a & MAGNITUDE;
            if (x >= INFINITY) return canonical(a);
            (uint256 m, int256 e) = _unpack(x);
            return round(a & SIGN, m, e + n, false);
        }
    }

    /// @notice `NAN` for any NaN, otherwise `a`.
    function canonical(uint32 a) internal pure returns (uint32) {
        return _isNan(a) ? NAN : a;
    }

    // ---------------------------------------------------------------- comparison

    /// @notice a == b; the zeros are equal, NaN equals nothing.
    function eq(uint32 a, uint32 b) internal pure returns (bool r) {
        (int256 x, int256 y, bool ordered) = _compare(a, b);
        assembly ("memory-safe") {
            r := and(ordered, eq(x, y))
        }
    }

    /// @notice a < b; the zeros are equal, with NaN it is false.
    function lt(uint32 a, uint32 b) internal pure returns (bool r) {
        (int256 x, int256 y, bool ordered) = _compare(a, b);
        assembly ("memory-safe") {
            r := and(ordered, slt(x, y))
        }
    }

    /// @notice a <= b; the zeros are equal, with NaN it is false.
    function le(uint32 a, uint32 b) internal pure returns (bool r) {
        (int256 x, int256 y, bool ordered) = _compare(a, b);
        assembly ("memory-safe") {
            r := and(ordered, iszero(sgt(x, y)))
        }
    }

    /// @notice A key whose order is total: -infinity, ..., -0, +0, ..., +infinity, NaN. Equal keys
    /// mean equal canonical bits, so that a maximum is unique.
    function orderKey(uint32 a) internal pure returns (int256) {
        unchecked {
            if (_isNan(a)) return int256(uint256(NAN));
            return a & SIGN == 0 ? int256(uint256(a)) : ~int256(a & MAGNITUDE);
        }
    }

    // ---------------------------------------------------------------- integers

    /// @notice The integer part as int32: truncated, saturated at both ends, 0 for NaN.
    function toInt(uint32 a) internal pure returns (int32) {
        unchecked {
            if (_isNan(a)) return 0;
            bool negative = a & SIGN != 0;
            uint256 x = a & MAGNITUDE;
            if (x >= 0x4F000000) return negative ? type(int32).min : type(int32).max; // from 2^31 on
            (uint256 m, int256 e) = _unpack(x);
            int256 i = int256(e < 0 ? m >> uint256(-e) : m << uint256(e));
            return int32(negative ? -i : i);
        }
    }

    /// @notice The float nearest to i, ties to even.
    function fromInt(int32 i) internal pure returns (uint32) {
        return fromScaled(i, 0);
    }

    /// @notice The float nearest to s * 2^k, ties to even, with one rounding: what turns an exact
    /// integer sum into the result of a reduction. +0 for s = 0.
    /// @param s |s| < 2^128
    /// @param k any exponent; |k| < 2^254
    function fromScaled(int256 s, int256 k) internal pure returns (uint32) {
        unchecked {
            return s < 0 ? round(SIGN, uint256(-s), k, false) : round(0, uint256(s), k, false);
        }
    }

    /// @notice frexp's exponent: the least e with |a| < 2^e for finite a != 0; -149 for zeros, 129
    /// for infinities and NaN.
    function exponent(uint32 a) internal pure returns (int256) {
        unchecked {
            uint256 x = a & MAGNITUDE;
            if (x >= INFINITY) return 129;
            uint256 biased = x >> 23;
            if (biased != 0) return int256(biased) - 126;
            return x == 0 ? -149 : int256(_log2(x)) - 148;
        }
    }

    /// @notice The operand of a reduction: a * 2^(p-1-e) rounded to an integer, ties to even, and
    /// clamped to +-(2^(p-1) - 1). NaN gives 0, infinities give the clamp.
    /// @param e the exponent that the operand's row or column shares; |e| < 2^254
    /// @param p bits of the operand; 2 <= p <= 31
    function quant(uint32 a, int256 e, uint256 p) internal pure returns (int256) {
        unchecked {
            uint256 x = a & MAGNITUDE;
            if (x > INFINITY || x == 0) return 0;
            uint256 limit = (1 << (p - 1)) - 1;
            uint256 q = limit;
            if (x != INFINITY) {
                (uint256 m, int256 f) = _unpack(x);
                int256 shift = e - f - int256(p - 1);
                // Less than a half from 25 on, at least the limit from -31 on.
                if (shift > 0) q = shift < 25 ? _shiftRight(m, uint256(shift), false) : 0;
                else if (shift > -31) q = m << uint256(-shift);
                if (q > limit) q = limit;
            }
            return a & SIGN == 0 ? int256(q) : -int256(q);
        }
    }

    // ---------------------------------------------------------------- rounding

    /// @notice The float nearest to (mantissa + d) * 2^exponent_, ties to even.
    /// @param sign 0 or 0x80000000
    /// @param mantissa below 2^128
    /// @param sticky whether there is a d > 0 that was cut off, with d < 1 and unknown; then
    /// mantissa >= 2^24, so that it can only decide ties
    function round(uint256 sign, uint256 mantissa, int256 exponent_, bool sticky) internal pure returns (uint32) {
        unchecked {
            if (mantissa == 0) return uint32(sign);
            int256 top = int256(_log2(mantissa)) + exponent_;
            if (top > 127) return uint32(sign | INFINITY);
            if (top < -150) return uint32(sign); // below half of the least subnormal

            // The result's last bit. Subnormals are what this bound makes, with no second rounding.
            int256 last = top > -126 ? top - 23 : -149;
            // 24 more bits make it a right shift for every mantissa.
            uint256 kept = _shiftRight(mantissa << 24, uint256(last - exponent_ + 24), sticky);
            // The leading bit of a normal `kept` adds the missing one to the exponent field, and a
            // carry out of rounding moves on to the next exponent, up to infinity.
            return uint32(sign | ((uint256(last + 149) << 23) + kept));
        }
    }

    /// @dev (m + d) / 2^shift to the nearest integer, ties to even, for 1 <= shift <= 255 and m below
    /// 2^255; `sticky` as in `round`. Adding just under a half carries exactly when the rest is over
    /// a half; one more makes it carry at a half too.
    function _shiftRight(uint256 m, uint256 shift, bool sticky) private pure returns (uint256 r) {
        assembly ("memory-safe") {
            let up := or(and(shr(shift, m), 1), sticky)
            r := shr(shift, add(m, add(sub(shl(sub(shift, 1), 1), 1), up)))
        }
    }

    /// @dev A finite magnitude as m * 2^e. Subnormals share the least exponent and lack the leading bit.
    function _unpack(uint256 x) private pure returns (uint256 m, int256 e) {
        assembly ("memory-safe") {
            let biased := shr(23, x)
            let subnormal := iszero(biased)
            m := or(and(x, 0x7FFFFF), shl(23, iszero(subnormal)))
            e := sub(or(biased, subnormal), 150)
        }
    }

    /// @dev floor(log2(x)) for 0 < x < 2^128: halving down to four bits, which a table finishes.
    function _log2(uint256 x) private pure returns (uint256 r) {
        assembly ("memory-safe") {
            r := shl(6, gt(x, 0xFFFFFFFFFFFFFFFF))
            r := or(r, shl(5, gt(shr(r, x), 0xFFFFFFFF)))
            r := or(r, shl(4, gt(shr(r, x), 0xFFFF)))
            r := or(r, shl(3, gt(shr(r, x), 0xFF)))
            r := or(r, shl(2, gt(shr(r, x), 0xF)))
            r := or(r, byte(shr(r, x), 0x0000010102020202030303030303030300000000000000000000000000000000))
        }
    }

    /// @dev The operands as integers of the same order, both zeros being 0, and whether no NaN is
    /// among them.
    function _compare(uint32 a, uint32 b) private pure returns (int256 x, int256 y, bool ordered) {
        assembly ("memory-safe") {
            x := and(a, 0x7FFFFFFF)
            y := and(b, 0x7FFFFFFF)
            ordered := iszero(or(gt(x, 0x7F800000), gt(y, 0x7F800000)))
            x := mul(x, sub(1, shl(1, shr(31, and(a, 0xFFFFFFFF)))))
            y := mul(y, sub(1, shl(1, shr(31, and(b, 0xFFFFFFFF)))))
        }
    }

    function _isNan(uint32 a) private pure returns (bool) {
        return a & MAGNITUDE > INFINITY;
    }
}
