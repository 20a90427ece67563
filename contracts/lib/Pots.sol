// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {Attempts} from "./Attempts.sol";

/// @title Names of the vault's pots that several modules know
/// @notice Money moves between modules from a pot to the one of the same name: what of a convicted solver's stake is
/// kept for challengers moves from the market to the game.
library Pots {
    /// @notice The requester's money: with the market for solvers, with the auditor for verifiers.
    function escrow(uint256 taskId) internal pure returns (bytes32) {
        return bytes32(Attempts.id(taskId, 0) << 1);
    }

    /// @notice The stake of an attempt's solver, or of the bidder who leads.
    function stake(uint256 attemptId) internal pure returns (bytes32) {
        return bytes32(attemptId << 1 | 1);
    }
}
