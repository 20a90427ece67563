// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {Bn254} from "../audit/Bn254.sol";
import {IVerifiers} from "./IVerifiers.sol";

/// @title Who keeps a task's checkpoints, and shows that they can be had
/// @notice A root proves nothing to who cannot get the bytes. With each attempt a committee is drawn from verifiers, by
/// stake. Its members fetch every checkpoint, keep and serve it, and sign that they hold it. Once more than half of
/// the seats have signed, or the requester says that it has it, a checkpoint is *available*; until then it is not paid
/// for. If that takes too long, or one member objects, a second committee is drawn. What that cannot have either is
/// lost, and its solver has stalled. docs/market.md says who gets what.
/// @dev Assumptions:
/// - More than half of the seats of the second committee, weighed by stake, are of honest verifiers who are awake.
/// - Whoever benefits from it calls `seat` soon: the randomness of a second committee is on chain for 256 blocks.
/// - The award is anybody's to call. Where only a bidder watches for it, it can wait for a block whose committee suits
///   it.
/// No call loops over more than a committee's seats, the levels of the tree that it is drawn from, and the checkpoints
/// that become available with it.
interface IKeepers {
    /// Signatures of members that are added up.
    struct Attestation {
        uint256 signers; // bit i stands for members[i]
        Bn254.G2 sum; // of the signers' keys in G2
        Bn254.G1 signature; // sum of their signatures over `message`
    }

    /// How an attempt's checkpoints are kept. One slot.
    struct Keeping {
        uint32 kept; // checkpoints that are available
        uint32 from; // the first that is the second committee's
        uint64 calledAt; // when the second committee was called; 0 if it was not
        uint64 calledIn; // the block
        uint8 seats; // of a committee, once one has sat down
        bool granted; // nobody had a stake: what is committed counts as available
        uint32 window; // seconds for challenges, as the terms say, once one has sat down
    }

    /// A member of the first committee says that it cannot have what others may have signed for.
    struct Objection {
        bytes32 root; // of the checkpoint
        address keeper;
        uint32 checkpoint;
        uint64 showableUntil; // for its signers, once the attempt has failed for it; 0 if it has not
        uint64 beacon; // end of the randomness that chose what they have to show
        uint16 settled; // signers who have shown it, or were fined
        bool returned; // its bond
    }

    /// What an attempt's members can be paid from. One slot.
    struct Closed {
        uint32 first; // interval with which the attempt began
        uint32 paid; // intervals paid for
        uint128 price; // for what was left when the attempt began
        uint32 rewarded; // bit 16 · committee + member
    }

    /// The chunk of a state that a denied member must show, and its proof.
    struct Chunk {
        uint32 slots;
        bytes32[] slotProof; // from the slot to the tree of slots
        uint8 dtype;
        uint64 length; // elements of the slot
        bytes32[] chunkProof; // to the tree of the slot's chunks
        bytes chunk; // 4,096 bytes
    }

    event Seated(uint256 indexed taskId, uint8 indexed attempt, uint8 committee, IVerifiers.Member[] members);
    /// `signers` hold all checkpoints of the attempt up to this one. `kept` of them are available by now.
    event Attested(
        uint256 indexed taskId, uint8 indexed attempt, uint8 committee, uint32 checkpoint, uint256 signers, uint32 kept
    );
    /// The requester has all checkpoints up to this one.
    event Acknowledged(uint256 indexed taskId, uint8 indexed attempt, uint32 checkpoint);
    event Objected(uint256 indexed taskId, uint8 indexed attempt, uint32 checkpoint, address indexed keeper);
    /// A second committee was called, because nobody had shown in time that this checkpoint can be had.
    event Recalled(uint256 indexed taskId, uint8 indexed attempt, uint32 checkpoint);
    /// The bond of an objection came back.
    event Returned(uint256 indexed taskId, uint8 indexed attempt, address indexed keeper);
    event Shown(uint256 indexed taskId, uint8 indexed attempt, address indexed keeper);
    /// A member could not show what it had signed for: `amount` of its stake was burned.
    event Denounced(uint256 indexed taskId, uint8 indexed attempt, address indexed keeper, uint256 amount);
    event Rewarded(
        uint256 indexed taskId, uint8 indexed attempt, uint8 committee, address indexed keeper, uint256 amount
    );

    error ZeroAddress();
    error NotMarket(address caller);
    error NoKeepers(uint256 taskId);
    error NotRunning(uint256 taskId, uint8 attempt);
    error StillRunning(uint256 taskId, uint8 attempt);
    error NotRequester(address requester, address caller);
    /// The checkpoint was committed by another attempt's solver.
    error OfAnotherAttempt(uint8 committedBy, uint8 sent);
    error AlreadySeated(uint256 taskId, uint8 attempt, uint8 committee);
    error UnknownCommittee(uint8 committee);
    error NotSeated(uint256 taskId, uint8 attempt, uint8 committee);
    error BlockOpen(uint64 calledIn);
    error OtherMembers(bytes32 seated, bytes32 sent);
    error UnknownMember(uint256 members, uint256 index);
    error NotMember(address holder, address caller);
    /// All of this was known.
    error NothingNew(uint32 checkpoint, uint256 signers);
    error AlreadyAvailable(uint32 kept, uint32 checkpoint);
    error AlreadyCalled(uint256 taskId, uint8 attempt);
    error NobodyToCall(uint256 taskId, uint8 attempt);
    error NothingMissing(uint256 taskId, uint32 kept);
    error WindowOpen(uint64 until, uint64 current);
    error WindowClosed(uint64 until, uint64 current);
    /// Who has signed that it holds a checkpoint cannot object to it.
    error SignedItself(uint32 signedUpTo, uint32 checkpoint);
    error NotSigned(uint32 signedUpTo, uint32 checkpoint);
    error NoObjection(uint256 taskId, uint8 attempt);
    error Undecided(uint256 taskId, uint32 checkpoint);
    error NotDenied(uint256 taskId, uint8 attempt);
    error ShowingOver(uint64 until, uint64 current);
    error ShowingOpen(uint64 until, uint64 current);
    error AlreadySettled(uint256 taskId, uint8 attempt, uint256 index);
    error AlreadyRewarded(uint256 taskId, uint8 attempt, uint8 committee, uint256 index);
    error NothingEarned(uint256 taskId, uint8 attempt, uint8 committee, uint256 index);
    error ChunkSize(uint256 expected, uint256 actual);
    /// What was shown does not lead to the committed root.
    error RootDiffers(bytes32 committed, bytes32 computed);

