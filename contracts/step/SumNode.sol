// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {IStepVerifier} from "../interfaces/IStepVerifier.sol";
import {Float32} from "./Float32.sol";
import {Openings} from "./Openings.sol";

/// @title sum: the exact sum of X along k, in units that its exponent sets
library SumNode {
    uint256 private constant X = 0;

    /// @notice The integer at k. X is opened.
    function term(
        IStepVerifier.Evidence calldata evidence,
        Openings.Context memory context,
        int16[2] calldata exponents
    ) internal view returns (int256) {
        uint32 x = Openings.next(evidence, context, X);
        Openings.finish(evidence, context.used);
        return Float32.quant(x, exponents[X], context.node.bits);
    }
}
