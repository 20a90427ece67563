// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {Bn254} from "../audit/Bn254.sol";

/// @title Who may audit, with which key, and with how much at stake
/// @notice A verifier signs its tickets with a key of its own, on BN254. A stake is its weight in the lottery.
/// @dev Keys and stakes hold for what is committed after them: whoever knows a root could otherwise look for a key
/// that wins with it. A change counts from `delay` seconds after it was made, and what is signed holds randomness of
/// the block that the root came in, which nobody knows by then, however long a root is kept back.
interface IVerifiers {
    /// A verifier's key. One secret has both points.
    struct Key {
        Bn254.G1 point; // g1 times the secret: added to those of others
        bytes24 twin; // see `twinOf`: stands for g2 times the secret, which checks signatures
        uint64 from; // counts from this timestamp on
    }

    /// Who was drawn, for how many seats, and its key.
    struct Member {
        address holder;
        uint8 seats;
        Bn254.G1 point;
    }

    event Enrolled(address indexed verifier, Bn254.G1 point, Bn254.G2 twin, uint64 from);
    /// From `from` on, the verifier's stake is `stake`, and all stakes together `all`.
    event StakeChanged(address indexed verifier, uint256 stake, uint256 all, uint64 from);
    event Released(address indexed verifier, uint256 amount);
    /// That much of its stake was burned.
    event Fined(address indexed verifier, uint256 amount);

    error NotDeployer(address caller);
    error AlreadyConnected();
    error NotKeepers(address caller);
    error ZeroAddress();
    error ZeroAmount();
    error ZeroDelay();
    error NotAVerifier(address account);
    error NotEnrolled(address account);
    /// Another account has shown that the key is its own.
    error KeyOfAnother(address holder);
    error OtherKey(bytes24 registered, bytes24 sent);
    error KeyTooYoung(uint64 from, uint64 time);
    error StakeTooSmall(address account, uint256 required, uint256 staked);
    error NothingToRelease(address account);
    error NotReleased(uint64 readyAt, uint64 current);

    /// @notice A registered verifier: name one's key, or replace it. A key that is replaced counts no more, for
    /// whatever was committed.
    /// @param point the key in G1
    /// @param twin the key in G2
    /// @param proof signature over `possession(sender, point)`: that the sender knows the secret
    function enroll(Bn254.G1 calldata point, Bn254.G2 calldata twin, Bn254.G1 calldata proof) external;

    /// @notice A verifier with a key: add free balance to one's stake. Counts after the delay.
    function stake(uint128 amount) external;

    /// @notice Take a part of one's stake out. It counts, and stays locked, until the delay is over. A second request
    /// is added to the first and restarts its delay; what counts is not prolonged.
    function unstake(uint128 amount) external;

    /// @notice Free what was taken out of the stake, once its delay is over.
    function release() external;

    /// @notice Only the keepers' contract: burn so much of a stake, and of what is leaving it, as there is, at most
    /// `most`. What is left counts after the delay.
    function fine(address verifier, uint256 most) external returns (uint256 burned);

    /// @notice Only the deployer, once and for ever: name the keepers' contract.
    function connect(address keepers) external;

    /// @notice What a verifier signs to show that a key is its own.
    function possession(address verifier, Bn254.G1 calldata point) external view returns (bytes memory);

    /// @notice The weight of a verifier in the lottery for what was committed at `time`: its stake, and all stakes.
    /// Refused unless its key is `twin` and counted by then.
    /// @param ownPlace, allPlace as `places` says
    function weight(address verifier, Bn254.G2 calldata twin, uint64 time, uint32 ownPlace, uint32 allPlace)
        external
        view
        returns (uint256 own, uint256 all);

    /// @notice Who sits on a committee: each seat is somebody's with the probability of its part of all stakes, as they
    /// counted at `time`. Nobody, if there were none. Keys are those of now.
    /// @param seed from which the seats are drawn
    /// @param allPlace as `places` says
    function draw(bytes32 seed, uint8 seats, uint64 time, uint32 allPlace)
        external
        view
        returns (Member[] memory members);

    /// @notice How many changes of a verifier's stake, and of all stakes, count at `time`. To be asked without a
    /// transaction: it searches.
    function places(address verifier, uint64 time) external view returns (uint32 own, uint32 all);

    /// @notice What is kept of a key's point in G2: the first bytes of the keccak256 of its four words. Whoever uses it
    /// brings it along.
    function twinOf(Bn254.G2 calldata twin) external pure returns (bytes24);

    function keyOf(address verifier) external view returns (Key memory);

    /// @notice A verifier's stake when all its changes count.
    function stakeOf(address verifier) external view returns (uint256);

    /// @notice All stakes when all changes count.
    function allStakes() external view returns (uint256);

    /// @notice What was taken out of a stake, and when it is free.
    function leavingOf(address verifier) external view returns (uint256 amount, uint64 readyAt);

    /// @notice Seconds from a change until it counts.
    function delay() external view returns (uint32);
}
