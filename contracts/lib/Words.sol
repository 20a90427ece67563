// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

/// @title Elements of a chunk
library Words {
    /// @notice The little-endian word of element `position` of a chunk. The caller has checked that the chunk is whole
    /// and that the element lies in it.
    function wordAt(bytes calldata chunk, uint256 position) internal pure returns (uint32 word) {
        assembly ("memory-safe") {
            let raw := calldataload(add(chunk.offset, shl(2, position)))
            word := or(or(byte(0, raw), shl(8, byte(1, raw))), or(shl(16, byte(2, raw)), shl(24, byte(3, raw))))
        }
    }
}
