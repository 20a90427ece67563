// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";

import {Money} from "../lib/Money.sol";

/// @title How many fees a task pays for audits
library Budgets {
    uint256 private constant DEVIATIONS = 3;
    uint256 private constant ROOT_BPS = 100; // √BPS

    /// @notice ⌈λ + 3·√λ⌉ + 1 with λ = rate · intervals; the root in 1/100, rounded up. What tickets
    /// win is Poisson: of a thousand tasks about one has more.
    /// @param rateBps fees to expect per checkpoint, in 1/10,000
    function auditsUp(uint32 intervals, uint16 rateBps) internal pure returns (uint64) {
        uint256 expected = uint256(intervals) * rateBps; // in 1/10,000
        uint256 deviation = Math.sqrt(expected, Math.Rounding.Ceil); // in 1/100
        return uint64(Money.partUp(1, expected + DEVIATIONS * ROOT_BPS * deviation, Money.BPS) + 1);
    }
}
