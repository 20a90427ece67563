// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {ICheckpointLog} from "../interfaces/ICheckpointLog.sol";
import {IKeepers} from "../interfaces/IKeepers.sol";
import {IStakeVault} from "../interfaces/IStakeVault.sol";
import {ITaskMarket} from "../interfaces/ITaskMarket.sol";
import {IVerifiers} from "../interfaces/IVerifiers.sol";
import {Attempts} from "../lib/Attempts.sol";
import {Pots} from "../lib/Pots.sol";
import {Bn254} from "./Bn254.sol";
import {Chunks} from "./Chunks.sol";
import {Kept} from "./Kept.sol";
import {Shares} from "./Shares.sol";

/// @title Keepers
/// @dev Of a committee only a hash of its members is kept, and what each has signed for. Whoever calls brings the
/// members along: 96 bytes of calldata each instead of three slots. A task has one pot, with what its attempts' members
/// have earned and the bonds of open objections.
contract Keepers is IKeepers {
    using Kept for uint256[2];

    struct Committee {
        bytes32 members; // see `membersOf`
        uint256[2] lanes; // see Kept
    }

    /// @notice Begins what is signed.
    bytes32 public constant DOMAIN = "offchain.keeping.1";

    /// @notice What becomes available after this part of its challenge window has been late.
    uint32 public constant PROMPT_PART = 4;

    ITaskMarket public immutable market;
    ICheckpointLog public immutable log;
    IVerifiers public immutable verifiers;
    IStakeVault public immutable vault;

    /// @inheritdoc IKeepers
    uint128 public immutable auditBond;

    mapping(uint256 attemptId => Keeping) private _keepings;
    mapping(uint256 attemptId => Objection) private _objections;
    mapping(uint256 attemptId => Closed) private _closed;
    // `seat` writes it, through a reference that Slither does not follow.
    // slither-disable-next-line uninitialized-state
    mapping(uint256 committeeId => Committee) private _committees;

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

    /// @inheritdoc IKeepers
    function seat(uint256 taskId, uint32 allPlace) external returns (IVerifiers.Member[] memory members) {
        ITaskMarket.Custody memory custody = _running(taskId);
        Keeping storage keeping = _keepings[Attempts.id(taskId, custody.attempt)];
        (uint8 number, uint64 time, bytes32 random) = (0, custody.drawnAt, bytes32(uint256(custody.beacon)));
        if (keeping.calledAt != 0) {
            uint64 calledIn = keeping.calledIn;
            if (block.number <= calledIn) revert BlockOpen(calledIn);
            (number, time, random) = (1, keeping.calledAt, blockhash(calledIn));
            // Whoever waited so long for a better draw could have been forestalled by anybody.
            if (random == 0) random = bytes32(block.prevrandao);
        }
        Committee storage committee = _committee(taskId, custody.attempt, number);
        if (committee.members != 0) revert AlreadySeated(taskId, custody.attempt, number);
        bytes32 seed = keccak256(abi.encode(taskId, custody.attempt, number, random));
        members = verifiers.draw(seed, custody.keepers, time, allPlace);
        committee.members = keccak256(abi.encode(members));
        committee.lanes.begin(members);
        (keeping.seats, keeping.granted) = (custody.keepers, members.length == 0);
        keeping.window = custody.challengeWindow;
        if (keeping.kept < custody.first) keeping.kept = custody.first;
        emit Seated(taskId, custody.attempt, number, members);
    }

    /// @inheritdoc IKeepers
    function attest(
        uint256 taskId,
        uint8 attempt,
        uint32 checkpoint,
        IVerifiers.Member[] calldata members,
        Attestation calldata attestation
    ) external {
        if (!market.trains(taskId, attempt)) revert NotRunning(taskId, attempt);
        Keeping storage keeping = _keepings[Attempts.id(taskId, attempt)];
        uint8 number = keeping.calledAt == 0 ? 0 : 1;
        Committee storage committee = _seated(taskId, attempt, number, members);
        ICheckpointLog.Checkpoint memory committed = _committed(taskId, attempt, checkpoint);
        Bn254.requireSignedByAll(
            _pointsOf(members),
            attestation.signers,
            attestation.sum,
            _message(taskId, attempt, number, checkpoint, committed.root),
            attestation.signature
        );
        (bool news, uint256 seats) =
            committee.lanes.raise(members.length, attestation.signers, checkpoint + 1);
        if (!news) revert NothingNew(checkpoint, attestation.signers);
        if (2 * seats > keeping.seats && checkpoint >= keeping.kept) {
            _prolong(taskId, keeping.kept, checkpoint, committed, keeping.window);
            keeping.kept = checkpoint + 1;
        }
        emit Attested(taskId, attempt, number, checkpoint, attestation.signers, keeping.kept);
    }

    /// @inheritdoc IKeepers
    function acknowledge(uint256 taskId, uint8 attempt, uint32 checkpoint) external {
        ITaskMarket.Custody memory custody = _running(taskId);
        if (custody.attempt != attempt) revert NotRunning(taskId, attempt);
        if (msg.sender != custody.requester) revert NotRequester(custody.requester, msg.sender);
        ICheckpointLog.Checkpoint memory committed = _committed(taskId, attempt, checkpoint);
        uint32 kept = available(taskId, attempt);
        if (checkpoint < kept) revert AlreadyAvailable(kept, checkpoint);
        _prolong(taskId, kept < custody.first ? custody.first : kept, checkpoint, committed, custody.challengeWindow);
        _keepings[Attempts.id(taskId, attempt)].kept = checkpoint + 1;
        emit Acknowledged(taskId, attempt, checkpoint);
    }

    /// @inheritdoc IKeepers
    function object(uint256 taskId, uint32 checkpoint, IVerifiers.Member[] calldata members, uint256 index) external {
        ITaskMarket.Custody memory custody = _running(taskId);
        uint256 id = Attempts.id(taskId, custody.attempt);
        Keeping storage keeping = _keepings[id];
        if (keeping.calledAt != 0) revert AlreadyCalled(taskId, custody.attempt);
        Committee storage committee = _seated(taskId, custody.attempt, 0, members);
        address holder = _member(members, index).holder;
        if (msg.sender != holder) revert NotMember(holder, msg.sender);
        ICheckpointLog.Checkpoint memory committed = _committed(taskId, custody.attempt, checkpoint);
        // Afterwards logs are shown, and it would be too late to let anybody claim again.
        uint64 until = (committed.committedAt + committed.challengeableUntil) / 2;
        if (block.timestamp > until) revert WindowClosed(until, uint64(block.timestamp));
        (uint32 upTo,) = committee.lanes.signed(index);
        if (upTo > checkpoint) revert SignedItself(upTo, checkpoint);
        Objection storage objection = _objections[id];
        (objection.root, objection.keeper, objection.checkpoint) = (committed.root, holder, checkpoint);
        _call(keeping, checkpoint < keeping.kept ? checkpoint : keeping.kept);
        emit Objected(taskId, custody.attempt, checkpoint, holder);
        vault.lock(Pots.escrow(taskId), holder, auditBond);
    }

    /// @inheritdoc IKeepers
    function recall(uint256 taskId) external {
        ITaskMarket.Custody memory custody = _running(taskId);
        Keeping storage keeping = _keepings[Attempts.id(taskId, custody.attempt)];
        if (keeping.calledAt != 0) revert AlreadyCalled(taskId, custody.attempt);
        if (keeping.granted) revert NobodyToCall(taskId, custody.attempt);
        uint32 missing = keeping.kept < custody.first ? custody.first : keeping.kept;
        if (missing >= log.count(taskId)) revert NothingMissing(taskId, missing);
        uint64 until = log.challengeableUntil(taskId, missing);
        if (block.timestamp <= until) revert WindowOpen(until, uint64(block.timestamp));
        _call(keeping, missing);
        emit Recalled(taskId, custody.attempt, missing);
    }

    /// @inheritdoc IKeepers
    function settle(uint256 taskId, uint8 attempt) external {
        uint256 id = Attempts.id(taskId, attempt);
        Objection storage objection = _objections[id];
        address keeper = objection.keeper;
        if (keeper == address(0) || objection.returned) revert NoObjection(taskId, attempt);
        bool decided = _keepings[id].kept > objection.checkpoint || !market.trains(taskId, attempt);
        if (!decided) revert Undecided(taskId, objection.checkpoint);
        objection.returned = true;
        emit Returned(taskId, attempt, keeper);
        vault.pay(Pots.escrow(taskId), keeper, auditBond);
    }

    /// @inheritdoc IKeepers
    function show(
        uint256 taskId,
        uint8 attempt,
        IVerifiers.Member[] calldata members,
        uint256 index,
        Chunk calldata shown
    ) external {
        Objection storage objection = _denied(taskId, attempt, members, index);
        uint64 until = objection.showableUntil;
        if (block.timestamp > until) revert ShowingOver(until, uint64(block.timestamp));
        Chunks.requireDrawn(objection.root, drawOf(taskId, attempt), shown);
        objection.settled |= uint16(1 << index);
        emit Shown(taskId, attempt, members[index].holder);
    }

    /// @inheritdoc IKeepers
    function denounce(uint256 taskId, uint8 attempt, IVerifiers.Member[] calldata members, uint256 index) external {
        Objection storage objection = _denied(taskId, attempt, members, index);
        uint64 until = objection.showableUntil;
        if (block.timestamp <= until) revert ShowingOpen(until, uint64(block.timestamp));
        objection.settled |= uint16(1 << index);
        address holder = members[index].holder;
        emit Denounced(taskId, attempt, holder, verifiers.fine(holder, auditBond));
    }

    /// @inheritdoc IKeepers
    function reward(
        uint256 taskId,
        uint8 attempt,
        uint8 committee,
        IVerifiers.Member[] calldata members,
        uint256 index
    ) external {
        uint256 id = Attempts.id(taskId, attempt);
        Closed memory closed = _closed[id];
        if (closed.paid == 0 && market.trains(taskId, attempt)) revert StillRunning(taskId, attempt);
        Committee storage seated = _seated(taskId, attempt, committee, members);
        address holder = _member(members, index).holder;
        uint32 bit = uint32(1 << (Kept.MOST_MEMBERS * committee + index));
        if (closed.rewarded & bit != 0) revert AlreadyRewarded(taskId, attempt, committee, index);
        ITaskMarket.Custody memory custody = market.custody(taskId);
        (uint32 upTo, uint256 seats) = seated.lanes.signed(index);
        uint256 amount = Shares.earnedDown(custody, closed, _keepings[id], committee, upTo, seats);
        if (amount == 0) revert NothingEarned(taskId, attempt, committee, index);
        _closed[id].rewarded |= bit;
        emit Rewarded(taskId, attempt, committee, holder, amount);
        vault.pay(Pots.escrow(taskId), holder, amount);
    }

    /// @inheritdoc IKeepers
    function close(uint256 taskId, bool lost) external returns (uint256 due) {
        if (msg.sender != address(market)) revert NotMarket(msg.sender);
        ITaskMarket.Custody memory custody = market.custody(taskId);
        uint256 id = Attempts.id(taskId, custody.attempt);
        Objection storage objection = _objections[id];
        if (lost && objection.keeper != address(0) && _keepings[id].kept <= objection.checkpoint) {
            objection.showableUntil = uint64(block.timestamp) + custody.challengeWindow;
            objection.beacon = uint64(block.prevrandao);
        }
        if (custody.paid == custody.first) return 0;
        Closed memory closed = Closed(custody.first, custody.paid, custody.price, 0);
        _closed[id] = closed;
        Keeping memory keeping = _keepings[id];
        for (uint8 number; number < 2; ++number) {
            Committee storage committee = _committee(taskId, custody.attempt, number);
            if (committee.members == 0) continue;
            for (uint256 i; i < Kept.MOST_MEMBERS; ++i) {
                (uint32 upTo, uint256 seats) = committee.lanes.signed(i);
                due += Shares.earnedDown(custody, closed, keeping, number, upTo, seats);
            }
        }
    }

    /// @inheritdoc IKeepers
    function message(uint256 taskId, uint32 checkpoint) external view returns (bytes memory) {
        uint8 attempt = _running(taskId).attempt;
        uint8 number = _keepings[Attempts.id(taskId, attempt)].calledAt == 0 ? 0 : 1;
        return _message(taskId, attempt, number, checkpoint, _committed(taskId, attempt, checkpoint).root);
    }

    /// @inheritdoc IKeepers
    function available(uint256 taskId, uint8 attempt) public view returns (uint32) {
        Keeping storage keeping = _keepings[Attempts.id(taskId, attempt)];
        return keeping.granted ? type(uint32).max : keeping.kept;
    }

    /// @inheritdoc IKeepers
    function isLost(uint256 taskId) external view returns (bool) {
        ITaskMarket.Custody memory custody = market.custody(taskId);
        Keeping storage keeping = _keepings[Attempts.id(taskId, custody.attempt)];
        if (!custody.trains || keeping.calledAt == 0 || keeping.granted) return false;
        uint32 missing = keeping.kept;
        if (missing >= log.count(taskId)) return false;
        if (block.timestamp <= keeping.calledAt + custody.challengeWindow) return false;
        return block.timestamp > log.challengeableUntil(taskId, missing);
    }

    /// @inheritdoc IKeepers
    function keepingOf(uint256 taskId, uint8 attempt) external view returns (Keeping memory) {
        return _keepings[Attempts.id(taskId, attempt)];
    }

    /// @inheritdoc IKeepers
    function objectionOf(uint256 taskId, uint8 attempt) external view returns (Objection memory) {
        return _objections[Attempts.id(taskId, attempt)];
    }

    /// @inheritdoc IKeepers
    function closedOf(uint256 taskId, uint8 attempt) external view returns (Closed memory) {
        return _closed[Attempts.id(taskId, attempt)];
    }

    /// @inheritdoc IKeepers
    function membersOf(uint256 taskId, uint8 attempt, uint8 committee) external view returns (bytes32) {
        return _committee(taskId, attempt, committee).members;
    }

    /// @inheritdoc IKeepers
    function signedOf(uint256 taskId, uint8 attempt, uint8 committee, uint256 index)
        external
        view
        returns (uint32 upTo, uint256 seats)
    {
        if (index >= Kept.MOST_MEMBERS) revert UnknownMember(Kept.MOST_MEMBERS, index);
        return _committee(taskId, attempt, committee).lanes.signed(index);
    }

    /// @inheritdoc IKeepers
    function drawOf(uint256 taskId, uint8 attempt) public view returns (uint256) {
        return uint256(keccak256(abi.encode(taskId, attempt, _objections[Attempts.id(taskId, attempt)].beacon)));
    }

    /// A second committee is to be drawn, from the randomness of this block, which nobody knows yet.
    function _call(Keeping storage keeping, uint32 missing) private {
        (keeping.kept, keeping.from) = (missing, missing);
        (keeping.calledAt, keeping.calledIn) = (uint64(block.timestamp), uint64(block.number));
    }

    /// Verifiers can claim until the middle of a window. Of what could not be had before that is no earlier than a
    /// quarter of the terms' window from now. As that is the same for all, middles are in the order of checkpoints.
    /// How many become available at once is the caller's choice.
    function _prolong(uint256 taskId, uint32 missing, uint32 upTo, ICheckpointLog.Checkpoint memory last, uint32 window)
        private
    {
        uint64 middle = uint64(block.timestamp) + window / PROMPT_PART;
        for (; missing <= upTo; ++missing) {
            ICheckpointLog.Checkpoint memory late = missing == upTo ? last : log.checkpoint(taskId, missing);
            uint64 until = 2 * middle - late.committedAt;
            if (until > late.challengeableUntil) log.prolong(taskId, missing, until);
        }
    }

    function _running(uint256 taskId) private view returns (ITaskMarket.Custody memory custody) {
        custody = market.custody(taskId);
        if (custody.keepers == 0) revert NoKeepers(taskId);
        if (!custody.trains) revert NotRunning(taskId, custody.attempt);
    }

    function _committed(uint256 taskId, uint8 attempt, uint32 checkpoint)
        private
        view
        returns (ICheckpointLog.Checkpoint memory committed)
    {
        committed = log.checkpoint(taskId, checkpoint);
        if (committed.attempt != attempt) revert OfAnotherAttempt(committed.attempt, attempt);
    }

    function _committee(uint256 taskId, uint8 attempt, uint8 number) private view returns (Committee storage) {
        if (number > 1) revert UnknownCommittee(number);
        return _committees[Attempts.id(taskId, attempt) << 1 | number];
    }

    /// A committee, of which the caller has brought the members.
    function _seated(uint256 taskId, uint8 attempt, uint8 number, IVerifiers.Member[] calldata members)
        private
        view
        returns (Committee storage committee)
    {
        committee = _committee(taskId, attempt, number);
        bytes32 seated = committee.members;
        if (seated == 0) revert NotSeated(taskId, attempt, number);
        bytes32 sent = keccak256(abi.encode(members));
        if (sent != seated) revert OtherMembers(seated, sent);
    }

    function _member(IVerifiers.Member[] calldata members, uint256 index)
        private
        pure
        returns (IVerifiers.Member calldata)
    {
        if (index >= members.length) revert UnknownMember(members.length, index);
        return members[index];
    }

    /// The objection that a signer of the first committee has to answer, and has not.
    function _denied(uint256 taskId, uint8 attempt, IVerifiers.Member[] calldata members, uint256 index)
        private
        view
        returns (Objection storage objection)
    {
        objection = _objections[Attempts.id(taskId, attempt)];
        if (objection.showableUntil == 0) revert NotDenied(taskId, attempt);
        Committee storage committee = _seated(taskId, attempt, 0, members);
        _member(members, index);
        (uint32 upTo,) = committee.lanes.signed(index);
        if (upTo <= objection.checkpoint) revert NotSigned(upTo, objection.checkpoint);
        if (objection.settled >> index & 1 != 0) revert AlreadySettled(taskId, attempt, index);
    }

    function _message(uint256 taskId, uint8 attempt, uint8 committee, uint32 checkpoint, bytes32 root)
        private
        view
        returns (bytes memory)
    {
        return
            abi.encode(DOMAIN, block.chainid, address(market), taskId, attempt, committee, checkpoint, root);
    }

    function _pointsOf(IVerifiers.Member[] calldata members) private pure returns (Bn254.G1[] memory points) {
        points = new Bn254.G1[](members.length);
        for (uint256 i; i < members.length; ++i) points[i] = members[i].point;
    }
}
