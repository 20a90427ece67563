// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {IStepVerifier} from "../interfaces/IStepVerifier.sol";
import {Float32} from "./Float32.sol";
import {Openings} from "./Openings.sol";

/// @title dot: the exact sum of products of A and B along k, in units that their exponents set
library DotNode {
    uint256 private constant A = 0;
    uint256 private constant B = 1;

    /// @notice The product at k. A and B are opened.
    function term(
        IStepVerifier.Evidence calldata evidence,
        Openings.Context memory context,
        int16[2] calldata exponents
    ) internal view returns (int256) {
        uint32 a = Openings.next(evidence, context, A);
        uint32 b = Openings.next(evidence, context, B);
        Openings.finish(evidence, context.used);
        uint256 bits = context.node.bits;
        return Float32.quant(a, exponents[A], bits) * Float32.quant(b, exponents[B], bits);
    }
}
