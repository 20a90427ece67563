// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {IKeepers} from "../interfaces/IKeepers.sol";
import {ITaskMarket} from "../interfaces/ITaskMarket.sol";
import {Money} from "../lib/Money.sol";

/// @title What a member of a committee has earned
library Shares {
    /// @notice Its seats' part of keeperBps of the pay for the intervals that it signed for in time and that were paid
    /// for, rounded down. The first committee's intervals are those before the second's.
    /// @param number of the committee
    /// @param upTo checkpoints that it has signed for
    /// @param seats that it has
    function earnedDown(
        ITaskMarket.Custody memory custody,
        IKeepers.Closed memory closed,
        IKeepers.Keeping memory keeping,
        uint8 number,
        uint32 upTo,
        uint256 seats
    ) internal pure returns (uint256) {
        (uint32 begin, uint32 end) = (closed.first, upTo < closed.paid ? upTo : closed.paid);
        if (number == 1) begin = keeping.from;
        else if (keeping.calledAt != 0 && end > keeping.from) end = keeping.from;
        if (begin >= end) return 0;
        uint256 before = uint256(begin) * custody.interval;
        uint256 done = uint256(end) * custody.interval;
        if (done > custody.steps) done = custody.steps;
        uint256 share = uint256(closed.price) * custody.keeperBps * seats;
        uint256 left = custody.steps - uint256(closed.first) * custody.interval;
        return Money.partDown(share, done - before, Money.BPS * keeping.seats * left);
    }
}
