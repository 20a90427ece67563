// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {Bn254} from "../audit/Bn254.sol";

/// @title Whether a verifier is drawn to audit a checkpoint
/// @dev Assumptions:
/// - A verifier keeps its secret. Whoever knows it knows which checkpoints its owner looks at.
/// - A solver that commits a false root can make many, and see with each whether a verifier whose secret it knows is
///   drawn. It never sees whether another is.
interface IAuditor {
    /// A verifier's proof that it is drawn.
    struct Draw {
        Bn254.G1 ticket; // signature over `message`
        Bn254.G2 twin; // the verifier's key in G2
        uint32 ownPlace; // as IVerifiers.places says, for the time of the commit
        uint32 allPlace;
    }

    error ZeroAddress();
    /// The ticket's hash is too large for so small a stake.
    error NotDrawn(address verifier, uint256 own, uint256 all);

    /// @notice Refuses what is not the verifier's winning ticket for a committed checkpoint.
    /// @param rateBps audits to expect per checkpoint, in 1/10,000
    function requireDrawn(uint256 taskId, uint32 checkpoint, address verifier, uint16 rateBps, Draw calldata draw)
        external
        view;

    /// @notice What a verifier signs for a committed checkpoint.
    function message(uint256 taskId, uint32 checkpoint) external view returns (bytes memory);
}
