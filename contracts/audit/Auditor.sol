// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {IAuditor} from "../interfaces/IAuditor.sol";
import {ICheckpointLog} from "../interfaces/ICheckpointLog.sol";
import {IStakeVault} from "../interfaces/IStakeVault.sol";
import {ITaskMarket} from "../interfaces/ITaskMarket.sol";
import {IVerifiers} from "../interfaces/IVerifiers.sol";
import {Pots} from "../lib/Pots.sol";
import {Bn254} from "./Bn254.sol";
import {Budgets} from "./Budgets.sol";
import {Logs} from "./Logs.sol";
import {Tickets} from "./Tickets.sol";

/// @title Auditor
/// @dev A task has one pot, with what is left of its budget, the fees of open claims and their bonds:
/// fee · (left + fees of open claims) + auditBond · open claims. So a claim finds its pot and its task's slot written
/// already.
contract Auditor is IAuditor {
    ITaskMarket public immutable market;
    ICheckpointLog public immutable log;
    IVerifiers public immutable verifiers;
    IStakeVault public immutable vault;

    /// @inheritdoc IAuditor
    uint128 public immutable auditBond;

    mapping(uint256 taskId => Budget) private _budgets;
    mapping(bytes32 key => Claim) private _claims;

    modifier onlyMarket() {
        if (msg.sender != address(market)) revert NotMarket(msg.sender);
        _;
    }

    constructor(
        ITaskMarket market_,
        ICheckpointLog log_,
        IVerifiers verifiers_,
        IStakeVault vault_,
        uint128 auditBond_
    ) {
        if (address(market_) == address(0) || address(log_) == address(0)) revert ZeroAddress();
        if (address(verifiers_) == address(0) || address(vault_) == address(0)) revert ZeroAddress();
        (market, log, verifiers, vault, auditBond) = (market_, log_, verifiers_, vault_, auditBond_);
    }

    /// @inheritdoc IAuditor
    function claim(uint256 taskId, uint32 checkpoint, bytes30 commitment, Draw calldata draw) external {
        Budget storage budget = _budgets[taskId];
        if (budget.left == 0) revert BudgetSpent(taskId);
        if (commitment == 0) revert ZeroCommitment();
        ICheckpointLog.Checkpoint memory committed = log.checkpoint(taskId, checkpoint);
        uint64 ends = _claimableUntil(committed);
        if (block.timestamp > ends) revert ClaimingOver(ends, uint64(block.timestamp));
        // While its window is open, a checkpoint is of the attempt that runs.
        address solver = market.audited(taskId);
        if (msg.sender == solver) revert OwnCheckpoint(solver);
        Claim storage kept = _claims[_key(taskId, committed.attempt, checkpoint, msg.sender)];
        if (kept.commitment != 0) revert AlreadyClaimed(taskId, checkpoint, msg.sender);
        uint8 fees = _requireDrawn(taskId, checkpoint, committed, msg.sender, budget.rateBps, draw);
        if (fees > budget.left) fees = uint8(budget.left);
        budget.left -= fees;
        (kept.commitment, kept.fees) = (commitment, fees);
        emit Claimed(taskId, checkpoint, msg.sender, committed.attempt, commitment, fees);
        vault.lock(Pots.escrow(taskId), msg.sender, auditBond);
    }

    /// @inheritdoc IAuditor
    function reveal(uint256 taskId, uint32 checkpoint, LogChunk calldata shown) external {
        ICheckpointLog.Checkpoint memory committed = log.checkpoint(taskId, checkpoint);
        Claim storage kept = _claims[_key(taskId, committed.attempt, checkpoint, msg.sender)];
        bytes30 commitment = kept.commitment;
        if (commitment == 0) revert NotClaimed(taskId, committed.attempt, checkpoint, msg.sender);
        if (kept.revealed) revert AlreadyRevealed(taskId, checkpoint, msg.sender);
        uint64 opens = _claimableUntil(committed);
        if (block.timestamp <= opens) revert ClaimingOpen(opens, uint64(block.timestamp));
        uint64 until = committed.challengeableUntil;
        if (block.timestamp > until) revert RevealOver(until, uint64(block.timestamp));
        bytes30 sent = commitmentOf(msg.sender, shown.chunk);
        if (sent != commitment) revert CommitmentDiffers(commitment, sent);
        (bool available,, uint32 steps, uint32 interval) = market.vouched(taskId, committed.attempt, checkpoint);
        // Once it is, others may have more time to claim: nobody shows them the log before that is over.
        if (!available) revert Unavailable(taskId, checkpoint);
        Logs.requireLast(committed.root, shown, checkpoint, steps, interval);
        kept.revealed = true;
        emit Vouched(taskId, checkpoint, msg.sender, committed.attempt);
    }

    /// @inheritdoc IAuditor
    function settle(uint256 taskId, uint8 attempt, uint32 checkpoint, address verifier) external {
        bytes32 key = _key(taskId, attempt, checkpoint, verifier);
        Claim memory kept = _claims[key];
        if (kept.commitment == 0) revert NotClaimed(taskId, attempt, checkpoint, verifier);
        (bool earned, bool forfeited) = _fate(taskId, attempt, checkpoint, kept.revealed);
        delete _claims[key];
        bytes32 pot = Pots.escrow(taskId);
        Budget storage budget = _budgets[taskId];
        uint256 fees = uint256(budget.fee) * kept.fees;
        emit Settled(taskId, checkpoint, verifier, attempt, earned, forfeited, kept.fees);
        if (forfeited) vault.burn(pot, auditBond);
        else vault.pay(pot, verifier, (earned ? fees : 0) + auditBond);
        if (earned) return;
        if (!budget.closed) budget.left += kept.fees;
        else _refund(taskId, market.task(taskId).requester, fees);
    }

    /// @inheritdoc IAuditor
    function fund(uint256 taskId, address requester, uint128 fee, uint16 rateBps, uint32 intervals)
        external
        onlyMarket
    {
        uint64 audits = auditsUp(intervals, rateBps);
        _budgets[taskId] = Budget(fee, rateBps, audits, false);
        emit Funded(taskId, fee, rateBps, audits);
        if (fee != 0) vault.lock(Pots.escrow(taskId), requester, uint256(fee) * audits);
    }

    /// @inheritdoc IAuditor
    function close(uint256 taskId, address requester) external onlyMarket {
        Budget storage budget = _budgets[taskId];
        uint256 rest = uint256(budget.fee) * budget.left;
        (budget.left, budget.closed) = (0, true);
        _refund(taskId, requester, rest);
    }

    /// @inheritdoc IAuditor
    function requireDrawn(uint256 taskId, uint32 checkpoint, address verifier, Draw calldata draw)
        external
        view
        returns (uint8 fees)
    {
        uint16 rateBps = _budgets[taskId].rateBps;
        return _requireDrawn(taskId, checkpoint, log.checkpoint(taskId, checkpoint), verifier, rateBps, draw);
    }

    /// @inheritdoc IAuditor
    function message(uint256 taskId, uint32 checkpoint) external view returns (bytes memory) {
        return _message(taskId, checkpoint, log.checkpoint(taskId, checkpoint));
    }

    /// @inheritdoc IAuditor
    function commitmentOf(address verifier, bytes calldata chunk) public pure returns (bytes30) {
        return bytes30(sha256(abi.encodePacked(verifier, chunk)));
    }

    /// @inheritdoc IAuditor
    function claimableUntil(uint256 taskId, uint32 checkpoint) external view returns (uint64) {
        return _claimableUntil(log.checkpoint(taskId, checkpoint));
    }

    /// @inheritdoc IAuditor
    function auditsUp(uint32 intervals, uint16 rateBps) public pure returns (uint64) {
        return Budgets.auditsUp(intervals, rateBps);
    }

    /// @inheritdoc IAuditor
    function bill(uint32 intervals, uint128 fee, uint16 rateBps) external pure returns (uint256) {
        return uint256(fee) * auditsUp(intervals, rateBps);
    }

    /// @inheritdoc IAuditor
    function budgetOf(uint256 taskId) external view returns (Budget memory) {
        return _budgets[taskId];
    }

    /// @inheritdoc IAuditor
    function claimOf(uint256 taskId, uint8 attempt, uint32 checkpoint, address verifier)
        external
        view
        returns (Claim memory)
    {
        return _claims[_key(taskId, attempt, checkpoint, verifier)];
    }

    /// Whether a claim has earned its fees, and whether its bond is lost. Reverts while that is not known.
    function _fate(uint256 taskId, uint8 attempt, uint32 checkpoint, bool revealed)
        private
        view
        returns (bool earned, bool forfeited)
    {
        (bool stands, uint64 until) = log.standing(taskId, checkpoint, attempt);
        if (!stands) return (false, log.isCondemned(taskId, checkpoint, attempt));
        if (block.timestamp <= until) revert WindowOpen(until, uint64(block.timestamp));
        if (!revealed) {
            (bool available, bool granted,,) = market.vouched(taskId, attempt, checkpoint);
            if (!available) revert Unavailable(taskId, checkpoint);
            // That nobody had a stake may come out when the window is over: then nobody could show anything in time.
            if (!granted) return (false, true);
        }
        // Paid for in order: nothing is earned with what was built on a false checkpoint.
        if (market.task(taskId).paid <= checkpoint) revert NotFinal(taskId, checkpoint);
        return (revealed, false);
    }

    function _refund(uint256 taskId, address requester, uint256 amount) private {
        if (amount == 0) return;
        emit Refunded(taskId, requester, amount);
        vault.pay(Pots.escrow(taskId), requester, amount);
    }

    function _requireDrawn(
        uint256 taskId,
        uint32 checkpoint,
        ICheckpointLog.Checkpoint memory committed,
        address verifier,
        uint16 rateBps,
        Draw calldata draw
    ) private view returns (uint8 fees) {
        (uint256 own, uint256 all) =
            verifiers.weight(verifier, draw.twin, committed.committedAt, draw.ownPlace, draw.allPlace);
        Bn254.requireSigned(draw.twin, _message(taskId, checkpoint, committed), draw.ticket);
        fees = Tickets.fees(draw.ticket, rateBps, own, all);
        if (fees == 0) revert NotDrawn(verifier, own, all);
    }

    function _message(uint256 taskId, uint32 checkpoint, ICheckpointLog.Checkpoint memory committed)
        private
        view
        returns (bytes memory)
    {
        return Tickets.message(
            address(market), taskId, committed.attempt, checkpoint, committed.root, committed.beacon
        );
    }

    function _claimableUntil(ICheckpointLog.Checkpoint memory committed) private pure returns (uint64) {
        return (committed.committedAt + committed.challengeableUntil) / 2;
    }

    function _key(uint256 taskId, uint8 attempt, uint32 checkpoint, address verifier) private pure returns (bytes32) {
        return keccak256(abi.encode(taskId, attempt, checkpoint, verifier));
    }
}
