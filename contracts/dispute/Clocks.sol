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

    function start(Duration each) internal view returns (State memory) {
        return State({solver: each, challenger: each, since: _now()});
    }

    /// @notice End a move in time: what it took is taken from the mover's clock, and the other's begins to run.
    function charge(State storage clocks, bool solverMoves) internal {
        (Duration left, Duration elapsed) = _reading(clocks, solverMoves);
        if (_exceeds(elapsed, left)) revert ClockExpired(left, elapsed);
        Duration rest = Duration.wrap(Duration.unwrap(left) - Duration.unwrap(elapsed));
        if (solverMoves) clocks.solver = rest;
        else clocks.challenger = rest;
        clocks.since = _now();
    }

    /// @notice Reverts while the mover may still move.
    function requireExpired(State storage clocks, bool solverMoves) internal view {
        (Duration left, Duration elapsed) = _reading(clocks, solverMoves);
        if (!_exceeds(elapsed, left)) revert ClockRunning(left, elapsed);
    }

    /// @notice Last instant at which the mover may move.
    function deadline(State storage clocks, bool solverMoves) internal view returns (Instant) {
        Duration left = solverMoves ? clocks.solver : clocks.challenger;
        return Instant.wrap(Instant.unwrap(clocks.since) + Duration.unwrap(left));
    }

    function _reading(State storage clocks, bool solverMoves) private view returns (Duration left, Duration elapsed) {
        left = solverMoves ? clocks.solver : clocks.challenger;
        elapsed = Duration.wrap(Instant.unwrap(_now()) - Instant.unwrap(clocks.since));
    }

    function _exceeds(Duration elapsed, Duration left) private pure returns (bool) {
        return Duration.unwrap(elapsed) > Duration.unwrap(left);
    }

    function _now() private view returns (Instant) {
        return Instant.wrap(uint64(block.timestamp));
    }
}
