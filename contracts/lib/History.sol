// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

/// @title An amount that changes at known times, and what it was at any of them
/// @notice Entries are in the order of their times, and only the last can still be replaced, within the second in
/// which it was made. A reader says at which place to look: nothing is searched for, however many entries strangers
/// add.
library History {
    struct Entry {
        uint64 from; // holds from this timestamp on
        uint192 amount;
    }

    /// `place` is not the number of entries that hold at `time`.
    error WrongPlace(uint256 place, uint64 time);

    /// @notice What the amount will be when all changes hold.
    function last(Entry[] storage entries) internal view returns (uint192) {
        uint256 count = entries.length;
        return count == 0 ? 0 : entries[count - 1].amount;
    }

    /// @notice The amount changes at `from`, which is no earlier than any change before.
    function change(Entry[] storage entries, uint64 from, uint192 amount) internal {
        uint256 count = entries.length;
        if (count != 0 && entries[count - 1].from == from) entries[count - 1].amount = amount;
        else entries.push(Entry(from, amount));
    }

    /// @notice What the amount is at `time`.
    /// @param place as `placeOf` says
    function amountAt(Entry[] storage entries, uint64 time, uint256 place) internal view returns (uint192) {
        uint256 count = entries.length;
        if (place > count || (place != count && entries[place].from <= time)) revert WrongPlace(place, time);
        if (place == 0) return 0;
        Entry storage entry = entries[place - 1];
        if (entry.from > time) revert WrongPlace(place, time);
        return entry.amount;
    }

    /// @notice How many entries hold at `time`. For whoever looks: takes longer, the more entries there are.
    function placeOf(Entry[] storage entries, uint64 time) internal view returns (uint256 low) {
        uint256 high = entries.length;
        while (low < high) {
            uint256 middle = (low + high) / 2;
            if (entries[middle].from <= time) low = middle + 1;
            else high = middle;
        }
    }
}
