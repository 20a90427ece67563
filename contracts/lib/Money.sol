// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

/// @title Shares of amounts of money
/// @notice The name says the direction of rounding. A payment is rounded against whoever would profit from it.
library Money {
    /// @notice Denominator of every share that is given in basis points.
    uint256 internal constant BPS = 10_000;

    /// @notice ⌈amount · part / whole⌉.
    function partUp(uint256 amount, uint256 part, uint256 whole) internal pure returns (uint256) {
        return (amount * part + whole - 1) / whole;
    }

    /// @notice ⌊amount · part / whole⌋.
    function partDown(uint256 amount, uint256 part, uint256 whole) internal pure returns (uint256) {
        return (amount * part) / whole;
    }
}
