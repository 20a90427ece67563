// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";

import {ITermLimits} from "../interfaces/ITermLimits.sol";
import {Money} from "../lib/Money.sol";
import {Stakes} from "../lib/Stakes.sol";
import {Schedules} from "./Schedules.sol";

/// @title TermLimits
/// @notice The limits of one deployment, which never change.
contract TermLimits is ITermLimits {
    /// @notice Least part of a convicted solver's stake that is burned, in 1/10,000.
    uint256 public constant BURN_BPS = Stakes.BURN_BPS;

    /// @notice Bounties in the smallest stake: a conviction shares out four tenths of it.
    uint256 public constant STAKE_BOUNTIES = 10;

    /// @notice How many times the required stake terms may ask for.
    uint256 public constant MAX_STAKE_RATIO = 10;

    /// @notice A bond is at least the stake divided by this.
    uint256 public constant BOND_DIVISOR = 50;

    /// @notice A bond is at most the stake divided by this; the least bond is always allowed.
    uint256 public constant MAX_BOND_DIVISOR = 4;

    /// @notice Highest price of a task, and most that all its time may cost. Scores of bids are computed from them.
    uint256 public constant MAX_PRICE = type(uint96).max;
    uint256 public constant MAX_URGENCY = type(uint120).max;

    /// @notice Most attempts at a task.
    uint8 public constant MAX_ATTEMPTS = 16;

    /// @notice Most seats of a committee, and most that they share, in 1/10,000 of the pay. Beside intervals their
    /// contract keeps 4 bits.
    uint8 public constant MAX_KEEPERS = 16;
    uint256 public constant MAX_KEEPER_BPS = Money.BPS;
    uint256 public constant MAX_KEPT = 2 ** 28 - 1;

    uint256 public constant MAX_URI = 512;
    uint32 private constant MAX_STEPS = 2 ** 31 - 1; // the step number is an int32 of the step graph

    Limits private _values;

    constructor(Limits memory values_) {
        // Without an honest verifier no stake deters. With a margin below 1 it might pay to cheat.
        _ordered("honestBps", 1, values_.honestBps);
        _ordered("honestBps", values_.honestBps, Money.BPS);
        _ordered("marginBps", Money.BPS, values_.marginBps);
        _ordered("biddingTime", values_.biddingTime, values_.maxBiddingTime);
        _ordered("intervalTime", values_.intervalTime, values_.maxIntervalTime);
        _ordered("challengeWindow", values_.challengeWindow, values_.maxChallengeWindow);
        _ordered("clock", values_.clock, values_.maxClock);
        _ordered("duration", values_.maxIntervalTime, values_.maxDuration);
        _ordered("feeBps", values_.feeBps, Money.BPS);
        _ordered("standbyBps", values_.standbyBps, Money.BPS);
        // Half of a lost bond goes to the winner, and must cover what the dispute cost it.
        _ordered("bond", 2 * uint256(values_.bounty), values_.bond);
        _values = values_;
    }

    /// @inheritdoc ITermLimits
    function check(Terms calldata asked) external view returns (uint256 escrow, uint256 fee) {
        _checkWork(asked);
        Limits memory set = _values;
        _within("biddingTime", set.biddingTime, asked.biddingTime, set.maxBiddingTime);
        _within("revealTime", set.biddingTime, asked.revealTime, set.maxBiddingTime);
        _within("handoverTime", set.biddingTime, asked.handoverTime, set.maxBiddingTime);
        _within("intervalTime", set.intervalTime, asked.intervalTime, set.maxIntervalTime);
        _within("challengeWindow", set.challengeWindow, asked.challengeWindow, set.maxChallengeWindow);
        _within("clock", set.clock, asked.clock, set.maxClock);
        uint256 duration = uint256(Schedules.intervals(asked.steps, asked.interval)) * asked.intervalTime;
        _within("duration", 0, duration, set.maxDuration);
        _within("maxPrice", 0, asked.maxPrice, MAX_PRICE);
        _within("urgency", 0, asked.urgency, MAX_URGENCY / duration);
        _within("riskBps", 0, asked.riskBps, Money.BPS);
        _within("attempts", 1, asked.attempts, MAX_ATTEMPTS);
        _within("auditFee", 0, asked.auditFee, MAX_PRICE);
        _within("auditRateBps", 1, asked.auditRateBps, type(uint16).max);
        uint256 leastStake = requiredStake(asked.maxPrice, asked.steps, asked.interval, asked.auditRateBps);
        _within("stake", leastStake, asked.stake, MAX_STAKE_RATIO * leastStake);
        _checkBond(asked);
        _within("keepers", 0, asked.keepers, MAX_KEEPERS);
        if (asked.keepers != 0) {
            _within("intervals", 1, Schedules.intervals(asked.steps, asked.interval), MAX_KEPT);
        }
        _within("keeperBps", 0, asked.keeperBps, asked.keepers == 0 ? 0 : MAX_KEEPER_BPS);
        return bill(asked.maxPrice, asked.keeperBps);
    }

    /// @inheritdoc ITermLimits
    function values() external view returns (Limits memory) {
        return _values;
    }

    /// @inheritdoc ITermLimits
    /// @dev q · burned part ≥ (1−q) · gain · margin. With x = honest part · rate, the honest audits to expect, one
    /// falsified interval is found with probability q ≥ 1 − e^−x, so that (1−q)/q ≤ 1/x. It gains what it is paid, its
    /// share of the steps, and as much in work saved. Falsifying more gains less than proportionally.
    function requiredStake(uint128 maxPrice, uint32 steps, uint32 interval, uint16 auditRateBps)
        public
        view
        returns (uint256)
    {
        uint256 audits = uint256(_values.honestBps) * auditRateBps; // in 1/10,000²
        uint256 gain = 2 * uint256(maxPrice) * interval; // in 1/steps
        uint256 deterrent =
            Money.partUp(gain, _values.marginBps * Money.BPS * Money.BPS, audits * BURN_BPS * steps);
        return Math.max(deterrent, STAKE_BOUNTIES * _values.bounty);
    }

    /// @inheritdoc ITermLimits
    function allowedStake(uint128 maxPrice, uint32 steps, uint32 interval, uint16 auditRateBps)
        public
        view
        returns (uint256)
    {
        return MAX_STAKE_RATIO * requiredStake(maxPrice, steps, interval, auditRateBps);
    }

    /// @inheritdoc ITermLimits
    function requiredBond(uint128 stake, uint128 maxPrice, uint32 steps, uint32 interval)
        public
        view
        returns (uint256)
    {
        uint256 replay = Money.partUp(maxPrice, interval, steps);
        return Math.max(Math.max(Money.partUp(stake, 1, BOND_DIVISOR), _values.bond), replay);
    }

    /// @inheritdoc ITermLimits
    function excuseBond(uint96 urgency, uint32 clock) public pure returns (uint256) {
        return 2 * uint256(urgency) * clock;
    }

    /// @inheritdoc ITermLimits
    function allowedBond(uint128 stake, uint128 maxPrice, uint32 steps, uint32 interval)
        public
        view
        returns (uint256)
    {
        uint256 least = requiredBond(stake, maxPrice, steps, interval);
        return Math.max(Money.partDown(stake, 1, MAX_BOND_DIVISOR), least);
    }

    /// @inheritdoc ITermLimits
    function bill(uint128 maxPrice, uint16 keeperBps) public view returns (uint256 escrow, uint256 fee) {
        uint256 standby = Money.partUp(maxPrice, _values.standbyBps, Money.BPS);
        return (maxPrice + standby + Money.partUp(maxPrice, keeperBps, Money.BPS), _values.postFee);
    }

    function _checkWork(Terms calldata asked) private pure {
        if (asked.graphRoot == 0) revert TermMissing("graphRoot");
        if (asked.stateRoot == 0) revert TermMissing("stateRoot");
        _within("steps", 1, asked.steps, MAX_STEPS);
        _within("interval", 1, asked.interval, asked.steps);
        _within("uri", 0, bytes(asked.uri).length, MAX_URI);
    }

    function _checkBond(Terms calldata asked) private view {
        uint256 least = requiredBond(asked.stake, asked.maxPrice, asked.steps, asked.interval);
        uint256 most = allowedBond(asked.stake, asked.maxPrice, asked.steps, asked.interval);
        _within("bond", Math.max(least, excuseBond(asked.urgency, asked.clock)), asked.bond, most);
    }

    function _within(string memory term, uint256 least, uint256 sent, uint256 most) private pure {
        if (sent < least) revert TermTooSmall(term, least, sent);
        if (sent > most) revert TermTooLarge(term, most, sent);
    }

    function _ordered(string memory term, uint256 least, uint256 most) private pure {
        if (least > most) revert InvalidLimit(term, least, most);
    }
}
