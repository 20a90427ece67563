// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {ICheckpointLog} from "../interfaces/ICheckpointLog.sol";
import {ITaskMarket} from "../interfaces/ITaskMarket.sol";

/// @title CheckpointLog
/// @notice Stores the roots and when they become final. Moves no money: the market asks it before paying.
contract CheckpointLog is ICheckpointLog {
    uint256 public constant MAX_URI = 512;

    ITaskMarket public immutable market;
    address private immutable _deployer;

    /// @notice The dispute game.
    address public game;

    mapping(uint256 taskId => Checkpoint[]) private _checkpoints;

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
    function connect(address game_) external {
        if (msg.sender != _deployer) revert NotDeployer(msg.sender);
        if (game != address(0)) revert AlreadyConnected();
        if (game_ == address(0)) revert ZeroAddress();
        game = game_;
    }

    /// @inheritdoc ICheckpointLog
    function commit(uint256 taskId, uint32 index, bytes32 root, string calldata uri) external {
        ITaskMarket.Schedule memory schedule = market.schedule(taskId);
        if (schedule.status != ITaskMarket.Status.Training) revert NotTraining(taskId, schedule.status);
        if (msg.sender != schedule.solver) revert NotSolver(schedule.solver, msg.sender);
        uint256 expected = _checkpoints[taskId].length;
        if (expected == schedule.intervals) revert AllCommitted(taskId, schedule.intervals);
        if (index != expected) revert WrongIndex(uint32(expected), index);
        uint64 deadline = market.deadline(taskId, index);
        if (block.timestamp > deadline) revert DeadlineMissed(deadline, uint64(block.timestamp));
        if (root == 0) revert ZeroRoot();
        if (bytes(uri).length > MAX_URI) revert UriTooLong(MAX_URI, bytes(uri).length);

        uint64 committedAt = uint64(block.timestamp);
        // The end of the window is stored, so that isFinal needs no call to the market.
        uint64 until = _windowEnd(taskId, index, committedAt, schedule);
        _checkpoints[taskId].push(Checkpoint(root, committedAt, 0, until));
        emit Committed(taskId, index, root, uri);
    }

    /// @inheritdoc ICheckpointLog
    function hold(uint256 taskId, uint32 index) external onlyGame {
        Checkpoint storage held = _get(taskId, index);
        // Checked here, because a final checkpoint may have been paid for already.
        if (block.timestamp > held.challengeableUntil) {
            revert WindowClosed(held.challengeableUntil, uint64(block.timestamp));
        }
        emit Held(taskId, index, ++held.holds);
    }

    /// @inheritdoc ICheckpointLog
    function unhold(uint256 taskId, uint32 index) external onlyGame {
        Checkpoint storage held = _get(taskId, index);
        if (held.holds == 0) revert NotHeld(taskId, index);
        emit Unheld(taskId, index, --held.holds);
    }

    /// @inheritdoc ICheckpointLog
    function count(uint256 taskId) external view returns (uint32) {
        return uint32(_checkpoints[taskId].length);
    }

    /// @inheritdoc ICheckpointLog
    function checkpoint(uint256 taskId, uint32 index) external view returns (Checkpoint memory) {
        return _get(taskId, index);
    }

    /// @inheritdoc ICheckpointLog
    function challengeableUntil(uint256 taskId, uint32 index) external view returns (uint64) {
        return _get(taskId, index).challengeableUntil;
    }

    /// @inheritdoc ICheckpointLog
    function isFinal(uint256 taskId, uint32 index) external view returns (bool) {
        if (index >= _checkpoints[taskId].length) return false;
        Checkpoint storage judged = _checkpoints[taskId][index];
        return block.timestamp > judged.challengeableUntil && judged.holds == 0;
    }

    /// A window opens with the commit, but no earlier than one interval time after the window before it: whoever
    /// commits many checkpoints at once leaves verifiers more than one window for them. Windows are equally long, so
    /// that their ends are as far apart as their beginnings. None opens later than its checkpoint's deadline.
    function _windowEnd(uint256 taskId, uint32 index, uint64 committedAt, ITaskMarket.Schedule memory schedule)
        private
        view
        returns (uint64 until)
    {
        until = committedAt + schedule.challengeWindow;
        if (index == 0) return until;
        uint64 least = _checkpoints[taskId][index - 1].challengeableUntil + schedule.intervalTime;
        return until < least ? least : until;
    }

    function _get(uint256 taskId, uint32 index) private view returns (Checkpoint storage) {
        if (index >= _checkpoints[taskId].length) revert UnknownCheckpoint(taskId, index);
        return _checkpoints[taskId][index];
    }
}
