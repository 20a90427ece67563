// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {Float32} from "../step/Float32.sol";

/// @title Runs Float32 over many cases in one call, and measures its gas
contract Float32Harness {
    /// @dev `Identity` converts its first operand and returns it.
    enum Op {
        Identity,
        Add,
        Sub,
        Mul,
        Div,
        Sqrt,
        Neg,
        Abs,
        Rint,
        Ldexp,
        Canonical,
        Eq,
        Lt,
        Le,
        OrderKey,
        ToInt,
        FromInt,
        FromScaled,
        Exponent,
        Quant
    }

    /// @notice Applies `op` to each case, whose operands stand first; the rest is not read.
    /// @return results floats as their bits, booleans as 0 or 1
    /// @return dearest gas of the dearest case; `Identity` tells how much of it is measuring
    function batch(Op op, int256[3][] calldata cases)
        external
        view
        returns (int256[] memory results, uint256 dearest)
    {
        function(int256, int256, int256) view returns (int256, uint256) f = _functions()[uint256(op)];
        results = new int256[](cases.length);
        unchecked {
            for (uint256 i; i < cases.length; ++i) {
                int256[3] calldata operands = cases[i];
                (int256 r, uint256 g) = f(operands[0], operands[1], operands[2]);
                results[i] = r;
                if (g > dearest) dearest = g;
            }
        }
    }

    /// @dev Each function measures itself, because the way to it is not equally long for all.
    function _functions()
        private
        pure
        returns (function(int256, int256, int256) view returns (int256, uint256)[20] memory)
    {
        return [
            _identity, _add, _sub, _mul, _div, _sqrt, _neg, _abs, _rint, _ldexp,
            _canonical, _eq, _lt, _le, _orderKey, _toInt, _fromInt, _fromScaled, _exponent, _quant
        ];
    }

    function _identity(int256 x, int256, int256) private view returns (int256 r, uint256 g) {
        g = gasleft();
        r = _out(_word(x));
        g -= gasleft();
    }

    function _add(int256 x, int256 y, int256) private view returns (int256 r, uint256 g) {
        g = gasleft();
        r = _out(Float32.add(_word(x), _word(y)));
        g -= gasleft();
    }

    function _sub(int256 x, int256 y, int256) private view returns (int256 r, uint256 g) {
        g = gasleft();
        r = _out(Float32.sub(_word(x), _word(y)));
        g -= gasleft();
    }

    function _mul(int256 x, int256 y, int256) private view returns (int256 r, uint256 g) {
        g = gasleft();
        r = _out(Float32.mul(_word(x), _word(y)));
        g -= gasleft();
    }

    function _div(int256 x, int256 y, int256) private view returns (int256 r, uint256 g) {
        g = gasleft();
        r = _out(Float32.div(_word(x), _word(y)));
        g -= gasleft();
    }

    function _sqrt(int256 x, int256, int256) private view returns (int256 r, uint256 g) {
        g = gasleft();
        r = _out(Float32.sqrt(_word(x)));
        g -= gasleft();
    }

    function _neg(int256 x, int256, int256) private view returns (int256 r, uint256 g) {
        g = gasleft();
        r = _out(Float32.neg(_word(x)));
        g -= gasleft();
    }

    function _abs(int256 x, int256, int256) private view returns (int256 r, uint256 g) {
        g = gasleft();
        r = _out(Float32.abs(_word(x)));
        g -= gasleft();
    }

    function _rint(int256 x, int256, int256) private view returns (int256 r, uint256 g) {
        g = gasleft();
        r = _out(Float32.rint(_word(x)));
        g -= gasleft();
    }

    function _ldexp(int256 x, int256 y, int256) private view returns (int256 r, uint256 g) {
        g = gasleft();
        r = _out(Float32.ldexp(_word(x), int32(y)));
        g -= gasleft();
    }

    function _canonical(int256 x, int256, int256) private view returns (int256 r, uint256 g) {
        g = gasleft();
        r = _out(Float32.canonical(_word(x)));
        g -= gasleft();
    }

    function _eq(int256 x, int256 y, int256) private view returns (int256 r, uint256 g) {
        g = gasleft();
        r = _out(Float32.eq(_word(x), _word(y)));
        g -= gasleft();
    }

    function _lt(int256 x, int256 y, int256) private view returns (int256 r, uint256 g) {
        g = gasleft();
        r = _out(Float32.lt(_word(x), _word(y)));
        g -= gasleft();
    }

    function _le(int256 x, int256 y, int256) private view returns (int256 r, uint256 g) {
        g = gasleft();
        r = _out(Float32.le(_word(x), _word(y)));
        g -= gasleft();
    }

    function _orderKey(int256 x, int256, int256) private view returns (int256 r, uint256 g) {
        g = gasleft();
        r = Float32.orderKey(_word(x));
        g -= gasleft();
    }

    function _toInt(int256 x, int256, int256) private view returns (int256 r, uint256 g) {
        g = gasleft();
        r = Float32.toInt(_word(x));
        g -= gasleft();
    }

    function _fromInt(int256 x, int256, int256) private view returns (int256 r, uint256 g) {
        g = gasleft();
        r = _out(Float32.fromInt(int32(x)));
        g -= gasleft();
    }

    function _fromScaled(int256 x, int256 y, int256) private view returns (int256 r, uint256 g) {
        g = gasleft();
        r = _out(Float32.fromScaled(x, y));
        g -= gasleft();
    }

    function _exponent(int256 x, int256, int256) private view returns (int256 r, uint256 g) {
        g = gasleft();
        r = Float32.exponent(_word(x));
        g -= gasleft();
    }

    function _quant(int256 x, int256 y, int256 z) private view returns (int256 r, uint256 g) {
        g = gasleft();
        r = Float32.quant(_word(x), y, uint256(z));
        g -= gasleft();
    }

    function _word(int256 x) private pure returns (uint32) {
        return uint32(uint256(x));
    }

    function _out(uint32 word) private pure returns (int256) {
        return int256(uint256(word));
    }

    function _out(bool flag) private pure returns (int256) {
        return flag ? int256(1) : int256(0);
    }
}
