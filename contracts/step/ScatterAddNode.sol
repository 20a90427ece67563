// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {IStepVerifier} from "../interfaces/IStepVerifier.sol";
import {Float32} from "./Float32.sol";
import {Openings} from "./Openings.sol";

/// @title scatter_add: the exact sum of X over those k whose index I names the row d[0]
library ScatterAddNode {
    uint256 private constant X = 0;
    uint256 private constant I = 1;

    /// @notice The integer at k, 0 where another row is named. X and I are opened.
    function term(
        IStepVerifier.Evidence calldata evidence,
        Openings.Context memory context,
        int16[2] calldata exponents
    ) internal view returns (int256) {
        uint32 x = Openings.next(evidence, context, X);
        int256 row = int32(Openings.next(evidence, context, I));
        Openings.finish(evidence, context.used);
        if (row != int256(context.point[0])) return 0;
        return Float32.quant(x, exponents[X], context.node.bits);
    }
}
