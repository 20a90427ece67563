// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

/// @title What terms may say
/// @notice Every term has a least and a most, and the stake is one with which cheating loses.
/// @dev A contract of its own: the market asks it once for each task, and would have little room left beside it.
interface ITermLimits {
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
        uint8 keepers; // seats of a committee that keeps the checkpoints; 0: the requester fetches them itself
        uint128 auditFee; // a ticket wins one or more, or none; see IAuditor.fund for what is locked
        uint16 auditRateBps; // fees to expect per checkpoint, in 1/10,000
        uint16 keeperBps; // what all seats share, in 1/10,000 of the pay and beside it
        string uri; // where the task file is
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

    /// What was to be the most is less than the least.
    error InvalidLimit(string term, uint256 least, uint256 most);
    error TermMissing(string term);
    error TermTooSmall(string term, uint256 required, uint256 sent);
    error TermTooLarge(string term, uint256 allowed, uint256 sent);

    /// @notice Reverts unless a task with these terms may be posted. Returns their `bill`.
    function check(Terms calldata terms) external view returns (uint256 escrow, uint256 fee);

    function values() external view returns (Limits memory);

    /// @notice What posting a task of this price locks and burns beside its audits: the price and what a standby and
    /// keepers earn; the fee.
    function bill(uint128 maxPrice, uint16 keeperBps) external view returns (uint256 escrow, uint256 fee);

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

    /// @notice The smallest bond that such terms may ask for: at least a fiftieth of the stake, so that to drain a
    /// solver's clock costs more than it can win, and an interval's price, half of which pays for the solver's replay.
    function requiredBond(uint128 stake, uint128 maxPrice, uint32 steps, uint32 interval)
        external
        view
        returns (uint256);

    /// @notice The smallest bond with which it costs a late solver as much to have a friend dispute, and lose, as the
    /// time of that dispute excuses it from: half of a lost bond burns, and a dispute takes a clock at most.
    function excuseBond(uint96 urgency, uint32 clock) external view returns (uint256);

    /// @notice The largest bond that such terms may ask for, so that disputing stays possible.
    function allowedBond(uint128 stake, uint128 maxPrice, uint32 steps, uint32 interval)
        external
        view
        returns (uint256);
}