    /// @notice Anyone, while an attempt runs: find out who sits on its committee, the second one in a later block than
    /// it was called. Stakes that counted at the award (or when the solver before had failed, or at the call) are drawn
    /// from. The members' keys are those of now. If nobody had a stake, what is committed counts as available.
    /// @param allPlace as IVerifiers.places says, for that time
    function seat(uint256 taskId, uint32 allPlace) external returns (IVerifiers.Member[] memory members);

    /// @notice Anyone, usually the solver: these members of the running committee hold the attempt's checkpoints up to
    /// this one. Members whose signatures came in several calls count together. What becomes available later than a
    /// quarter of a challenge window after its commit can be challenged longer, so that verifiers have as much
    /// time as otherwise.
    /// @param members as `Seated` told
    function attest(
        uint256 taskId,
        uint8 attempt,
        uint32 checkpoint,
        IVerifiers.Member[] calldata members,
        Attestation calldata attestation
    ) external;

    /// @notice The requester: it has the running attempt's checkpoints up to this one. They can be challenged longer as
    /// after `attest`.
    function acknowledge(uint256 taskId, uint8 attempt, uint32 checkpoint) external;

    /// @notice A member of the first committee, while the checkpoint can be claimed (IAuditor.claimableUntil): it
    /// cannot have this checkpoint, whatever others sign. Locks the bond. A second committee is called. Later logs are
    /// shown, and what a second committee finds to be available can be claimed longer.
    function object(uint256 taskId, uint32 checkpoint, IVerifiers.Member[] calldata members, uint256 index) external;

    /// @notice Anyone, once the window of a checkpoint is over that is not available: call a second committee.
    function recall(uint256 taskId) external;

    /// @notice Anyone: give the bond of an objection back, once it is decided: the checkpoint is available after all,
    /// or the attempt has ended.
    function settle(uint256 taskId, uint8 attempt) external;

    /// @notice Anyone, after an attempt failed because a checkpoint was lost that was objected to: a member of the
    /// first committee that had signed for it holds it, as the chunk shows that was drawn then.
    function show(
        uint256 taskId,
        uint8 attempt,
        IVerifiers.Member[] calldata members,
        uint256 index,
        Chunk calldata shown
    ) external;

    /// @notice Anyone, one challenge window after that failure: such a member did not show it. Burns as much of its
    /// stake as a bond.
    function denounce(uint256 taskId, uint8 attempt, IVerifiers.Member[] calldata members, uint256 index) external;

    /// @notice Anyone, after an attempt: pay a member what it has earned, its seats' share for the intervals that were
    /// paid for and which it had signed for, rounded down.
    function reward(
        uint256 taskId,
        uint8 attempt,
        uint8 committee,
        IVerifiers.Member[] calldata members,
        uint256 index
    ) external;

    /// @notice Only the market, before an attempt ends. Returns what its members have earned together, which it moves
    /// here.
    /// @param lost the attempt fails because of a checkpoint that nobody could have
    function close(uint256 taskId, bool lost) external returns (uint256 due);

    /// @notice What a member of the running committee signs for a committed checkpoint.
    function message(uint256 taskId, uint32 checkpoint) external view returns (bytes memory);

    /// @notice How many checkpoints of an attempt are available; the most there can be, if nobody could be asked.
    function available(uint256 taskId, uint8 attempt) external view returns (uint32);

    /// @notice Whether the second committee's time is over too, for a checkpoint that is not available: a challenge
    /// window since it was called, and the checkpoint's own.
    function isLost(uint256 taskId) external view returns (bool);

    function keepingOf(uint256 taskId, uint8 attempt) external view returns (Keeping memory);

    function objectionOf(uint256 taskId, uint8 attempt) external view returns (Objection memory);

    /// @notice What an attempt's members are paid from, once it has ended.
    function closedOf(uint256 taskId, uint8 attempt) external view returns (Closed memory);

    /// @notice keccak256 of the ABI encoding of a committee's members. 0 before it has sat down.
    function membersOf(uint256 taskId, uint8 attempt, uint8 committee) external view returns (bytes32);

    /// @notice How many checkpoints a member has signed for, counted from the task's first, and how many seats it has.
    function signedOf(uint256 taskId, uint8 attempt, uint8 committee, uint256 index)
        external
        view
        returns (uint32 upTo, uint256 seats);

    /// @notice What chooses the slot and the chunk that signers have to show: see Chunks.requireDrawn.
    function drawOf(uint256 taskId, uint8 attempt) external view returns (uint256);

    /// @notice Locked by an objection, and the most that who cannot show what it signed loses of its stake.
    function auditBond() external view returns (uint128);
}
