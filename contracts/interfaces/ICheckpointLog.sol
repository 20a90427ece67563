// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {ITaskMarket} from "./ITaskMarket.sol";

/// @title The state roots that a solver commits, one per interval
interface ICheckpointLog {
    struct Checkpoint {
        bytes32 root; // state root at the end of the interval
        uint40 committedAt; // block timestamp, seconds
        uint32 holds; // open disputes about it
        uint40 challengeableUntil; // end of its challenge window
        uint8 attempt; // of the solver who committed it
        uint32 defended; // seconds that disputes had taken of that attempt by then
        uint56 beacon; // end of the randomness (prevrandao) of the block that it was committed in
        uint32 prolonged; // seconds that its window became longer, as it could not be had at once; they are in its end
    }

    event Committed(uint256 indexed taskId, uint32 indexed index, bytes32 root, string uri);
    /// Checkpoints from this one on are void: their solver failed.
    event Voided(uint256 indexed taskId, uint32 indexed index);
    /// A computation proved this checkpoint of that attempt false.
    event Condemned(uint256 indexed taskId, uint32 indexed index, uint8 attempt);
    event Held(uint256 indexed taskId, uint32 indexed index, uint32 holds);
    /// The checkpoint could not be had until now: its window ends at `until`.
    event Prolonged(uint256 indexed taskId, uint32 indexed index, uint64 until);
    event Unheld(uint256 indexed taskId, uint32 indexed index, uint32 holds);

    error NotDeployer(address caller);
    error AlreadyConnected();
    error ZeroAddress();
    error NotGame(address caller);
    error NotMarket(address caller);
    error NotKeepers(address caller);
    error NotTraining(uint256 taskId, ITaskMarket.Status actual);
    error NotSolver(address solver, address caller);
    error AllCommitted(uint256 taskId, uint32 intervals);
    error WrongIndex(uint32 expected, uint32 sent);
    error DeadlineMissed(uint64 deadline, uint64 current);
    error ZeroRoot();
    error UriTooLong(uint256 allowed, uint256 sent);
    error UnknownCheckpoint(uint256 taskId, uint32 index);
    error WindowClosed(uint64 until, uint64 current);
    error NotHeld(uint256 taskId, uint32 index);

    /// @notice Commit checkpoint `index` (0-based, in order, by the task's solver, up to and including its deadline).
    /// Its challenge window opens now, but no earlier than one promised interval after the window of the checkpoint
    /// before; a promise counts as at least a sixteenth of the interval time. It can be disputed from now on until
    /// its window ends.
    /// @param uri where the state can be fetched (content is verified against the root), at most 512 bytes
    function commit(uint256 taskId, uint32 index, bytes32 root, string calldata uri) external;

    /// @notice Only the dispute game, while the checkpoint can be challenged: count one more open dispute about it.
    function hold(uint256 taskId, uint32 index) external;

    /// @notice Only the dispute game: count one open dispute less. After a conviction not before the market slashed.
    /// Does nothing if that attempt's checkpoint is void by now.
    function unhold(uint256 taskId, uint32 index, uint8 attempt) external;

    /// @notice Only the dispute game, before the market slashes: a computation proved that checkpoint false.
    function condemn(uint256 taskId, uint32 index) external;

    /// @notice Only the market: the solver failed. Checkpoints from `index` on are void.
    function truncate(uint256 taskId, uint32 index) external;

    /// @notice Only the keepers' contract: the checkpoint could not be had until now. Its window ends at `until`, which
    /// is later than it was. Windows of other checkpoints stay as they are.
    function prolong(uint256 taskId, uint32 index, uint64 until) external;

    /// @notice Only the deployer, once and for ever: name the dispute game and the keepers' contract.
    function connect(address game, address keepers) external;

    function count(uint256 taskId) external view returns (uint32);

    /// @notice Open disputes about a task's checkpoints.
    function disputes(uint256 taskId) external view returns (uint32);

    function checkpoint(uint256 taskId, uint32 index) external view returns (Checkpoint memory);

    /// @notice Whether the checkpoint `index` that this attempt committed is not void, and the end of its window if so.
    function standing(uint256 taskId, uint32 index, uint8 attempt)
        external
        view
        returns (bool stands, uint64 challengeableUntil);

    /// @notice Whether a computation proved the checkpoint `index` of that attempt false. Of an attempt there is one at
    /// most: with it the attempt ends.
    function isCondemned(uint256 taskId, uint32 index, uint8 attempt) external view returns (bool);

    /// @notice Last timestamp at which checkpoint `index` may be disputed.
    function challengeableUntil(uint256 taskId, uint32 index) external view returns (uint64);

    /// @notice Whether the window is closed and no dispute is open; earlier checkpoints may still be open. If it is
    /// final, when it was committed, and what disputes had taken of its attempt's time by then.
    function finality(uint256 taskId, uint32 index)
        external
        view
        returns (bool isFinal, uint64 committedAt, uint32 defended);
}
