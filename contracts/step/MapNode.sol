// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {IStepVerifier} from "../interfaces/IStepVerifier.sol";
import {Openings} from "./Openings.sol";
import {Program} from "./Program.sol";

/// @title map: a program over the words that its inputs read here
library MapNode {
    /// @notice The element. The inputs that are read inside their range are opened.
    function compute(IStepVerifier.Evidence calldata evidence, Openings.Context memory context)
        internal
        view
        returns (uint32)
    {
        uint256 count = context.node.inputs.length;
        uint256[] memory words = new uint256[](count);
        for (uint256 i; i < count; ++i) words[i] = Openings.next(evidence, context, i);
        Openings.finish(evidence, context.used);
        Program.Frame memory frame = Program.Frame({
            inputs: words,
            point: context.point,
            rank: context.node.shape.length,
            step: evidence.step
        });
        return Program.run(evidence.encoding, context.node, frame);
    }
}
