// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

/// @title Who offers to work, and where it can be reached
/// @dev A registration implies no trust. What a worker puts at risk is the stake that a bid locks.
interface IWorkerRegistry {
    struct Worker {
        uint8 roles; // 1 solver, 2 verifier, or both
        string endpoint; // URI
    }

    event Registered(address indexed worker, uint8 roles, string endpoint);
    event Updated(address indexed worker, uint8 roles, string endpoint);
    event Deregistered(address indexed worker);

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

    /// @notice The entry of `account`; no roles if it is not registered.
    function worker(address account) external view returns (Worker memory);

    /// @notice Whether `account` is registered with all the roles in `mask`.
    function hasRoles(address account, uint8 mask) external view returns (bool);
}
