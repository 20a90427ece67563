// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

/// @title The only contract that moves tokens
/// @dev balance of the token = Σ free + Σ pending withdrawals + Σ pots + burnable. A pot belongs to the module that
/// made it.
interface IStakeVault {
    event Connected(address[] modules);
    event Deposited(address indexed account, uint256 amount);
    event WithdrawalRequested(address indexed account, uint256 amount, uint64 readyAt);
    event Withdrawn(address indexed account, uint256 amount);
    event Locked(address indexed module, bytes32 indexed pot, address indexed account, uint256 amount);
    event Paid(address indexed module, bytes32 indexed pot, address indexed account, uint256 amount);
    event Burned(address indexed module, bytes32 indexed pot, uint256 amount);
    event Moved(address indexed module, bytes32 indexed pot, address indexed to, uint256 amount);
    /// Burned tokens left the vault for the burn address.
    event Swept(uint256 amount);

    error NotDeployer(address caller);
    error AlreadyConnected();
    error ZeroAddress();
    error ZeroAmount();
    error NotModule(address account);
    error InsufficientFree(address account, uint256 required, uint256 free);
    error InsufficientPot(address module, bytes32 pot, uint256 required, uint256 held);
    error NothingToWithdraw(address account);
    error NothingToSweep();
    error WithdrawalNotReady(uint64 readyAt, uint64 current);
    /// The token took another amount from the vault than the one to be sent.
    error UnexpectedTransfer(uint256 expected, uint256 actual);

    /// @notice Move tokens into the vault. The amount that arrives is added to the sender's free balance.
    function deposit(uint256 amount) external;

    /// @notice Take `amount` of free balance out after a delay. A second request is added to the first and restarts the
    /// delay.
    function requestWithdrawal(uint256 amount) external;

    /// @notice Send the whole pending withdrawal of the sender, once its delay is over.
    function withdraw() external;

    /// @notice Only a module: move free balance of `account` to a pot of the module.
    function lock(bytes32 pot, address account, uint256 amount) external;

    /// @notice Only a module: move money from its pot to the free balance of `account` (release, pay, reward, refund).
    function pay(bytes32 pot, address account, uint256 amount) external;

    /// @notice Only a module: `pay` and `burn` from one pot.
    function divide(bytes32 pot, address account, uint256 paid, uint256 burned) external;

    /// @notice Only a module: `pay` all that its pot holds. Nothing happens if it holds nothing.
    function empty(bytes32 pot, address account) external returns (uint256 amount);

    /// @notice Only a module: move money from its pot to the pot of the same name of another module.
    function move(bytes32 pot, address module, uint256 amount) external;

    /// @notice Only a module: burn money of its pot. Nobody can get it back; the token itself is moved by `sweep`, so
    /// that a token that refuses the burn address stops no verdict.
    function burn(bytes32 pot, uint256 amount) external;

    /// @notice Anyone: send all that was burned, and is still here, to the burn address.
    function sweep() external;

    /// @notice Only the deployer, once and for ever: name the contracts that may lock, pay, move and burn.
    function connect(address[] calldata modules) external;

    function freeOf(address account) external view returns (uint256);
    function pendingOf(address account) external view returns (uint256 amount, uint64 readyAt);
    function potOf(address module, bytes32 pot) external view returns (uint256);

    /// @notice What was burned and not yet swept.
    function burnable() external view returns (uint256);
}
