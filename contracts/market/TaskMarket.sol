// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";

import {ICheckpointLog} from "../interfaces/ICheckpointLog.sol";
import {IStakeVault} from "../interfaces/IStakeVault.sol";
import {ITaskMarket} from "../interfaces/ITaskMarket.sol";
import {IWorkerRegistry} from "../interfaces/IWorkerRegistry.sol";
import {Money} from "../lib/Money.sol";
import {Pots} from "../lib/Pots.sol";

/// @title TaskMarket
/// @notice Decides when the money of a task changes owner. The tokens stay in the vault.
contract TaskMarket is ITaskMarket {
    uint256 public constant BPS = Money.BPS;

    /// @notice Least part of a convicted solver's stake that is burned. Only this part deters: the challengers who get
    /// the rest may be the solver under other names.
    uint256 public constant BURN_BPS = 5_000;

    /// @notice Part of a stalled solver's stake that is burned.
    uint256 public constant STALL_BURN_BPS = 1_000;

    /// @notice Ratio by which a cheat's expected loss must exceed its expected gain.
    uint256 public constant MARGIN_BPS = 12_000;

    /// @notice Bounties in the smallest stake: a conviction shares out four tenths of it.
    uint256 public constant STAKE_BOUNTIES = 10;

    /// @notice How many times the required stake terms may ask for.
    uint256 public constant MAX_STAKE_RATIO = 10;

    /// @notice A bond is at least the stake divided by this.
    uint256 public constant BOND_DIVISOR = 50;

    /// @notice A bond is at most the stake divided by this; the least bond of the deployment is always allowed.
    uint256 public constant MAX_BOND_DIVISOR = 4;

    /// @notice Most intervals that one call pays. An unbounded loop could exceed the block's gas and stop a conviction.
    uint32 public constant MAX_PAID_PER_CALL = 64;

    uint256 public constant MAX_URI = 512;
    uint32 private constant MAX_STEPS = 2 ** 31 - 1; // the step number is an int32 of the step graph
    uint8 private constant SOLVER = 1;

    IStakeVault public immutable vault;
    IWorkerRegistry public immutable registry;
    address private immutable _deployer;

    ICheckpointLog public log;

    /// @notice The dispute game.
    address public game;

    /// @inheritdoc ITaskMarket
    uint256 public taskCount;

    Limits private _limits;
    mapping(uint256 taskId => Terms) private _terms;
    mapping(uint256 taskId => Task) private _tasks;

    constructor(IStakeVault vault_, IWorkerRegistry registry_, Limits memory limits_) {
        if (address(vault_) == address(0) || address(registry_) == address(0)) revert ZeroAddress();
        // If detection were certain no stake would be needed; nobody can promise that.
        if (limits_.detectionBps == 0 || limits_.detectionBps >= BPS) revert InvalidDetection(limits_.detectionBps);
        _ordered("biddingTime", limits_.biddingTime, limits_.maxBiddingTime);
        _ordered("intervalTime", limits_.intervalTime, limits_.maxIntervalTime);
        _ordered("challengeWindow", limits_.challengeWindow, limits_.maxChallengeWindow);
        _ordered("clock", limits_.clock, limits_.maxClock);
        _ordered("duration", limits_.maxIntervalTime, limits_.maxDuration);
        // Half of a lost bond goes to the winner, and must cover what the dispute cost it.
        _ordered("bond", 2 * uint256(limits_.bounty), limits_.bond);
        vault = vault_;
        registry = registry_;
        _limits = limits_;
        _deployer = msg.sender;
    }

    /// @inheritdoc ITaskMarket
    function connect(ICheckpointLog log_, address game_) external {
        if (msg.sender != _deployer) revert NotDeployer(msg.sender);
        if (game != address(0)) revert AlreadyConnected();
        if (address(log_) == address(0) || game_ == address(0)) revert ZeroAddress();
        log = log_;
        game = game_;
        emit Connected(log_, game_);
    }

    /// @inheritdoc ITaskMarket
    function post(Terms calldata asked) external returns (uint256 taskId) {
        _checkWork(asked);
        _checkLimits(asked);
        taskId = taskCount++;
        _terms[taskId] = asked;
        Task storage t = _tasks[taskId];
        t.requester = msg.sender;
        t.status = Status.Bidding;
        t.biddingEnds = uint64(block.timestamp) + asked.biddingTime;
        emit Posted(taskId, msg.sender, asked.graphRoot, asked.uri);
        uint256 fee = _limits.postFee;
        vault.lock(Pots.escrow(taskId), msg.sender, asked.maxPrice + fee);
        if (fee != 0) vault.burn(Pots.escrow(taskId), fee);
    }

    /// @inheritdoc ITaskMarket
    function bid(uint256 taskId, uint128 price) external {
        Task storage t = _require(taskId, Status.Bidding);
        if (block.timestamp >= t.biddingEnds) revert BiddingOver(t.biddingEnds, uint64(block.timestamp));
        if (msg.sender == t.requester) revert OwnTask(msg.sender);
        if (!registry.hasRoles(msg.sender, SOLVER)) revert NotASolver(msg.sender);
        address outbid = t.solver;
        if (outbid == address(0)) {
            uint128 allowed = _terms[taskId].maxPrice;
            if (price > allowed) revert PriceTooHigh(allowed, price);
        } else if (price >= t.price) {
            revert PriceTooHigh(t.price == 0 ? 0 : t.price - 1, price);
        }
        t.solver = msg.sender;
        t.price = price;
        emit Bid(taskId, msg.sender, price);
        uint128 stake = _terms[taskId].stake;
        // Release first, then lock: a bidder who lowers its own bid needs only one stake.
        if (outbid != address(0)) vault.pay(Pots.stake(taskId), outbid, stake);
        vault.lock(Pots.stake(taskId), msg.sender, stake);
    }

    /// @inheritdoc ITaskMarket
    function award(uint256 taskId) external {
        Task storage t = _require(taskId, Status.Bidding);
        if (block.timestamp < t.biddingEnds) revert BiddingOpen(t.biddingEnds, uint64(block.timestamp));
        uint256 surplus = _terms[taskId].maxPrice - t.price; // without a bid the price is 0
        if (t.solver == address(0)) {
            t.status = Status.Cancelled;
            emit Cancelled(taskId);
        } else {
            t.status = Status.Training;
            t.awardedAt = uint64(block.timestamp);
            emit Awarded(taskId, t.solver, t.price);
        }
        if (surplus != 0) vault.pay(Pots.escrow(taskId), t.requester, surplus);
    }

    /// @inheritdoc ITaskMarket
    function collect(uint256 taskId) external {
        Task storage t = _require(taskId, Status.Training);
        uint32 total = intervals(taskId);
        if (_payFinal(taskId, t, total) == 0) revert NothingFinal(taskId, t.paid);
        if (t.paid == total) {
            t.status = Status.Completed;
            emit Completed(taskId);
            vault.pay(Pots.stake(taskId), t.solver, _terms[taskId].stake);
        }
    }

    /// @inheritdoc ITaskMarket
    function stall(uint256 taskId) external {
        Task storage t = _require(taskId, Status.Training);
        uint32 total = intervals(taskId);
        uint32 next = log.count(taskId);
        if (next == total) revert NothingDue(taskId);
        uint64 due = deadline(taskId, next);
        if (block.timestamp <= due) revert NotStalled(due, uint64(block.timestamp));
        _payFinal(taskId, t, total);
        // While a checkpoint can still be disputed, the whole stake must stay at risk for it.
        if (t.paid != next) revert CheckpointPending(taskId, t.paid);

        t.status = Status.Stalled;
        uint256 stake = _terms[taskId].stake;
        uint256 burned = Money.partUp(stake, STALL_BURN_BPS, BPS);
        uint256 refunded = t.price - _earnedDown(t.price, t.paid, total);
        emit Stalled(taskId, refunded, burned);
        vault.pay(Pots.escrow(taskId), t.requester, refunded);
        vault.pay(Pots.stake(taskId), t.solver, stake - burned);
        vault.burn(Pots.stake(taskId), burned);
    }

    /// @inheritdoc ITaskMarket
    function slash(uint256 taskId, address challenger, uint256 reward, uint256 kept) external {
        if (msg.sender != game) revert NotGame(msg.sender);
        Task storage t = _require(taskId, Status.Training);
        uint32 total = intervals(taskId);
        _payFinal(taskId, t, total);

        t.status = Status.Slashed;
        uint256 stake = _terms[taskId].stake;
        uint256 paid = reward + kept;
        uint256 allowed = stake - Money.partUp(stake, BURN_BPS, BPS);
        if (paid > allowed) revert RewardTooLarge(allowed, paid);
        uint256 refunded = t.price - _earnedDown(t.price, t.paid, total);
        emit Slashed(taskId, t.solver, stake, paid, refunded);
        vault.pay(Pots.escrow(taskId), t.requester, refunded);
        vault.pay(Pots.stake(taskId), challenger, reward);
        if (kept != 0) vault.move(Pots.stake(taskId), msg.sender, kept);
        vault.burn(Pots.stake(taskId), stake - paid);
    }

    /// @inheritdoc ITaskMarket
    function terms(uint256 taskId) external view returns (Terms memory) {
        return _terms[taskId];
    }

    /// @inheritdoc ITaskMarket
    function task(uint256 taskId) external view returns (Task memory) {
        return _tasks[taskId];
    }

    /// @inheritdoc ITaskMarket
    function schedule(uint256 taskId) external view returns (Schedule memory) {
        Task storage t = _tasks[taskId];
        Terms storage asked = _terms[taskId];
        return Schedule(
            t.solver, t.status, t.awardedAt, intervals(taskId), asked.intervalTime, asked.challengeWindow
        );
    }

    /// @inheritdoc ITaskMarket
    function limits() external view returns (Limits memory) {
        return _limits;
    }

    /// @inheritdoc ITaskMarket
    function intervals(uint256 taskId) public view returns (uint32) {
        if (taskId >= taskCount) revert UnknownTask(taskId);
        Terms storage asked = _terms[taskId];
        return _intervals(asked.steps, asked.interval);
    }

    /// @inheritdoc ITaskMarket
    function deadline(uint256 taskId, uint32 index) public view returns (uint64) {
        return _tasks[taskId].awardedAt + (uint64(index) + 1) * _terms[taskId].intervalTime;
    }

    /// @inheritdoc ITaskMarket
    /// @dev burned part · q ≥ (1−q) · gain · margin, with gain = 2·maxPrice: what is paid, plus as much in work saved.
    function requiredStake(uint128 maxPrice) public view returns (uint256) {
        uint256 q = _limits.detectionBps;
        uint256 deterrent = Money.partUp(2 * uint256(maxPrice), (BPS - q) * MARGIN_BPS, q * BURN_BPS);
        return Math.max(deterrent, STAKE_BOUNTIES * _limits.bounty);
    }

    /// @inheritdoc ITaskMarket
    function allowedStake(uint128 maxPrice) public view returns (uint256) {
        return MAX_STAKE_RATIO * requiredStake(maxPrice);
    }

    /// @inheritdoc ITaskMarket
    function requiredBond(uint128 stake) public view returns (uint256) {
        return Math.max(Money.partUp(stake, 1, BOND_DIVISOR), _limits.bond);
    }

    /// @inheritdoc ITaskMarket
    function allowedBond(uint128 stake) public view returns (uint256) {
        return Math.max(Money.partDown(stake, 1, MAX_BOND_DIVISOR), _limits.bond);
    }

    /// @inheritdoc ITaskMarket
    function escrowPot(uint256 taskId) external pure returns (bytes32) {
        return Pots.escrow(taskId);
    }

    /// @inheritdoc ITaskMarket
    function stakePot(uint256 taskId) external pure returns (bytes32) {
        return Pots.stake(taskId);
    }

    /// Pays the next final intervals in one transfer. Returns how many.
    function _payFinal(uint256 taskId, Task storage t, uint32 total) private returns (uint32 number) {
        (uint32 first, uint128 price, address solver) = (t.paid, t.price, t.solver);
        uint32 index = first;
        uint256 before = _earnedDown(price, first, total);
        uint256 earned = before;
        while (index < total && index - first < MAX_PAID_PER_CALL && log.isFinal(taskId, index)) {
            uint256 upTo = _earnedDown(price, index + 1, total);
            emit Paid(taskId, index, solver, upTo - earned);
            earned = upTo;
            ++index;
        }
        number = index - first;
        if (number == 0) return 0;
        t.paid = index;
        vault.pay(Pots.escrow(taskId), solver, earned - before);
    }

    function _require(uint256 taskId, Status expected) private view returns (Task storage t) {
        t = _tasks[taskId];
        if (t.status != expected) revert WrongStatus(taskId, expected, t.status);
    }

    function _checkWork(Terms calldata asked) private pure {
        if (asked.graphRoot == 0) revert TermMissing("graphRoot");
        if (asked.stateRoot == 0) revert TermMissing("stateRoot");
        if (asked.steps == 0) revert TermTooSmall("steps", 1, 0);
        if (asked.steps > MAX_STEPS) revert TermTooLarge("steps", MAX_STEPS, asked.steps);
        if (asked.interval == 0) revert TermTooSmall("interval", 1, 0);
        if (asked.interval > asked.steps) revert TermTooLarge("interval", asked.steps, asked.interval);
        if (bytes(asked.uri).length > MAX_URI) revert TermTooLarge("uri", MAX_URI, bytes(asked.uri).length);
    }

    function _checkLimits(Terms calldata asked) private view {
        Limits memory set = _limits;
        _within("biddingTime", set.biddingTime, asked.biddingTime, set.maxBiddingTime);
        _within("intervalTime", set.intervalTime, asked.intervalTime, set.maxIntervalTime);
        _within("challengeWindow", set.challengeWindow, asked.challengeWindow, set.maxChallengeWindow);
        _within("clock", set.clock, asked.clock, set.maxClock);
        uint256 number = _intervals(asked.steps, asked.interval);
        _within("duration", 0, number * asked.intervalTime, set.maxDuration);
        _within("stake", requiredStake(asked.maxPrice), asked.stake, allowedStake(asked.maxPrice));
        _within("bond", requiredBond(asked.stake), asked.bond, allowedBond(asked.stake));
    }

    function _within(string memory term, uint256 least, uint256 sent, uint256 most) private pure {
        if (sent < least) revert TermTooSmall(term, least, sent);
        if (sent > most) revert TermTooLarge(term, most, sent);
    }

    function _ordered(string memory term, uint256 least, uint256 most) private pure {
        if (least > most) revert InvalidLimit(term, least, most);
    }

    function _intervals(uint32 steps, uint32 interval) private pure returns (uint32) {
        return (steps - 1) / interval + 1;
    }

    /// What the first `paid` of `total` intervals earn. The last interval also earns the remainder of the division.
    function _earnedDown(uint128 price, uint32 paid, uint32 total) private pure returns (uint256) {
        return paid == total ? price : Money.partDown(price, 1, total) * paid;
    }
}
