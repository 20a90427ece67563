// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";

import {Money} from "../lib/Money.sol";
import {Bn254} from "./Bn254.sol";

/// @title Who is drawn to audit a checkpoint
/// @notice A ticket is a verifier's signature over a checkpoint. There is only one, and nobody else can know it: its
/// hash is the verifier's own fair draw.
library Tickets {
    /// @notice Begins what is signed.
    bytes32 internal constant DOMAIN = "offchain.ticket.1";

    uint256 private constant BITS = 80; // of fractions
    uint256 private constant ONE = 1 << BITS;

    /// @notice What a verifier signs.
    /// @param market that the task is in
    /// @param attempt of the solver who committed the checkpoint
    /// @param root the state root that it committed
    /// @param beacon randomness of the block that it was committed in: who keeps a root back and makes a key for it
    /// does not know what that key will sign
    function message(
        address market,
        uint256 taskId,
        uint8 attempt,
        uint32 checkpoint,
        bytes32 root,
        uint56 beacon
    ) internal view returns (bytes memory) {
        return abi.encode(DOMAIN, block.chainid, market, taskId, attempt, checkpoint, root, beacon);
    }

    /// @notice How many fees a ticket wins: Poisson, with mean p = rate · own / all. So all verifiers together win
    /// `rate` fees on average, and names that share a stake win together what one name would, by exactly the same law.
    /// It is the largest k for which sha256(ticket) / 2^256 < P(N >= k). Each of these probabilities is off by less
    /// than 2^-74 (decision 0029).
    /// @param rateBps fees to expect per checkpoint, in 1/10,000
    /// @param own, all stakes, below 2^192; own is not more than all
    function fees(Bn254.G1 memory ticket, uint16 rateBps, uint256 own, uint256 all) internal pure returns (uint8) {
        return feesOf(uint256(sha256(abi.encode(ticket))), rateBps, own, all);
    }

    /// @notice The same, of a ticket's hash.
    function feesOf(uint256 draw, uint16 rateBps, uint256 own, uint256 all) internal pure returns (uint8 won) {
        if (own == 0) return 0;
        uint256 mean = Math.mulDiv(rateBps * own, ONE, Money.BPS * all);
        (uint256 reached,) = Math.mul512(~draw, _exponential(mean)); // its upper half: divided by 2^256
        (uint256 term, uint256 sum) = (ONE, ONE);
        // 50 times at most: at the highest rate term 51 is 0. Checked divisions would take twice the gas.
        assembly ("memory-safe") {
            for {} iszero(gt(sum, reached)) {} {
                won := add(won, 1)
                term := div(shr(BITS, mul(term, mean)), won)
                sum := add(sum, term)
            }
        }
    }

    /// e^mean: the sum of mean^i / i!, each term rounded down. The largest is below 2^7, so that no product overflows.
    function _exponential(uint256 mean) private pure returns (uint256 sum) {
        uint256 term = ONE;
        assembly ("memory-safe") {
            for { let i := 1 } term { i := add(i, 1) } {
                sum := add(sum, term)
                term := div(shr(BITS, mul(term, mean)), i)
            }
        }
    }
}
