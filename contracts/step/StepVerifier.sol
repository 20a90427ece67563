// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {IStepVerifier} from "../interfaces/IStepVerifier.sol";
import {DotNode} from "./DotNode.sol";
import {ExponentNode} from "./ExponentNode.sol";
import {GatherNode} from "./GatherNode.sol";
import {MapNode} from "./MapNode.sol";
import {MaxNode} from "./MaxNode.sol";
import {Node} from "./Node.sol";
import {Kinds} from "./Opcodes.sol";
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
        returns (Ending ending, uint8 dtype, uint64 length, uint32 extent)
    {
        Node.Decoded memory node = Node.decode(encoding);
        return (_ending(node.kind), uint8(node.dtype), uint64(node.length), uint32(node.extent));
    }

    /// @inheritdoc IStepVerifier
    function compute(Evidence calldata evidence) external view returns (uint32 word) {
        Openings.Context memory context = _begin(evidence, Ending.Compute, false);
        if (context.node.kind == Kinds.MAP) return MapNode.compute(evidence, context);
        return GatherNode.compute(evidence, context);
    }

    /// @inheritdoc IStepVerifier
    function compare(Evidence calldata evidence, uint32 claimed) external view returns (int8 order) {
        Openings.Context memory context = _begin(evidence, Ending.Extremum, true);
        if (context.node.kind == Kinds.MAX) return MaxNode.compare(evidence, context, claimed);
        return ExponentNode.compare(evidence, context, claimed);
    }

    /// @inheritdoc IStepVerifier
    function rounded(Evidence calldata evidence, int256 total) external view returns (uint32 word) {
        if (total >= TOTAL_LIMIT || total <= -TOTAL_LIMIT) revert TotalOutOfRange(total);
        Openings.Context memory context = _begin(evidence, Ending.Sum, false);
        if (context.node.kind == Kinds.DOT) return DotNode.rounded(evidence, context, total);
        if (context.node.kind == Kinds.SUM) return SumNode.rounded(evidence, context, total);
        return ScatterAddNode.rounded(evidence, context, total);
    }

    /// @inheritdoc IStepVerifier
    function term(Evidence calldata evidence) external view returns (int256 value) {
        Openings.Context memory context = _begin(evidence, Ending.Sum, true);
        if (context.node.kind == Kinds.DOT) return DotNode.term(evidence, context);
        if (context.node.kind == Kinds.SUM) return SumNode.term(evidence, context);
        return ScatterAddNode.term(evidence, context);
    }

    function _begin(Evidence calldata evidence, Ending expected, bool alongK)
        private
        pure
        returns (Openings.Context memory)
    {
        Node.Decoded memory node = Node.decode(evidence.encoding);
        Ending actual = _ending(node.kind);
        if (actual != expected) revert WrongEnding(expected, actual);
        return Openings.begin(evidence, node, alongK);
    }

    function _ending(uint256 kind) private pure returns (Ending) {
        if (kind == Kinds.MAP || kind == Kinds.GATHER) return Ending.Compute;
        if (kind == Kinds.EXPONENT || kind == Kinds.MAX) return Ending.Extremum;
        return Ending.Sum;
    }
}
