// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {ITaskMarket} from "../interfaces/ITaskMarket.sol";
import {Money} from "../lib/Money.sol";

/// @title When an attempt's checkpoints are due
/// @notice Time that the solver spent in disputes which it won counts for nothing.
library Schedules {
    /// @notice ⌈steps/interval⌉.
    function intervals(uint32 steps, uint32 interval) internal pure returns (uint32) {
        return (steps - 1) / interval + 1;
    }

    /// @notice Last timestamp at which checkpoint `index` may be committed.
    function deadline(ITaskMarket.Schedule memory s, uint32 index) internal pure returns (uint64) {
        return s.awardedAt + uint64(index + 1 - s.first) * s.intervalTime + s.defended;
    }

    /// @notice Seconds after the promised time at which a checkpoint was committed.
    /// @param steps of the attempt, up to this checkpoint
    /// @param defended seconds that disputes had taken by then
    function lateness(ITaskMarket.Schedule memory s, uint256 steps, uint64 committedAt, uint32 defended)
        internal
        pure
        returns (uint256)
    {
        uint256 promised = s.awardedAt + Money.partUp(s.promised, steps, s.interval) + defended;
        return committedAt > promised ? committedAt - promised : 0;
    }
}
