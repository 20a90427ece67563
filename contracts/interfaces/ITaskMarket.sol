// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {ICheckpointLog} from "./ICheckpointLog.sol";

/// @title Tasks: posting, bidding, award, pay per interval, and how they end
/// @dev Task ids count from 0. Each task has two pots in the vault: escrow (the requester's money) and stake.
interface ITaskMarket {
    enum Status {
        None,
        Bidding,
        Training, // awarded
        Completed, // every interval delivered and paid
        Slashed, // solver convicted
        Stalled, // solver missed a deadline
        Cancelled // no bid
    }

    /// What a requester asks for. Money in the vault's token's smallest unit, durations in seconds.
    struct Terms {
        bytes32 graphRoot;
        bytes32 stateRoot; // initial state
        uint32 steps;
        uint32 interval; // steps per checkpoint (the last may hold fewer)
        uint128 maxPrice; // for the whole task; locked when posting
        uint128 stake; // locked by a bid
        uint128 bond; // locked by a dispute
        uint32 biddingTime;
        uint32 intervalTime; // deadline of checkpoint k: award + (k+1)·intervalTime
        uint32 challengeWindow; // see ICheckpointLog.commit
        uint32 clock; // each party's thinking time per dispute
        string uri; // where the task file is
    }

    struct Task {
        address requester;
        address solver; // best bidder while bidding, then the winner
        Status status;
        uint64 biddingEnds;
        uint64 awardedAt;
        uint128 price; // of the best bid
        uint32 paid; // intervals paid for
    }

    /// What the checkpoint log needs to know about a task.
    struct Schedule {
        address solver;
        Status status;
        uint64 awardedAt;
        uint32 intervals;
        uint32 intervalTime;
        uint32 challengeWindow;
    }

    /// What a deployment fixes: the least and the most that terms may name, the probability that the stake rule
    /// assumes, what a challenger who was right but not first gets, and the fee for posting.
    struct Limits {
        uint16 detectionBps; // probability that a cheat is detected, in 1/10,000
        uint32 biddingTime;
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

    event Connected(ICheckpointLog log, address game);
    event Posted(uint256 indexed taskId, address indexed requester, bytes32 graphRoot, string uri);
    event Bid(uint256 indexed taskId, address indexed solver, uint128 price);
    event Awarded(uint256 indexed taskId, address indexed solver, uint128 price);
    event Paid(uint256 indexed taskId, uint32 indexed index, address indexed solver, uint256 amount);
    event Completed(uint256 indexed taskId);
    event Cancelled(uint256 indexed taskId);
    event Stalled(uint256 indexed taskId, uint256 refunded, uint256 burned);
    /// `rewards` of the stake are for challengers. The rest burns.
    event Slashed(
        uint256 indexed taskId, address indexed solver, uint256 slashed, uint256 rewards, uint256 refunded
    );

    error NotDeployer(address caller);
    error AlreadyConnected();
    error ZeroAddress();
    error NotGame(address caller);
    error RewardTooLarge(uint256 allowed, uint256 sent);
    error InvalidDetection(uint16 detectionBps);
    /// What was to be the most is less than the least.
    error InvalidLimit(string term, uint256 least, uint256 most);
    error WrongStatus(uint256 taskId, Status expected, Status actual);
    error UnknownTask(uint256 taskId);
    error TermMissing(string term);
    error TermTooSmall(string term, uint256 required, uint256 sent);
    error TermTooLarge(string term, uint256 allowed, uint256 sent);
    error BiddingOver(uint64 ended, uint64 current);
    error BiddingOpen(uint64 ends, uint64 current);
    error NotASolver(address account);
    error OwnTask(address requester);
    error PriceTooHigh(uint128 allowed, uint128 sent);
    error NothingFinal(uint256 taskId, uint32 index);
    error CheckpointPending(uint256 taskId, uint32 index);
    error NothingDue(uint256 taskId);
    error NotStalled(uint64 deadline, uint64 current);

    /// @notice Offer a task; locks `maxPrice` of the sender's free balance, and burns the fee for posting.
    function post(Terms calldata terms) external returns (uint256 taskId);

    /// @notice Lock the stake and become the best bidder. The bidder who was best before gets its stake back at once.
    /// @dev For registered solvers, before bidding ends, strictly below the best price so far (the first: up to
    /// `maxPrice`). The requester's own account is refused, so that nobody wins its own task by accident.
    function bid(uint256 taskId, uint128 price) external;

    /// @notice Anyone, after bidding: the best bidder wins, and the requester gets back maxPrice less the price.
    /// Without a bid the task is cancelled and refunded.
    function award(uint256 taskId) external;

    /// @notice Anyone: pay for up to 64 intervals that are final, in order. After the last one, release the stake.
    function collect(uint256 taskId) external;

    /// @notice Anyone, after a missed deadline: pay what is final, refund the rest, burn a part of the stake.
    /// @dev Refused while a committed checkpoint is disputed or could be. If more than 64 intervals are unpaid, call
    /// `collect` first.
    function stall(uint256 taskId) external;

    /// @notice Only the dispute game: the solver is convicted of a false checkpoint. The challenger gets `reward` of
    /// the stake, and the game's pot of the same name as the stake's `kept`, for others; the rest burns, at least half.
    /// @dev Called while the convicted checkpoint is still held: the hold is what excludes it from pay. Pays up to 64
    /// final intervals; any further ones that were not collected are forfeited with the rest of the escrow.
    function slash(uint256 taskId, address challenger, uint256 reward, uint256 kept) external;

    /// @notice Only the deployer, once and for ever: name the checkpoint log and the dispute game.
    function connect(ICheckpointLog log, address game) external;

    function terms(uint256 taskId) external view returns (Terms memory);
    function task(uint256 taskId) external view returns (Task memory);

    /// @notice Number of intervals of the task: ⌈steps/interval⌉.
    function intervals(uint256 taskId) external view returns (uint32);

    function schedule(uint256 taskId) external view returns (Schedule memory);

    /// @notice Last timestamp at which checkpoint `index` may be committed.
    function deadline(uint256 taskId, uint32 index) external view returns (uint64);

    /// @notice The smallest stake with which cheating loses money in expectation, for a task of this price; at least
    /// ten bounties, so that a conviction pays its gas.
    function requiredStake(uint128 maxPrice) external view returns (uint256);

    /// @notice The largest stake that terms with this price may ask for.
    function allowedStake(uint128 maxPrice) external view returns (uint256);

    /// @notice The smallest bond that terms with this stake may ask for: at least a fiftieth of the stake, so that to
    /// drain a solver's clock costs more than it can win.
    function requiredBond(uint128 stake) external view returns (uint256);

    /// @notice The largest bond that terms with this stake may ask for, so that disputing stays possible.
    function allowedBond(uint128 stake) external view returns (uint256);

    function limits() external view returns (Limits memory);

    /// @notice Keys of a task's two pots in the vault.
    function escrowPot(uint256 taskId) external pure returns (bytes32);
    function stakePot(uint256 taskId) external pure returns (bytes32);

    function taskCount() external view returns (uint256);
}
