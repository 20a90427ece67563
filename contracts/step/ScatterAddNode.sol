// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {IStepVerifier} from "../interfaces/IStepVerifier.sol";
import {Float32} from "./Float32.sol";
import {Openings} from "./Openings.sol";

/// @title scatter_add: the exact sum of X over those k whose index I names the row d[0]
library ScatterAddNode {
    uint256 private constant X = 0;
    uint256 private constant I = 1;
    uint256 private constant EX = 2;
    int256 private constant NOT_FINITE = 129; // exponent of infinities and NaN

    /// @notice What the total rounds to. Only EX is opened.
    function rounded(IStepVerifier.Evidence calldata evidence, Openings.Context memory context, int256 total)
        internal
        view
        returns (uint32)
    {
        int256 ex = int32(Openings.next(evidence, context, EX));
        Openings.finish(evidence, context.used);
        if (ex >= NOT_FINITE) return Float32.NAN;
        return Float32.fromScaled(total, ex - int256(context.node.bits - 1));
    }

    /// @notice The integer at k, 0 where another row is named. X, I and EX are opened.
    function term(IStepVerifier.Evidence calldata evidence, Openings.Context memory context)
        internal
        view
        returns (int256)
    {
        uint32 x = Openings.next(evidence, context, X);
        int256 row = int32(Openings.next(evidence, context, I));
        int256 ex = int32(Openings.next(evidence, context, EX));
        Openings.finish(evidence, context.used);
        if (row != int256(context.point[0])) return 0;
        return Float32.quant(x, ex, context.node.bits);
    }
}
