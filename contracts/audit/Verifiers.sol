// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {IStakeVault} from "../interfaces/IStakeVault.sol";
import {IVerifiers} from "../interfaces/IVerifiers.sol";
import {IWorkerRegistry} from "../interfaces/IWorkerRegistry.sol";
import {History} from "../lib/History.sol";
import {Bn254} from "./Bn254.sol";

/// @title Verifiers
contract Verifiers is IVerifiers {
    using History for History.Entry[];

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

    mapping(address verifier => Key) private _keys;
    mapping(bytes32 point => address) private _holders;
    mapping(address verifier => History.Entry[]) private _stakes;
    mapping(address verifier => Leaving) private _leaving;
    History.Entry[] private _all;

    constructor(IStakeVault vault_, IWorkerRegistry registry_, uint32 keyDelay_) {
        if (address(vault_) == address(0) || address(registry_) == address(0)) revert ZeroAddress();
        if (keyDelay_ == 0) revert ZeroDelay();
        (vault, registry, delay) = (vault_, registry_, keyDelay_);
    }

    /// @inheritdoc IVerifiers
    function enroll(Bn254.G1 calldata point, Bn254.G2 calldata twin, Bn254.G1 calldata proof) external {
        if (!registry.hasRoles(msg.sender, VERIFIER)) revert NotAVerifier(msg.sender);
        bytes32 name = keccak256(abi.encode(point));
        address holder = _holders[name];
        if (holder != address(0) && holder != msg.sender) revert KeyOfAnother(holder);
        Bn254.requireG1(point);
        Bn254.requireSignedByBoth(point, twin, possession(msg.sender, point), proof);
        // For ever: no other account can prove it anyway, and one secret under two names would count twice in a
        // committee.
        _holders[name] = msg.sender;
        uint64 from = _later();
        _keys[msg.sender] = Key(point, twinOf(twin), from);
        emit Enrolled(msg.sender, point, twin, from);
    }

    /// @inheritdoc IVerifiers
    function stake(uint128 amount) external {
        if (amount == 0) revert ZeroAmount();
        if (_keys[msg.sender].from == 0) revert NotEnrolled(msg.sender);
        _change(_stakes[msg.sender].last() + amount, _all.last() + amount);
        vault.lock(_pot(msg.sender), msg.sender, amount);
    }

    /// @inheritdoc IVerifiers
    function unstake(uint128 amount) external {
        if (amount == 0) revert ZeroAmount();
        uint192 staked = _stakes[msg.sender].last();
        if (staked < amount) revert StakeTooSmall(msg.sender, amount, staked);
        _change(staked - amount, _all.last() - amount);
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
        return (_stakes[verifier].amountAt(time, ownPlace), _all.amountAt(time, allPlace));
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
        return _all.last();
    }

    /// @inheritdoc IVerifiers
    function leavingOf(address verifier) external view returns (uint256 amount, uint64 readyAt) {
        Leaving memory leaving = _leaving[verifier];
        return (leaving.amount, leaving.readyAt);
    }

    /// Both change at the same time, so that at any time the stakes add up to all of them.
    function _change(uint192 own, uint192 all) private {
        uint64 from = _later();
        _stakes[msg.sender].change(from, own);
        _all.change(from, all);
        emit StakeChanged(msg.sender, own, all, from);
    }

    function _later() private view returns (uint64) {
        return uint64(block.timestamp) + delay;
    }

    /// Holds a verifier's stake, and what is leaving it.
    function _pot(address verifier) private pure returns (bytes32) {
        return bytes32(uint256(uint160(verifier)));
    }
}
