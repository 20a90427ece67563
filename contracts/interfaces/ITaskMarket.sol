// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {IAuction} from "./IAuction.sol";
import {IAuditor} from "./IAuditor.sol";
import {ICheckpointLog} from "./ICheckpointLog.sol";
import {IKeepers} from "./IKeepers.sol";
import {ITermLimits} from "./ITermLimits.sol";

/// @title The life of a task: posted, awarded, paid interval by interval, failed and tried again, ended
/// @dev Task ids count from 0. A task has one pot of escrow (the requester's money), and in each attempt one of stake.
/// Assumptions:
/// - The token can be trusted as StakeVault says, and blocks' timestamps to about a minute.
/// - Whoever benefits from a call makes it: the winner awards, the solver collects, the standby takes over, the
///   requester reopens or cancels. Anybody else may make all of these but the takeover and the cancelling.
/// - One honest challenger looks at a checkpoint that is false, before its window ends.
/// - Nobody can tell how long a task takes but who ran it: the requester names times that honest nodes can keep.
interface ITaskMarket {
    enum Status {
        None,
        Bidding, // commits and reveals, then waiting for the award
        Training, // awarded, or taken over
        Vacant, // the solver failed: waits for the standby, or to be reopened
        Completed, // every interval delivered and paid
        Slashed, // the last attempt's solver was convicted
        Stalled, // the last attempt's solver missed a deadline
        Cancelled // by the requester, or nobody bid
    }

    struct Task {
        address requester;
        Status status;
        uint8 attempt; // from 0; of the next solver while there is none
        uint32 paid; // intervals paid for
        uint32 first; // interval with which the attempt begins
        uint8 keepers; // seats of a committee, as the terms say: beside what every payment reads
        address solver; // the last one
        uint64 awardedAt; // or taken over
        uint32 promised; // seconds per full interval
        uint128 price; // for what was left when the attempt began
        uint64 biddingEnds;
        uint32 defended; // seconds that disputes took which the solver won
        uint32 late; // seconds that the solver was late and has paid for
        address standby;
        uint64 handoverEnds; // 0 since an award
        uint32 beacon; // end of the randomness (prevrandao) that keepers are drawn from
    }

    /// When an attempt's checkpoints are due, and of whom.
    struct Schedule {
        address solver;
        Status status;
        uint8 attempt;
        uint32 first;
        uint32 intervals;
        uint32 interval;
        uint32 promised;
        uint32 intervalTime;
        uint32 challengeWindow;
        uint64 awardedAt;
        uint32 defended;
    }

    /// What the dispute game needs to know about a checkpoint.
    struct Contest {
        address solver;
        uint8 attempt;
        bytes32 graphRoot;
        bytes32 stateRoot; // initial
        uint128 bond;
        uint32 clock;
        uint32 lo; // steps before and after its interval
        uint32 hi;
    }

    /// What keepers' contract needs to know about an attempt, which runs or was the last.
    struct Custody {
        address requester;
        bool trains; // whether it runs
        uint8 attempt;
        uint32 paid;
        uint32 first;
        uint128 price;
        uint32 beacon;
        uint64 drawnAt; // when keepers were drawn: the stakes of then count
        uint32 steps;
        uint32 interval;
        uint32 challengeWindow;
        uint8 keepers; // seats
        uint16 keeperBps;
    }

    event Connected(IAuction auction, ICheckpointLog log, address game, IAuditor auditor, IKeepers keepers);
    event Posted(uint256 indexed taskId, address indexed requester, bytes32 graphRoot, string uri);
    event Awarded(
        uint256 indexed taskId, uint8 attempt, address indexed solver, uint128 price, uint32 promised, address standby
    );
    event TookOver(uint256 indexed taskId, uint8 attempt, address indexed solver, uint128 price, uint32 promised);
    /// `withheld` is what lateness cost, and goes back to the requester in the end; `fee` was burned.
    event Paid(
        uint256 indexed taskId, uint32 indexed index, address indexed solver, uint256 amount, uint256 withheld,
        uint256 fee
    );
    event Stalled(uint256 indexed taskId, address indexed solver, uint256 burned);
    /// `rewards` of the stake are for challengers. The rest burns.
    event Slashed(uint256 indexed taskId, address indexed solver, uint256 slashed, uint256 rewards);
    event Excused(uint256 indexed taskId, address indexed solver, uint32 time);
    /// The task needs another solver. `standby` may take over until `handoverEnds`.
    event Vacated(uint256 indexed taskId, uint8 attempt, address indexed standby, uint64 handoverEnds);
    event Reopened(uint256 indexed taskId, uint8 attempt, uint64 biddingEnds);
    event Ended(uint256 indexed taskId, Status how, uint256 refunded);

