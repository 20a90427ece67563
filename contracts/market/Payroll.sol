// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {ICheckpointLog} from "../interfaces/ICheckpointLog.sol";
import {IKeepers} from "../interfaces/IKeepers.sol";
import {IStakeVault} from "../interfaces/IStakeVault.sol";
import {ITaskMarket} from "../interfaces/ITaskMarket.sol";
import {ITermLimits} from "../interfaces/ITermLimits.sol";
import {IWorkerRegistry} from "../interfaces/IWorkerRegistry.sol";
import {Money} from "../lib/Money.sol";
import {Pots} from "../lib/Pots.sol";
import {Schedules} from "./Schedules.sol";

/// @title Pay
/// @notice An interval earns the price's share of its steps, once its checkpoint is final and can be had. What lateness
/// cost the requester stays in the escrow, a fee burns, and the standby gets its part beside that.
abstract contract Payroll is ITaskMarket {
    using Schedules for Schedule;

    /// What several intervals earn together.
    struct Payslip {
        uint32 index; // of the first interval that is not paid for
        uint32 late; // seconds of lateness that were paid for
        bool all; // the last interval is among them
        uint256 gross;
        uint256 net; // without what lateness cost, and without the fee
        uint256 fee;
        uint256 standby;
    }

    /// @notice Most intervals that one call pays. An unbounded loop could exceed the block's gas and stop a conviction.
    uint32 public constant MAX_PAID_PER_CALL = 64;

    IStakeVault public immutable vault;
    IWorkerRegistry public immutable registry;

    /// @inheritdoc ITaskMarket
    ITermLimits public immutable limits;

    // Of the limits, which never change: every interval's pay asks for them.
    uint16 private immutable _feeBps;
    uint16 private immutable _standbyBps;

    ICheckpointLog public log;

    /// @notice The keepers.
    IKeepers public keepers;

    mapping(uint256 taskId => ITermLimits.Terms) internal _terms;
    mapping(uint256 taskId => Task) internal _tasks;

    constructor(IStakeVault vault_, IWorkerRegistry registry_, ITermLimits limits_) {
        if (address(vault_) == address(0) || address(registry_) == address(0)) revert ZeroAddress();
        if (address(limits_) == address(0)) revert ZeroAddress();
        (vault, registry, limits) = (vault_, registry_, limits_);
        ITermLimits.Limits memory values = limits_.values();
        (_feeBps, _standbyBps) = (values.feeBps, values.standbyBps);
    }

    /// @inheritdoc ITaskMarket
    function schedule(uint256 taskId) public view returns (Schedule memory) {
        Task storage t = _tasks[taskId];
        ITermLimits.Terms storage asked = _terms[taskId];
        if (t.status == Status.None) revert UnknownTask(taskId);
        return Schedule({
            solver: t.solver,
            status: t.status,
            attempt: t.attempt,
            first: t.first,
            intervals: Schedules.intervals(asked.steps, asked.interval),
            interval: asked.interval,
            promised: t.promised,
            intervalTime: asked.intervalTime,
            challengeWindow: asked.challengeWindow,
            awardedAt: t.awardedAt,
            defended: t.defended
        });
    }

    /// Pays the next final intervals in one transfer each. Returns how many, and whether the last one is among them.
    function _payFinal(uint256 taskId, Task storage t) internal returns (uint32 number, bool all) {
        uint32 first = t.paid;
        Payslip memory slip = _earned(taskId, t, first);
        number = slip.index - first;
        if (number == 0) return (0, false);
        all = slip.all;
        (t.paid, t.late) = (slip.index, slip.late);
        bytes32 pot = Pots.escrow(taskId);
        address standby = t.standby;
        registry.note(t.solver, uint128(slip.gross), 0);
        vault.divide(pot, t.solver, slip.net, slip.fee);
        if (standby != address(0) && slip.standby != 0) vault.pay(pot, standby, slip.standby);
    }

    /// What the attempt's steps before checkpoint `index` earn, rounded down; together exactly the price.
    function _grossDown(uint256 taskId, Task storage t, uint32 index) internal view returns (uint256) {
        (uint32 steps, uint32 interval) = (_terms[taskId].steps, _terms[taskId].interval);
        return Money.partDown(t.price, _stepsUpTo(steps, interval, t.first, index), steps - t.first * interval);
    }

    /// Steps from checkpoint `first` to the end.
    function _stepsLeft(uint256 taskId, uint32 first) internal view returns (uint32) {
        return _terms[taskId].steps - first * _terms[taskId].interval;
    }

    /// Of an attempt that began with checkpoint `first`.
    function _stepsUpTo(uint32 steps, uint32 interval, uint32 first, uint32 index) private pure returns (uint32) {
        uint256 end = uint256(index) * interval;
        return uint32(end < steps ? end : steps) - first * interval;
    }

    function _earned(uint256 taskId, Task storage t, uint32 first) private returns (Payslip memory slip) {
        Schedule memory s = schedule(taskId);
        (slip.index, slip.late) = (first, t.late);
        (uint256 price, uint32 steps, uint32 left) = (t.price, _terms[taskId].steps, _stepsLeft(taskId, s.first));
        uint256 before = Money.partDown(price, _stepsUpTo(steps, s.interval, s.first, first), left);
        uint32 end = _payable(taskId, t, s);
        while (slip.index < end && slip.index - first < MAX_PAID_PER_CALL) {
            (bool isFinal, uint64 committedAt, uint32 defended) = log.finality(taskId, slip.index);
            if (!isFinal) break;
            uint256 done = _stepsUpTo(steps, s.interval, s.first, slip.index + 1);
            uint256 upTo = Money.partDown(price, done, left);
            uint256 withheld = _withheld(taskId, slip, s.lateness(done, committedAt, defended), upTo - before);
            uint256 fee = Money.partUp(upTo - before - withheld, _feeBps, Money.BPS);
            emit Paid(taskId, slip.index++, s.solver, upTo - before - withheld - fee, withheld, fee);
            slip.gross += upTo - before;
            slip.net += upTo - before - withheld - fee;
            slip.fee += fee;
            slip.standby += Money.partDown(upTo - before, _standbyBps, Money.BPS);
            before = upTo;
        }
        slip.all = slip.index == s.intervals;
    }

    /// The first interval that can't be paid for, whatever is final: nobody can have its checkpoint.
    function _payable(uint256 taskId, Task storage t, Schedule memory s) private view returns (uint32) {
        if (t.keepers == 0) return s.intervals;
        uint32 available = keepers.available(taskId, s.attempt);
        return available < s.intervals ? available : s.intervals;
    }

    /// What the requester keeps of an interval's pay for what the lateness grew by. What an interval's pay does not
    /// cover the next ones must: only the seconds that were paid for are noted.
    function _withheld(uint256 taskId, Payslip memory slip, uint256 late, uint256 gross)
        private
        view
        returns (uint256)
    {
        if (late <= slip.late) return 0;
        uint256 urgency = _terms[taskId].urgency;
        uint256 cost = urgency * (late - slip.late);
        if (cost <= gross) {
            slip.late = uint32(late);
            return cost;
        }
        slip.late += uint32(gross / urgency);
        return gross;
    }
}
