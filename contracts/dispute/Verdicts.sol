// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {ICheckpointLog} from "../interfaces/ICheckpointLog.sol";
import {IDisputeGame} from "../interfaces/IDisputeGame.sol";
import {IStakeVault} from "../interfaces/IStakeVault.sol";
import {ITaskMarket} from "../interfaces/ITaskMarket.sol";
import {Merkle} from "../lib/Merkle.sol";
import {Clocks} from "./Clocks.sol";
import {Descent} from "./Descent.sol";

/// @title How a dispute begins and ends
/// @dev Knows whose turn it is, and what a verdict costs. Money moves only between this contract's pots and accounts
/// of the vault; one pot per dispute holds the challenger's bond. A dispute is marked as resolved before anything
/// outside is called.
abstract contract Verdicts is IDisputeGame {
    using Clocks for Clocks.State;

    /// @notice Part of a losing challenger's bond that burns, in 1/10,000: nobody wins it back by losing to
    /// itself.
    uint256 public constant BURN_BPS = 2_000;
    uint256 private constant BPS = 10_000;

    /// One bit per phase in which the solver is on the move.
    uint256 private constant SOLVER_PHASES = (1 << uint8(Phase.RevealSteps)) | (1 << uint8(Phase.RevealTrace))
        | (1 << uint8(Phase.RevealChildren)) | (1 << uint8(Phase.RevealChunks)) | (1 << uint8(Phase.RevealChunk))
        | (1 << uint8(Phase.RevealWitness)) | (1 << uint8(Phase.RevealSums)) | (1 << uint8(Phase.RevealExponent));

    ITaskMarket public immutable market;
    IStakeVault public immutable vault;
    ICheckpointLog public immutable log;

    /// @inheritdoc IDisputeGame
    uint256 public disputeCount;
    mapping(uint256 id => Dispute) private _disputes;

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
        Dispute storage d = _disputes[id];
        d.taskId = taskId;
        d.challenger = msg.sender;
        d.checkpoint = checkpoint;
        d.solver = solver;
        d.graph = header;
        d.clocks = Clocks.start(Clocks.Duration.wrap(terms.clock));
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
        Dispute storage d = _running(id);
        bool solverMoves = _solverMoves(d.phase);
        d.clocks.requireExpired(solverMoves);
        _conclude(id, !solverMoves);
    }

    /// @inheritdoc IDisputeGame
    function concede(uint256 id) external {
        Dispute storage d = _running(id);
        if (msg.sender != d.solver && msg.sender != d.challenger) revert NotAParty(id, msg.sender);
        _conclude(id, msg.sender == d.challenger);
    }

    /// @inheritdoc IDisputeGame
    function dismiss(uint256 id) external {
        Dispute storage d = _running(id);
        if (_trains(d.taskId)) revert StillTraining(d.taskId);
        _dismiss(id, d);
    }

    /// @inheritdoc IDisputeGame
    function enforce(uint256 id) external {
        Dispute storage d = _disputes[id];
        if (d.phase != Phase.Convicted) revert WrongPhase(Phase.Convicted, d.phase);
        d.phase = Phase.Resolved;
        if (_trains(d.taskId)) market.slash(d.taskId, d.challenger);
        log.unhold(d.taskId, d.checkpoint);
    }

    /// @inheritdoc IDisputeGame
    function dispute(uint256 id) external view returns (Dispute memory) {
        return _disputes[id];
    }

    /// @inheritdoc IDisputeGame
    function onMove(uint256 id) external view returns (address mover, uint64 deadline) {
        Dispute storage d = _disputes[id];
        if (!_isRunning(d.phase)) return (address(0), 0);
        bool solverMoves = _solverMoves(d.phase);
        return (_mover(d), Clocks.Instant.unwrap(d.clocks.deadline(solverMoves)));
    }

    /// A move begins: right phase, right sender, in time. Its time is charged.
    function _turn(uint256 id, Phase expected) internal returns (Dispute storage d) {
        d = _disputes[id];
        if (d.phase != expected) revert WrongPhase(expected, d.phase);
        _charge(d);
    }

    /// A naming in one tree, where a trace (which shows two) or a single tree stands revealed.
    function _turnToName(uint256 id) internal returns (Dispute storage d) {
        d = _disputes[id];
        if (d.phase != Phase.NameTrace && d.phase != Phase.NameChild) revert WrongPhase(Phase.NameChild, d.phase);
        _charge(d);
    }

    /// The verdict. A dispute about a task that is over ends without one: its stake is gone, nothing is to win, and
    /// a challenger who was right must not pay for having been second.
    function _conclude(uint256 id, bool solverWins) internal {
        Dispute storage d = _disputes[id];
        if (!_trains(d.taskId)) return _dismiss(id, d);
        if (solverWins) _acquit(id, d);
        else _convict(id, d);
    }

    function _nextStepPhase(uint32 lo, uint32 hi) internal pure returns (Phase) {
        return hi - lo == 1 ? Phase.RevealTrace : Phase.RevealSteps;
    }

    function _charge(Dispute storage d) private {
        address mover = _mover(d);
        if (msg.sender != mover) revert WrongTurn(mover, msg.sender);
        d.clocks.charge(_solverMoves(d.phase));
    }

    function _acquit(uint256 id, Dispute storage d) private {
        d.phase = Phase.Resolved;
        emit Resolved(id, d.solver, d.challenger, _reason());
        uint256 bond = vault.potOf(address(this), _pot(id));
        uint256 burnUp = Descent.ceilDiv(bond * BURN_BPS, BPS);
        vault.burn(_pot(id), burnUp);
        vault.pay(_pot(id), d.solver, bond - burnUp);
        log.unhold(d.taskId, d.checkpoint);
    }

    /// The market may refuse, or whoever sends this may starve it of gas: the verdict stands either way, the checkpoint
    /// stays on hold, so that nothing is paid for it, and `enforce` tries again.
    function _convict(uint256 id, Dispute storage d) private {
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

    function _dismiss(uint256 id, Dispute storage d) private {
        d.phase = Phase.Resolved;
        emit Dismissed(id);
        _returnBond(id, d);
        log.unhold(d.taskId, d.checkpoint);
    }

    function _returnBond(uint256 id, Dispute storage d) private {
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

    function _running(uint256 id) private view returns (Dispute storage d) {
        d = _disputes[id];
        if (!_isRunning(d.phase)) revert NotRunning(d.phase);
    }

    function _mover(Dispute storage d) private view returns (address) {
        return _solverMoves(d.phase) ? d.solver : d.challenger;
    }

    /// Steps done before and after interval `checkpoint`, of which the last may be shorter.
    function _span(ITaskMarket.Terms memory terms, uint32 checkpoint) private pure returns (uint32 lo, uint32 hi) {
        uint256 first = uint256(checkpoint) * terms.interval;
        uint256 last = first + terms.interval;
        return (uint32(first), uint32(last < terms.steps ? last : terms.steps));
    }

    /// Taken from the verb that was called; as an argument it would make the compiler copy the verdict per reason.
    function _reason() private pure returns (Reason) {
        if (msg.sig == IDisputeGame.timeout.selector) return Reason.TimedOut;
        return msg.sig == IDisputeGame.concede.selector ? Reason.Conceded : Reason.Computed;
    }

    function _isRunning(Phase phase) private pure returns (bool) {
        return phase != Phase.None && phase < Phase.Convicted;
    }

    function _solverMoves(Phase phase) private pure returns (bool) {
        return (SOLVER_PHASES >> uint8(phase)) & 1 == 1;
    }

    function _pot(uint256 id) private pure returns (bytes32) {
        return bytes32(id);
    }
}
