// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {ICheckpointLog} from "../interfaces/ICheckpointLog.sol";
import {IDisputeGame} from "../interfaces/IDisputeGame.sol";
import {IStakeVault} from "../interfaces/IStakeVault.sol";
import {ITaskMarket} from "../interfaces/ITaskMarket.sol";
import {Merkle} from "../lib/Merkle.sol";
import {Money} from "../lib/Money.sol";
import {Clocks} from "./Clocks.sol";
import {Descent} from "./Descent.sol";
import {Turns} from "./Turns.sol";

/// @title How a dispute begins and ends
/// @dev Knows what a verdict costs. Money moves only between this contract's pots and accounts of the vault; one pot
/// per dispute holds the challenger's bond. A dispute is marked as resolved before any other contract is called.
abstract contract Verdicts is Turns, IDisputeGame {
    /// @notice Part of a losing challenger's bond that is burned, in 1/10,000, so that nobody can lose to itself for
    /// free.
    uint256 public constant BURN_BPS = 2_000;

    ITaskMarket public immutable market;
    IStakeVault public immutable vault;
    ICheckpointLog public immutable log;

    /// @inheritdoc IDisputeGame
    uint256 public disputeCount;

    constructor(ITaskMarket market_, IStakeVault vault_, ICheckpointLog log_) {
        market = market_;
        vault = vault_;
        log = log_;
    }

    /// @inheritdoc IDisputeGame
    function open(uint256 taskId, uint32 checkpoint, GraphHeader calldata header) external returns (uint256 id) {
        address solver = _requireDisputable(taskId);
        ITaskMarket.Terms memory terms = market.terms(taskId);
        Descent.requireEqual(
            terms.graphRoot,
            Merkle.graphRoot(header.nodes, header.constants, header.slots, header.datasets, header.tree)
        );

        id = ++disputeCount;
        Record storage d = _disputes[id];
        d.taskId = taskId;
        d.challenger = msg.sender;
        d.checkpoint = checkpoint;
        d.solver = solver;
        d.graph = header;
        d.solverLeft = d.challengerLeft = Clocks.Duration.wrap(terms.clock);
        d.since = Clocks.current();
        (d.lo, d.hi) = _span(terms, checkpoint);
        d.conceded = checkpoint == 0 ? terms.stateRoot : log.checkpoint(taskId, checkpoint - 1).root;
        d.claimed = log.checkpoint(taskId, checkpoint).root;
        d.phase = _nextStepPhase(d.lo, d.hi);
        emit Opened(id, taskId, msg.sender, checkpoint, solver, terms.bond);

        log.hold(taskId, checkpoint); // reverts where there is no such checkpoint, or its window is closed
        vault.lock(_pot(id), msg.sender, terms.bond);
    }

    /// @inheritdoc IDisputeGame
    function timeout(uint256 id) external {
        Record storage d = _running(id);
        Clocks.requireExpired(_left(d), d.since);
        _conclude(id, !_solverMoves(d.phase));
    }

    /// @inheritdoc IDisputeGame
    function concede(uint256 id) external {
        Record storage d = _running(id);
        if (msg.sender != d.solver && msg.sender != d.challenger) revert NotAParty(id, msg.sender);
        _conclude(id, msg.sender == d.challenger);
    }

    /// @inheritdoc IDisputeGame
    function dismiss(uint256 id) external {
        Record storage d = _running(id);
        if (_trains(d.taskId)) revert StillTraining(d.taskId);
        _dismiss(id, d);
    }

    /// @inheritdoc IDisputeGame
    function enforce(uint256 id) external {
        Record storage d = _disputes[id];
        if (d.phase != Phase.Convicted) revert WrongPhase(Phase.Convicted, d.phase);
        d.phase = Phase.Resolved;
        if (_trains(d.taskId)) market.slash(d.taskId, d.challenger);
        log.unhold(d.taskId, d.checkpoint);
    }

    /// @inheritdoc IDisputeGame
    function dispute(uint256 id) external view returns (Dispute memory) {
        Record storage d = _disputes[id];
        Dispute memory shown;
        (shown.taskId, shown.challenger, shown.checkpoint) = (d.taskId, d.challenger, d.checkpoint);
        (shown.phase, shown.tree, shown.solver, shown.lo, shown.hi) = (d.phase, d.tree, d.solver, d.lo, d.hi);
        shown.clocks = Clocks.State(d.solverLeft, d.challengerLeft, d.since);
        shown.graph = d.graph;
        (shown.conceded, shown.claimed, shown.list) = (d.conceded, d.claimed, d.list);
        (shown.stateTreeBefore, shown.nodesTree, shown.stateTree) = (d.stateTreeBefore, d.nodesTree, d.stateTree);
        (shown.position, shown.node) = (d.position, d.node);
        shown.claim = Claim(d.element, d.word, d.a, d.b, d.sum, d.operand, [d.first, d.second]);
        return shown;
    }

    /// @inheritdoc IDisputeGame
    function onMove(uint256 id) external view returns (address mover, uint64 deadline) {
        Record storage d = _disputes[id];
        if (!_isRunning(d.phase)) return (address(0), 0);
        return (_mover(d), Clocks.Instant.unwrap(Clocks.deadline(_left(d), d.since)));
    }

    /// The verdict. If the task has ended there is none: its stake is gone, and a challenger who was right but second
    /// must not lose its bond.
    function _conclude(uint256 id, bool solverWins) internal {
        Record storage d = _disputes[id];
        if (!_trains(d.taskId)) return _dismiss(id, d);
        if (solverWins) _acquit(id, d);
        else _convict(id, d);
    }

    function _nextStepPhase(uint32 lo, uint32 hi) internal pure returns (Phase) {
        return hi - lo == 1 ? Phase.RevealTrace : Phase.RevealSteps;
    }

    function _acquit(uint256 id, Record storage d) private {
        d.phase = Phase.Resolved;
        emit Resolved(id, d.solver, d.challenger, _reason());
        uint256 bond = vault.potOf(address(this), _pot(id));
        uint256 burnUp = Money.partUp(bond, BURN_BPS, Money.BPS);
        vault.burn(_pot(id), burnUp);
        vault.pay(_pot(id), d.solver, bond - burnUp);
        log.unhold(d.taskId, d.checkpoint);
    }

    /// The market may refuse, or the sender may give the call too little gas. Then the verdict stands, the checkpoint
    /// stays on hold so that nothing is paid for it, and `enforce` can try again.
    function _convict(uint256 id, Record storage d) private {
        d.phase = Phase.Resolved;
        emit Resolved(id, d.challenger, d.solver, _reason());
        _returnBond(id, d);
        try market.slash(d.taskId, d.challenger) {
            log.unhold(d.taskId, d.checkpoint);
        } catch (bytes memory why) {
            d.phase = Phase.Convicted;
            emit SlashFailed(id, why);
        }
    }

    function _dismiss(uint256 id, Record storage d) private {
        d.phase = Phase.Resolved;
        emit Dismissed(id);
        _returnBond(id, d);
        log.unhold(d.taskId, d.checkpoint);
    }

    function _returnBond(uint256 id, Record storage d) private {
        vault.pay(_pot(id), d.challenger, vault.potOf(address(this), _pot(id)));
    }

    function _requireDisputable(uint256 taskId) private view returns (address solver) {
        ITaskMarket.Task memory task = market.task(taskId);
        if (task.status != ITaskMarket.Status.Training) revert NotTraining(taskId, task.status);
        solver = task.solver;
        if (msg.sender == solver) revert SelfChallenge(solver);
    }

    function _trains(uint256 taskId) private view returns (bool) {
        return market.task(taskId).status == ITaskMarket.Status.Training;
    }

    function _running(uint256 id) private view returns (Record storage d) {
        d = _disputes[id];
        if (!_isRunning(d.phase)) revert NotRunning(d.phase);
    }

    /// Number of steps before and after interval `checkpoint`. The last interval may be shorter.
    function _span(ITaskMarket.Terms memory terms, uint32 checkpoint) private pure returns (uint32 lo, uint32 hi) {
        uint256 first = uint256(checkpoint) * terms.interval;
        uint256 last = first + terms.interval;
        return (uint32(first), uint32(last < terms.steps ? last : terms.steps));
    }

    /// Read from the verb that was called: with an argument the compiler would copy the verdict for every reason.
    function _reason() private pure returns (Reason) {
        if (msg.sig == IDisputeGame.timeout.selector) return Reason.TimedOut;
        return msg.sig == IDisputeGame.concede.selector ? Reason.Conceded : Reason.Computed;
    }

    function _isRunning(Phase phase) private pure returns (bool) {
        return phase != Phase.None && phase < Phase.Convicted;
    }

    function _pot(uint256 id) private pure returns (bytes32) {
        return bytes32(id);
    }
}
