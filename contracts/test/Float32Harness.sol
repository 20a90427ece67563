// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {Float32} from "../step/Float32.sol";

/// @title Runs Float32 over many cases in one call, and measures its gas
contract Float32Harness {
    /// @dev `Identity` converts and returns its first operand: the cost of measuring.
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
    /// @return gas_ what each case took, the measuring included
    function batch(Op op, int256[3][] calldata cases)
        external
        view
        returns (int256[] memory results, uint256[] memory gas_)
    {
        function(int256, int256, int256) pure returns (int256) f = _functions()[uint256(op)];
        results = new int256[](cases.length);
        gas_ = new uint256[](cases.length);
        for (uint256 i; i < cases.length; ++i) {
            (int256 x, int256 y, int256 z) = (cases[i][0], cases[i][1], cases[i][2]);
            uint256 before = gasleft();
            int256 result = f(x, y, z);
            gas_[i] = before - gasleft();
            results[i] = result;
        }
    }

    function _functions()
        private
        pure
        returns (function(int256, int256, int256) pure returns (int256)[20] memory)
    {
        return [
            _identity, _add, _sub, _mul, _div, _sqrt, _neg, _abs, _rint, _ldexp,
            _canonical, _eq, _lt, _le, _orderKey, _toInt, _fromInt, _fromScaled, _exponent, _quant
        ];
    }

    function _identity(int256 x, int256, int256) private pure returns (int256) {
        return _out(_word(x));
    }

    function _add(int256 x, int256 y, int256) private pure returns (int256) {
        return _out(Float32.add(_word(x), _word(y)));
    }

    function _sub(int256 x, int256 y, int256) private pure returns (int256) {
        return _out(Float32.sub(_word(x), _word(y)));
    }

    function _mul(int256 x, int256 y, int256) private pure returns (int256) {
        return _out(Float32.mul(_word(x), _word(y)));
    }

    function _div(int256 x, int256 y, int256) private pure returns (int256) {
        return _out(Float32.div(_word(x), _word(y)));
    }

    function _sqrt(int256 x, int256, int256) private pure returns (int256) {
        return _out(Float32.sqrt(_word(x)));
    }

    function _neg(int256 x, int256, int256) private pure returns (int256) {
        return _out(Float32.neg(_word(x)));
    }

    function _abs(int256 x, int256, int256) private pure returns (int256) {
        return _out(Float32.abs(_word(x)));
    }

    function _rint(int256 x, int256, int256) private pure returns (int256) {
        return _out(Float32.rint(_word(x)));
    }

    function _ldexp(int256 x, int256 n, int256) private pure returns (int256) {
        return _out(Float32.ldexp(_word(x), int32(n)));
    }

    function _canonical(int256 x, int256, int256) private pure returns (int256) {
        return _out(Float32.canonical(_word(x)));
    }

    function _eq(int256 x, int256 y, int256) private pure returns (int256) {
        return Float32.eq(_word(x), _word(y)) ? int256(1) : int256(0);
    }

    function _lt(int256 x, int256 y, int256) private pure returns (int256) {
        return Float32.lt(_word(x), _word(y)) ? int256(1) : int256(0);
    }

    function _le(int256 x, int256 y, int256) private pure returns (int256) {
        return Float32.le(_word(x), _word(y)) ? int256(1) : int256(0);
    }

    function _orderKey(int256 x, int256, int256) private pure returns (int256) {
        return Float32.orderKey(_word(x));
    }

    function _toInt(int256 x, int256, int256) private pure returns (int256) {
        return Float32.toInt(_word(x));
    }

    function _fromInt(int256 i, int256, int256) private pure returns (int256) {
        return _out(Float32.fromInt(int32(i)));
    }

    function _fromScaled(int256 s, int256 k, int256) private pure returns (int256) {
        return _out(Float32.fromScaled(s, k));
    }

    function _exponent(int256 x, int256, int256) private pure returns (int256) {
        return Float32.exponent(_word(x));
    }

    function _quant(int256 x, int256 e, int256 p) private pure returns (int256) {
        return Float32.quant(_word(x), e, uint256(p));
    }

    function _word(int256 x) private pure returns (uint32) {
        return uint32(uint256(x));
    }

    function _out(uint32 word) private pure returns (int256) {
        return int256(uint256(word));
    }
}