    error NotDeployer(address caller);
    error AlreadyConnected();
    error ZeroAddress();
    error NotGame(address caller);
    error NotAuction(address caller);
    error NotRequester(address requester, address caller);
    error NotStandby(address standby, address caller);
    error RewardTooLarge(uint256 allowed, uint256 sent);
    error WrongStatus(uint256 taskId, Status expected, Status actual);
    error UnknownTask(uint256 taskId);
    error RevealOpen(uint64 ends, uint64 current);
    error HandoverOpen(uint64 ends, uint64 current);
    error HandoverOver(uint64 ended, uint64 current);
    error NothingFinal(uint256 taskId, uint32 index);
    error CheckpointPending(uint256 taskId, uint32 index);
    error NothingDue(uint256 taskId);
    error NotStalled(uint64 deadline, uint64 current);

    /// @notice Offer a task; locks the whole bill, ITermLimits' and IAuditor's, of the sender's free balance, and burns
    /// the fee for posting.
    function post(ITermLimits.Terms calldata terms) external returns (uint256 taskId);

    /// @notice Anyone, once revealing is over: the lowest score wins, and is paid what it could have asked for with
    /// that of the second. Without a bid the task ends.
    function award(uint256 taskId) external;

    /// @notice Only the auction: a bid leads. Frees the stake of the one that it beat, if any, and locks its own.
    function lead(uint256 taskId, address beaten, address leader) external;

    /// @notice Anyone: pay for up to 64 intervals that are final and can be had, in order. After the last one, release
    /// the stake and return the rest of the escrow.
    function collect(uint256 taskId) external;

    /// @notice Anyone, after a missed deadline, or when no committee could have what was committed: pay what is final,
    /// burn a part of the stake, and let the next one in.
    /// @dev Refused while a committed checkpoint is disputed, or could be by who has it. If more than 64 intervals are
    /// unpaid, call `collect` first.
    function stall(uint256 taskId) external;

    /// @notice Only the dispute game: the solver is convicted of a false checkpoint. The challenger gets `reward` of
    /// the stake, and the game's pot of the same name as the stake's `kept`, for others; the rest burns, at least half.
    /// @dev Called while the convicted checkpoint is still held: the hold is what excludes it from pay. Pays up to 64
    /// final intervals; any further ones that were not collected are void like those after the false one.
    function slash(uint256 taskId, address challenger, uint256 reward, uint256 kept) external;

    /// @notice Only the dispute game: the solver won a dispute that took this many seconds of its time.
    function excuse(uint256 taskId, uint32 time) external;

    /// @notice The standby, within `handoverTime` of the solver's failure: train the rest, at its own price. Locks the
    /// stake and frees its bond.
    function takeOver(uint256 taskId) external;

    /// @notice Anyone, if no standby may come any more: let solvers bid for the rest. A standby that did not come loses
    /// its bond.
    function reopen(uint256 taskId) external;

    /// @notice The requester, while nobody has revealed a bid or there is no solver and no standby may come: end the
    /// task.
    function cancel(uint256 taskId) external;

    /// @notice Only the deployer, once and for ever: name the auction, the checkpoint log, the dispute game, the
    /// auditor and the keepers.
    function connect(IAuction auction, ICheckpointLog log, address game, IAuditor auditor, IKeepers keepers) external;

    function terms(uint256 taskId) external view returns (ITermLimits.Terms memory);
    function task(uint256 taskId) external view returns (Task memory);

    /// @notice What bidders are asked for. Only while the task's status is Bidding.
    function ask(uint256 taskId) external view returns (IAuction.Ask memory);

    /// @notice Which attempt is bid for, until when, and whose task it is. Only while the status is Bidding.
    function bidding(uint256 taskId) external view returns (uint8 attempt, uint64 ends, address requester);

    /// @notice What a dispute about that checkpoint needs to know. Only while the task's status is Training.
    function contest(uint256 taskId, uint32 checkpoint) external view returns (Contest memory);

    /// @notice Whether that attempt runs.
    function trains(uint256 taskId, uint8 attempt) external view returns (bool);

    /// @notice Whose work is audited: the last solver's.
    function audited(uint256 taskId) external view returns (address solver);

    /// @notice What showing a log needs to know about a checkpoint that this attempt committed, and its task.
    /// @return available as IKeepers.available says; always, without keepers
    /// @return granted because nobody could be asked
    /// @return steps of the task
    /// @return interval steps per checkpoint
    function vouched(uint256 taskId, uint8 attempt, uint32 checkpoint)
        external
        view
        returns (bool available, bool granted, uint32 steps, uint32 interval);

    function custody(uint256 taskId) external view returns (Custody memory);

    /// @notice Number of intervals of the task: ⌈steps/interval⌉.
    function intervals(uint256 taskId) external view returns (uint32);

    function schedule(uint256 taskId) external view returns (Schedule memory);

    /// @notice Last timestamp at which checkpoint `index` may be committed.
    function deadline(uint256 taskId, uint32 index) external view returns (uint64);

    /// @notice What terms may say, and what they cost: asked when a task is posted.
    function limits() external view returns (ITermLimits);

    /// @notice Keys of a task's pots in the vault.
    function escrowPot(uint256 taskId) external pure returns (bytes32);
    function stakePot(uint256 taskId, uint8 attempt) external pure returns (bytes32);

    function taskCount() external view returns (uint256);
}
