// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {Clocks} from "../dispute/Clocks.sol";
import {Descent} from "../dispute/Descent.sol";
import {IStepVerifier} from "./IStepVerifier.sol";

/// @title What a dispute consists of, what its moves announce, and why a move is refused
interface IDispute {
    /// The move that is due. The solver makes the moves `Reveal…`, the challenger the moves `Name…`.
    enum Phase {
        None, // no such dispute
        RevealSteps,
        NameStep,
        RevealTrace,
        NameTrace, // a node or a slot, or a subtree of either
        RevealChildren,
        NameChild, // of `tree`
        RevealChunks,
        RevealChunk,
        NameElement,
        RevealWitness,
        RevealSums,
        NameSum,
        RevealExponent,
        Resolved
    }

    /// The tree that the position belongs to.
    enum Tree {
        Nodes, // outputs of the step's nodes
        Slots, // claimed state after the step
        Chunks // of the named node's output
    }

    enum Reason {
        Computed, // the contract computed who is wrong
        TimedOut,
        Conceded
    }

    /// Preimage of a graph root.
    struct GraphHeader {
        uint32 nodes;
        uint32 constants;
        uint32 slots;
        uint32 datasets;
        bytes32 tree;
    }

    /// The named node.
    struct Node {
        bytes32 leaf; // of its encoding
        bytes32 root; // tensor root that the solver claims for its output
        uint32 index;
        IStepVerifier.Ending ending;
        uint8 dtype;
        uint64 length; // elements of the output
        uint32 extent; // K
        uint8 scaled; // operands that have an exponent
    }

    /// The named element. In a sum also the segment [a, b) of its terms, the sum that the solver claims for it, and the
    /// exponents by which the solver scaled the operands.
    struct Claim {
        uint64 element;
        uint32 word;
        uint32 a;
        uint32 b;
        int64 sum; // of the segment, once a segment is named
        uint8 operand; // the one whose exponent is contested
        int16[2] exponents; // the second is 0 if there is no second operand
    }

    struct Dispute {
        uint256 taskId;
        uint8 attempt;
        address challenger;
        uint32 checkpoint;
        uint32 place; // disputes of the attempt that ran when it was opened
        Phase phase;
        Tree tree;
        address solver;
        uint32 lo; // steps after which the state is conceded
        uint32 hi; // steps after which the state is disputed
        Clocks.State clocks;
        GraphHeader graph;
        bytes32 conceded; // state root after `lo` steps
        bytes32 claimed; // state root after `hi` steps
        bytes32 stateTreeBefore; // below `conceded`, of the named step
        bytes32 nodesTree;
        bytes32 stateTree; // below `claimed`
        Descent.Position position; // revealed by the next move, or by the last one; of sums, their hash
        Node node;
        Claim claim;
    }

    event Opened(
        uint256 indexed id, uint256 indexed taskId, address indexed challenger,
        uint32 checkpoint, address solver, uint256 bond, uint8 attempt
    );
    /// Step roots, a trace and the children of a position serve all disputes about them; `id` is where it was.
    event StepsRevealed(uint256 indexed id, uint32 lo, uint32 hi, bytes32[] roots);
    event StepNamed(uint256 indexed id, uint32 lo, uint32 hi, bytes32 conceded, bytes32 claimed);
    event TraceRevealed(uint256 indexed id, uint32 step, bytes32[] nodeChildren, bytes32[] slotChildren);
    event SubtreeNamed(uint256 indexed id, Tree tree, uint8 level, uint64 index, bytes32 hash);
    /// `node` counts only for a tree of chunks.
    event ChildrenRevealed(
        uint256 indexed id, uint32 step, Tree tree, uint32 node, uint8 level, uint64 index, bytes32[] children
    );
    event NodeNamed(uint256 indexed id, uint32 node, bytes32 root);
    event ChunksRevealed(uint256 indexed id, uint32 step, uint32 node, bytes32[] children);
    event ChunkNamed(uint256 indexed id, uint64 index, bytes32 hash);
    event ChunkRevealed(uint256 indexed id, bytes chunk);
    /// The solver must answer with a witness or with sums.
    event ElementNamed(uint256 indexed id, uint64 element, uint32 word, IStepVerifier.Ending ending);
    event SumsRevealed(uint256 indexed id, uint32 a, uint32 b, int16[2] exponents, int64[] sums);
    event SumNamed(uint256 indexed id, uint32 a, uint32 b, int64 sum);
    /// The solver must answer with a witness.
    event ExponentNamed(uint256 indexed id, uint8 operand, int16 exponent);

    /// The two words that decide. If they differ the solver is convicted, else the challenger loses.
    event ElementJudged(
        uint256 indexed id, uint32 step, uint32 node, uint64 element, uint32 claimed, uint32 computed
    );
    /// `order` compares the value at k with the claim: 1 convicts the solver; with 0 or −1 the challenger loses.
    event ExtremumJudged(
        uint256 indexed id, uint32 step, uint32 node, uint64 element, uint32 k, uint32 claimed, int8 order
    );
    /// The same comparison for the exponent of an operand.
    event ExponentJudged(
        uint256 indexed id, uint32 step, uint32 node, uint64 element, uint8 operand, uint32 k, int16 claimed, int8 order
    );
    event TermJudged(
        uint256 indexed id, uint32 step, uint32 node, uint64 element, uint32 k, int256 claimed, int256 computed
    );
    event SlotJudged(uint256 indexed id, uint32 step, uint32 slot, bytes32 claimed, bytes32 source);

    event Resolved(uint256 indexed id, address indexed winner, address indexed loser, Reason reason);
    /// The attempt ended before the dispute did. The bond was returned in full.
    event Dismissed(uint256 indexed id);
    /// What was due was revealed in another dispute.
    event Followed(uint256 indexed id, Phase phase);
    /// Paid out of a convicted solver's stake: to whoever proved it wrong, and to others who challenged it.
    event Rewarded(uint256 indexed id, address indexed challenger, uint256 amount);

    error WrongPhase(Phase expected, Phase actual);
    error NotRunning(Phase phase);
    error WrongTurn(address mover, address caller);
    error WrongTree(Tree expected, Tree actual);
    error StillTraining(uint256 taskId);
    error SelfChallenge(address solver);
    error OtherRoot(bytes32 committed, bytes32 challenged);
    error AlreadyChallenged(uint256 taskId, uint32 checkpoint, address challenger);
    error NotRevealed(uint256 id, Phase phase);
    error NotAParty(uint256 id, address caller);
    error RootCount(uint256 expected, uint256 actual);
    error MalformedSlot(uint32 slot, uint256 length, uint8 source);
    error ChunkSize(uint256 expected, uint256 actual);
    error ElementOutsideChunk(uint64 element, uint64 chunk);
    error WitnessDiffers(uint32 k, int8 order);
    error SumCount(uint256 expected, uint256 actual);
    error SumDiffers(int256 expected, int256 actual);
    error RoundedDiffers(uint32 claimed, uint32 actual);
    error SumOutOfRange(uint256 index, uint256 count);
    error TermCount(uint256 index, uint256 terms);
    error OperandOutOfRange(uint256 operand, uint256 scaled);
}
