// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";

import {IStakeVault} from "../interfaces/IStakeVault.sol";
import {IVerifiers} from "../interfaces/IVerifiers.sol";
import {IWorkerRegistry} from "../interfaces/IWorkerRegistry.sol";
import {History} from "../lib/History.sol";
import {Ranks} from "../lib/Ranks.sol";
import {Bn254} from "./Bn254.sol";

/// @title Verifiers
contract Verifiers is IVerifiers {
    using History for History.Entry[];
    using Ranks for uint256[];
    using Ranks for uint192;

    struct Leaving {
        uint128 amount;
        uint64 readyAt;
    }

    uint8 private constant VERIFIER = 2;

    /// @notice Begins what is signed to show that a key is one's own.
    bytes32 public constant POSSESSION = "offchain.possession.1";

    IStakeVault public immutable vault;
    IWorkerRegistry public immutable registry;

    /// @inheritdoc IVerifiers
    uint32 public immutable delay;

    address private immutable _deployer;

    /// @notice The keepers' contract.
    address public keepers;

    mapping(address verifier => Key) private _keys;
    mapping(bytes32 point => address) private _owners;
    mapping(address verifier => History.Entry[]) private _stakes;
    mapping(address verifier => Leaving) private _leaving;
    History.Entry[] private _all; // roots of the tree of sums
    uint256[] private _nodes; // of that tree
    address[] private _holders;
    mapping(address verifier => uint256) private _numbers; // one more than its place among the holders

    constructor(IStakeVault vault_, IWorkerRegistry registry_, uint32 keyDelay_) {
        if (address(vault_) == address(0) || address(registry_) == address(0)) revert ZeroAddress();
        if (keyDelay_ == 0) revert ZeroDelay();
        (vault, registry, delay) = (vault_, registry_, keyDelay_);
        _deployer = msg.sender;
    }

    /// @inheritdoc IVerifiers
    function connect(address keepers_) external {
        if (msg.sender != _deployer) revert NotDeployer(msg.sender);
        if (keepers != address(0)) revert AlreadyConnected();
        if (keepers_ == address(0)) revert ZeroAddress();
        keepers = keepers_;
    }

    /// @inheritdoc IVerifiers
    function enroll(Bn254.G1 calldata point, Bn254.G2 calldata twin, Bn254.G1 calldata proof) external {
        if (!registry.hasRoles(msg.sender, VERIFIER)) revert NotAVerifier(msg.sender);
        bytes32 name = keccak256(abi.encode(point));
        address holder = _owners[name];
        if (holder != address(0) && holder != msg.sender) revert KeyOfAnother(holder);
        Bn254.requireG1(point);
        Bn254.requireSignedByBoth(point, twin, possession(msg.sender, point), proof);
        // For ever: no other account can prove it anyway, and one secret under two names would count twice in a
        // committee.
        _owners[name] = msg.sender;
        uint64 from = _later();
        _keys[msg.sender] = Key(point, twinOf(twin), from);
        emit Enrolled(msg.sender, point, twin, from);
    }

    /// @inheritdoc IVerifiers
    function stake(uint128 amount) external {
        if (amount == 0) revert ZeroAmount();
        if (_keys[msg.sender].from == 0) revert NotEnrolled(msg.sender);
        if (_numbers[msg.sender] == 0) {
            _holders.push(msg.sender);
            _numbers[msg.sender] = _holders.length;
        }
        _change(msg.sender, amount, 0);
        vault.lock(_pot(msg.sender), msg.sender, amount);
    }

    /// @inheritdoc IVerifiers
    function unstake(uint128 amount) external {
        if (amount == 0) revert ZeroAmount();
        uint192 staked = _stakes[msg.sender].last();
        if (staked < amount) revert StakeTooSmall(msg.sender, amount, staked);
        _change(msg.sender, 0, amount);
        Leaving storage leaving = _leaving[msg.sender];
        (leaving.amount, leaving.readyAt) = (leaving.amount + amount, _later());
    }

    /// @inheritdoc IVerifiers
    function release() external {
        Leaving memory leaving = _leaving[msg.sender];
        if (leaving.amount == 0) revert NothingToRelease(msg.sender);
        if (block.timestamp < leaving.readyAt) revert NotReleased(leaving.readyAt, uint64(block.timestamp));
        delete _leaving[msg.sender];
        emit Released(msg.sender, leaving.amount);
        vault.pay(_pot(msg.sender), msg.sender, leaving.amount);
    }

    /// @inheritdoc IVerifiers
    function fine(address verifier, uint256 most) external returns (uint256 burned) {
        if (msg.sender != keepers) revert NotKeepers(msg.sender);
        uint256 staked = Math.min(_stakes[verifier].last(), most);
        uint256 left = Math.min(_leaving[verifier].amount, most - staked);
        if (staked != 0) _change(verifier, 0, staked);
        if (left != 0) _leaving[verifier].amount -= uint128(left);
        burned = staked + left;
        emit Fined(verifier, burned);
        if (burned != 0) vault.burn(_pot(verifier), burned);
    }

    /// @inheritdoc IVerifiers
    function possession(address verifier, Bn254.G1 calldata point) public view returns (bytes memory) {
        return abi.encode(POSSESSION, block.chainid, address(this), verifier, point);
    }

    /// @inheritdoc IVerifiers
    function weight(address verifier, Bn254.G2 calldata twin, uint64 time, uint32 ownPlace, uint32 allPlace)
        external
        view
        returns (uint256 own, uint256 all)
    {
        (bytes24 kept, uint64 from) = (_keys[verifier].twin, _keys[verifier].from);
        if (from == 0) revert NotEnrolled(verifier);
        bytes24 sent = twinOf(twin);
        if (kept != sent) revert OtherKey(kept, sent);
        if (from > time) revert KeyTooYoung(from, time);
        return (_stakes[verifier].amountAt(time, ownPlace), _all.amountAt(time, allPlace).sumOf());
    }

    /// @inheritdoc IVerifiers
    function draw(bytes32 seed, uint8 seats, uint64 time, uint32 allPlace)
        external
        view
        returns (Member[] memory members)
    {
        uint192 root = _all.amountAt(time, allPlace);
        uint256 all = root.sumOf();
        if (all == 0) return members;
        members = new Member[](seats);
        uint256 count;
        for (uint256 i; i < seats; ++i) {
            uint256 rank = uint256(keccak256(abi.encode(seed, i))) % all;
            address holder = _holders[_nodes.holderAt(root, rank)];
            uint256 place;
            while (place < count && members[place].holder != holder) ++place;
            if (place == count) members[count++] = Member(holder, 0, _keys[holder].point);
            ++members[place].seats;
        }
        assembly ("memory-safe") {
            mstore(members, count)
        }
    }

    /// @inheritdoc IVerifiers
    function places(address verifier, uint64 time) external view returns (uint32 own, uint32 all) {
        return (uint32(_stakes[verifier].placeOf(time)), uint32(_all.placeOf(time)));
    }

    /// @inheritdoc IVerifiers
    function twinOf(Bn254.G2 calldata twin) public pure returns (bytes24) {
        // Cut short, so that it shares a slot with the key's time.
        return bytes24(keccak256(abi.encode(twin)));
    }

    /// @inheritdoc IVerifiers
    function keyOf(address verifier) external view returns (Key memory) {
        return _keys[verifier];
    }

    /// @inheritdoc IVerifiers
    function stakeOf(address verifier) external view returns (uint256) {
        return _stakes[verifier].last();
    }

    /// @inheritdoc IVerifiers
    function allStakes() external view returns (uint256) {
        return _all.last().sumOf();
    }

    /// @inheritdoc IVerifiers
    function leavingOf(address verifier) external view returns (uint256 amount, uint64 readyAt) {
        Leaving memory leaving = _leaving[verifier];
        return (leaving.amount, leaving.readyAt);
    }

    /// Both change at the same time, so that at any time the stakes add up to all of them.
    function _change(address verifier, uint256 added, uint256 removed) private {
        uint64 from = _later();
        uint192 own = uint192(_stakes[verifier].last() + added - removed);
        uint192 root = _nodes.changed(_all.last(), _numbers[verifier] - 1, added, removed);
        _stakes[verifier].change(from, own);
        _all.change(from, root);
        emit StakeChanged(verifier, own, root.sumOf(), from);
    }

    function _later() private view returns (uint64) {
        return uint64(block.timestamp) + delay;
    }

    /// Holds a verifier's stake, and what is leaving it.
    function _pot(address verifier) private pure returns (bytes32) {
        return bytes32(uint256(uint160(verifier)));
    }
}
