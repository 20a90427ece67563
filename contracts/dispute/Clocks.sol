// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

/// @title Chess clocks
/// @notice Each party of a dispute has its own thinking time, which runs only while it is on the move.
/// @dev Value types, so that an instant cannot be used as a duration.
library Clocks {
    type Instant is uint64; // block timestamp, seconds
    type Duration is uint64; // seconds

    struct State {
        Duration solver; // left
        Duration challenger; // left
        Instant since; // when the party on the move came on the move
    }

    error ClockExpired(Duration left, Duration elapsed);
    error ClockRunning(Duration left, Duration elapsed);

    function current() internal view returns (Instant) {
        return Instant.wrap(uint64(block.timestamp));
    }

    /// @notice What is left to a mover that had `left` and has been on the move since `since`. Reverts if that is
    /// less than nothing.
    function charge(Duration left, Instant since) internal view returns (Duration) {
        Duration elapsed = _elapsed(since);
        if (_exceeds(elapsed, left)) revert ClockExpired(left, elapsed);
        return Duration.wrap(Duration.unwrap(left) - Duration.unwrap(elapsed));
    }

    /// @notice Reverts while the mover may still move.
    function requireExpired(Duration left, Instant since) internal view {
        Duration elapsed = _elapsed(since);
        if (!_exceeds(elapsed, left)) revert ClockRunning(left, elapsed);
    }

    /// @notice Last instant at which the mover may move.
    function deadline(Duration left, Instant since) internal pure returns (Instant) {
        return Instant.wrap(Instant.unwrap(since) + Duration.unwrap(left));
    }

    function _elapsed(Instant since) private view returns (Duration) {
        return Duration.wrap(Instant.unwrap(current()) - Instant.unwrap(since));
    }

    function _exceeds(Duration elapsed, Duration left) private pure returns (bool) {
        return Duration.unwrap(elapsed) > Duration.unwrap(left);
    }
}
