// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {IStepVerifier} from "../interfaces/IStepVerifier.sol";
import {Kinds, Sources} from "./Kinds.sol";
import {DTypes, Opcodes} from "./Opcodes.sol";

/// @title A node's encoding, and what its views read
/// @notice docs/protocol.md, section 2. Decoding checks what keeps every later read in bounds and every function
/// total. Workers check before they bid whether a graph makes sense (types of operands, ranges of views, lengths of
/// sources); an illegal node is still judged by one fixed rule.
library Node {
    /// A checked encoding. Positions are byte offsets in it.
    struct Decoded {
        uint256 kind;
        uint256 dtype;
        uint256 bits;
        uint256 extent;
        uint256 length; // of the output, below 2^64
        uint256[] shape;
        uint256[] inputs; // position of each input's record
        uint256 program; // position of the first instruction
        uint256 instructions;
    }

    /// One input's record.
    struct Input {
        uint256 source;
        uint256 index;
        uint256 dtype;
        uint256 length;
        int256 offset;
        uint256 axes; // position of the first axis
    }

    uint256 private constant RECORD_BYTES = 22; // of an input, before its axes
    uint256 private constant AXIS_BYTES = 16;
    uint256 private constant INSTRUCTION_BYTES = 8;

    /// @notice Checks the whole layout. Reverts with MalformedNode, naming the first wrong byte.
    function decode(bytes calldata encoding) internal pure returns (Decoded memory node) {
        node.kind = _read(encoding, 0, 1);
        if (node.kind == 0 || node.kind > Kinds.LAST) revert IStepVerifier.MalformedNode(0);
        node.dtype = _read(encoding, 1, 1);
        if (!_isDtype(node.dtype)) revert IStepVerifier.MalformedNode(1);
        node.bits = _read(encoding, 2, 1);
        if (!_fitsKind(node.kind, node.bits)) revert IStepVerifier.MalformedNode(2);
        uint256 where = _decodeShape(encoding, node);
        node.extent = _read(encoding, where, 4);
        if ((node.extent == 0) != (node.kind == Kinds.MAP)) revert IStepVerifier.MalformedNode(where);
        _decodeProgram(encoding, node, _decodeInputs(encoding, node, where + 4));
    }

    /// @notice The record of an input of a checked node.
    function input(bytes calldata encoding, Decoded memory node, uint256 number)
        internal
        pure
        returns (Input memory record)
    {
        uint256 where = node.inputs[number];
        uint256 word;
        assembly ("memory-safe") {
            word := calldataload(add(encoding.offset, where))
        }
        record.source = word >> 248;
        record.index = uint32(word >> 216);
        record.dtype = uint8(word >> 208);
        record.length = uint64(word >> 144);
        record.offset = int64(uint64(word >> 80));
        record.axes = where + RECORD_BYTES;
    }

    /// @notice Number of axes of an input's view.
    function axes(Decoded memory node, uint256 number) internal pure returns (uint256) {
        return node.shape.length + ((Kinds.WITH_K >> (Kinds.MAX_INPUTS * node.kind + number)) & 1);
    }

    /// @notice Coordinates of an element, followed by k.
    function point(Decoded memory node, uint64 element, uint256 k) internal pure returns (uint256[] memory x) {
        if (element >= node.length) revert IStepVerifier.ElementOutOfRange(element, uint64(node.length));
        uint256 rank = node.shape.length;
        uint256 rest = element;
        x = new uint256[](rank + 1);
        x[rank] = k;
        while (rank != 0) {
            uint256 size = node.shape[--rank];
            x[rank] = rest % size;
            rest /= size;
        }
    }

    /// @notice The position that an input's view reads at `x`. Where it is not `inside`, the view reads 0 and nothing
    /// is opened.
    /// @dev An address outside the source reads 0, too. Only an illegal node has one, and it must be decidable.
    function locate(bytes calldata encoding, Input memory record, uint256[] memory x, uint256 count)
        internal
        pure
        returns (bool inside, uint256 position)
    {
        int256 sum = record.offset;
        uint256 where = record.axes;
        unchecked {
            for (uint256 i; i < count; ++i) {
                uint256 axis;
                assembly ("memory-safe") {
                    axis := shr(128, calldataload(add(encoding.offset, where)))
                }
                uint256 coordinate = x[i];
                if (coordinate < uint32(axis >> 32) || coordinate >= uint32(axis)) return (false, 0);
                sum += int256(int64(uint64(axis >> 64))) * int256(coordinate); // below 2^95 each
                where += AXIS_BYTES;
            }
        }
        if (sum < 0 || uint256(sum) >= record.length) return (false, 0);
        return (true, uint256(sum));
    }

    function _decodeShape(bytes calldata encoding, Decoded memory node) private pure returns (uint256 where) {
        uint256 rank = _read(encoding, 3, 1);
        uint256 named = (Kinds.NAMED_AXES >> (8 * node.kind)) & 0xFF;
        if (rank > Kinds.MAX_RANK || rank < named) revert IStepVerifier.MalformedNode(3);
        node.shape = new uint256[](rank);
        uint256 length = 1;
        where = 4;
        for (uint256 i; i < rank; ++i) {
            uint256 size = _read(encoding, where, 4);
            length *= size; // below 2^96, because it is checked at every axis
            if (length == 0 || length > type(uint64).max) revert IStepVerifier.MalformedNode(where);
            node.shape[i] = size;
            where += 4;
        }
        node.length = length;
    }

    function _decodeInputs(bytes calldata encoding, Decoded memory node, uint256 where) private pure returns (uint256) {
        uint256 count = _read(encoding, where, 1);
        if (!_isCount(node.kind, count)) revert IStepVerifier.MalformedNode(where);
        ++where;
        node.inputs = new uint256[](count);
        for (uint256 i; i < count; ++i) {
            node.inputs[i] = where;
            uint256 end = where + RECORD_BYTES + AXIS_BYTES * axes(node, i);
            if (end > encoding.length) revert IStepVerifier.MalformedNode(where);
            uint256 source = uint8(encoding[where]);
            if (source < Sources.NODE || source > Sources.CONST) revert IStepVerifier.MalformedNode(where);
            if (!_isDtype(uint8(encoding[where + 5]))) revert IStepVerifier.MalformedNode(where + 5);
            where = end;
        }
        return where;
    }

    function _decodeProgram(bytes calldata encoding, Decoded memory node, uint256 where) private pure {
        uint256 count = _read(encoding, where, 2);
        bool empty = count == 0;
        if (count > Opcodes.MAX_PROGRAM || empty != (node.kind != Kinds.MAP)) revert IStepVerifier.MalformedNode(where);
        node.program = where + 2;
        node.instructions = count;
        uint256 end = node.program + INSTRUCTION_BYTES * count;
        if (end != encoding.length) revert IStepVerifier.MalformedNode(end < encoding.length ? end : encoding.length);
    }

    /// Big-endian integer of `size` bytes.
    function _read(bytes calldata encoding, uint256 where, uint256 size) private pure returns (uint256 value) {
        if (where + size > encoding.length) revert IStepVerifier.MalformedNode(where);
        assembly ("memory-safe") {
            value := shr(sub(256, shl(3, size)), calldataload(add(encoding.offset, where)))
        }
    }

    function _isDtype(uint256 dtype) private pure returns (bool) {
        return dtype == DTypes.F32 || dtype == DTypes.I32;
    }

    /// Bits of an operand, within what keeps a sum exact.
    function _fitsKind(uint256 kind, uint256 bits) private pure returns (bool) {
        uint256 most = (Kinds.MAX_BITS >> (8 * kind)) & 0xFF;
        return most == 0 ? bits == 0 : bits >= 2 && bits <= most;
    }

    function _isCount(uint256 kind, uint256 inputs) private pure returns (bool) {
        uint256 most = (Kinds.INPUTS >> (8 * kind)) & 0xFF;
        return kind == Kinds.MAP ? inputs <= most : inputs == most;
    }
}
