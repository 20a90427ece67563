// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {Clocks} from "../dispute/Clocks.sol";

/// @title ClocksHarness
/// @notice One solver's clock, for tests.
contract ClocksHarness {
    using Clocks for Clocks.Shared;

    Clocks.Shared public shared;

    function enter(uint40 clock) external {
        shared.enter(Clocks.Duration.wrap(clock));
    }

    function wait() external {
        shared.requireTime();
        shared.wait();
    }

    function proceed() external {
        shared.proceed();
    }

    function takeUsed() external {
        shared.takeUsed();
    }

    /// A dispute that does not wait ends.
    function end() external {
        --shared.running;
    }
}
