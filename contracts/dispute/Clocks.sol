// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

/// @title Chess clocks
/// @notice Each party has a thinking time of its own, which runs only while it is on the move. A challenger has one in
/// its dispute. The solver has one in all disputes of a task together.
/// @dev Value types, so that an instant cannot be used as a duration; small ones, so that many fit a slot.
library Clocks {
    type Instant is uint40; // block timestamp, seconds
    type Duration is uint40; // seconds

    struct State {
        Duration solver; // left
        Duration challenger; // left
        Instant since; // when the party on the move came on the move
    }

    /// The solver's clock in an attempt at a task. Fits one slot.
    struct Shared {
        Duration left;
        Instant since; // from when time is to be charged, while any dispute waits
        Duration granted; // in all, since no dispute ran
        uint32 waiting; // disputes that wait for the solver
        uint32 running; // disputes
        Duration used; // that was not excused yet
    }

    /// @notice What a further dispute adds to the clock: this part of what the first one gave.
    uint40 internal constant FURTHER = 4;

    /// @notice Most clocks that disputes which run at once give. A cheat must not buy delay with friends.
    uint40 internal constant MOST = 4;

    error ClockExpired(Duration left, Duration elapsed);
    error ClockRunning(Duration left, Duration elapsed);

    function current() internal view returns (Instant) {
        return Instant.wrap(uint40(block.timestamp));
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

    /// @notice A dispute begins. Adds nothing if the clock has run out: further time must not save the solver.
    /// @param clock what the first dispute gives
    function enter(Shared storage shared, Duration clock) internal {
        if (shared.running++ == 0) {
            shared.left = shared.granted = clock;
            return;
        }
        if (shared.waiting != 0 && _exceeds(_elapsed(shared.since), shared.left)) return;
        uint40 whole = Duration.unwrap(clock);
        uint40 granted = Duration.unwrap(shared.granted);
        uint40 more = whole / FURTHER;
        uint40 room = MOST * whole - granted;
        if (more > room) more = room;
        shared.granted = Duration.wrap(granted + more);
        shared.left = Duration.wrap(Duration.unwrap(shared.left) + more);
    }

    /// @notice Reverts if the clock has run out.
    function requireTime(Shared storage shared) internal view {
        if (shared.waiting != 0) charge(shared.left, shared.since);
    }

    /// @notice One more dispute waits for the solver.
    function wait(Shared storage shared) internal {
        if (shared.waiting++ == 0) shared.since = current();
    }

    /// @notice A dispute waits no longer. What has passed is charged, down to nothing.
    function proceed(Shared storage shared) internal {
        uint40 elapsed = Duration.unwrap(_elapsed(shared.since));
        uint40 left = Duration.unwrap(shared.left);
        if (elapsed > left) elapsed = left;
        shared.left = Duration.wrap(left - elapsed);
        shared.used = Duration.wrap(Duration.unwrap(shared.used) + elapsed);
        shared.since = current();
        --shared.waiting;
    }

    /// @notice What was used since the last call.
    function takeUsed(Shared storage shared) internal returns (uint32 used) {
        used = uint32(Duration.unwrap(shared.used));
        shared.used = Duration.wrap(0);
    }

    function _elapsed(Instant since) private view returns (Duration) {
        return Duration.wrap(Instant.unwrap(current()) - Instant.unwrap(since));
    }

    function _exceeds(Duration elapsed, Duration left) private pure returns (bool) {
        return Duration.unwrap(elapsed) > Duration.unwrap(left);
    }
}
