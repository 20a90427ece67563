// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

/// @title Who holds the n-th unit of all stakes, now or at any time before
/// @notice A binary tree of sums over the holders, in the order in which they came. Nodes never change: a new amount
/// adds one node for each level, up to a new root, and what an older root tells stays what it was. Both take as many
/// steps as the tree has levels, the logarithm of the number of holders.
library Ranks {
    /// A root, as 192 bits: how many levels are below it (8), the place of its node (32), the sum of all amounts (96).
    /// A node, as one word: the places of its halves' nodes (32, 32), and their sums (96, 96). Places count from 1. The
    /// halves of the lowest nodes are holders, and have no node.
    uint256 private constant SUM_BITS = 96;
    uint256 private constant PLACE_BITS = 32;

    /// @notice Most that all amounts may add up to.
    uint256 internal constant MOST = type(uint96).max;

    error SumTooLarge(uint256 allowed, uint256 sum);

    function sumOf(uint192 root) internal pure returns (uint256) {
        return uint96(root);
    }

    /// @notice The root after `holder` has `added` more and `removed` less.
    /// @param holder counted from 0; at most one more than those that have been named before
    function changed(uint256[] storage nodes, uint192 root, uint256 holder, uint256 added, uint256 removed)
        internal
        returns (uint192)
    {
        uint256 sum = sumOf(root) + added - removed;
        if (sum > MOST) revert SumTooLarge(MOST, sum);
        (uint256 levels, uint256 place) = _parts(root);
        uint256 node = _nodeAt(nodes, place);
        if (holder >> levels != 0) {
            // One level more: what was there is the left half.
            node = _node(place, 0, sumOf(root), 0);
            ++levels;
        }
        place = levels == 0 ? 0 : _put(nodes, node, levels, holder, added, removed);
        return uint192(levels << (PLACE_BITS + SUM_BITS) | place << SUM_BITS | sum);
    }

    /// @notice The holder of unit number `rank`, which is below the root's sum.
    function holderAt(uint256[] storage nodes, uint192 root, uint256 rank) internal view returns (uint256 holder) {
        (uint256 levels, uint256 place) = _parts(root);
        for (; levels != 0; --levels) {
            (uint256 left, uint256 right, uint256 leftSum,) = _halves(_nodeAt(nodes, place));
            holder <<= 1;
            if (rank < leftSum) {
                place = left;
            } else {
                (place, rank, holder) = (right, rank - leftSum, holder | 1);
            }
        }
    }

    /// Adds the nodes from a holder up to the one that replaces `node`. Returns the place of that one.
    function _put(
        uint256[] storage nodes,
        uint256 node,
        uint256 levels,
        uint256 holder,
        uint256 added,
        uint256 removed
    ) private returns (uint256) {
        (uint256 left, uint256 right, uint256 leftSum, uint256 rightSum) = _halves(node);
        bool inRight = holder >> (levels - 1) & 1 != 0;
        if (levels > 1) {
            uint256 below = _put(nodes, _nodeAt(nodes, inRight ? right : left), levels - 1, holder, added, removed);
            if (inRight) right = below;
            else left = below;
        }
        if (inRight) rightSum = rightSum + added - removed;
        else leftSum = leftSum + added - removed;
        nodes.push(_node(left, right, leftSum, rightSum));
        return nodes.length; // 2^32 of them would take 9 · 10^13 gas
    }

    function _nodeAt(uint256[] storage nodes, uint256 place) private view returns (uint256) {
        return place == 0 ? 0 : nodes[place - 1];
    }

    function _parts(uint192 root) private pure returns (uint256 levels, uint256 place) {
        return (root >> (PLACE_BITS + SUM_BITS), uint32(root >> SUM_BITS));
    }

    function _node(uint256 left, uint256 right, uint256 leftSum, uint256 rightSum) private pure returns (uint256) {
        return left << (PLACE_BITS + 2 * SUM_BITS) | right << 2 * SUM_BITS | leftSum << SUM_BITS | rightSum;
    }

    function _halves(uint256 node) private pure returns (uint256, uint256, uint256, uint256) {
        return (
            node >> (PLACE_BITS + 2 * SUM_BITS), uint32(node >> 2 * SUM_BITS), uint96(node >> SUM_BITS), uint96(node)
        );
    }
}
