// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {Money} from "./Money.sol";

/// @title What becomes of a convicted solver's stake
library Stakes {
    /// @notice Least part that is burned, in 1/10,000. Only this part deters: the challengers who get the rest may be
    /// the solver under other names.
    uint256 internal constant BURN_BPS = 5_000;

    /// @notice Most that challengers get.
    function rewardDown(uint256 stake) internal pure returns (uint256) {
        return stake - Money.partUp(stake, BURN_BPS, Money.BPS);
    }
}
