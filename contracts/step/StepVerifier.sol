// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {IStepVerifier} from "../interfaces/IStepVerifier.sol";
import {DotNode} from "./DotNode.sol";
import {Exponents} from "./Exponents.sol";
import {GatherNode} from "./GatherNode.sol";
import {Kinds} from "./Kinds.sol";
import {MapNode} from "./MapNode.sol";
import {MaxNode} from "./MaxNode.sol";
import {Node} from "./Node.sol";
import {Openings} from "./Openings.sol";
import {ScatterAddNode} from "./ScatterAddNode.sol";
import {SumNode} from "./SumNode.sol";

/// @title Judges one element of one node
contract StepVerifier is IStepVerifier {
    int256 private constant TOTAL_LIMIT = 1 << 127; // far above any sum of a node that decodes

    /// @inheritdoc IStepVerifier
    function describe(bytes calldata encoding)
        external
        pure
        returns (Ending ending, uint8 dtype, uint64 length, uint32 extent, uint8 scaled)
    {
        Node.Decoded memory node = Node.decode(encoding);
        return (
            _ending(node.kind),
            uint8(node.dtype),
            uint64(node.length),
            uint32(node.extent),
            Exponents.count(node.kind)
        );
    }

    /// @inheritdoc IStepVerifier
    function compute(Evidence calldata evidence) external view returns (uint32 word) {
        Openings.Context memory context = _begin(evidence, Ending.Compute, false);
        uint256 kind = context.node.kind;
        if (kind == Kinds.MAP) return MapNode.compute(evidence, context);
        if (kind == Kinds.GATHER) return GatherNode.compute(evidence, context);
        revert UnknownKind(kind);
    }

    /// @inheritdoc IStepVerifier
    function compare(Evidence calldata evidence, uint32 claimed) external view returns (int8 order) {
        Openings.Context memory context = _begin(evidence, Ending.Extremum, true);
        uint256 kind = context.node.kind;
        if (kind == Kinds.MAX) return MaxNode.compare(evidence, context, claimed);
        revert UnknownKind(kind);
    }

    /// @inheritdoc IStepVerifier
    function rounded(bytes calldata encoding, int16[2] calldata exponents, int256 total)
        external
        pure
        returns (uint32 word)
    {
        if (total >= TOTAL_LIMIT || total <= -TOTAL_LIMIT) revert TotalOutOfRange(total);
        return Exponents.rounded(_decode(encoding, Ending.Sum), exponents, total);
    }

    /// @inheritdoc IStepVerifier
    function compareExponent(Evidence calldata evidence, uint8 operand, int16 claimed)
        external
        view
        returns (int8 order)
    {
        return Exponents.compare(evidence, _begin(evidence, Ending.Sum, true), operand, claimed);
    }

    /// @inheritdoc IStepVerifier
    function term(Evidence calldata evidence, int16[2] calldata exponents) external view returns (int256 value) {
        Openings.Context memory context = _begin(evidence, Ending.Sum, true);
        uint256 kind = context.node.kind;
        if (kind == Kinds.DOT) return DotNode.term(evidence, context, exponents);
        if (kind == Kinds.SUM) return SumNode.term(evidence, context, exponents);
        if (kind == Kinds.SCATTER_ADD) return ScatterAddNode.term(evidence, context, exponents);
        revert UnknownKind(kind);
    }

    function _begin(Evidence calldata evidence, Ending expected, bool alongK)
        private
        pure
        returns (Openings.Context memory)
    {
        return Openings.begin(evidence, _decode(evidence.encoding, expected), alongK);
    }

    function _decode(bytes calldata encoding, Ending expected) private pure returns (Node.Decoded memory node) {
        node = Node.decode(encoding);
        Ending actual = _ending(node.kind);
        if (actual != expected) revert WrongEnding(expected, actual);
    }

    function _ending(uint256 kind) private pure returns (Ending) {
        return Ending(uint8(Kinds.ENDINGS >> (8 * kind)));
    }
}
