// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {IAuction} from "../interfaces/IAuction.sol";
import {IStakeVault} from "../interfaces/IStakeVault.sol";
import {ITaskMarket} from "../interfaces/ITaskMarket.sol";
import {IWorkerRegistry} from "../interfaces/IWorkerRegistry.sol";
import {Attempts} from "../lib/Attempts.sol";
import {Scores} from "./Scores.sol";

/// @title Auction
/// @notice Finds who trains: sealed bids, scored by what they would cost the requester. Keeps the bonds of bidders.
contract Auction is IAuction {
    /// What a bidder has committed to. One slot.
    struct Commitment {
        bytes28 seal;
        uint32 time; // block timestamp
    }

    struct Round {
        Bid leader;
        Bid standby;
        bool cancelled;
    }

    uint8 private constant SOLVER = 1;

    IStakeVault public immutable vault;
    IWorkerRegistry public immutable registry;

    /// @inheritdoc IAuction
    uint128 public immutable bidBond;

    address private immutable _deployer;

    ITaskMarket public market;

    mapping(uint256 attemptId => Round) private _rounds;
    mapping(bytes32 pot => Commitment) private _sealed;

    modifier onlyMarket() {
        if (msg.sender != address(market)) revert NotMarket(msg.sender);
        _;
    }

    constructor(IStakeVault vault_, IWorkerRegistry registry_, uint128 bidBond_) {
        if (address(vault_) == address(0) || address(registry_) == address(0)) revert ZeroAddress();
        (vault, registry, bidBond) = (vault_, registry_, bidBond_);
        _deployer = msg.sender;
    }

    /// @inheritdoc IAuction
    function connect(address market_) external {
        if (msg.sender != _deployer) revert NotDeployer(msg.sender);
        if (address(market) != address(0)) revert AlreadyConnected();
        if (market_ == address(0)) revert ZeroAddress();
        market = ITaskMarket(market_);
    }

    /// @inheritdoc IAuction
    function commit(uint256 taskId, bytes28 seal) external {
        (uint8 attempt, uint64 ends, address requester) = market.bidding(taskId);
        if (block.timestamp >= ends) revert BiddingOver(ends, uint64(block.timestamp));
        if (msg.sender == requester) revert OwnTask(msg.sender);
        if (!registry.hasRoles(msg.sender, SOLVER)) revert NotASolver(msg.sender);
        if (seal == 0) revert ZeroSeal();
        bytes32 pot = _bondPot(taskId, attempt, msg.sender);
        bool replaces = _sealed[pot].seal != 0;
        _sealed[pot] = Commitment(seal, uint32(block.timestamp));
        emit Sealed(taskId, attempt, msg.sender, seal);
        if (!replaces) vault.lock(pot, msg.sender, bidBond);
    }

    /// @inheritdoc IAuction
    function reveal(uint256 taskId, uint128 price, uint32 promised, bytes32 salt) external {
        Ask memory ask = market.ask(taskId);
        if (block.timestamp < ask.biddingEnds) revert BiddingOpen(ask.biddingEnds, uint64(block.timestamp));
        if (block.timestamp >= ask.revealEnds) revert RevealOver(ask.revealEnds, uint64(block.timestamp));
        uint32 time = _open(taskId, ask.attempt, sealOf(taskId, ask.attempt, msg.sender, price, promised, salt));
        if (price > ask.reserve) revert PriceTooHigh(ask.reserve, price);
        if (promised == 0 || promised > ask.intervalTime) revert PromiseOutOfRange(ask.intervalTime, promised);
        uint128 added = Scores.burden(ask, registry.record(msg.sender), promised);
        Bid memory bid = Bid(msg.sender, promised, time, price, added);
        emit Revealed(taskId, ask.attempt, msg.sender, price, promised, bid.burden);
        _rank(taskId, ask, bid);
    }

    /// @inheritdoc IAuction
    function settle(uint256 taskId, uint8 attempt, address bidder) external {
        bytes32 pot = _bondPot(taskId, attempt, bidder);
        if (_sealed[pot].seal == 0) revert NotCommitted(taskId, attempt, bidder);
        bool cancelled = _rounds[Attempts.id(taskId, attempt)].cancelled;
        if (!cancelled) _requireOver(taskId, attempt);
        delete _sealed[pot];
        if (cancelled) vault.pay(pot, bidder, bidBond);
        else _forfeit(taskId, attempt, bidder);
    }

    /// @inheritdoc IAuction
    function close(uint256 taskId, uint8 attempt)
        external
        onlyMarket
        returns (Bid memory leader, Bid memory standby)
    {
        uint256 attemptId = Attempts.id(taskId, attempt);
        (leader, standby) = (_rounds[attemptId].leader, _rounds[attemptId].standby);
        if (leader.bidder != address(0)) {
            vault.pay(_bondPot(taskId, attempt, leader.bidder), leader.bidder, bidBond);
        }
    }

    /// @inheritdoc IAuction
    function cancel(uint256 taskId, uint8 attempt) external onlyMarket {
        Round storage round = _rounds[Attempts.id(taskId, attempt)];
        address leader = round.leader.bidder;
        if (leader != address(0)) revert AlreadyRevealed(taskId, attempt, leader);
        round.cancelled = true;
    }

    /// @inheritdoc IAuction
    function dismiss(uint256 taskId, uint8 attempt, address standby, bool forfeited) external onlyMarket {
        if (forfeited) _forfeit(taskId, attempt, standby);
        else vault.pay(_bondPot(taskId, attempt, standby), standby, bidBond);
    }

    /// @inheritdoc IAuction
    function bids(uint256 taskId, uint8 attempt) external view returns (Bid memory leader, Bid memory standby) {
        Round storage round = _rounds[Attempts.id(taskId, attempt)];
        return (round.leader, round.standby);
    }

    /// @inheritdoc IAuction
    function burden(uint256 taskId, address bidder, uint32 promised) external view returns (uint128) {
        return Scores.burden(market.ask(taskId), registry.record(bidder), promised);
    }

    /// @inheritdoc IAuction
    function committed(uint256 taskId, uint8 attempt, address bidder) external view returns (bytes28) {
        return _sealed[_bondPot(taskId, attempt, bidder)].seal;
    }

    /// @inheritdoc IAuction
    function sealOf(uint256 taskId, uint8 attempt, address bidder, uint128 price, uint32 promised, bytes32 salt)
        public
        view
        returns (bytes28)
    {
        // Chain and contract are part of it, so that a seal that is shown elsewhere tells nothing here.
        return bytes28(
            keccak256(abi.encode(block.chainid, address(this), taskId, attempt, bidder, price, promised, salt))
        );
    }

    /// The commit that belongs to a reveal. It can be used once.
    function _open(uint256 taskId, uint8 attempt, bytes28 seal) private returns (uint32 time) {
        bytes32 pot = _bondPot(taskId, attempt, msg.sender);
        Commitment memory kept = _sealed[pot];
        if (kept.seal == 0) revert NotCommitted(taskId, attempt, msg.sender);
        if (kept.seal != seal) revert SealDiffers(kept.seal, seal);
        delete _sealed[pot];
        return kept.time;
    }

    /// Whoever falls out of the two best gets its bond back.
    function _rank(uint256 taskId, Ask memory ask, Bid memory bid) private {
        Round storage round = _rounds[Attempts.id(taskId, ask.attempt)];
        Bid memory leader = round.leader;
        address beaten = bid.bidder;
        if (Scores.beats(bid, leader)) {
            beaten = round.standby.bidder;
            (round.leader, round.standby) = (bid, leader);
            market.lead(taskId, leader.bidder, bid.bidder);
        } else if (Scores.beats(bid, round.standby)) {
            beaten = round.standby.bidder;
            round.standby = bid;
        }
        if (beaten != address(0)) vault.pay(_bondPot(taskId, ask.attempt, beaten), beaten, bidBond);
    }

    /// Only once nobody can reveal any more.
    function _requireOver(uint256 taskId, uint8 attempt) private view {
        ITaskMarket.Task memory task = market.task(taskId);
        if (task.attempt != attempt || task.status != ITaskMarket.Status.Bidding) return;
        uint64 revealEnds = market.ask(taskId).revealEnds;
        if (block.timestamp < revealEnds) revert RevealOpen(revealEnds, uint64(block.timestamp));
    }

    function _forfeit(uint256 taskId, uint8 attempt, address bidder) private {
        emit Forfeited(taskId, attempt, bidder);
        vault.burn(_bondPot(taskId, attempt, bidder), bidBond);
    }

    /// Holds a bidder's bond.
    function _bondPot(uint256 taskId, uint8 attempt, address bidder) private pure returns (bytes32) {
        return keccak256(abi.encode(taskId, attempt, bidder));
    }
}
