// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {IStepVerifier} from "../interfaces/IStepVerifier.sol";
import {Float32} from "./Float32.sol";
import {Node} from "./Node.sol";
import {Opcodes} from "./Opcodes.sol";

/// @title Interpreter of a map's straight-line program, for one element
/// @notice docs/protocol.md, section 1. Values are words without a type. A program whose types do not fit is illegal
/// and has one definite result all the same.
library Program {
    /// What an instruction may read besides earlier values.
    struct Frame {
        uint256[] inputs; // the words that the inputs' views read here
        uint256[] point; // output coordinates, then k
        uint256 rank;
        uint256 step;
    }

    /// What the functions below return for an unknown opcode. No word has that many bits.
    uint256 private constant UNKNOWN = 1 << 32;
    uint256 private constant WORD = 0xFFFFFFFF;
    uint256 private constant FIRST_OPERATION = 0x10 << 48;
    uint256 private constant OFFSETS = 0x1FFFE0; // a 16-bit operand times 32
    uint256 private constant NEAR = 0x1FE0; // 255 times 32

    /// @notice The value of the last instruction.
    function run(bytes calldata encoding, Node.Decoded memory node, Frame memory frame)
        internal
        pure
        returns (uint32)
    {
        uint256[] memory values = new uint256[](node.instructions);
        uint256 first = node.program;
        uint256 value;
        assembly ("memory-safe") {
            first := add(first, encoding.offset)
        }
        unchecked {
            uint256 end = node.instructions << 5;
            for (uint256 next; next != end; next += 32) {
                uint256 code;
                assembly ("memory-safe") {
                    code := shr(192, calldataload(add(first, shr(2, next))))
                }
                value = code < FIRST_OPERATION ? _source(code, frame) : _operate(code, values, next);
                if (value > WORD) revert IStepVerifier.MalformedNode(node.program + (next >> 2));
                assembly ("memory-safe") {
                    mstore(add(add(values, 32), next), value)
                }
            }
        }
        return uint32(value);
    }

    /// Opcodes below 0x10, which read no values.
    function _source(uint256 code, Frame memory frame) private pure returns (uint256) {
        uint256 op = code >> 48;
        uint256 a = uint16(code >> 32);
        if (op == Opcodes.CONST_F32) return Float32.canonical(uint32(code));
        if (op == Opcodes.CONST_I32) return uint32(code);
        if (op == Opcodes.INPUT && a < frame.inputs.length) return frame.inputs[a];
        if (op == Opcodes.INDEX && a < frame.rank) return uint32(frame.point[a]);
        if (op == Opcodes.STEP) return frame.step;
        return UNKNOWN;
    }

    /// Opcodes from 0x10 on. An operand that an instruction does not use is 0, so the first two are checked alike.
    /// @param next offset of the value being made: operands must lie below it
    function _operate(uint256 code, uint256[] memory values, uint256 next) private pure returns (uint256) {
        uint256 x;
        uint256 y;
        bool earlier;
        assembly ("memory-safe") {
            let a := and(shr(27, code), OFFSETS)
            let b := and(shr(11, code), OFFSETS)
            earlier := and(lt(a, next), lt(b, next))
            // A value that is read out of bounds is not used; the mask keeps the read near.
            x := mload(add(add(values, 32), and(a, NEAR)))
            y := mload(add(add(values, 32), and(b, NEAR)))
        }
        if (!earlier) return UNKNOWN;
        uint256 op = code >> 48;
        if (op < 0x20) return _float(op, uint32(x), uint32(y));
        if (op > 0x2F) return op < 0x40 ? _integer(op, x, y) : _select(code, values, next, x, y);
        return _convert(op, uint32(x), uint32(y));
    }

    function _select(uint256 code, uint256[] memory values, uint256 next, uint256 x, uint256 y)
        private
        pure
        returns (uint256)
    {
        uint256 c = uint16(code);
        if (code >> 48 != Opcodes.SELECT || c << 5 >= next) return UNKNOWN;
        return x != 0 ? y : values[c];
    }

    /// 0x10 to 0x1F: float arithmetic.
    function _float(uint256 op, uint32 x, uint32 y) private pure returns (uint256) {
        if (op == Opcodes.MUL) return Float32.mul(x, y);
        // One call site for both: Float32.sub is add of the negated operand.
        if (op <= Opcodes.SUB) return Float32.add(x, op == Opcodes.ADD ? y : y ^ 0x80000000);
        if (op == Opcodes.DIV) return Float32.div(x, y);
        if (op == Opcodes.LDEXP) return Float32.ldexp(x, int32(y));
        if (op == Opcodes.NEG) return Float32.neg(x);
        if (op == Opcodes.ABS) return Float32.abs(x);
        if (op == Opcodes.RINT) return Float32.rint(x);
        if (op == Opcodes.SQRT) return Float32.sqrt(x);
        return UNKNOWN;
    }

    /// 0x20 to 0x2F: float comparisons and conversions.
    function _convert(uint256 op, uint32 x, uint32 y) private pure returns (uint256) {
        if (op == Opcodes.LT) return _bit(Float32.lt(x, y));
        if (op == Opcodes.LE) return _bit(Float32.le(x, y));
        if (op == Opcodes.EQ) return _bit(Float32.eq(x, y));
        if (op == Opcodes.BITS || op == Opcodes.FROM_BITS) return Float32.canonical(x);
        if (op == Opcodes.TO_INT) return uint32(Float32.toInt(x));
        if (op == Opcodes.TO_FLOAT) return Float32.fromInt(int32(x));
        return UNKNOWN;
    }

    /// 0x30 to 0x3F: wrapping int32 arithmetic, logic, shifts and comparisons.
    function _integer(uint256 op, uint256 x, uint256 y) private pure returns (uint256) {
        unchecked {
            if (op <= Opcodes.IMUL) {
                if (op == Opcodes.IADD) return (x + y) & WORD;
                return (op == Opcodes.ISUB ? x - y : x * y) & WORD;
            }
            if (op == Opcodes.IAND) return x & y;
            if (op == Opcodes.IOR) return x | y;
            if (op == Opcodes.IXOR) return x ^ y;
            if (op == Opcodes.SHL) return (x << (y & 31)) & WORD;
            if (op == Opcodes.SHR) return x >> (y & 31);
            if (op == Opcodes.SAR) return uint32(int32(uint32(x)) >> (y & 31));
            if (op == Opcodes.IEQ) return _bit(x == y);
            if (op == Opcodes.ILT) return _bit(int32(uint32(x)) < int32(uint32(y)));
            return UNKNOWN;
        }
    }

    function _bit(bool b) private pure returns (uint256) {
        return b ? 1 : 0;
    }
}
