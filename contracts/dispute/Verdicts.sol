// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {ICheckpointLog} from "../interfaces/ICheckpointLog.sol";
import {IDisputeGame} from "../interfaces/IDisputeGame.sol";
import {IStakeVault} from "../interfaces/IStakeVault.sol";
import {ITaskMarket} from "../interfaces/ITaskMarket.sol";
import {Attempts} from "../lib/Attempts.sol";
import {Merkle} from "../lib/Merkle.sol";
import {Money} from "../lib/Money.sol";
import {Pots} from "../lib/Pots.sol";
import {Clocks} from "./Clocks.sol";
import {Descent} from "./Descent.sol";
import {Turns} from "./Turns.sol";

/// @title How a dispute begins and ends
/// @dev Knows what a verdict costs. Money moves only between this contract's pots and accounts of the vault: one pot
/// per account, attempt and checkpoint holds a challenger's bond, one per attempt what is kept of a convicted
/// solver's stake. A dispute is marked as resolved before any other contract is called.
abstract contract Verdicts is Turns, IDisputeGame {
    using Clocks for Clocks.Shared;

    /// What a conviction left for the task's other challengers.
    struct Conviction {
        uint32 places; // that earn a bounty, by the order of opening
        bool proved;
        uint32 step; // proved wrong
        uint32 node; // NO_NODE if it was a slot
    }

    /// @notice Part of a loser's bond that is burned, in 1/10,000, so that nobody can lose to itself for free. The
    /// winner gets the rest.
    uint256 public constant BURN_BPS = 5_000;

    /// @notice Parts of a convicted solver's stake, in 1/10,000: for who proved it wrong, and for bounties beside that.
    uint256 public constant PROOF_BPS = 4_000;
    uint256 public constant BESIDE_PROOF_BPS = 1_000;

    /// @notice Part of the stake for bounties where nothing was proved: a friend of the solver can arrange that.
    uint256 public constant UNPROVED_BPS = 2_500;

    uint32 private constant NO_NODE = type(uint32).max;

    ITaskMarket public immutable market;
    IStakeVault public immutable vault;
    ICheckpointLog public immutable log;

    /// @notice What a challenger who was right gets, if another proved it, or nobody did.
    uint256 public immutable bounty;

    /// @inheritdoc IDisputeGame
    uint256 public disputeCount;

    mapping(uint256 attemptId => Conviction) private _convictions;

    constructor(ITaskMarket market_, IStakeVault vault_, ICheckpointLog log_) {
        market = market_;
        vault = vault_;
        log = log_;
        bounty = market_.limits().values().bounty;
    }

    /// @inheritdoc IDisputeGame
    function open(uint256 taskId, uint32 checkpoint, bytes32 root, GraphHeader calldata header)
        external
        returns (uint256 id)
    {
        ITaskMarket.Contest memory contest = market.contest(taskId, checkpoint);
        if (msg.sender == contest.solver) revert SelfChallenge(msg.sender);
        Descent.requireEqual(
            contest.graphRoot,
            Merkle.graphRoot(header.nodes, header.constants, header.slots, header.datasets, header.tree)
        );
        if (_graphs[taskId].nodes == 0) _graphs[taskId] = header;
        uint256 attemptId = Attempts.id(taskId, contest.attempt);
        bytes32 pot = _pot(attemptId, checkpoint, msg.sender);
        if (vault.potOf(address(this), pot) != 0) revert AlreadyChallenged(taskId, checkpoint, msg.sender);

        id = ++disputeCount;
        Record storage d = _disputes[id];
        d.attemptId = uint64(attemptId); // tasks are counted, so it fits
        d.challenger = msg.sender;
        d.checkpoint = checkpoint;
        d.solver = contest.solver;
        d.place = _clocks[attemptId].running;
        d.challengerLeft = Clocks.Duration.wrap(contest.clock);
        d.since = Clocks.current();
        (d.lo, d.hi) = (contest.lo, contest.hi);
        d.conceded = checkpoint == 0 ? contest.stateRoot : log.checkpoint(taskId, checkpoint - 1).root;
        d.claimed = log.checkpoint(taskId, checkpoint).root;
        if (d.claimed != root) revert OtherRoot(d.claimed, root);
        emit Opened(id, taskId, msg.sender, checkpoint, contest.solver, contest.bond, contest.attempt);
        _clocks[attemptId].enter(Clocks.Duration.wrap(contest.clock));
        _ask(d, _nextStepPhase(d.lo, d.hi));

        log.hold(taskId, checkpoint); // reverts where there is no such checkpoint, or its window is closed
        vault.lock(pot, msg.sender, contest.bond);
    }

    /// @inheritdoc IDisputeGame
    function follow(uint256 id) external {
        Record storage d = _running(id);
        Phase phase = d.phase;
        _clocks[d.attemptId].requireTime();
        if (!_solverMoves(phase) || !_catchUp(d)) revert NotRevealed(id, phase);
        _proceed(d);
        emit Followed(id, phase);
    }

    /// @inheritdoc IDisputeGame
    function timeout(uint256 id) external {
        Record storage d = _running(id);
        bool solverMoves = _solverMoves(d.phase);
        Clocks.Shared storage clock = _clocks[d.attemptId];
        if (solverMoves) Clocks.requireExpired(clock.left, clock.since);
        else Clocks.requireExpired(d.challengerLeft, d.since);
        _conclude(id, !solverMoves);
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
        if (_trains(d.attemptId)) revert StillTraining(Attempts.taskOf(d.attemptId));
        _dismiss(id, d);
    }

    /// The verdict. If the task has ended there is none: its stake is gone, and a challenger who was right but second
    /// must not lose its bond.
    function _conclude(uint256 id, bool solverWins) internal {
        Record storage d = _disputes[id];
        if (!_trains(d.attemptId)) return _dismiss(id, d);
        emit Resolved(id, solverWins ? d.solver : d.challenger, solverWins ? d.challenger : d.solver, _reason());
        if (solverWins) _acquit(d);
        else _convict(id, d);
    }

    function _nextStepPhase(uint32 lo, uint32 hi) internal pure returns (Phase) {
        return hi - lo == 1 ? Phase.RevealTrace : Phase.RevealSteps;
    }

    function _acquit(Record storage d) private {
        _close(d);
        bytes32 pot = _pot(d.attemptId, d.checkpoint, d.challenger);
        uint256 bond = vault.potOf(address(this), pot);
        uint256 burnUp = Money.partUp(bond, BURN_BPS, Money.BPS);
        vault.burn(pot, burnUp);
        vault.pay(pot, d.solver, bond - burnUp);
        _unhold(d);
        uint32 used = _clocks[d.attemptId].takeUsed();
        if (used != 0) market.excuse(Attempts.taskOf(d.attemptId), used);
    }

    /// Half of the stake burns in any case. By proof the prover gets most of the other half; otherwise all challengers
    /// of the task get bounties only, since a friend of the solver can be the one who times it out.
    function _convict(uint256 id, Record storage d) private {
        uint256 attemptId = d.attemptId;
        bool proved = _reason() == Reason.Computed;
        uint32 others = _close(d);
        uint256 stake = vault.potOf(address(market), Pots.stake(attemptId));
        uint256 most = Money.partDown(stake, proved ? BESIDE_PROOF_BPS : UNPROVED_BPS, Money.BPS);
        uint256 places = bounty == 0 ? 0 : most / bounty;
        uint256 reward = bounty;
        if (proved) {
            reward = Money.partDown(stake, PROOF_BPS, Money.BPS);
            ++places; // the prover takes one
        } else if (d.place >= places) {
            reward = 0;
        }
        uint256 seats = proved || reward != 0 ? places - 1 : places;
        uint256 kept = (others < seats ? others : seats) * bounty;
        if (proved) log.condemn(Attempts.taskOf(attemptId), d.checkpoint);
        market.slash(Attempts.taskOf(attemptId), d.challenger, reward, kept);
        emit Rewarded(id, d.challenger, reward);
        if (kept != 0) {
            if (places > type(uint32).max) places = type(uint32).max;
            _convictions[attemptId] =
                Conviction(uint32(places), proved, d.lo, d.node.length == 0 ? NO_NODE : d.node.index);
        }
        _returnBond(d);
        _unhold(d);
    }

    function _dismiss(uint256 id, Record storage d) private {
        uint32 others = _close(d);
        emit Dismissed(id);
        _payBounty(id, d);
        _returnBond(d);
        if (others == 0) _burnRest(d.attemptId);
        _unhold(d);
    }

    /// The dispute is over. Returns how many disputes of its task still run.
    function _close(Record storage d) private returns (uint32 others) {
        Clocks.Shared storage clock = _clocks[d.attemptId];
        if (_solverMoves(d.phase)) clock.proceed();
        d.phase = Phase.Resolved;
        others = --clock.running;
    }

    /// To a challenger whose dispute ran when another one, or its own clock, convicted the solver. What it has named so
    /// far must be what was proved wrong. Those who came first are paid first, so that friends of a cheat who come
    /// later take nothing from them.
    function _payBounty(uint256 id, Record storage d) private {
        Conviction memory c = _convictions[d.attemptId];
        if (d.place >= c.places) return;
        if (c.proved) {
            if (c.step < d.lo || c.step >= d.hi) return;
            if (d.node.length != 0 && d.node.index != c.node) return;
        }
        uint256 left = vault.potOf(address(this), Pots.stake(d.attemptId));
        _reward(id, d, left < bounty ? left : bounty);
    }

    function _reward(uint256 id, Record storage d, uint256 amount) private {
        emit Rewarded(id, d.challenger, amount);
        vault.pay(Pots.stake(d.attemptId), d.challenger, amount);
    }

    function _burnRest(uint256 attemptId) private {
        bytes32 pot = Pots.stake(attemptId);
        uint256 rest = vault.potOf(address(this), pot);
        if (rest != 0) vault.burn(pot, rest);
    }

    function _unhold(Record storage d) private {
        log.unhold(Attempts.taskOf(d.attemptId), d.checkpoint, Attempts.numberOf(d.attemptId));
    }

    function _returnBond(Record storage d) private {
        vault.empty(_pot(d.attemptId, d.checkpoint, d.challenger), d.challenger);
    }

    function _trains(uint256 attemptId) private view returns (bool) {
        return market.trains(Attempts.taskOf(attemptId), Attempts.numberOf(attemptId));
    }

    function _running(uint256 id) private view returns (Record storage d) {
        d = _disputes[id];
        if (!_isRunning(d.phase)) revert NotRunning(d.phase);
    }

    /// Read from the verb that was called: with an argument the compiler would copy the verdict for every reason.
    function _reason() private pure returns (Reason) {
        if (msg.sig == IDisputeGame.timeout.selector) return Reason.TimedOut;
        return msg.sig == IDisputeGame.concede.selector ? Reason.Conceded : Reason.Computed;
    }

    /// Holds the bond of the one dispute that an account may have about a checkpoint.
    function _pot(uint256 attemptId, uint32 checkpoint, address challenger) private pure returns (bytes32) {
        return keccak256(abi.encode(attemptId, checkpoint, challenger));
    }
}
