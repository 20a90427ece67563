// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {IStepVerifier} from "../interfaces/IStepVerifier.sol";
import {Openings} from "./Openings.sol";

/// @title gather: the table's word at the row that the index names
library GatherNode {
    uint256 private constant TABLE = 0;
    uint256 private constant INDEX = 1;

    /// @notice The element. The table comes first among the openings, if it is opened, and the index last.
    function compute(IStepVerifier.Evidence calldata evidence, Openings.Context memory context)
        internal
        view
        returns (uint32 word)
    {
        uint256 given = evidence.openings.length;
        uint256 used;
        (uint32 row, bool opened) = Openings.read(evidence, context, INDEX, given == 0 ? 0 : given - 1);
        if (opened) ++used;
        // A negative row is above every extent as an unsigned word, except where the extent is above 2^31.
        if (int32(row) >= 0 && row < context.node.extent) {
            context.point[context.node.shape.length] = row;
            (word, opened) = Openings.read(evidence, context, TABLE, 0);
            if (opened) ++used;
        }
        Openings.finish(evidence, used);
    }
}
