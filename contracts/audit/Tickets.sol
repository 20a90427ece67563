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

    /// @notice Whether sha256(ticket) / 2^256 < rate · own / all, exactly. Over all verifiers that is `rate` audits
    /// on average; a stake that is split over several names wins as often as in one.
    /// @param rateBps audits to expect per checkpoint, in 1/10,000
    /// @param own, all stakes, below 2^192
    function wins(Bn254.G1 memory ticket, uint16 rateBps, uint256 own, uint256 all) internal pure returns (bool) {
        uint256 draw = uint256(sha256(abi.encode(ticket)));
        (uint256 scaled,) = Math.mul512(draw, Money.BPS * all); // its upper half: divided by 2^256
        return scaled < rateBps * own;
    }
}
