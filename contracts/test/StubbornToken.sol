// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

/// @title StubbornToken
/// @notice Refuses transfers to one address until it is told to relent, as a token with a block list does, and all
/// transfers while it is paused.
contract StubbornToken is ERC20 {
    address private _refused;
    bool private _paused;

    error Refused(address to);
    error Paused();

    constructor(address refused) ERC20("Stubborn", "STUB") {
        _refused = refused;
    }

    function mint(address account, uint256 amount) external {
        _mint(account, amount);
    }

    function relent() external {
        _refused = address(0);
    }

    function pause(bool paused) external {
        _paused = paused;
    }

    function _update(address from, address to, uint256 value) internal override {
        if (_paused) revert Paused();
        if (to == _refused && to != address(0)) revert Refused(to);
        super._update(from, to, value);
    }
}
