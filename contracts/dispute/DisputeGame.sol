// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {ICheckpointLog} from "../interfaces/ICheckpointLog.sol";
import {IDisputeGame} from "../interfaces/IDisputeGame.sol";
import {IStakeVault} from "../interfaces/IStakeVault.sol";
import {IStepVerifier} from "../interfaces/IStepVerifier.sol";
import {ITaskMarket} from "../interfaces/ITaskMarket.sol";
import {Merkle} from "../lib/Merkle.sol";
import {Descent} from "./Descent.sol";
import {Verdicts} from "./Verdicts.sol";

/// @title The moves, in the order in which a dispute meets them
/// @dev The game walks hashes and spans; words are judged by the step verifier. Whatever the solver reveals is emitted
/// and not stored: the next move proves itself against the hash it folded to.
contract DisputeGame is Verdicts {
    using Descent for Descent.Position;

    /// @notice In place of a counter-example k: the solver must show where what it claims is reached.
    uint32 public constant DEMAND = type(uint32).max;
    /// @notice Most pieces of a revealed span of steps, and of a revealed sum.
    uint256 public constant STEP_FAN = 256;
    uint256 public constant SUM_FAN = 64;

    uint8 private constant FROM_NODE = 1;
    uint8 private constant FROM_STATE = 2;
    uint256 private constant SLOT_HEAD = 14; // source, index, dtype, length; the name follows

    IStepVerifier public immutable verifier;

    constructor(ITaskMarket market_, IStakeVault vault_, ICheckpointLog log_, IStepVerifier verifier_)
        Verdicts(market_, vault_, log_)
    {
        verifier = verifier_;
    }

    /// @inheritdoc IDisputeGame
    function revealSteps(uint256 id, bytes32[] calldata roots) external {
        Dispute storage d = _turn(id, Phase.RevealSteps);
        uint256 count = Descent.pieces(d.hi - d.lo, STEP_FAN);
        if (roots.length != count) revert RootCount(count, roots.length);
        Descent.requireEqual(d.claimed, roots[count - 1]);
        d.list = Merkle.root(roots);
        d.phase = Phase.NameStep;
        emit StepsRevealed(id, roots);
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
        Dispute storage d = _turn(id, Phase.NameStep);
        (uint32 lo, uint32 hi) = (d.lo, d.hi);
        Descent.Position memory list = Descent.whole(Descent.pieces(hi - lo, STEP_FAN), d.list);
        list.leafAt(i, rootAfter, proofAfter);
        if (i != 0) {
            list.leafAt(i - 1, rootBefore, proofBefore);
            d.conceded = rootBefore;
        }
        (lo, hi) = _piece(lo, hi, i, STEP_FAN);
        (d.lo, d.hi, d.claimed, d.phase) = (lo, hi, rootAfter, _nextStepPhase(lo, hi));
        emit StepNamed(id, lo, hi, d.conceded, rootAfter);
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
        Dispute storage d = _turn(id, Phase.RevealTrace);
        (uint32 nodes, uint32 slots) = (d.graph.nodes, d.graph.slots);
        Descent.requireEqual(d.conceded, Merkle.stateRoot(slots, stateTreeBefore));
        Descent.requireEqual(d.claimed, Merkle.stateRoot(slots, stateTree));
        Descent.whole(nodes, nodesTree).requireChildren(nodeChildren);
        Descent.whole(slots, stateTree).requireChildren(slotChildren);
        (d.stateTreeBefore, d.nodesTree, d.stateTree) = (stateTreeBefore, nodesTree, stateTree);
        d.phase = Phase.NameTrace;
        emit TraceRevealed(id, stateTreeBefore, nodesTree, nodeChildren, stateTree, slotChildren);
    }

    /// @inheritdoc IDisputeGame
    function nameSubtree(uint256 id, Tree tree, uint64 index, bytes32 hash, bytes32[] calldata proof) external {
        Dispute storage d = _turnToName(id);
        _enter(d, tree);
        Descent.Position memory position = _revealed(d).subtree(index, hash, proof);
        (d.position, d.phase) = (position, Phase.RevealChildren);
        emit SubtreeNamed(id, tree, position.level, index, hash);
    }

    /// @inheritdoc IDisputeGame
    function revealChildren(uint256 id, bytes32[] calldata children) external {
        Dispute storage d = _turn(id, Phase.RevealChildren);
        Descent.Position memory position = d.position;
        position.requireChildren(children);
        d.phase = Phase.NameChild;
        emit ChildrenRevealed(id, d.tree, position.level, position.index, children);
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
        Dispute storage d = _turnToName(id);
        _enter(d, Tree.Nodes);
        _revealed(d).leafAt(node, root, proof);
        Node memory named;
        (named.leaf, named.root, named.index) = (Merkle.leaf(encoding), root, node);
        _requireInGraph(d.graph, node, named.leaf, encodingProof);
        (named.ending, named.dtype, named.length, named.extent, named.scaled) = verifier.describe(encoding);
        d.node = named;
        bool oneChunk = Merkle.chunks(named.length) == 1;
        if (oneChunk) d.position = Descent.whole(1, bytes32(0)); // its hash is known once the chunk is
        d.phase = oneChunk ? Phase.RevealChunk : Phase.RevealChunks;
        emit NodeNamed(id, node, root);
    }

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
        Dispute storage d = _turnToName(id);
        _enter(d, Tree.Slots);
        _revealed(d).leafAt(slot, root, proof);
        GraphHeader memory graph = d.graph;
        uint256 place = uint256(graph.nodes) + graph.constants + slot;
        _requireInGraph(graph, place, Merkle.leaf(encoding), encodingProof);
        (bool fromNode, uint32 index) = _parseSlot(slot, encoding);
        Descent.Position memory tree =
            fromNode ? Descent.whole(graph.nodes, d.nodesTree) : Descent.whole(graph.slots, d.stateTreeBefore);
        tree.leafAt(index, source, sourceProof);
        emit SlotJudged(id, d.lo, slot, root, source);
        _conclude(id, root == source);
    }

    /// @inheritdoc IDisputeGame
    function revealChunks(uint256 id, bytes32 chunksTree, bytes32[] calldata children) external {
        Dispute storage d = _turn(id, Phase.RevealChunks);
        (uint8 dtype, uint64 length) = (d.node.dtype, d.node.length);
        Descent.requireEqual(d.node.root, Merkle.tensorRoot(dtype, length, chunksTree));
        Descent.Position memory position = Descent.whole(Merkle.chunks(length), chunksTree);
        position.requireChildren(children);
        (d.position, d.tree, d.phase) = (position, Tree.Chunks, Phase.NameChild);
        emit ChunksRevealed(id, chunksTree, children);
    }

    /// @inheritdoc IDisputeGame
    function nameChunk(uint256 id, uint64 index, bytes32 hash, bytes32[] calldata proof) external {
        Dispute storage d = _turn(id, Phase.NameChild);
        _enter(d, Tree.Chunks);
        d.position = _revealed(d).leafAt(index, hash, proof);
        d.phase = Phase.RevealChunk;
        emit ChunkNamed(id, index, hash);
    }

    /// @inheritdoc IDisputeGame
    function revealChunk(uint256 id, bytes calldata chunk) external {
        Dispute storage d = _turn(id, Phase.RevealChunk);
        // A committed leaf may be the hash of anything; only a whole chunk has an element everywhere.
        if (chunk.length != Merkle.CHUNK_BYTES) revert ChunkSize(Merkle.CHUNK_BYTES, chunk.length);
        bytes32 leaf = Merkle.leaf(chunk);
        if (d.position.leaves == 1) {
            Descent.requireEqual(d.node.root, Merkle.tensorRoot(d.node.dtype, d.node.length, leaf));
            d.position.hash = leaf;
        } else {
            Descent.requireEqual(d.position.hash, leaf);
        }
        d.phase = Phase.NameElement;
        emit ChunkRevealed(id, chunk);
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
        Dispute storage d = _turn(id, Phase.NameElement);
        Descent.requireEqual(d.position.hash, Merkle.leaf(chunk));
        uint32 word = _wordAt(chunk, element, d.position.index);
        (d.claim.element, d.claim.word) = (element, word);
        IStepVerifier.Ending ending = d.node.ending;
        if (element >= d.node.length) {
            _judgeElement(id, d, 0); // padding
        } else if (ending == IStepVerifier.Ending.Compute) {
            _judgeElement(id, d, verifier.compute(_evidence(d, encoding, k, openings)));
        } else if (ending == IStepVerifier.Ending.Sum) {
            (d.claim.a, d.claim.b, d.phase) = (0, d.node.extent, Phase.RevealSums);
            emit ElementNamed(id, element, word, ending);
        } else if (k == DEMAND) {
            d.phase = Phase.RevealWitness;
            emit ElementNamed(id, element, word, ending);
        } else {
            int8 order = verifier.compare(_evidence(d, encoding, k, openings), word);
            _judgeExtremum(id, d, k, order);
        }
    }

    /// @inheritdoc IDisputeGame
    function revealWitness(
        uint256 id,
        uint32 k,
        bytes calldata encoding,
        IStepVerifier.Opening[] calldata openings
    ) external {
        Dispute storage d = _turn(id, Phase.RevealWitness);
        int8 order = verifier.compare(_evidence(d, encoding, k, openings), d.claim.word);
        if (order != 0) revert WitnessDiffers(k, order);
        _judgeExtremum(id, d, k, order);
    }

    /// @inheritdoc IDisputeGame
    function revealSums(
        uint256 id,
        int64[] calldata sums,
        int16[2] calldata exponents,
        bytes calldata encoding
    ) external {
        Dispute storage d = _turn(id, Phase.RevealSums);
        Claim memory claim = d.claim;
        uint256 count = Descent.pieces(claim.b - claim.a, SUM_FAN);
        if (sums.length != count) revert SumCount(count, sums.length);
        int256 total;
        for (uint256 i; i < count; ++i) total += sums[i];
        if (claim.b - claim.a == d.node.extent) {
            Descent.requireEqual(d.node.leaf, Merkle.leaf(encoding));
            uint32 word = verifier.rounded(encoding, exponents, total);
            if (word != claim.word) revert RoundedDiffers(claim.word, word);
            d.claim.exponents = claim.exponents = exponents;
        } else if (total != claim.sum) {
            revert SumDiffers(claim.sum, total);
        }
        d.list = keccak256(abi.encode(sums));
        d.phase = Phase.NameSum;
        emit SumsRevealed(id, claim.a, claim.b, claim.exponents, sums);
    }

    /// @inheritdoc IDisputeGame
    function nameSum(uint256 id, uint32 i, int64[] calldata sums) external {
        Dispute storage d = _turn(id, Phase.NameSum);
        (uint32 a, uint32 b) = _pieceOfSum(d, i, sums);
        if (b - a == 1) revert TermCount(i, 1);
        (d.claim.a, d.claim.b, d.claim.sum, d.phase) = (a, b, sums[i], Phase.RevealSums);
        emit SumNamed(id, a, b, sums[i]);
    }

    /// @inheritdoc IDisputeGame
    function proveTerm(
        uint256 id,
        uint32 i,
        int64[] calldata sums,
        bytes calldata encoding,
        IStepVerifier.Opening[] calldata openings
    ) external {
        Dispute storage d = _turn(id, Phase.NameSum);
        (uint32 a, uint32 b) = _pieceOfSum(d, i, sums);
        if (b - a != 1) revert TermCount(i, b - a);
        int256 computed = verifier.term(_evidence(d, encoding, a, openings), d.claim.exponents);
        emit TermJudged(id, d.lo, d.node.index, d.claim.element, a, sums[i], computed);
        _conclude(id, computed == sums[i]);
    }

    /// @inheritdoc IDisputeGame
    function nameExponent(
        uint256 id,
        uint8 operand,
        uint32 k,
        bytes calldata encoding,
        IStepVerifier.Opening[] calldata openings
    ) external {
        Dispute storage d = _turn(id, Phase.NameSum);
        if (operand >= d.node.scaled) revert IStepVerifier.OperandOutOfRange(operand, d.node.scaled);
        d.claim.operand = operand;
        if (k == DEMAND) {
            d.phase = Phase.RevealExponent;
            emit ExponentNamed(id, operand, d.claim.exponents[operand]);
        } else {
            _judgeExponent(id, d, k, _compareExponent(d, k, encoding, openings));
        }
    }

    /// @inheritdoc IDisputeGame
    function revealExponent(
        uint256 id,
        uint32 k,
        bytes calldata encoding,
        IStepVerifier.Opening[] calldata openings
    ) external {
        Dispute storage d = _turn(id, Phase.RevealExponent);
        int8 order = _compareExponent(d, k, encoding, openings);
        if (order != 0) revert WitnessDiffers(k, order);
        _judgeExponent(id, d, k, order);
    }

    function _judgeElement(uint256 id, Dispute storage d, uint32 computed) private {
        uint32 claimed = d.claim.word;
        emit ElementJudged(id, d.lo, d.node.index, d.claim.element, claimed, computed);
        _conclude(id, claimed == computed);
    }

    function _judgeExtremum(uint256 id, Dispute storage d, uint32 k, int8 order) private {
        emit ExtremumJudged(id, d.lo, d.node.index, d.claim.element, k, d.claim.word, order);
        _conclude(id, order <= 0);
    }

    function _judgeExponent(uint256 id, Dispute storage d, uint32 k, int8 order) private {
        uint8 operand = d.claim.operand;
        int16 claimed = d.claim.exponents[operand];
        emit ExponentJudged(id, d.lo, d.node.index, d.claim.element, operand, k, claimed, order);
        _conclude(id, order <= 0);
    }

    /// Order of what the contested operand reads at k.
    function _compareExponent(
        Dispute storage d,
        uint32 k,
        bytes calldata encoding,
        IStepVerifier.Opening[] calldata openings
    ) private view returns (int8) {
        uint8 operand = d.claim.operand;
        return verifier.compareExponent(_evidence(d, encoding, k, openings), operand, d.claim.exponents[operand]);
    }

    /// Step into `tree`: after a trace, nodes and slots both stand revealed; later there is just the one.
    function _enter(Dispute storage d, Tree tree) private {
        if (d.phase == Phase.NameTrace && tree != Tree.Chunks) d.tree = tree;
        if (d.tree != tree) revert WrongTree(d.tree, tree);
    }

    /// The position whose children stand revealed, in the tree that was stepped into.
    function _revealed(Dispute storage d) private view returns (Descent.Position memory) {
        if (d.phase != Phase.NameTrace) return d.position;
        return d.tree == Tree.Nodes
            ? Descent.whole(d.graph.nodes, d.nodesTree)
            : Descent.whole(d.graph.slots, d.stateTree);
    }

    function _requireInGraph(GraphHeader memory graph, uint256 place, bytes32 leaf, bytes32[] calldata proof)
        private
        view
    {
        uint256 leaves = uint256(graph.nodes) + graph.constants + graph.slots + graph.datasets;
        Descent.whole(leaves, graph.tree).leafAt(uint64(place), leaf, proof);
    }

    /// The named node as evidence, with the trees its inputs are opened against.
    function _evidence(
        Dispute storage d,
        bytes calldata encoding,
        uint32 k,
        IStepVerifier.Opening[] calldata openings
    ) private view returns (IStepVerifier.Evidence memory evidence) {
        Descent.requireEqual(d.node.leaf, Merkle.leaf(encoding));
        GraphHeader memory graph = d.graph;
        evidence.roots = IStepVerifier.Roots({
            nodesTree: d.nodesTree,
            stateTree: d.stateTreeBefore,
            graphTree: graph.tree,
            nodes: graph.nodes,
            constants: graph.constants,
            slots: graph.slots,
            datasets: graph.datasets
        });
        (evidence.node, evidence.step, evidence.element, evidence.k) = (d.node.index, d.lo, d.claim.element, k);
        (evidence.encoding, evidence.openings) = (encoding, openings);
    }

    function _pieceOfSum(Dispute storage d, uint32 i, int64[] calldata sums)
        private
        view
        returns (uint32 a, uint32 b)
    {
        Descent.requireEqual(d.list, keccak256(abi.encode(sums)));
        if (i >= sums.length) revert SumOutOfRange(i, sums.length);
        return _piece(d.claim.a, d.claim.b, i, SUM_FAN);
    }

    /// Piece `i` of [a, b) cut into at most `fan`; the caller has checked that there are so many.
    function _piece(uint32 a, uint32 b, uint32 i, uint256 fan) private pure returns (uint32, uint32) {
        uint256 width = Descent.stride(b - a, fan);
        uint256 first = a + i * width;
        uint256 last = first + width;
        return (uint32(first), uint32(last < b ? last : b));
    }

    function _parseSlot(uint32 slot, bytes calldata encoding) private pure returns (bool fromNode, uint32 index) {
        uint8 source = encoding.length < SLOT_HEAD ? 0 : uint8(encoding[0]);
        if (source != FROM_NODE && source != FROM_STATE) revert MalformedSlot(slot, encoding.length, source);
        return (source == FROM_NODE, uint32(bytes4(encoding[1:5])));
    }

    /// Element (counted over the whole tensor) in its chunk; words are little-endian.
    function _wordAt(bytes calldata chunk, uint64 element, uint64 place) private pure returns (uint32 word) {
        if (element / Merkle.CHUNK_ELEMENTS != place) revert ElementOutsideChunk(element, place);
        uint256 offset = (element % Merkle.CHUNK_ELEMENTS) * 4;
        for (uint256 i = 4; i != 0; --i) word = (word << 8) | uint8(chunk[offset + i - 1]);
    }
}
