// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

import {IStakeVault} from "../interfaces/IStakeVault.sol";

/// @title FeeToken
/// @notice Takes 1 % of every transfer: out of what arrives, or on top from the sender.
contract FeeToken is ERC20 {
    bool private immutable _onTop;
    address private constant COLLECTOR = address(0xFEE);

    constructor(bool onTop) ERC20("Fee", "FEE") {
        _onTop = onTop;
    }

    function mint(address account, uint256 amount) external {
        _mint(account, amount);
    }

    function _update(address from, address to, uint256 value) internal override {
        if (from == address(0)) return super._update(from, to, value);
        uint256 fee = value / 100;
        super._update(from, to, _onTop ? value : value - fee);
        super._update(from, COLLECTOR, fee);
    }
}

/// @title HookToken
/// @notice Tells a contract that its tokens are moving, before they move, as ERC-777 does.
contract HookToken is ERC20 {
    constructor() ERC20("Hook", "HOOK") {}

    function mint(address account, uint256 amount) external {
        _mint(account, amount);
    }

    function _update(address from, address to, uint256 value) internal override {
        if (from.code.length != 0) {
            // a holder without the hook has nothing to say
            try Reentrant(from).tokensToSend() {} catch (bytes memory reason) {
                if (reason.length != 0) {
                    assembly ("memory-safe") {
                        revert(add(reason, 32), mload(reason))
                    }
                }
            }
        }
        super._update(from, to, value);
    }
}

/// @title Reentrant
/// @notice Deposits again from within its own deposit, to be credited twice for the inner one.
contract Reentrant {
    IStakeVault private immutable _vault;
    bool private _inside;

    constructor(IStakeVault vault, HookToken token) {
        _vault = vault;
        token.approve(address(vault), type(uint256).max);
    }

    function attack(uint256 amount) external {
        _vault.deposit(amount);
    }

    function tokensToSend() external {
        if (_inside) return;
        _inside = true;
        _vault.deposit(1);
        _inside = false;
    }
}
