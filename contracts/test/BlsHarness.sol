// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {Bn254} from "../audit/Bn254.sol";
import {Tickets} from "../audit/Tickets.sol";

/// @title Bn254's and Tickets' internal functions, callable by tests
contract BlsHarness {
    Bn254.G1[] private _committee;

    function requireG1(Bn254.G1 calldata point) external pure {
        Bn254.requireG1(point);
    }

    function requireTwist(Bn254.G2 calldata point) external pure {
        Bn254.requireTwist(point);
    }

    function hashToG1(bytes calldata message) external view returns (Bn254.G1 memory) {
        return Bn254.hashToG1(keccak256(message));
    }

    function sumOf(Bn254.G1[] calldata keys, uint256 signers) external view returns (Bn254.G1 memory) {
        return Bn254.sumOf(keys, signers);
    }

    function requireSigned(Bn254.G2 calldata key, bytes calldata message, Bn254.G1 calldata signature) external view {
        Bn254.requireSigned(key, message, signature);
    }

    function requireSignedByBoth(
        Bn254.G1 calldata point,
        Bn254.G2 calldata key,
        bytes calldata message,
        Bn254.G1 calldata signature
    ) external view {
        Bn254.requireSignedByBoth(point, key, message, signature);
    }

    function requireSignedByAll(
        Bn254.G1[] calldata keys,
        uint256 signers,
        Bn254.G2 calldata sum,
        bytes calldata message,
        Bn254.G1 calldata signature
    ) external view {
        Bn254.requireSignedByAll(keys, signers, sum, message, signature);
    }

    function appoint(Bn254.G1[] calldata keys) external {
        for (uint256 i; i < keys.length; ++i) _committee.push(keys[i]);
    }

    /// As a contract would: the keys are in its storage.
    function attest(uint256 signers, Bn254.G2 calldata sum, bytes calldata message, Bn254.G1 calldata signature)
        external
        view
    {
        Bn254.requireSignedByAll(_committee, signers, sum, message, signature);
    }

    function ticketMessage(
        address market,
        uint256 taskId,
        uint8 attempt,
        uint32 checkpoint,
        bytes32 root,
        uint56 beacon
    ) external view returns (bytes memory) {
        return Tickets.message(market, taskId, attempt, checkpoint, root, beacon);
    }

    function fees(Bn254.G1 calldata ticket, uint16 rateBps, uint256 own, uint256 all) external pure returns (uint8) {
        return Tickets.fees(ticket, rateBps, own, all);
    }

    function feesOf(uint256 draw, uint16 rateBps, uint256 own, uint256 all) external pure returns (uint8) {
        return Tickets.feesOf(draw, rateBps, own, all);
    }
}
