// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {IWorkerRegistry} from "../interfaces/IWorkerRegistry.sol";

/// @title WorkerRegistry
contract WorkerRegistry is IWorkerRegistry {
    uint8 public constant SOLVER = 1;
    uint8 public constant VERIFIER = 2;
    uint256 public constant MAX_URI = 512;

    address private immutable _deployer;

    address public market;

    mapping(address account => Worker) private _workers;
    mapping(address account => Work) private _records;

    constructor() {
        _deployer = msg.sender;
    }

    /// @inheritdoc IWorkerRegistry
    function connect(address market_) external {
        if (msg.sender != _deployer) revert NotDeployer(msg.sender);
        if (market != address(0)) revert AlreadyConnected();
        if (market_ == address(0)) revert ZeroAddress();
        market = market_;
    }

    /// @inheritdoc IWorkerRegistry
    function register(uint8 roles, string calldata endpoint) external {
        if (_workers[msg.sender].roles != 0) revert AlreadyRegistered(msg.sender);
        _set(roles, endpoint);
        emit Registered(msg.sender, roles, endpoint);
    }

    /// @inheritdoc IWorkerRegistry
    function update(uint8 roles, string calldata endpoint) external {
        _requireRegistered();
        _set(roles, endpoint);
        emit Updated(msg.sender, roles, endpoint);
    }

    /// @inheritdoc IWorkerRegistry
    function deregister() external {
        _requireRegistered();
        delete _workers[msg.sender];
        emit Deregistered(msg.sender);
    }

    /// @inheritdoc IWorkerRegistry
    function note(address solver, uint128 done, uint128 failed) external {
        if (msg.sender != market) revert NotMarket(msg.sender);
        Work memory kept = _records[solver];
        _records[solver] = Work(kept.done + done, kept.failed + failed);
    }

    /// @inheritdoc IWorkerRegistry
    function record(address account) external view returns (Work memory) {
        return _records[account];
    }

    /// @inheritdoc IWorkerRegistry
    function worker(address account) external view returns (Worker memory) {
        return _workers[account];
    }

    /// @inheritdoc IWorkerRegistry
    function hasRoles(address account, uint8 mask) external view returns (bool) {
        uint8 roles = _workers[account].roles;
        return roles != 0 && roles & mask == mask;
    }

    function _set(uint8 roles, string calldata endpoint) private {
        if (roles == 0 || roles > SOLVER | VERIFIER) revert InvalidRoles(roles);
        if (bytes(endpoint).length > MAX_URI) revert UriTooLong(MAX_URI, bytes(endpoint).length);
        _workers[msg.sender] = Worker(roles, endpoint);
    }

    function _requireRegistered() private view {
        if (_workers[msg.sender].roles == 0) revert NotRegistered(msg.sender);
    }
}
