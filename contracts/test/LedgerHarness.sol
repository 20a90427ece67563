// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";

import {IStakeVault} from "../interfaces/IStakeVault.sol";
import {ITaskMarket} from "../interfaces/ITaskMarket.sol";

/// @title LedgerHarness
/// @notice Reads the whole of the books in one call, so that a test can check them after every move.
contract LedgerHarness {
    struct Books {
        uint256 supply;
        uint256 vault;
        uint256 burnable;
        uint256[] wallets;
        uint256[] free;
        uint256[] pending;
        uint256[] escrows; // per task
        uint256[] stakes; // per task, of its running attempt
        uint256[] kept; // per task, of all attempts: with the game, for challengers
        uint256[] audits; // per task: with the auditor
    }

    function read(
        IERC20 token,
        IStakeVault vault,
        ITaskMarket market,
        address game,
        address auditor,
        address[] calldata accounts
    ) external view returns (Books memory books) {
        books.supply = token.totalSupply();
        books.vault = token.balanceOf(address(vault));
        books.burnable = vault.burnable();
        books.wallets = new uint256[](accounts.length);
        books.free = new uint256[](accounts.length);
        books.pending = new uint256[](accounts.length);
        for (uint256 i = 0; i < accounts.length; ++i) {
            books.wallets[i] = token.balanceOf(accounts[i]);
            books.free[i] = vault.freeOf(accounts[i]);
            (books.pending[i],) = vault.pendingOf(accounts[i]);
        }
        uint256 tasks = market.taskCount();
        books.escrows = new uint256[](tasks);
        books.stakes = new uint256[](tasks);
        books.kept = new uint256[](tasks);
        books.audits = new uint256[](tasks);
        for (uint256 i = 0; i < tasks; ++i) {
            books.audits[i] = vault.potOf(auditor, market.escrowPot(i));
            books.escrows[i] = vault.potOf(address(market), market.escrowPot(i));
            bytes32 pot = market.stakePot(i, market.task(i).attempt);
            books.stakes[i] = vault.potOf(address(market), pot);
            for (uint8 attempt = 0; attempt < 3; ++attempt) {
                books.kept[i] += vault.potOf(game, market.stakePot(i, attempt));
            }
        }
    }
}
