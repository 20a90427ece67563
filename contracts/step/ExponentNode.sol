// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {IStepVerifier} from "../interfaces/IStepVerifier.sol";
import {Float32} from "./Float32.sol";
import {Openings} from "./Openings.sol";

/// @title exponent: the largest frexp exponent along k
library ExponentNode {
    uint256 private constant X = 0;

    /// @notice Order of e(X) at k against the claimed maximum, an int32.
    function compare(IStepVerifier.Evidence calldata evidence, Openings.Context memory context, uint32 claimed)
        internal
        view
        returns (int8)
    {
        int256 value = Float32.exponent(Openings.next(evidence, context, X));
        Openings.finish(evidence, context.used);
        int256 bound = int32(claimed);
        return value == bound ? int8(0) : value < bound ? int8(-1) : int8(1);
    }
}
