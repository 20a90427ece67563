// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {IAuditor} from "../interfaces/IAuditor.sol";
import {ICheckpointLog} from "../interfaces/ICheckpointLog.sol";
import {ITaskMarket} from "../interfaces/ITaskMarket.sol";
import {IVerifiers} from "../interfaces/IVerifiers.sol";
import {Bn254} from "./Bn254.sol";
import {Tickets} from "./Tickets.sol";

/// @title Auditor
contract Auditor is IAuditor {
    ITaskMarket public immutable market;
    ICheckpointLog public immutable log;
    IVerifiers public immutable verifiers;

    constructor(ITaskMarket market_, ICheckpointLog log_, IVerifiers verifiers_) {
        if (address(market_) == address(0) || address(log_) == address(0) || address(verifiers_) == address(0)) {
            revert ZeroAddress();
        }
        (market, log, verifiers) = (market_, log_, verifiers_);
    }

    /// @inheritdoc IAuditor
    function requireDrawn(uint256 taskId, uint32 checkpoint, address verifier, uint16 rateBps, Draw calldata draw)
        external
        view
    {
        ICheckpointLog.Checkpoint memory committed = log.checkpoint(taskId, checkpoint);
        (uint256 own, uint256 all) =
            verifiers.weight(verifier, draw.twin, committed.committedAt, draw.ownPlace, draw.allPlace);
        if (!Tickets.wins(draw.ticket, rateBps, own, all)) revert NotDrawn(verifier, own, all);
        Bn254.requireSigned(draw.twin, _message(taskId, checkpoint, committed), draw.ticket);
    }

    /// @inheritdoc IAuditor
    function message(uint256 taskId, uint32 checkpoint) external view returns (bytes memory) {
        return _message(taskId, checkpoint, log.checkpoint(taskId, checkpoint));
    }

    function _message(uint256 taskId, uint32 checkpoint, ICheckpointLog.Checkpoint memory committed)
        private
        view
        returns (bytes memory)
    {
        return Tickets.message(address(market), taskId, committed.attempt, checkpoint, committed.root);
    }
}
