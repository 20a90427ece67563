// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {Bn254} from "../audit/Bn254.sol";

/// @title Who is drawn to audit a checkpoint, who vouches for it, and what that earns
/// @notice A verifier that is drawn replays the interval and *claims*: it commits to what only a replay tells, the last
/// part of the interval's log, and locks a bond. Once nobody can claim any more it *reveals* that part. When the
/// checkpoint has been paid for, so is the claim. docs/market.md says who gets what.
/// @dev Assumptions:
/// - A verifier keeps its secret. Whoever knows it knows which checkpoints its owner looks at.
/// - A solver that commits a false root can make many, and see with each whether a verifier whose secret it knows is
///   drawn. It never sees whether another is.
/// - A solver shows nobody the log of an interval before claiming about it is over, unless it wants a friend to be paid
///   for not looking. The friend's bond is lost if the checkpoint is proved false.
/// No call loops, and a claim takes one slot of storage.
interface IAuditor {
    /// A verifier's proof that it is drawn.
    struct Draw {
        Bn254.G1 ticket; // signature over `message`
        Bn254.G2 twin; // the verifier's key in G2
        uint32 ownPlace; // as IVerifiers.places says, for the time of the commit
        uint32 allPlace;
    }

    /// The chunk that holds the interval's last row of the log, and its proof to the committed state root.
    struct LogChunk {
        bytes chunk; // 4,096 bytes
        bytes32[] chunkProof; // to the tree of the log's chunks
        uint64 length; // elements of the log
        bytes32[] slotProof; // from the log, which is the last slot, to the tree of slots
        uint32 slots;
    }

    /// What is left of what a requester pays for audits. One slot.
    struct Budget {
        uint128 fee; // a ticket wins one or more, or none
        uint16 rateBps; // fees to expect per checkpoint, in 1/10,000
        uint64 left; // fees that it still pays, beside those that are claimed
        bool closed; // the task has ended
    }

    /// What a verifier has committed to. One slot.
    struct Claim {
        bytes30 commitment; // 0 if there is no claim
        uint8 fees; // that it took out of the budget
        bool revealed;
    }

    event Funded(uint256 indexed taskId, uint128 fee, uint16 rateBps, uint64 fees);
    event Claimed(
        uint256 indexed taskId, uint32 indexed checkpoint, address indexed verifier, uint8 attempt, bytes30 commitment,
        uint8 fees
    );
    /// The verifier has shown that it replayed the interval.
    event Vouched(uint256 indexed taskId, uint32 indexed checkpoint, address indexed verifier, uint8 attempt);
    /// A claim is over: it `earned` its fees, or the bond was `forfeited`, or neither.
    event Settled(
        uint256 indexed taskId, uint32 indexed checkpoint, address indexed verifier, uint8 attempt, bool earned,
        bool forfeited, uint8 fees
    );
    /// The task has ended: this much of its budget went back.
    event Refunded(uint256 indexed taskId, address indexed requester, uint256 amount);

    error ZeroAddress();
    error ZeroCommitment();
    error NotMarket(address caller);
    /// The ticket's hash is too large for so small a stake.
    error NotDrawn(address verifier, uint256 own, uint256 all);
    /// The requester pays no more fees than are claimed already.
    error BudgetSpent(uint256 taskId);
    error OwnCheckpoint(address solver);
    error AlreadyClaimed(uint256 taskId, uint32 checkpoint, address verifier);
    error ClaimingOver(uint64 ended, uint64 current);
    error NotClaimed(uint256 taskId, uint8 attempt, uint32 checkpoint, address verifier);
    error ClaimingOpen(uint64 ends, uint64 current);
    error RevealOver(uint64 ended, uint64 current);
    error AlreadyRevealed(uint256 taskId, uint32 checkpoint, address verifier);
    error CommitmentDiffers(bytes30 committed, bytes30 sent);
    error ChunkSize(uint256 expected, uint256 actual);
    /// A log has one row for each step of an interval.
    error MalformedLog(uint64 length, uint32 rows);
    error RootDiffers(bytes32 committed, bytes32 actual);
    error WindowOpen(uint64 until, uint64 current);
    /// Nobody has shown yet that the checkpoint can be had. Once somebody has, there may be more time to claim.
    error Unavailable(uint256 taskId, uint32 checkpoint);
    /// The interval has not been paid for yet; see ITaskMarket.collect.
    error NotFinal(uint256 taskId, uint32 checkpoint);

    /// @notice A verifier that is drawn, until the middle of the checkpoint's challenge window: vouch for the
    /// checkpoint. Locks the bond, and takes as many fees out of the budget as the ticket wins, or what is left.
    /// @param commitment as `commitmentOf` says
    function claim(uint256 taskId, uint32 checkpoint, bytes30 commitment, Draw calldata draw) external;

    /// @notice Who has claimed, after the middle of the challenge window and until its end, if the checkpoint is
    /// available: show what was committed to.
    function reveal(uint256 taskId, uint32 checkpoint, LogChunk calldata log) external;

    /// @notice Anyone, once a claim's fate is known. It is paid if the checkpoint was, and its bond goes back. Its bond
    /// burns if it was not revealed in time, or if a computation proved the checkpoint false. If the attempt has failed
    /// for any other reason before the checkpoint was paid for, the bond goes back, and nothing is paid.
    function settle(uint256 taskId, uint8 attempt, uint32 checkpoint, address verifier) external;

    /// @notice Only the market: a task was posted. Locks the budget of its requester.
    function fund(uint256 taskId, address requester, uint128 fee, uint16 rateBps, uint32 intervals) external;

    /// @notice Only the market: the task has ended. What no claim may still earn goes back.
    function close(uint256 taskId, address requester) external;

    /// @notice Refuses what is not the verifier's winning ticket for a committed checkpoint.
    /// @return fees that it wins, whatever is left of the budget: 1 to 50
    function requireDrawn(uint256 taskId, uint32 checkpoint, address verifier, Draw calldata draw)
        external
        view
        returns (uint8 fees);

    /// @notice What a verifier signs for a committed checkpoint.
    function message(uint256 taskId, uint32 checkpoint) external view returns (bytes memory);

    /// @notice What a verifier commits to: the first 30 bytes of sha256(verifier ‖ chunk). Copied by another it is
    /// worth nothing. Cut short, so that it shares a slot.
    function commitmentOf(address verifier, bytes calldata chunk) external pure returns (bytes30);

    /// @notice Last timestamp at which a checkpoint may be claimed: half of its challenge window, which gets longer
    /// where many checkpoints are committed at once.
    function claimableUntil(uint256 taskId, uint32 checkpoint) external view returns (uint64);

    /// @notice How many fees a task of so many intervals pays at most: λ + 3·√λ + 1, rounded up, where λ is what the
    /// rate lets expect. Three standard deviations, because few intervals vary much.
    function auditsUp(uint32 intervals, uint16 rateBps) external pure returns (uint64);

    /// @notice What posting a task locks for audits.
    function bill(uint32 intervals, uint128 fee, uint16 rateBps) external pure returns (uint256);

    function budgetOf(uint256 taskId) external view returns (Budget memory);

    /// @notice A verifier's claim, until it is settled.
    function claimOf(uint256 taskId, uint8 attempt, uint32 checkpoint, address verifier)
        external
        view
        returns (Claim memory);

    /// @notice Locked by each claim.
    function auditBond() external view returns (uint128);
}
