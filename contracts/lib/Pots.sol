// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

/// @title Names of the vault's pots that several modules know
/// @notice What of a convicted solver's stake is kept for challengers moves from the market's pot to the game's pot of
/// the same name.
library Pots {
    function escrow(uint256 taskId) internal pure returns (bytes32) {
        return bytes32(taskId << 1);
    }

    function stake(uint256 taskId) internal pure returns (bytes32) {
        return bytes32(taskId << 1 | 1);
    }
}
