// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {IStepVerifier} from "../interfaces/IStepVerifier.sol";
import {Merkle} from "../lib/Merkle.sol";
import {Words} from "../lib/Words.sol";
import {Float32} from "./Float32.sol";
import {Sources} from "./Kinds.sol";
import {Node} from "./Node.sol";
import {DTypes} from "./Opcodes.sol";

/// @title The words that a node's inputs hold at one point, proven against the committed trees
library Openings {
    /// A node at one point, and how many openings have been used up.
    struct Context {
        Node.Decoded node;
        uint256[] point; // coordinates of the element, then k
        uint256 used;
    }

    /// @notice Checks the element, and k if the judgement runs along k.
    function begin(IStepVerifier.Evidence calldata evidence, Node.Decoded memory node, bool alongK)
        internal
        pure
        returns (Context memory context)
    {
        if (alongK && evidence.k >= node.extent) {
            revert IStepVerifier.ExtentOutOfRange(evidence.k, uint32(node.extent));
        }
        context.node = node;
        context.point = Node.point(node, evidence.element, evidence.k);
    }

    /// @notice The word that input `number` reads here. Uses up the next opening if the input is read inside its range.
    function next(IStepVerifier.Evidence calldata evidence, Context memory context, uint256 number)
        internal
        view
        returns (uint32 word)
    {
        bool opened;
        (word, opened) = read(evidence, context, number, context.used);
        if (opened) ++context.used;
    }

    /// @notice The word that input `number` reads here, with the opening `which` if it is inside its range.
    function read(IStepVerifier.Evidence calldata evidence, Context memory context, uint256 number, uint256 which)
        internal
        view
        returns (uint32 word, bool opened)
    {
        Node.Input memory input = Node.input(evidence.encoding, context.node, number);
        uint256 position;
        (opened, position) =
            Node.locate(evidence.encoding, input, context.point, Node.axes(context.node, number));
        if (!opened) return (0, false);
        if (which >= evidence.openings.length) {
            revert IStepVerifier.OpeningCount(which + 1, evidence.openings.length);
        }
        word = _open(evidence, input, number, which, position);
        if (input.dtype == DTypes.F32) word = Float32.canonical(word);
    }

    /// @notice Reverts if an opening is left over.
    function finish(IStepVerifier.Evidence calldata evidence, uint256 used) internal pure {
        if (used != evidence.openings.length) revert IStepVerifier.OpeningCount(used, evidence.openings.length);
    }

    function _open(
        IStepVerifier.Evidence calldata evidence,
        Node.Input memory input,
        uint256 number,
        uint256 which,
        uint256 position
    ) private view returns (uint32) {
        IStepVerifier.Opening calldata opening = evidence.openings[which];
        bytes calldata chunk = opening.chunk;
        if (chunk.length != Merkle.CHUNK_BYTES) revert IStepVerifier.ChunkLength(number, chunk.length);
        uint256 chunks = Merkle.chunks(input.length);
        bytes32 hash = Merkle.climb(
            Merkle.leaf(chunk), position / Merkle.CHUNK_ELEMENTS, chunks, Merkle.depth(chunks), opening.chunkProof
        );
        hash = Merkle.tensorRoot(uint8(input.dtype), uint64(input.length), hash);
        _requireCommitted(evidence, input, number, hash, opening.refProof);
        return Words.wordAt(chunk, position % Merkle.CHUNK_ELEMENTS);
    }

    /// Reverts unless the tensor root stands where the input's record says.
    function _requireCommitted(
        IStepVerifier.Evidence calldata evidence,
        Node.Input memory input,
        uint256 number,
        bytes32 tensor,
        bytes32[] calldata proof
    ) private view {
        (bytes32 tree, uint256 index, uint256 count) = _place(evidence, input);
        bytes32 actual = Merkle.climb(tensor, index, count, Merkle.depth(count), proof);
        if (actual != tree) revert IStepVerifier.OpeningMismatch(number, tree, actual);
    }

    /// The tree that an input's tensor root is a leaf of, and which leaf.
    function _place(IStepVerifier.Evidence calldata evidence, Node.Input memory input)
        private
        pure
        returns (bytes32 tree, uint256 index, uint256 count)
    {
        IStepVerifier.Roots calldata roots = evidence.roots;
        index = input.index;
        if (input.source == Sources.NODE) {
            if (index >= evidence.node) revert IStepVerifier.InputNotEarlier(evidence.node, uint32(index));
            return (roots.nodesTree, index, roots.nodes);
        }
        if (input.source == Sources.STATE) return (roots.stateTree, index, roots.slots);
        uint256 nodes = roots.nodes;
        count = nodes + roots.constants + roots.slots + roots.datasets;
        if (input.source == Sources.CONST) {
            if (index >= roots.constants) revert Merkle.IndexOutOfRange(index, roots.constants);
            return (roots.graphTree, nodes + index, count);
        }
        if (index >= roots.datasets) revert Merkle.IndexOutOfRange(index, roots.datasets);
        return (roots.graphTree, count - roots.datasets + index, count);
    }
}
