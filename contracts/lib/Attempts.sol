// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

/// @title Attempts at a task
/// @notice A task that fails is tried again by another solver. What belongs to one solver alone (its stake, its clock,
/// what it has revealed, the bids that it won against) is kept by attempt.
library Attempts {
    uint256 internal constant BITS = 8;

    /// @notice One number for an attempt at a task.
    function id(uint256 taskId, uint8 attempt) internal pure returns (uint256) {
        return taskId << BITS | attempt;
    }

    function taskOf(uint256 attemptId) internal pure returns (uint256) {
        return attemptId >> BITS;
    }

    function numberOf(uint256 attemptId) internal pure returns (uint8) {
        return uint8(attemptId);
    }
}
