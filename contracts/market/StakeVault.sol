// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ReentrancyGuard} from "@openzeppelin/contracts/utils/ReentrancyGuard.sol";

import {IStakeVault} from "../interfaces/IStakeVault.sol";

/// @title StakeVault
/// @notice Holds every token. It knows accounts, modules and pots, and leaves to the module what a pot means.
/// @dev The token is called only where somebody moves its own money, and in `sweep`: a token that is paused, or refuses
/// the burn address, can stop no verdict. The deployer must still choose a token that nobody can pause for ever.
contract StakeVault is IStakeVault, ReentrancyGuard {
    using SafeERC20 for IERC20;

    struct Withdrawal {
        uint256 amount;
        uint64 readyAt;
    }

    /// @notice Receives burned tokens. Nobody has its key; many tokens refuse transfers to the zero address.
    address public constant BURN_ADDRESS = 0x000000000000000000000000000000000000dEaD;

    IERC20 public immutable token;

    /// @notice Seconds between the request and the withdrawal.
    uint32 public immutable withdrawalDelay;

    address private immutable _deployer;
    bool private _connected;

    /// @inheritdoc IStakeVault
    uint256 public burnable;

    mapping(address account => bool) public isModule;
    mapping(address account => uint256) private _free;
    mapping(address account => Withdrawal) private _pending;
    mapping(address module => mapping(bytes32 pot => uint256)) private _pots;

    modifier onlyModule() {
        _requireModule(msg.sender);
        _;
    }

    constructor(IERC20 token_, uint32 withdrawalDelay_) {
        if (address(token_) == address(0)) revert ZeroAddress();
        token = token_;
        withdrawalDelay = withdrawalDelay_;
        _deployer = msg.sender;
    }

    /// @inheritdoc IStakeVault
    function connect(address[] calldata modules) external {
        if (msg.sender != _deployer) revert NotDeployer(msg.sender);
        if (_connected) revert AlreadyConnected();
        _connected = true;
        for (uint256 i = 0; i < modules.length; ++i) {
            if (modules[i] == address(0)) revert ZeroAddress();
            isModule[modules[i]] = true;
        }
        emit Connected(modules);
    }

    /// @inheritdoc IStakeVault
    function deposit(uint256 amount) external nonReentrant {
        uint256 before = token.balanceOf(address(this));
        token.safeTransferFrom(msg.sender, address(this), amount);
        // A token may keep a fee: only what arrived may be spent.
        uint256 arrived = token.balanceOf(address(this)) - before;
        if (arrived == 0) revert ZeroAmount();
        _free[msg.sender] += arrived;
        emit Deposited(msg.sender, arrived);
    }

    /// @inheritdoc IStakeVault
    function requestWithdrawal(uint256 amount) external {
        if (amount == 0) revert ZeroAmount();
        _takeFree(msg.sender, amount);
        Withdrawal storage pending = _pending[msg.sender];
        uint64 readyAt = uint64(block.timestamp) + withdrawalDelay;
        pending.amount += amount;
        pending.readyAt = readyAt;
        emit WithdrawalRequested(msg.sender, amount, readyAt);
    }

    /// @inheritdoc IStakeVault
    function withdraw() external nonReentrant {
        Withdrawal memory pending = _pending[msg.sender];
        if (pending.amount == 0) revert NothingToWithdraw(msg.sender);
        if (block.timestamp < pending.readyAt) revert WithdrawalNotReady(pending.readyAt, uint64(block.timestamp));
        delete _pending[msg.sender];
        emit Withdrawn(msg.sender, pending.amount);
        _send(msg.sender, pending.amount);
    }

    /// @inheritdoc IStakeVault
    function lock(bytes32 pot, address account, uint256 amount) external onlyModule {
        _takeFree(account, amount);
        _pots[msg.sender][pot] += amount;
        emit Locked(msg.sender, pot, account, amount);
    }

    /// @inheritdoc IStakeVault
    function pay(bytes32 pot, address account, uint256 amount) external {
        _takePot(pot, amount);
        _credit(pot, account, amount);
    }

    /// @inheritdoc IStakeVault
    function divide(bytes32 pot, address account, uint256 paid, uint256 burned) external {
        _takePot(pot, paid + burned);
        _credit(pot, account, paid);
        if (burned != 0) _burn(pot, burned);
    }

    /// @inheritdoc IStakeVault
    function empty(bytes32 pot, address account) external returns (uint256 amount) {
        amount = _held(pot);
        if (amount == 0) return 0;
        delete _pots[msg.sender][pot];
        _credit(pot, account, amount);
    }

    /// @inheritdoc IStakeVault
    function move(bytes32 pot, address module, uint256 amount) external {
        _requireModule(module);
        _takePot(pot, amount);
        _pots[module][pot] += amount;
        emit Moved(msg.sender, pot, module, amount);
    }

    /// @inheritdoc IStakeVault
    function burn(bytes32 pot, uint256 amount) external {
        _takePot(pot, amount);
        _burn(pot, amount);
    }

    /// @inheritdoc IStakeVault
    function sweep() external nonReentrant {
        uint256 amount = burnable;
        if (amount == 0) revert NothingToSweep();
        burnable = 0;
        emit Swept(amount);
        _send(BURN_ADDRESS, amount);
    }

    /// @inheritdoc IStakeVault
    function freeOf(address account) external view returns (uint256) {
        return _free[account];
    }

    /// @inheritdoc IStakeVault
    function pendingOf(address account) external view returns (uint256 amount, uint64 readyAt) {
        Withdrawal memory pending = _pending[account];
        return (pending.amount, pending.readyAt);
    }

    /// @inheritdoc IStakeVault
    function potOf(address module, bytes32 pot) external view returns (uint256) {
        return _pots[module][pot];
    }

    function _credit(bytes32 pot, address account, uint256 amount) private {
        _free[account] += amount;
        emit Paid(msg.sender, pot, account, amount);
    }

    function _burn(bytes32 pot, uint256 amount) private {
        burnable += amount;
        emit Burned(msg.sender, pot, amount);
    }

    function _takeFree(address account, uint256 amount) private {
        uint256 free = _free[account];
        if (free < amount) revert InsufficientFree(account, amount, free);
        _free[account] = free - amount;
    }

    function _takePot(bytes32 pot, uint256 amount) private {
        uint256 held = _held(pot);
        if (held < amount) revert InsufficientPot(msg.sender, pot, amount, held);
        _pots[msg.sender][pot] = held - amount;
    }

    /// Only modules fill pots, and a module is one for ever: who has a filled pot need not be looked up.
    function _held(bytes32 pot) private view returns (uint256 held) {
        held = _pots[msg.sender][pot];
        if (held == 0) _requireModule(msg.sender);
    }

    function _requireModule(address account) private view {
        if (!isModule[account]) revert NotModule(account);
    }

    /// A token that takes a fee from the sender on top would take it from the money of other accounts.
    function _send(address to, uint256 amount) private {
        uint256 before = token.balanceOf(address(this));
        token.safeTransfer(to, amount);
        uint256 sent = before - token.balanceOf(address(this));
        if (sent != amount) revert UnexpectedTransfer(amount, sent);
    }
}
