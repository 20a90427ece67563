// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {IVerifiers} from "../interfaces/IVerifiers.sol";

/// @title What each member of a committee has signed for, and how many seats it has
/// @notice 32 bits a member: the number of checkpoints up to the last one that it holds (28), its seats − 1 (4). Eight
/// members share a word.
library Kept {
    uint256 internal constant MOST_MEMBERS = 16;

    uint256 private constant LANE_BITS = 32;
    uint256 private constant LANES = 8;
    uint256 private constant SEAT_BITS = 4;

    /// @notice Notes the seats of a new committee. Nobody has signed anything.
    function begin(uint256[2] storage lanes, IVerifiers.Member[] memory members) internal {
        uint256[2] memory words;
        for (uint256 i; i < members.length; ++i) {
            words[i / LANES] |= uint256(members[i].seats - 1) << (i % LANES * LANE_BITS);
        }
        for (uint256 i; i * LANES < members.length; ++i) lanes[i] = words[i];
    }

    /// @notice The members of a bitmap hold the first `upTo` checkpoints.
    /// @param members how many there are
    /// @return news whether that was not known of one of them
    /// @return seats of all members who hold so many
    function raise(uint256[2] storage lanes, uint256 members, uint256 signers, uint32 upTo)
        internal
        returns (bool news, uint256 seats)
    {
        for (uint256 i; i * LANES < members; ++i) {
            uint256 word = lanes[i];
            uint256 changed;
            for (uint256 j = i * LANES; j < members && j < (i + 1) * LANES; ++j) {
                uint256 lane = uint32(word >> (j % LANES * LANE_BITS));
                if (signers >> j & 1 != 0 && lane >> SEAT_BITS < upTo) {
                    lane = uint256(upTo) << SEAT_BITS | _seats(lane) - 1;
                }
                if (lane >> SEAT_BITS >= upTo) seats += _seats(lane);
                changed |= lane << (j % LANES * LANE_BITS);
            }
            if (changed != word) (lanes[i], news) = (changed, true);
        }
    }

    /// @notice What a member has signed for, and its seats.
    function signed(uint256[2] storage lanes, uint256 member) internal view returns (uint32 upTo, uint256 seats) {
        uint256 lane = uint32(lanes[member / LANES] >> (member % LANES * LANE_BITS));
        return (uint32(lane >> SEAT_BITS), _seats(lane));
    }

    function _seats(uint256 lane) private pure returns (uint256) {
        return (lane & (2 ** SEAT_BITS - 1)) + 1;
    }
}
