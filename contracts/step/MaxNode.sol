// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {IStepVerifier} from "../interfaces/IStepVerifier.sol";
import {Float32} from "./Float32.sol";
import {Openings} from "./Openings.sol";
import {DTypes} from "./Opcodes.sol";

/// @title max: the largest word along k
library MaxNode {
    uint256 private constant X = 0;

    /// @notice Order of X at k against the claimed maximum: floats by their total order, integers signed.
    /// @dev No maximum is a NaN other than the canonical one. Every value counts as above such a claim: every k
    /// refutes it, and no k is a witness for it.
    function compare(IStepVerifier.Evidence calldata evidence, Openings.Context memory context, uint32 claimed)
        internal
        view
        returns (int8)
    {
        uint32 word = Openings.next(evidence, context, X);
        Openings.finish(evidence, context.used);
        if (context.node.dtype == DTypes.I32) return _order(int32(word), int32(claimed));
        if (claimed != Float32.canonical(claimed)) return 1;
        return _order(Float32.orderKey(word), Float32.orderKey(claimed));
    }

    function _order(int256 value, int256 bound) private pure returns (int8) {
        return value == bound ? int8(0) : value < bound ? int8(-1) : int8(1);
    }
}
