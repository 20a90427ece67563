// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

/// @title OffchainToken
/// @notice A token for local chains and tests; elsewhere the vault takes one that exists already.
contract OffchainToken is ERC20, Ownable {
    constructor() ERC20("Offchain", "OFC") Ownable(msg.sender) {}

    /// @notice Only the owner: make `amount` new tokens.
    function mint(address account, uint256 amount) external onlyOwner {
        _mint(account, amount);
    }
}
