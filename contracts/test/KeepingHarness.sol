// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {Kept} from "../audit/Kept.sol";
import {IVerifiers} from "../interfaces/IVerifiers.sol";
import {Ranks} from "../lib/Ranks.sol";

/// @title Ranks' and Kept's internal functions, called many times in one call
contract KeepingHarness {
    using Kept for uint256[2];
    using Ranks for uint256[];

    uint256[] private _nodes;
    uint256[2] private _lanes;

    struct Change {
        uint256 holder;
        uint256 added;
        uint256 removed;
    }

    /// @return sums after each change
    /// @return holders of unit `ranks[i]` after change `after_[i]`, looked for after all of them
    function rank(Change[] calldata changes, uint256[] calldata after_, uint256[] calldata ranks)
        external
        returns (uint256[] memory sums, uint256[] memory holders)
    {
        uint192[] memory roots = new uint192[](changes.length + 1);
        sums = new uint256[](changes.length);
        for (uint256 i; i < changes.length; ++i) {
            Change calldata change = changes[i];
            roots[i + 1] = _nodes.changed(roots[i], change.holder, change.added, change.removed);
            sums[i] = Ranks.sumOf(roots[i + 1]);
        }
        holders = new uint256[](ranks.length);
        for (uint256 i; i < ranks.length; ++i) holders[i] = _nodes.holderAt(roots[after_[i] + 1], ranks[i]);
    }

    /// @return news of each call of `raise`
    /// @return seats of each call of `raise`
    /// @return upTo of each member in the end
    function keep(uint8[] calldata seatsOf, uint256[] calldata signers, uint32[] calldata checkpoints)
        external
        returns (bool[] memory news, uint256[] memory seats, uint32[] memory upTo)
    {
        IVerifiers.Member[] memory members = new IVerifiers.Member[](seatsOf.length);
        for (uint256 i; i < members.length; ++i) members[i].seats = seatsOf[i];
        _lanes.begin(members);
        (news, seats) = (new bool[](signers.length), new uint256[](signers.length));
        for (uint256 i; i < signers.length; ++i) {
            (news[i], seats[i]) = _lanes.raise(members.length, signers[i], checkpoints[i]);
        }
        upTo = new uint32[](members.length);
        for (uint256 i; i < members.length; ++i) (upTo[i],) = _lanes.signed(i);
    }
}
