// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {IAuction} from "./IAuction.sol";
import {IAuditor} from "./IAuditor.sol";
import {ICheckpointLog} from "./ICheckpointLog.sol";

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

    /// What a requester asks for. Money in the vault's token's smallest unit, durations in seconds.
    struct Terms {
        bytes32 graphRoot;
        bytes32 stateRoot; // initial state
        uint32 steps;
        uint32 interval; // steps per checkpoint (the last may hold fewer)
        uint32 intervalTime; // longest that an interval may take
        uint32 challengeWindow; // see ICheckpointLog.commit
        uint128 maxPrice; // for the whole task; locked when posting
        uint128 stake; // locked by the leading bid
        uint128 bond; // locked by a dispute
        uint96 urgency; // what a second of promised time costs the requester, and what a late one costs the solver
        uint32 clock; // each party's thinking time per dispute
        uint32 biddingTime;
        uint32 revealTime;
        uint32 handoverTime; // for the standby to take over
        uint16 riskBps; // what failing costs the requester, in 1/10,000 of the price
        uint8 attempts;
        uint128 auditFee; // for one audit; see IAuditor.fund for what is locked
        uint16 auditRateBps; // audits to expect per checkpoint, in 1/10,000
        string uri; // where the task file is
    }

    struct Task {
        address requester;
        Status status;
        uint8 attempt; // from 0; of the next solver while there is none
        uint32 paid; // intervals paid for
        uint32 first; // interval with which the attempt begins
        address solver; // the last one
        uint64 awardedAt; // or taken over
        uint32 promised; // seconds per full interval
        uint128 price; // for what was left when the attempt began
        uint64 biddingEnds;
        uint32 defended; // seconds that disputes took which the solver won
        uint32 late; // seconds that the solver was late and has paid for
        address standby;
        uint64 handoverEnds;
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

    /// What a deployment fixes: the least and the most that terms may name, what the stake rule assumes, what a
    /// challenger who was right but not first gets, the fees, and what a standby earns.
    struct Limits {
        uint16 honestBps; // part of all verifiers' stakes that is honest, in 1/10,000
        uint16 marginBps; // how much more than it gains a cheat must expect to lose, in 1/10,000
        uint16 feeBps; // of pay, burned: a record costs something to make
        uint16 standbyBps; // of pay, beside it, for being ready
        uint32 biddingTime; // and revealTime, and handoverTime
        uint32 intervalTime;
        uint32 challengeWindow;
        uint32 clock;
        uint128 bond;
        uint128 bounty; // pays the gas of a dispute and one audit; see IDisputeGame.dismiss
        uint32 maxBiddingTime;
        uint32 maxIntervalTime;
        uint32 maxChallengeWindow;
        uint32 maxClock;
        uint32 maxDuration; // of a task: its intervals times intervalTime
        uint128 postFee; // burned when a task is posted
    }

    event Connected(IAuction auction, ICheckpointLog log, address game, IAuditor auditor);
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
    /// What was to be the most is less than the least.
    error InvalidLimit(string term, uint256 least, uint256 most);
    error WrongStatus(uint256 taskId, Status expected, Status actual);
    error UnknownTask(uint256 taskId);
    error TermMissing(string term);
    error TermTooSmall(string term, uint256 required, uint256 sent);
    error TermTooLarge(string term, uint256 allowed, uint256 sent);
    error RevealOpen(uint64 ends, uint64 current);
    error HandoverOpen(uint64 ends, uint64 current);
    error HandoverOver(uint64 ended, uint64 current);
    error NothingFinal(uint256 taskId, uint32 index);
    error CheckpointPending(uint256 taskId, uint32 index);
    error NothingDue(uint256 taskId);
    error NotStalled(uint64 deadline, uint64 current);

    /// @notice Offer a task; locks the whole `bill`, and IAuditor's, of the sender's free balance, and burns the fee
    /// for posting.
    function post(Terms calldata terms) external returns (uint256 taskId);

    /// @notice Anyone, once revealing is over: the lowest score wins, and is paid what it could have asked for with
    /// that of the second. Without a bid the task ends.
    function award(uint256 taskId) external;

    /// @notice Only the auction: a bid leads. Frees the stake of the one that it beat, if any, and locks its own.
    function lead(uint256 taskId, address beaten, address leader) external;

    /// @notice Anyone: pay for up to 64 intervals that are final, in order. After the last one, release the stake and
    /// return the rest of the escrow.
    function collect(uint256 taskId) external;

    /// @notice Anyone, after a missed deadline: pay what is final, burn a part of the stake, and let the next one in.
    /// @dev Refused while a committed checkpoint is disputed or could be. If more than 64 intervals are unpaid, call
    /// `collect` first.
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

    /// @notice Only the deployer, once and for ever: name the auction, the checkpoint log, the dispute game and the
    /// auditor.
    function connect(IAuction auction, ICheckpointLog log, address game, IAuditor auditor) external;

    function terms(uint256 taskId) external view returns (Terms memory);
    function task(uint256 taskId) external view returns (Task memory);

    /// @notice What bidders are asked for. Only while the task's status is Bidding.
    function ask(uint256 taskId) external view returns (IAuction.Ask memory);

    /// @notice Which attempt is bid for, until when, and whose task it is. Only while the status is Bidding.
    function bidding(uint256 taskId) external view returns (uint8 attempt, uint64 ends, address requester);

    /// @notice What a dispute about that checkpoint needs to know. Only while the task's status is Training.
    function contest(uint256 taskId, uint32 checkpoint) external view returns (Contest memory);

    /// @notice Whether that attempt runs.
    function trains(uint256 taskId, uint8 attempt) external view returns (bool);

    /// @notice What an audit needs to know: whose work it is, the last solver's, and how many steps it has, in all and
    /// per checkpoint.
    function audited(uint256 taskId) external view returns (address solver, uint32 steps, uint32 interval);

    /// @notice Number of intervals of the task: ⌈steps/interval⌉.
    function intervals(uint256 taskId) external view returns (uint32);

    function schedule(uint256 taskId) external view returns (Schedule memory);

    /// @notice Last timestamp at which checkpoint `index` may be committed.
    function deadline(uint256 taskId, uint32 index) external view returns (uint64);

    /// @notice What posting a task of this price locks and burns beside its audits: the price and what a standby earns;
    /// the fee.
    function bill(uint128 maxPrice) external view returns (uint256 escrow, uint256 fee);

    /// @notice The smallest stake with which cheating loses money in expectation; at least ten bounties, so that a
    /// conviction pays its gas. The arguments are terms, and within their bounds.
    function requiredStake(uint128 maxPrice, uint32 steps, uint32 interval, uint16 auditRateBps)
        external
        view
        returns (uint256);

    /// @notice The largest stake that such terms may ask for.
    function allowedStake(uint128 maxPrice, uint32 steps, uint32 interval, uint16 auditRateBps)
        external
        view
        returns (uint256);

    /// @notice The smallest bond that terms with this stake may ask for: at least a fiftieth of the stake, so that to
    /// drain a solver's clock costs more than it can win.
    function requiredBond(uint128 stake) external view returns (uint256);

    /// @notice The smallest bond with which it costs a late solver as much to have a friend dispute, and lose, as the
    /// time of that dispute excuses it from: half of a lost bond burns, and a dispute takes a clock at most.
    function excuseBond(uint96 urgency, uint32 clock) external view returns (uint256);

    /// @notice The largest bond that terms with this stake may ask for, so that disputing stays possible.
    function allowedBond(uint128 stake) external view returns (uint256);

    function limits() external view returns (Limits memory);

    /// @notice Keys of a task's pots in the vault.
    function escrowPot(uint256 taskId) external pure returns (bytes32);
    function stakePot(uint256 taskId, uint8 attempt) external pure returns (bytes32);

    function taskCount() external view returns (uint256);
}
