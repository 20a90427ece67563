// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {IAuction} from "../interfaces/IAuction.sol";
import {IWorkerRegistry} from "../interfaces/IWorkerRegistry.sol";
import {Scores} from "../market/Scores.sol";

/// @title ScoresHarness
/// @notice Whole auctions in one call, for tests: bids are revealed in their order.
contract ScoresHarness {
    struct Game {
        IAuction.Ask ask;
        IWorkerRegistry.Work[] records;
        IAuction.Bid[] bids;
    }

    struct Outcome {
        uint128[] burdens;
        IAuction.Bid leader;
        IAuction.Bid standby;
        uint128 pay;
    }

    function run(Game[] calldata games) external pure returns (Outcome[] memory outcomes) {
        outcomes = new Outcome[](games.length);
        for (uint256 i = 0; i < games.length; ++i) _play(games[i], outcomes[i]);
    }

    function _play(Game memory game, Outcome memory end) private pure {
        IAuction.Bid[] memory bids = game.bids;
        end.burdens = new uint128[](bids.length);
        for (uint256 i = 0; i < bids.length; ++i) {
            end.burdens[i] = bids[i].burden = Scores.burden(game.ask, game.records[i], bids[i].promised);
            if (Scores.beats(bids[i], end.leader)) (end.leader, end.standby) = (bids[i], end.leader);
            else if (Scores.beats(bids[i], end.standby)) end.standby = bids[i];
        }
        end.pay = Scores.pay(end.leader, end.standby, game.ask.reserve);
    }
}
