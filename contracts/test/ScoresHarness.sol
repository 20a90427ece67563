// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {IAuction} from "../interfaces/IAuction.sol";
import {IWorkerRegistry} from "../interfaces/IWorkerRegistry.sol";
import {Scores} from "../market/Scores.sol";

/// @title ScoresHarness
/// @notice A whole auction in one call, for tests: bids are revealed in their order.
contract ScoresHarness {
    function run(IAuction.Ask memory ask, IWorkerRegistry.Work[] memory records, IAuction.Bid[] memory bids)
        external
        pure
        returns (uint128[] memory burdens, IAuction.Bid memory leader, IAuction.Bid memory standby, uint128 pay)
    {
        burdens = new uint128[](bids.length);
        for (uint256 i = 0; i < bids.length; ++i) {
            burdens[i] = bids[i].burden = Scores.burden(ask, records[i], bids[i].promised);
            if (Scores.beats(bids[i], leader)) (leader, standby) = (bids[i], leader);
            else if (Scores.beats(bids[i], standby)) standby = bids[i];
        }
        pay = Scores.pay(leader, standby, ask.reserve);
    }
}
