// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {ICheckpointLog} from "../interfaces/ICheckpointLog.sol";
import {IDisputeGame} from "../interfaces/IDisputeGame.sol";
import {IStakeVault} from "../interfaces/IStakeVault.sol";
import {IStepVerifier} from "../interfaces/IStepVerifier.sol";
import {ITaskMarket} from "../interfaces/ITaskMarket.sol";
import {Merkle} from "../lib/Merkle.sol";
import {Descent} from "./Descent.sol";
import {Endings} from "./Endings.sol";
import {Verdicts} from "./Verdicts.sol";

/// @title The moves, in the order in which a dispute meets them
/// @dev The walk from a checkpoint to a chunk, over hashes and spans. Endings makes the moves that end it and asks the
/// step verifier about words. What the solver reveals is emitted and not stored: the next move proves what it names
/// against the hash to which the revealed children fold.
contract DisputeGame is Verdicts {
    using Descent for Descent.Position;

    /// @notice Most pieces of a revealed span of steps.
    uint256 public constant STEP_FAN = 256;

    IStepVerifier public immutable verifier;

    /// @notice The code of the moves that end a dispute.
    Endings public immutable endings;

    constructor(ITaskMarket market_, IStakeVault vault_, ICheckpointLog log_, IStepVerifier verifier_)
        Verdicts(market_, vault_, log_)
    {
        verifier = verifier_;
        endings = new Endings(verifier_); // made here, so that it can be no other code
    }

    /// @inheritdoc IDisputeGame
    function revealSteps(uint256 id, bytes32[] calldata roots) external {
        Record storage d = _turn(id, Phase.RevealSteps);
        uint256 count = Descent.pieces(d.hi - d.lo, STEP_FAN);
        if (roots.length != count) revert RootCount(count, roots.length);
        Descent.requireEqual(d.claimed, roots[count - 1]);
        emit StepsRevealed(id, d.lo, d.hi, roots);
        _reveal(d, Merkle.root(roots));
    }

    /// @inheritdoc IDisputeGame
    function nameStep(
        uint256 id,
        uint32 i,
        bytes32 rootBefore,
        bytes32[] calldata proofBefore,
        bytes32 rootAfter,
        bytes32[] calldata proofAfter
    ) external {
        Record storage d = _turn(id, Phase.NameStep);
        (uint32 lo, uint32 hi) = (d.lo, d.hi);
        bytes32 root = _stepsOf(d);
        Descent.Position memory list = Descent.whole(Descent.pieces(hi - lo, STEP_FAN), root);
        list.leafAt(i, rootAfter, proofAfter);
        if (i != 0) {
            list.leafAt(i - 1, rootBefore, proofBefore);
            d.conceded = rootBefore;
        }
        (lo, hi) = Descent.piece(lo, hi, i, STEP_FAN);
        (d.lo, d.hi, d.claimed) = (lo, hi, rootAfter);
        emit StepNamed(id, lo, hi, d.conceded, rootAfter);
        _ask(d, _nextStepPhase(lo, hi));
    }

    /// @inheritdoc IDisputeGame
    function revealTrace(
        uint256 id,
        bytes32 stateTreeBefore,
        bytes32 nodesTree,
        bytes32[] calldata nodeChildren,
        bytes32 stateTree,
        bytes32[] calldata slotChildren
    ) external {
        Record storage d = _turn(id, Phase.RevealTrace);
        (uint32 nodes, uint32 slots) = (_graphOf(d).nodes, _graphOf(d).slots);
        Descent.requireEqual(d.conceded, Merkle.stateRoot(slots, stateTreeBefore));
        Descent.requireEqual(d.claimed, Merkle.stateRoot(slots, stateTree));
        Descent.whole(nodes, nodesTree).requireChildren(nodeChildren);
        Descent.whole(slots, stateTree).requireChildren(slotChildren);
        _revealTrace(d, Trace(stateTreeBefore, nodesTree, stateTree));
        emit TraceRevealed(id, d.lo, nodeChildren, slotChildren);
    }

    /// @inheritdoc IDisputeGame
    function nameSubtree(uint256 id, Tree tree, uint64 index, bytes32 hash, bytes32[] calldata proof) external {
        Record storage d = _turnToName(id);
        _enter(d, tree);
        Descent.Position memory position = _positionOf(d).subtree(index, hash, proof);
        d.position = position;
        emit SubtreeNamed(id, tree, position.level, index, hash);
        _ask(d, Phase.RevealChildren);
    }

    /// @inheritdoc IDisputeGame
    function revealChildren(uint256 id, bytes32[] calldata children) external {
        Record storage d = _turn(id, Phase.RevealChildren);
        Descent.Position memory position = d.position;
        position.requireChildren(children);
        emit ChildrenRevealed(id, d.lo, d.tree, d.node.index, position.level, position.index, children);
        _reveal(d, position.hash);
    }

    /// @inheritdoc IDisputeGame
    function nameNode(
        uint256 id,
        uint32 node,
        bytes32 root,
        bytes32[] calldata proof,
        bytes calldata encoding,
        bytes32[] calldata encodingProof
    ) external {
        Record storage d = _turnToName(id);
        _enter(d, Tree.Nodes);
        _positionOf(d).leafAt(node, root, proof);
        Node memory named;
        (named.leaf, named.root, named.index) = (Merkle.leaf(encoding), root, node);
        _requireInGraph(_graphOf(d), node, named.leaf, encodingProof);
        (named.ending, named.dtype, named.length, named.extent, named.scaled) = verifier.describe(encoding);
        d.node = named;
        bool oneChunk = Merkle.chunks(named.length) == 1;
        if (oneChunk) d.position = Descent.whole(1, bytes32(0)); // its hash is set by revealChunk
        emit NodeNamed(id, node, root);
        _ask(d, oneChunk ? Phase.RevealChunk : Phase.RevealChunks);
    }

    /// @inheritdoc IDisputeGame
    function revealChunks(uint256 id, bytes32 chunksTree, bytes32[] calldata children) external {
        Record storage d = _turn(id, Phase.RevealChunks);
        (uint8 dtype, uint64 length) = (d.node.dtype, d.node.length);
        Descent.requireEqual(d.node.root, Merkle.tensorRoot(dtype, length, chunksTree));
        Descent.whole(Merkle.chunks(length), chunksTree).requireChildren(children);
        emit ChunksRevealed(id, d.lo, d.node.index, children);
        _reveal(d, chunksTree);
    }

    /// @inheritdoc IDisputeGame
    function nameChunk(uint256 id, uint64 index, bytes32 hash, bytes32[] calldata proof) external {
        Record storage d = _turn(id, Phase.NameChild);
        _enter(d, Tree.Chunks);
        d.position = _positionOf(d).leafAt(index, hash, proof);
        emit ChunkNamed(id, index, hash);
        _ask(d, Phase.RevealChunk);
    }

    /// @inheritdoc IDisputeGame
    function revealChunk(uint256 id, bytes calldata chunk) external {
        Record storage d = _turn(id, Phase.RevealChunk);
        // A committed leaf may be the hash of anything. Only a whole chunk has all its elements.
        if (chunk.length != Merkle.CHUNK_BYTES) revert ChunkSize(Merkle.CHUNK_BYTES, chunk.length);
        bytes32 leaf = Merkle.leaf(chunk);
        if (d.position.leaves == 1) {
            Descent.requireEqual(d.node.root, Merkle.tensorRoot(d.node.dtype, d.node.length, leaf));
        } else {
            Descent.requireEqual(d.position.hash, leaf);
        }
        _revealHere(d, leaf, Phase.NameElement);
        emit ChunkRevealed(id, chunk);
    }

    // What ends a dispute, and what shows it. The parameters are named for the ABI; Endings reads them.

    /// @inheritdoc IDisputeGame
    function nameSlot(
        uint256 id,
        uint32 slot,
        bytes32 root,
        bytes32[] calldata proof,
        bytes calldata encoding,
        bytes32[] calldata encodingProof,
        bytes32 source,
        bytes32[] calldata sourceProof
    ) external {
        (slot, root, proof, encoding, encodingProof, source, sourceProof);
        _playEnding(id);
    }

    /// @inheritdoc IDisputeGame
    function nameElement(
        uint256 id,
        uint64 element,
        bytes calldata chunk,
        bytes calldata encoding,
        uint32 k,
        IStepVerifier.Opening[] calldata openings
    ) external {
        (element, chunk, encoding, k, openings);
        _playEnding(id);
    }

    /// @inheritdoc IDisputeGame
    function revealWitness(uint256 id, uint32 k, bytes calldata encoding, IStepVerifier.Opening[] calldata openings)
        external
    {
        (k, encoding, openings);
        _playEnding(id);
    }

    /// @inheritdoc IDisputeGame
    function revealSums(uint256 id, int64[] calldata sums, int16[2] calldata exponents, bytes calldata encoding)
        external
    {
        (sums, exponents, encoding);
        _playEnding(id);
    }

    /// @inheritdoc IDisputeGame
    function nameSum(uint256 id, uint32 i, int64[] calldata sums) external {
        (i, sums);
        _playEnding(id);
    }

    /// @inheritdoc IDisputeGame
    function proveTerm(
        uint256 id,
        uint32 i,
        int64[] calldata sums,
        bytes calldata encoding,
        IStepVerifier.Opening[] calldata openings
    ) external {
        (i, sums, encoding, openings);
        _playEnding(id);
    }

    /// @inheritdoc IDisputeGame
    function nameExponent(
        uint256 id,
        uint8 operand,
        uint32 k,
        bytes calldata encoding,
        IStepVerifier.Opening[] calldata openings
    ) external {
        (operand, k, encoding, openings);
        _playEnding(id);
    }

    /// @inheritdoc IDisputeGame
    function revealExponent(uint256 id, uint32 k, bytes calldata encoding, IStepVerifier.Opening[] calldata openings)
        external
    {
        (k, encoding, openings);
        _playEnding(id);
    }

    /// @inheritdoc IDisputeGame
    function dispute(uint256 id) external view returns (Dispute memory shown) {
        (id, shown);
        _asView(_answer)();
    }

    /// @inheritdoc IDisputeGame
    function onMove(uint256 id) external view returns (address mover, uint64 deadline) {
        (id, mover, deadline);
        _asView(_answer)();
    }

    function _playEnding(uint256 id) private {
        bytes memory answer = _callEndings();
        Endings.Winner winner = abi.decode(answer, (Endings.Winner));
        if (winner != Endings.Winner.Undecided) _conclude(id, winner == Endings.Winner.Solver);
    }

    /// Returns what Endings answers to the call.
    function _answer() private {
        bytes memory answer = _callEndings();
        assembly ("memory-safe") {
            return(add(answer, 32), mload(answer))
        }
    }

    /// Runs what was called with the code of Endings, on this contract's storage.
    function _callEndings() private returns (bytes memory) {
        // Endings is a contract of ours that the constructor made, and has just these functions.
        // slither-disable-next-line controlled-delegatecall
        (bool done, bytes memory answer) = address(endings).delegatecall(msg.data);
        if (done) return answer;
        assembly ("memory-safe") {
            revert(add(answer, 32), mload(answer))
        }
    }

    /// The compiler does not know that what is called changes nothing.
    function _asView(function() internal f) private pure returns (function() internal view g) {
        assembly ("memory-safe") {
            g := f
        }
    }
}
