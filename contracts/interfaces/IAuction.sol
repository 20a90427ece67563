// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

/// @title Sealed bids for an attempt at a task
/// @notice A bid is a price and a promise. Bidders first commit to a hash, then reveal. What a bid would cost the
/// requester is its score; the lowest wins and is paid up to the second lowest, so that a bidder does best by naming
/// what the work costs it and how long it takes. docs/market.md has the formula and the assumptions.
/// @dev Assumptions:
/// - A bidder learns nothing of other bids before it commits, unless their bidders tell it. It keeps its salt secret.
/// - Between the end of bidding and the end of revealing each bidder gets one transaction mined.
/// - A requester may bid under another name, as it may set a lower maxPrice: it risks to win. A bond for each bid makes
///   it dear to hold many bids ready and to reveal the one that suits.
/// No call loops over bidders, and none keeps a list of them.
interface IAuction {
    /// What the market asks for in an attempt. Durations in seconds, money in the token's smallest unit.
    struct Ask {
        uint8 attempt;
        uint64 biddingEnds;
        uint64 revealEnds;
        uint32 stepsLeft;
        uint32 interval; // steps per checkpoint
        uint32 intervalTime; // longest promise
        uint16 riskBps;
        uint128 reserve; // highest price
        uint96 urgency; // what a second costs the requester
    }

    /// A revealed bid. The score is price + burden.
    struct Bid {
        address bidder;
        uint32 promised; // seconds per full interval
        uint32 committedAt; // block timestamp
        uint128 price; // for all steps that are left
        uint128 burden; // what its time and its record cost the requester
    }

    event Sealed(uint256 indexed taskId, uint8 indexed attempt, address indexed bidder, bytes28 seal);
    event Revealed(
        uint256 indexed taskId, uint8 indexed attempt, address indexed bidder, uint128 price, uint32 promised,
        uint128 burden
    );
    /// A bond was burned, because its owner did not do what it had promised.
    event Forfeited(uint256 indexed taskId, uint8 indexed attempt, address indexed bidder);

    error NotDeployer(address caller);
    error AlreadyConnected();
    error ZeroAddress();
    error NotMarket(address caller);
    error BiddingOver(uint64 ended, uint64 current);
    error BiddingOpen(uint64 ends, uint64 current);
    error RevealOver(uint64 ended, uint64 current);
    error RevealOpen(uint64 ends, uint64 current);
    error NotASolver(address account);
    error OwnTask(address requester);
    error ZeroSeal();
    error NotCommitted(uint256 taskId, uint8 attempt, address bidder);
    error SealDiffers(bytes28 committed, bytes28 sent);
    error PriceTooHigh(uint128 allowed, uint128 sent);
    error PromiseOutOfRange(uint32 allowed, uint32 sent);
    error AlreadyRevealed(uint256 taskId, uint8 attempt, address leader);

    /// @notice A solver, while bidding lasts: bid for the running attempt. Locks the bid bond. A second commit replaces
    /// the first.
    /// @param seal see `sealOf`
    function commit(uint256 taskId, bytes28 seal) external;

    /// @notice A bidder, between the ends of bidding and revealing: show the bid. The leader's stake is locked; the two
    /// lowest scores keep their bonds locked, all others get theirs back at once.
    function reveal(uint256 taskId, uint128 price, uint32 promised, bytes32 salt) external;

    /// @notice Anyone, once revealing is over: burn the bond of a bid that was not revealed. Once the requester has
    /// cancelled: give it back.
    function settle(uint256 taskId, uint8 attempt, address bidder) external;

    /// @notice Only the market, once revealing is over: the leader's bond is free.
    /// @return leader no bidder if nobody revealed
    /// @return standby no bidder if nobody else did
    function close(uint256 taskId, uint8 attempt) external returns (Bid memory leader, Bid memory standby);

    /// @notice Only the market: the task was cancelled before anybody revealed.
    function cancel(uint256 taskId, uint8 attempt) external;

    /// @notice Only the market, which knows the standby of that attempt: it is needed no longer, or did not come.
    function dismiss(uint256 taskId, uint8 attempt, address standby, bool forfeited) external;

    /// @notice Only the deployer, once and for ever: name the market.
    function connect(address market) external;

    /// @notice The two lowest scores that were revealed.
    function bids(uint256 taskId, uint8 attempt) external view returns (Bid memory leader, Bid memory standby);

    /// @notice What a bid would add to its price in the score: what its promised time and its bidder's record cost.
    function burden(uint256 taskId, address bidder, uint32 promised) external view returns (uint128);

    /// @notice The hash that a bidder commits to. Cut short, so that it shares a slot with its time.
    function sealOf(uint256 taskId, uint8 attempt, address bidder, uint128 price, uint32 promised, bytes32 salt)
        external
        view
        returns (bytes28);

    /// @notice What a bidder has committed and not revealed. 0 if nothing.
    function committed(uint256 taskId, uint8 attempt, address bidder) external view returns (bytes28 seal);

    /// @notice Locked by each bid.
    function bidBond() external view returns (uint128);
}
