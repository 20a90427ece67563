// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {IAuction} from "../interfaces/IAuction.sol";
import {IAuditor} from "../interfaces/IAuditor.sol";
import {ICheckpointLog} from "../interfaces/ICheckpointLog.sol";
import {IKeepers} from "../interfaces/IKeepers.sol";
import {IStakeVault} from "../interfaces/IStakeVault.sol";
import {ITaskMarket} from "../interfaces/ITaskMarket.sol";
import {ITermLimits} from "../interfaces/ITermLimits.sol";
import {IWorkerRegistry} from "../interfaces/IWorkerRegistry.sol";
import {Attempts} from "../lib/Attempts.sol";
import {Money} from "../lib/Money.sol";
import {Pots} from "../lib/Pots.sol";
import {Stakes} from "../lib/Stakes.sol";
import {Payroll} from "./Payroll.sol";
import {Schedules} from "./Schedules.sol";
import {Scores} from "./Scores.sol";

/// @title TaskMarket
/// @notice The life of a task: posted, awarded, paid, failed, tried again, ended. The tokens stay in the vault.
contract TaskMarket is Payroll {
    using Schedules for Schedule;

    /// @notice Part of a stalled solver's stake that is burned.
    uint256 public constant STALL_BURN_BPS = 1_000;

    address private immutable _deployer;

    /// @notice The auction.
    IAuction public auction;

    /// @notice The dispute game.
    address public game;

    /// @notice The auditor.
    IAuditor public auditor;

    /// @inheritdoc ITaskMarket
    uint256 public taskCount;

    modifier onlyGame() {
        if (msg.sender != game) revert NotGame(msg.sender);
        _;
    }

    constructor(IStakeVault vault_, IWorkerRegistry registry_, ITermLimits limits_)
        Payroll(vault_, registry_, limits_)
    {
        _deployer = msg.sender;
    }

    /// @inheritdoc ITaskMarket
    function connect(IAuction auction_, ICheckpointLog log_, address game_, IAuditor auditor_, IKeepers keepers_)
        external
    {
        if (msg.sender != _deployer) revert NotDeployer(msg.sender);
        if (game != address(0)) revert AlreadyConnected();
        if (address(auction_) == address(0) || address(log_) == address(0)) revert ZeroAddress();
        if (game_ == address(0) || address(auditor_) == address(0)) revert ZeroAddress();
        if (address(keepers_) == address(0)) revert ZeroAddress();
        (auction, log, game, auditor, keepers) = (auction_, log_, game_, auditor_, keepers_);
        emit Connected(auction_, log_, game_, auditor_, keepers_);
    }

    /// @inheritdoc ITaskMarket
    function post(ITermLimits.Terms calldata asked) external returns (uint256 taskId) {
        (uint256 escrow, uint256 fee) = limits.check(asked);
        taskId = taskCount++;
        _terms[taskId] = asked;
        Task storage t = _tasks[taskId];
        t.requester = msg.sender;
        (t.status, t.keepers) = (Status.Bidding, asked.keepers);
        t.biddingEnds = uint64(block.timestamp) + asked.biddingTime;
        emit Posted(taskId, msg.sender, asked.graphRoot, asked.uri);
        vault.lock(Pots.escrow(taskId), msg.sender, escrow + fee);
        if (fee != 0) vault.burn(Pots.escrow(taskId), fee);
        uint32 number = Schedules.intervals(asked.steps, asked.interval);
        auditor.fund(taskId, msg.sender, asked.auditFee, asked.auditRateBps, number);
    }

    /// @inheritdoc ITaskMarket
    function award(uint256 taskId) external {
        Task storage t = _require(taskId, Status.Bidding);
        IAuction.Ask memory asked = ask(taskId);
        if (block.timestamp < asked.revealEnds) revert RevealOpen(asked.revealEnds, uint64(block.timestamp));
        (IAuction.Bid memory leader, IAuction.Bid memory standby) = auction.close(taskId, t.attempt);
        if (leader.bidder == address(0)) return _end(taskId, t, Status.Cancelled);
        uint128 price = Scores.pay(leader, standby, asked.reserve);
        if (standby.bidder != address(0) && _isLast(taskId, t)) {
            auction.dismiss(taskId, t.attempt, standby.bidder, false); // nobody will take over
            standby.bidder = address(0);
        }
        // Drawn now, of the stakes that count now.
        (t.standby, t.handoverEnds, t.beacon) = (standby.bidder, 0, uint32(block.prevrandao));
        _begin(t, leader.bidder, price, leader.promised);
        emit Awarded(taskId, t.attempt, leader.bidder, price, leader.promised, standby.bidder);
    }

    /// @inheritdoc ITaskMarket
    function lead(uint256 taskId, address beaten, address leader) external {
        if (msg.sender != address(auction)) revert NotAuction(msg.sender);
        bytes32 pot = Pots.stake(Attempts.id(taskId, _tasks[taskId].attempt));
        uint256 stake = _terms[taskId].stake;
        if (beaten != address(0)) vault.pay(pot, beaten, stake);
        vault.lock(pot, leader, stake);
    }

    /// @inheritdoc ITaskMarket
    function collect(uint256 taskId) external {
        Task storage t = _require(taskId, Status.Training);
        (uint32 number, bool all) = _payFinal(taskId, t);
        if (number == 0) revert NothingFinal(taskId, t.paid);
        if (!all) return;
        vault.empty(Pots.stake(Attempts.id(taskId, t.attempt)), t.solver);
        _closeKept(taskId, t, false);
        _end(taskId, t, Status.Completed);
    }

    /// @inheritdoc ITaskMarket
    function stall(uint256 taskId) external {
        Task storage t = _require(taskId, Status.Training);
        bool lost = t.keepers != 0 && keepers.isLost(taskId);
        uint32 next = log.count(taskId);
        if (!lost) _requireMissed(taskId, next);
        (uint32 number,) = _payFinal(taskId, t);
        // While a checkpoint can still be disputed, the whole stake must stay at risk for it. Nobody can dispute what
        // nobody can have.
        bool pending = lost ? number == MAX_PAID_PER_CALL || log.disputes(taskId) != 0 : t.paid != next;
        if (pending) revert CheckpointPending(taskId, t.paid);

        bytes32 pot = Pots.stake(Attempts.id(taskId, t.attempt));
        uint256 stake = _terms[taskId].stake;
        uint256 burned = Money.partUp(stake, STALL_BURN_BPS, Money.BPS);
        emit Stalled(taskId, t.solver, burned);
        vault.divide(pot, t.solver, stake - burned, burned);
        _fail(taskId, t, Status.Stalled, lost);
    }

    /// @inheritdoc ITaskMarket
    function slash(uint256 taskId, address challenger, uint256 reward, uint256 kept) external onlyGame {
        Task storage t = _require(taskId, Status.Training);
        _payFinal(taskId, t);

        bytes32 pot = Pots.stake(Attempts.id(taskId, t.attempt));
        uint256 stake = _terms[taskId].stake;
        uint256 paid = reward + kept;
        uint256 allowed = Stakes.rewardDown(stake);
        if (paid > allowed) revert RewardTooLarge(allowed, paid);
        emit Slashed(taskId, t.solver, stake, paid);
        vault.divide(pot, challenger, reward, stake - paid);
        if (kept != 0) vault.move(pot, msg.sender, kept);
        _fail(taskId, t, Status.Slashed, false);
    }

    /// @inheritdoc ITaskMarket
    function excuse(uint256 taskId, uint32 time) external onlyGame {
        Task storage t = _require(taskId, Status.Training);
        t.defended += time;
        emit Excused(taskId, t.solver, time);
    }

    /// @inheritdoc ITaskMarket
    function takeOver(uint256 taskId) external {
        Task storage t = _require(taskId, Status.Vacant);
        address standby = t.standby;
        if (msg.sender != standby) revert NotStandby(standby, msg.sender);
        if (block.timestamp > t.handoverEnds) revert HandoverOver(t.handoverEnds, uint64(block.timestamp));
        (, IAuction.Bid memory bid) = auction.bids(taskId, t.attempt - 1);
        uint256 price = Money.partDown(bid.price, _stepsLeft(taskId, t.paid), _stepsLeft(taskId, t.first));
        t.first = t.paid;
        t.standby = address(0);
        _begin(t, standby, uint128(price), bid.promised);
        emit TookOver(taskId, t.attempt, standby, uint128(price), bid.promised);
        auction.dismiss(taskId, t.attempt - 1, standby, false);
        vault.lock(Pots.stake(Attempts.id(taskId, t.attempt)), standby, _terms[taskId].stake);
    }

    /// @inheritdoc ITaskMarket
    function reopen(uint256 taskId) external {
        Task storage t = _vacated(taskId);
        t.first = t.paid;
        t.status = Status.Bidding;
        t.biddingEnds = uint64(block.timestamp) + _terms[taskId].biddingTime;
        emit Reopened(taskId, t.attempt, t.biddingEnds);
    }

    /// @inheritdoc ITaskMarket
    function cancel(uint256 taskId) external {
        Task storage t = _tasks[taskId];
        if (msg.sender != t.requester) revert NotRequester(t.requester, msg.sender);
        if (t.status == Status.Bidding) auction.cancel(taskId, t.attempt);
        else t = _vacated(taskId);
        _end(taskId, t, Status.Cancelled);
    }

    /// @inheritdoc ITaskMarket
    function terms(uint256 taskId) external view returns (ITermLimits.Terms memory) {
        return _terms[taskId];
    }

    /// @inheritdoc ITaskMarket
    function task(uint256 taskId) external view returns (Task memory) {
        return _tasks[taskId];
    }

    /// @inheritdoc ITaskMarket
    function ask(uint256 taskId) public view returns (IAuction.Ask memory) {
        Task storage t = _require(taskId, Status.Bidding);
        ITermLimits.Terms storage asked = _terms[taskId];
        uint32 left = _stepsLeft(taskId, t.first);
        return IAuction.Ask({
            attempt: t.attempt,
            biddingEnds: t.biddingEnds,
            revealEnds: t.biddingEnds + asked.revealTime,
            stepsLeft: left,
            interval: asked.interval,
            intervalTime: asked.intervalTime,
            riskBps: asked.riskBps,
            reserve: uint128(Money.partDown(asked.maxPrice, left, asked.steps)),
            urgency: asked.urgency
        });
    }

    /// @inheritdoc ITaskMarket
    function bidding(uint256 taskId) external view returns (uint8 attempt, uint64 ends, address requester) {
        Task storage t = _require(taskId, Status.Bidding);
        return (t.attempt, t.biddingEnds, t.requester);
    }

    /// @inheritdoc ITaskMarket
    function contest(uint256 taskId, uint32 checkpoint) external view returns (Contest memory) {
        Task storage t = _require(taskId, Status.Training);
        ITermLimits.Terms storage asked = _terms[taskId];
        uint256 lo = uint256(checkpoint) * asked.interval;
        uint256 hi = lo + asked.interval;
        return Contest({
            solver: t.solver,
            attempt: t.attempt,
            graphRoot: asked.graphRoot,
            stateRoot: asked.stateRoot,
            bond: asked.bond,
            clock: asked.clock,
            lo: uint32(lo),
            hi: uint32(hi < asked.steps ? hi : asked.steps)
        });
    }

    /// @inheritdoc ITaskMarket
    function trains(uint256 taskId, uint8 attempt) external view returns (bool) {
        return _tasks[taskId].status == Status.Training && _tasks[taskId].attempt == attempt;
    }

    /// @inheritdoc ITaskMarket
    function audited(uint256 taskId) external view returns (address solver) {
        return _tasks[taskId].solver;
    }

    /// @inheritdoc ITaskMarket
    function vouched(uint256 taskId, uint8 attempt, uint32 checkpoint)
        external
        view
        returns (bool available, bool granted, uint32 steps, uint32 interval)
    {
        available = true;
        if (_tasks[taskId].keepers != 0) {
            uint32 number = keepers.available(taskId, attempt);
            (available, granted) = (number > checkpoint, number == type(uint32).max);
        }
        return (available, granted, _terms[taskId].steps, _terms[taskId].interval);
    }

    /// @inheritdoc ITaskMarket
    function custody(uint256 taskId) external view returns (Custody memory) {
        Task storage t = _tasks[taskId];
        ITermLimits.Terms storage asked = _terms[taskId];
        return Custody({
            requester: t.requester,
            trains: t.status == Status.Training,
            attempt: t.attempt,
            paid: t.paid,
            first: t.first,
            price: t.price,
            beacon: t.beacon,
            drawnAt: t.handoverEnds == 0 ? t.awardedAt : t.handoverEnds - asked.handoverTime,
            steps: asked.steps,
            interval: asked.interval,
            challengeWindow: asked.challengeWindow,
            keepers: t.keepers,
            keeperBps: asked.keeperBps
        });
    }

    /// @inheritdoc ITaskMarket
    function intervals(uint256 taskId) external view returns (uint32) {
        if (taskId >= taskCount) revert UnknownTask(taskId);
        return _intervalsOf(taskId);
    }

    /// @inheritdoc ITaskMarket
    function deadline(uint256 taskId, uint32 index) public view returns (uint64) {
        return schedule(taskId).deadline(index);
    }

    /// @inheritdoc ITaskMarket
    function escrowPot(uint256 taskId) external pure returns (bytes32) {
        return Pots.escrow(taskId);
    }

    /// @inheritdoc ITaskMarket
    function stakePot(uint256 taskId, uint8 attempt) external pure returns (bytes32) {
        return Pots.stake(Attempts.id(taskId, attempt));
    }

    /// The solver's time begins.
    function _begin(Task storage t, address solver, uint128 price, uint32 promised) private {
        (t.status, t.solver, t.price, t.promised) = (Status.Training, solver, price, promised);
        t.awardedAt = uint64(block.timestamp);
        (t.late, t.defended) = (0, 0);
    }

    /// The solver failed. What it did not deliver goes to the next one, if an attempt is left.
    /// @param lost nobody could have what it committed
    function _fail(uint256 taskId, Task storage t, Status how, bool lost) private {
        _closeKept(taskId, t, lost);
        log.truncate(taskId, t.paid);
        registry.note(t.solver, 0, t.price - uint128(_grossDown(taskId, t, t.paid)));
        if (_isLast(taskId, t)) return _end(taskId, t, how);
        t.status = Status.Vacant;
        ++t.attempt;
        if (t.standby != address(0)) {
            t.handoverEnds = uint64(block.timestamp) + _terms[taskId].handoverTime;
            // Drawn now, and not when it takes over: it could choose the block.
            t.beacon = uint32(block.prevrandao);
        }
        emit Vacated(taskId, t.attempt, t.standby, t.handoverEnds);
    }

    /// Nobody is paid any more. The rest of the escrow goes back, and a standby is free.
    function _end(uint256 taskId, Task storage t, Status how) private {
        t.status = how;
        emit Ended(taskId, how, vault.empty(Pots.escrow(taskId), t.requester));
        auditor.close(taskId, t.requester);
        if (t.standby != address(0)) auction.dismiss(taskId, t.attempt, t.standby, false);
    }

    /// A task without a solver, for which no standby may come any more. One that did not come loses its bond.
    function _vacated(uint256 taskId) private returns (Task storage t) {
        t = _require(taskId, Status.Vacant);
        address standby = t.standby;
        if (standby == address(0)) return t;
        if (block.timestamp <= t.handoverEnds) revert HandoverOpen(t.handoverEnds, uint64(block.timestamp));
        t.standby = address(0);
        auction.dismiss(taskId, t.attempt - 1, standby, true);
    }

    /// What the keepers of an attempt have earned is theirs now.
    function _closeKept(uint256 taskId, Task storage t, bool lost) private {
        if (t.keepers == 0) return;
        uint256 due = keepers.close(taskId, lost);
        if (due != 0) vault.move(Pots.escrow(taskId), address(keepers), due);
    }

    function _requireMissed(uint256 taskId, uint32 next) private view {
        if (next == _intervalsOf(taskId)) revert NothingDue(taskId);
        uint64 due = deadline(taskId, next);
        if (block.timestamp <= due) revert NotStalled(due, uint64(block.timestamp));
    }

    function _intervalsOf(uint256 taskId) private view returns (uint32) {
        return Schedules.intervals(_terms[taskId].steps, _terms[taskId].interval);
    }

    function _isLast(uint256 taskId, Task storage t) private view returns (bool) {
        return t.attempt + 1 == _terms[taskId].attempts;
    }

    function _require(uint256 taskId, Status expected) private view returns (Task storage t) {
        t = _tasks[taskId];
        if (t.status != expected) revert WrongStatus(taskId, expected, t.status);
    }
}
