// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {IStepVerifier} from "../interfaces/IStepVerifier.sol";
import {Float32} from "./Float32.sol";
import {Kinds} from "./Kinds.sol";
import {Node} from "./Node.sol";
import {Openings} from "./Openings.sol";

/// @title The exponents that the operands of a dot, sum or scatter_add are scaled by
/// @notice Each is the largest frexp exponent along k of what its operand reads. The scaled operands of a kind are
/// its first inputs. The solver claims the exponents without opening anything; a challenger refutes one with an
/// element above it, or demands an element that reaches it.
library Exponents {
    int16 private constant LEAST = -149; // of a zero
    int16 private constant NOT_FINITE = 129; // of infinities and NaN

    /// @notice How many operands of a kind are scaled.
    function count(uint256 kind) internal pure returns (uint8) {
        return uint8(Kinds.SCALED >> (8 * kind));
    }

    /// @notice The word that a total of terms rounds to. Reverts for an exponent that no operand can have.
    function rounded(Node.Decoded memory node, int16[2] calldata exponents, int256 total)
        internal
        pure
        returns (uint32)
    {
        bool finite = true;
        int256 scale;
        uint256 scaled = count(node.kind);
        for (uint256 i; i < 2; ++i) {
            int16 e = exponents[i];
            if (i < scaled ? e < LEAST || e > NOT_FINITE : e != 0) revert IStepVerifier.ExponentOutOfRange(i, e);
            if (e == NOT_FINITE) finite = false;
            if (i < scaled) scale += int256(e) - int256(node.bits - 1);
        }
        return finite ? Float32.fromScaled(total, scale) : Float32.NAN;
    }

    /// @notice Order of the exponent of what an operand reads at k against the claimed one. That operand is opened.
    function compare(
        IStepVerifier.Evidence calldata evidence,
        Openings.Context memory context,
        uint8 operand,
        int16 claimed
    ) internal view returns (int8) {
        uint256 scaled = count(context.node.kind);
        if (operand >= scaled) revert IStepVerifier.OperandOutOfRange(operand, scaled);
        int256 value = Float32.exponent(Openings.next(evidence, context, operand));
        Openings.finish(evidence, context.used);
        return value == claimed ? int8(0) : value < claimed ? int8(-1) : int8(1);
    }
}
