// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {ICheckpointLog} from "../interfaces/ICheckpointLog.sol";
import {ITaskMarket} from "../interfaces/ITaskMarket.sol";
import {Attempts} from "../lib/Attempts.sol";
import {Schedules} from "../market/Schedules.sol";

/// @title CheckpointLog
/// @notice Stores the roots and when they become final. Moves no money: the market asks it before paying.
contract CheckpointLog is ICheckpointLog {
    uint256 public constant MAX_URI = 512;

    ITaskMarket public immutable market;
    address private immutable _deployer;

    /// @notice The dispute game.
    address public game;

    /// @notice The keepers' contract.
    address public keepers;

    /// @notice A window follows the one before by at least this part of the interval time, whatever was promised:
    /// verifiers need time too.
    uint32 public constant LEAST_PROMISE = 16;

    /// One slot.
    struct Progress {
        uint32 count; // checkpoints that are not void
        uint32 disputes; // open ones about them
    }

    mapping(uint256 taskId => Progress) private _progress;
    mapping(uint256 taskId => mapping(uint32 index => Checkpoint)) private _checkpoints;

    /// One more than the index of what was proved false; 0 if nothing was.
    mapping(uint256 attemptId => uint256) private _condemned;

    modifier onlyGame() {
        if (msg.sender != game) revert NotGame(msg.sender);
        _;
    }

    constructor(ITaskMarket market_) {
        if (address(market_) == address(0)) revert ZeroAddress();
        market = market_;
        _deployer = msg.sender;
    }

    /// @inheritdoc ICheckpointLog
    function connect(address game_, address keepers_) external {
        if (msg.sender != _deployer) revert NotDeployer(msg.sender);
        if (game != address(0)) revert AlreadyConnected();
        if (game_ == address(0) || keepers_ == address(0)) revert ZeroAddress();
        (game, keepers) = (game_, keepers_);
    }

    /// @inheritdoc ICheckpointLog
    function commit(uint256 taskId, uint32 index, bytes32 root, string calldata uri) external {
        ITaskMarket.Schedule memory schedule = market.schedule(taskId);
        if (schedule.status != ITaskMarket.Status.Training) revert NotTraining(taskId, schedule.status);
        if (msg.sender != schedule.solver) revert NotSolver(schedule.solver, msg.sender);
        uint32 expected = _progress[taskId].count;
        if (expected == schedule.intervals) revert AllCommitted(taskId, schedule.intervals);
        if (index != expected) revert WrongIndex(expected, index);
        uint64 deadline = Schedules.deadline(schedule, index);
        if (block.timestamp > deadline) revert DeadlineMissed(deadline, uint64(block.timestamp));
        if (root == 0) revert ZeroRoot();
        if (bytes(uri).length > MAX_URI) revert UriTooLong(MAX_URI, bytes(uri).length);

        uint40 committedAt = uint40(block.timestamp);
        // The end of the window is stored, so that finality needs no call to the market.
        uint40 until = _windowEnd(taskId, index, committedAt, schedule);
        // Nobody knows the beacon when keys are made: what a verifier signs holds it.
        _checkpoints[taskId][index] = Checkpoint(
            root, committedAt, 0, until, schedule.attempt, schedule.defended, uint56(block.prevrandao), 0
        );
        _progress[taskId].count = index + 1;
        emit Committed(taskId, index, root, uri);
    }

    /// @inheritdoc ICheckpointLog
    function hold(uint256 taskId, uint32 index) external onlyGame {
        Checkpoint storage held = _get(taskId, index);
        // Checked here, because a final checkpoint may have been paid for already.
        uint64 until = _until(held);
        if (block.timestamp > until) revert WindowClosed(until, uint64(block.timestamp));
        ++_progress[taskId].disputes;
        emit Held(taskId, index, ++held.holds);
    }

    /// @inheritdoc ICheckpointLog
    function unhold(uint256 taskId, uint32 index, uint8 attempt) external onlyGame {
        Checkpoint storage held = _checkpoints[taskId][index];
        if (index >= _progress[taskId].count || held.attempt != attempt) return;
        if (held.holds == 0) revert NotHeld(taskId, index);
        --_progress[taskId].disputes;
        emit Unheld(taskId, index, --held.holds);
    }

    /// @inheritdoc ICheckpointLog
    function condemn(uint256 taskId, uint32 index) external onlyGame {
        uint8 attempt = _get(taskId, index).attempt;
        _condemned[Attempts.id(taskId, attempt)] = uint256(index) + 1;
        emit Condemned(taskId, index, attempt);
    }

    /// @inheritdoc ICheckpointLog
    function truncate(uint256 taskId, uint32 index) external {
        if (msg.sender != address(market)) revert NotMarket(msg.sender);
        _progress[taskId] = Progress(index, 0);
        emit Voided(taskId, index);
    }

    /// @inheritdoc ICheckpointLog
    function prolong(uint256 taskId, uint32 index, uint64 until) external {
        if (msg.sender != keepers) revert NotKeepers(msg.sender);
        Checkpoint storage late = _checkpoints[taskId][index];
        // Beside the end that it had: windows of later ones follow that one.
        late.prolonged = uint32(until - late.challengeableUntil);
        emit Prolonged(taskId, index, until);
    }

    /// @inheritdoc ICheckpointLog
    function count(uint256 taskId) external view returns (uint32) {
        return _progress[taskId].count;
    }

    /// @inheritdoc ICheckpointLog
    function disputes(uint256 taskId) external view returns (uint32) {
        return _progress[taskId].disputes;
    }

    /// @inheritdoc ICheckpointLog
    function checkpoint(uint256 taskId, uint32 index) external view returns (Checkpoint memory found) {
        found = _get(taskId, index);
        found.challengeableUntil = _until(_checkpoints[taskId][index]);
    }

    /// @inheritdoc ICheckpointLog
    function standing(uint256 taskId, uint32 index, uint8 attempt) external view returns (bool, uint64) {
        Checkpoint storage judged = _checkpoints[taskId][index];
        if (index >= _progress[taskId].count || judged.attempt != attempt) return (false, 0);
        return (true, _until(judged));
    }

    /// @inheritdoc ICheckpointLog
    function isCondemned(uint256 taskId, uint32 index, uint8 attempt) external view returns (bool) {
        return _condemned[Attempts.id(taskId, attempt)] == uint256(index) + 1;
    }

    /// @inheritdoc ICheckpointLog
    function challengeableUntil(uint256 taskId, uint32 index) external view returns (uint64) {
        return _until(_get(taskId, index));
    }

    /// @inheritdoc ICheckpointLog
    function finality(uint256 taskId, uint32 index) external view returns (bool, uint64, uint32) {
        if (index >= _progress[taskId].count) return (false, 0, 0);
        Checkpoint storage judged = _checkpoints[taskId][index];
        if (block.timestamp <= _until(judged) || judged.holds != 0) return (false, 0, 0);
        return (true, judged.committedAt, judged.defended);
    }

    /// When the window of a checkpoint ends.
    function _until(Checkpoint storage judged) private view returns (uint40) {
        return judged.challengeableUntil + judged.prolonged;
    }

    /// A window opens with the commit, but no earlier than one promised interval after the window before it: whoever
    /// commits many checkpoints at once leaves verifiers more than one window for them. Windows are equally long, so
    /// that their ends are as far apart as their beginnings. None opens later than its checkpoint's deadline.
    function _windowEnd(uint256 taskId, uint32 index, uint40 committedAt, ITaskMarket.Schedule memory schedule)
        private
        view
        returns (uint40 until)
    {
        until = committedAt + schedule.challengeWindow;
        if (index == schedule.first) return until;
        uint32 apart = schedule.intervalTime / LEAST_PROMISE;
        if (apart < schedule.promised) apart = schedule.promised;
        uint40 least = _checkpoints[taskId][index - 1].challengeableUntil + apart;
        return until < least ? least : until;
    }

    function _get(uint256 taskId, uint32 index) private view returns (Checkpoint storage) {
        if (index >= _progress[taskId].count) revert UnknownCheckpoint(taskId, index);
        return _checkpoints[taskId][index];
    }
}
