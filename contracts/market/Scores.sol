// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {IAuction} from "../interfaces/IAuction.sol";
import {IWorkerRegistry} from "../interfaces/IWorkerRegistry.sol";
import {Money} from "../lib/Money.sol";

/// @title What a bid costs the requester, which bid is better, and what the winner is paid
library Scores {
    /// @notice Failure share of who has no record, in 1/10,000. It weighs as much as the task at hand: neither a new
    /// name nor a wash of small tasks is worth much.
    uint256 internal constant PRIOR_BPS = 1_000;

    /// @notice urgency · time of all that is left + risk, where
    /// risk = riskBps · reserve · (failed + PRIOR_BPS · reserve) / (done + failed + reserve), rounded up.
    /// @param promised seconds per full interval
    function burden(IAuction.Ask memory ask, IWorkerRegistry.Work memory record, uint32 promised)
        internal
        pure
        returns (uint128)
    {
        uint256 time = Money.partUp(promised, ask.stepsLeft, ask.interval);
        uint256 risk;
        if (ask.reserve != 0) {
            uint256 failed = Money.BPS * uint256(record.failed) + PRIOR_BPS * ask.reserve;
            uint256 all = uint256(record.done) + record.failed + ask.reserve;
            risk = Money.partUp(uint256(ask.reserve) * ask.riskBps, failed, all * Money.BPS * Money.BPS);
        }
        return uint128(uint256(ask.urgency) * time + risk); // the market bounds both
    }

    /// @notice Whether the first bid is better than the other one, if there is one. Of equal scores it is the one that
    /// was committed before; within one second the one that was revealed before.
    function beats(IAuction.Bid memory bid, IAuction.Bid memory other) internal pure returns (bool) {
        if (other.bidder == address(0)) return true;
        (uint256 score, uint256 best) = (_score(bid), _score(other));
        return score < best || (score == best && bid.committedAt < other.committedAt);
    }

    /// @notice What the winner could have asked for and still have been the best: at most the reserve.
    function pay(IAuction.Bid memory winner, IAuction.Bid memory second, uint128 reserve)
        internal
        pure
        returns (uint128)
    {
        if (second.bidder == address(0)) return reserve;
        uint256 most = _score(second) - winner.burden;
        return most < reserve ? uint128(most) : reserve;
    }

    function _score(IAuction.Bid memory bid) private pure returns (uint256) {
        return uint256(bid.price) + bid.burden;
    }
}
