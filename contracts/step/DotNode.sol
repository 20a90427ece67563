// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {IStepVerifier} from "../interfaces/IStepVerifier.sol";
import {Float32} from "./Float32.sol";
import {Openings} from "./Openings.sol";

/// @title dot: the exact sum of products of A and B along k, in units that the exponents EA and EB set
library DotNode {
    uint256 private constant A = 0;
    uint256 private constant B = 1;
    uint256 private constant EA = 2;
    uint256 private constant EB = 3;
    int256 private constant NOT_FINITE = 129; // exponent of infinities and NaN

    /// @notice What the total rounds to. Only EA and EB are opened.
    function rounded(IStepVerifier.Evidence calldata evidence, Openings.Context memory context, int256 total)
        internal
        view
        returns (uint32)
    {
        int256 ea = int32(Openings.next(evidence, context, EA));
        int256 eb = int32(Openings.next(evidence, context, EB));
        Openings.finish(evidence, context.used);
        if (ea >= NOT_FINITE || eb >= NOT_FINITE) return Float32.NAN;
        return Float32.fromScaled(total, ea + eb - 2 * int256(context.node.bits - 1));
    }

    /// @notice The product at k. A, B, EA and EB are opened.
    function term(IStepVerifier.Evidence calldata evidence, Openings.Context memory context)
        internal
        view
        returns (int256)
    {
        uint32 a = Openings.next(evidence, context, A);
        uint32 b = Openings.next(evidence, context, B);
        int256 ea = int32(Openings.next(evidence, context, EA));
        int256 eb = int32(Openings.next(evidence, context, EB));
        Openings.finish(evidence, context.used);
        uint256 bits = context.node.bits;
        return Float32.quant(a, ea, bits) * Float32.quant(b, eb, bits);
    }
}
