// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

/// @title Who offers to work, and where it can be reached
/// @dev A registration implies no trust. What a worker puts at risk is the stake that a bid locks. What it did is kept
/// by value, and stays when it leaves.
interface IWorkerRegistry {
    struct Worker {
        uint8 roles; // 1 solver, 2 verifier, or both
        string endpoint; // URI
    }

    /// What an account has done as a solver, in the token's smallest unit.
    struct Work {
        uint128 done; // pay of intervals that became final
        uint128 failed; // pay of what it did not deliver
    }

    event Registered(address indexed worker, uint8 roles, string endpoint);
    event Updated(address indexed worker, uint8 roles, string endpoint);
    event Deregistered(address indexed worker);

    error NotDeployer(address caller);
    error AlreadyConnected();
    error ZeroAddress();
    error NotMarket(address caller);
    error AlreadyRegistered(address worker);
    error NotRegistered(address worker);
    error InvalidRoles(uint8 roles);
    error UriTooLong(uint256 allowed, uint256 sent);

    /// @notice Enter the register.
    /// @param roles bit mask: 1 solver, 2 verifier
    /// @param endpoint at most 512 bytes
    function register(uint8 roles, string calldata endpoint) external;

    /// @notice Replace one's roles and endpoint.
    function update(uint8 roles, string calldata endpoint) external;

    /// @notice Leave. Tasks already bid on or won are not touched.
    function deregister() external;

    /// @notice Only the market: add to the record of a solver.
    function note(address solver, uint128 done, uint128 failed) external;

    /// @notice Only the deployer, once and for ever: name the market.
    function connect(address market) external;

    /// @notice The record of `account`.
    function record(address account) external view returns (Work memory);

    /// @notice The entry of `account`; no roles if it is not registered.
    function worker(address account) external view returns (Worker memory);

    /// @notice Whether `account` is registered with all the roles in `mask`.
    function hasRoles(address account, uint8 mask) external view returns (bool);
}
