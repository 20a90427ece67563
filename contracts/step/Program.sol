// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {IStepVerifier} from "../interfaces/IStepVerifier.sol";
import {Float32} from "./Float32.sol";
import {Node} from "./Node.sol";
import {Opcodes} from "./Opcodes.sol";

/// @title Interpreter of a map's straight-line program, for one element
/// @notice docs/protocol.md, section 1. Values are words without a type: a program whose types do not fit is no
/// legal one, but even that computes something definite.
library Program {
    /// What an instruction may read besides earlier values.
    struct Frame {
        uint256[] inputs; // the words that the inputs' views read here
        uint256[] point; // output coordinates, then k
        uint256 rank;
        uint256 step;
    }

    /// @notice The value of the last instruction.
    function run(bytes calldata encoding, Node.Decoded memory node, Frame memory frame)
        internal
        pure
        returns (uint32)
    {
        uint256 count = node.instructions;
        uint256[] memory values = new uint256[](count);
        unchecked {
            uint256 where = node.program;
            for (uint256 n; n < count; ++n) {
                uint256 code;
                assembly ("memory-safe") {
                    code := shr(192, calldataload(add(encoding.offset, where)))
                }
                uint256 value = code >> 52 == 0 ? _source(code, frame, where) : _operate(code, values, n, where);
                assembly ("memory-safe") {
                    mstore(add(add(values, 32), shl(5, n)), value)
                }
                where += 8;
            }
        }
        return uint32(values[count - 1]);
    }

    /// Opcodes below 0x10, which read no values.
    function _source(uint256 code, Frame memory frame, uint256 where) private pure returns (uint256) {
        uint256 op = code >> 48;
        uint256 a = uint16(code >> 32);
        if (op == Opcodes.CONST_F32) return Float32.canonical(uint32(code));
        if (op == Opcodes.CONST_I32) return uint32(code);
        if (op == Opcodes.INPUT && a < frame.inputs.length) return frame.inputs[a];
        if (op == Opcodes.INDEX && a < frame.rank) return uint32(frame.point[a]);
        if (op == Opcodes.STEP) return frame.step;
        revert IStepVerifier.MalformedNode(where);
    }

    /// Opcodes from 0x10 on. Operands that an instruction does not use are 0, so all three are checked alike.
    function _operate(uint256 code, uint256[] memory values, uint256 n, uint256 where) private pure returns (uint256) {
        uint256 x;
        uint256 y;
        uint256 z;
        bool earlier;
        assembly ("memory-safe") {
            let a := and(shr(32, code), 0xFFFF)
            let b := and(shr(16, code), 0xFFFF)
            let c := and(code, 0xFFFF)
            earlier := and(and(lt(a, n), lt(b, n)), lt(c, n))
            if earlier {
                let base := add(values, 32)
                x := mload(add(base, shl(5, a)))
                y := mload(add(base, shl(5, b)))
                z := mload(add(base, shl(5, c)))
            }
        }
        if (!earlier) revert IStepVerifier.MalformedNode(where);
        uint256 group = code >> 52;
        uint256 op = code >> 48;
        if (group == 1) return _float(op, uint32(x), uint32(y), where);
        if (group == 3) return _integer(op, uint32(x), uint32(y), where);
        if (group == 2) return _convert(op, uint32(x), uint32(y), where);
        if (op == Opcodes.SELECT) return x != 0 ? y : z;
        revert IStepVerifier.MalformedNode(where);
    }

    /// 0x10 to 0x1F: float arithmetic.
    function _float(uint256 op, uint32 x, uint32 y, uint256 where) private pure returns (uint256) {
        if (op == Opcodes.MUL) return Float32.mul(x, y);
        // One call site for both: Float32.sub is add of the negated operand.
        if (op <= Opcodes.SUB) return Float32.add(x, op == Opcodes.ADD ? y : y ^ 0x80000000);
        if (op == Opcodes.DIV) return Float32.div(x, y);
        if (op == Opcodes.LDEXP) return Float32.ldexp(x, int32(y));
        if (op == Opcodes.NEG) return Float32.neg(x);
        if (op == Opcodes.ABS) return Float32.abs(x);
        if (op == Opcodes.RINT) return Float32.rint(x);
        if (op == Opcodes.SQRT) return Float32.sqrt(x);
        revert IStepVerifier.MalformedNode(where);
    }

    /// 0x20 to 0x2F: float comparisons and conversions.
    function _convert(uint256 op, uint32 x, uint32 y, uint256 where) private pure returns (uint256) {
        if (op == Opcodes.LT) return _bit(Float32.lt(x, y));
        if (op == Opcodes.LE) return _bit(Float32.le(x, y));
        if (op == Opcodes.EQ) return _bit(Float32.eq(x, y));
        if (op == Opcodes.BITS || op == Opcodes.FROM_BITS) return Float32.canonical(x);
        if (op == Opcodes.TO_INT) return uint32(Float32.toInt(x));
        if (op == Opcodes.TO_FLOAT) return Float32.fromInt(int32(x));
        revert IStepVerifier.MalformedNode(where);
    }

    /// 0x30 to 0x3F: wrapping int32 arithmetic, logic, shifts and comparisons.
    function _integer(uint256 op, uint32 x, uint32 y, uint256 where) private pure returns (uint256) {
        unchecked {
            if (op == Opcodes.IADD) return x + y;
            if (op == Opcodes.ISUB) return x - y;
            if (op == Opcodes.IMUL) return x * y;
            if (op == Opcodes.IAND) return x & y;
            if (op == Opcodes.IOR) return x | y;
            if (op == Opcodes.IXOR) return x ^ y;
            if (op == Opcodes.SHL) return x << (y & 31);
            if (op == Opcodes.SHR) return x >> (y & 31);
            if (op == Opcodes.SAR) return uint32(int32(x) >> (y & 31));
            if (op == Opcodes.IEQ) return _bit(x == y);
            if (op == Opcodes.ILT) return _bit(int32(x) < int32(y));
            revert IStepVerifier.MalformedNode(where);
        }
    }

    function _bit(bool b) private pure returns (uint256) {
        return b ? 1 : 0;
    }
}
