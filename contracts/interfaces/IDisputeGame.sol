// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {Clocks} from "../dispute/Clocks.sol";
import {Descent} from "../dispute/Descent.sol";
import {IStepVerifier} from "./IStepVerifier.sol";
import {ITaskMarket} from "./ITaskMarket.sol";

/// @title From "this checkpoint is wrong" to one float operation that the contract executes itself
/// @notice The solver reveals what lies below its own hashes, the challenger names the first wrong part of it.
/// Every move is checked when it is made; whose clock runs out loses. The table of moves: docs/protocol.md, section 4.
interface IDisputeGame {
    /// What comes next. `Reveal…` is the solver's move, `Name…` the challenger's.
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
        Convicted, // decided against the solver, and the market refused to slash: see enforce
        Resolved
    }

    /// Which tree the position stands in.
    enum Tree {
        Nodes, // outputs of the step's nodes
        Slots, // claimed state after the step
        Chunks // of the named node's output
    }

    enum Reason {
        Computed, // the contract found who is wrong
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

    /// The named element and, in a sum, the segment [a, b) of its terms with what the solver says they add up to, and
    /// the exponents that it scaled its operands by.
    struct Claim {
        uint64 element;
        uint32 word;
        uint32 a;
        uint32 b;
        int64 sum; // of the segment, once one is named
        uint8 operand; // whose exponent is contested
        int16[2] exponents; // 0 where there is no second operand
    }

    struct Dispute {
        uint256 taskId;
        address challenger;
        uint32 checkpoint;
        Phase phase;
        Tree tree;
        address solver;
        uint32 lo; // steps done, state conceded
        uint32 hi; // steps done, state claimed
        Clocks.State clocks;
        GraphHeader graph;
        bytes32 conceded; // state root after `lo` steps
        bytes32 claimed; // state root after `hi` steps
        bytes32 list; // tree over the revealed step roots, or keccak256(abi.encode(sums))
        bytes32 stateTreeBefore; // below `conceded`, of the named step
        bytes32 nodesTree;
        bytes32 stateTree; // below `claimed`
        Descent.Position position; // what is revealed next, or was revealed last
        Node node;
        Claim claim;
    }

    event Opened(
        uint256 indexed id, uint256 indexed taskId, address indexed challenger,
        uint32 checkpoint, address solver, uint256 bond
    );
    event StepsRevealed(uint256 indexed id, bytes32[] roots);
    event StepNamed(uint256 indexed id, uint32 lo, uint32 hi, bytes32 conceded, bytes32 claimed);
    event TraceRevealed(
        uint256 indexed id, bytes32 stateTreeBefore, bytes32 nodesTree, bytes32[] nodeChildren,
        bytes32 stateTree, bytes32[] slotChildren
    );
    event SubtreeNamed(uint256 indexed id, Tree tree, uint8 level, uint64 index, bytes32 hash);
    event ChildrenRevealed(uint256 indexed id, Tree tree, uint8 level, uint64 index, bytes32[] children);
    event NodeNamed(uint256 indexed id, uint32 node, bytes32 root);
    event ChunksRevealed(uint256 indexed id, bytes32 chunksTree, bytes32[] children);
    event ChunkNamed(uint256 indexed id, uint64 index, bytes32 hash);
    event ChunkRevealed(uint256 indexed id, bytes chunk);
    /// The solver must answer with a witness or with sums.
    event ElementNamed(uint256 indexed id, uint64 element, uint32 word, IStepVerifier.Ending ending);
    event SumsRevealed(uint256 indexed id, uint32 a, uint32 b, int16[2] exponents, int64[] sums);
    event SumNamed(uint256 indexed id, uint32 a, uint32 b, int64 sum);
    /// The solver must answer with a witness.
    event ExponentNamed(uint256 indexed id, uint8 operand, int16 exponent);

    /// What decided: unequal words convict the solver, equal ones the challenger.
    event ElementJudged(
        uint256 indexed id, uint32 step, uint32 node, uint64 element, uint32 claimed, uint32 computed
    );
    /// `order` of the value at k against the claim: 1 convicts the solver; what else is shown, the challenger.
    event ExtremumJudged(
        uint256 indexed id, uint32 step, uint32 node, uint64 element, uint32 k, uint32 claimed, int8 order
    );
    /// The same for the exponent of an operand.
    event ExponentJudged(
        uint256 indexed id, uint32 step, uint32 node, uint64 element, uint8 operand, uint32 k, int16 claimed, int8 order
    );
    event TermJudged(
        uint256 indexed id, uint32 step, uint32 node, uint64 element, uint32 k, int256 claimed, int256 computed
    );
    event SlotJudged(uint256 indexed id, uint32 step, uint32 slot, bytes32 claimed, bytes32 source);

    event Resolved(uint256 indexed id, address indexed winner, address indexed loser, Reason reason);
    /// The task was over before the dispute was; the bond went back in full.
    event Dismissed(uint256 indexed id);
    event SlashFailed(uint256 indexed id, bytes why);

    error WrongPhase(Phase expected, Phase actual);
    error NotRunning(Phase phase);
    error WrongTurn(address mover, address caller);
    error WrongTree(Tree expected, Tree actual);
    error NotTraining(uint256 taskId, ITaskMarket.Status status);
    error StillTraining(uint256 taskId);
    error SelfChallenge(address solver);
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

    /// @notice Challenge checkpoint `checkpoint`: it is wrong, and the one before (or the initial state) is right.
    /// Locks the task's bond from the sender's free balance. The solver is on the move.
    /// @param header preimage of the task's graph root
    function open(uint256 taskId, uint32 checkpoint, GraphHeader calldata header) external returns (uint256 id);

    /// @notice Solver: state roots after lo+w, lo+2w, … , hi steps, with w = ⌈(hi−lo)/256⌉.
    /// The last is the claimed root.
    function revealSteps(uint256 id, bytes32[] calldata roots) external;

    /// @notice Challenger: root `i` of that list is the first wrong one.
    /// @param rootBefore root i−1 with its proof in the tree over the list; both ignored when i is 0
    function nameStep(
        uint256 id, uint32 i, bytes32 rootBefore, bytes32[] calldata proofBefore,
        bytes32 rootAfter, bytes32[] calldata proofAfter
    ) external;

    /// @notice Solver: the trees of the disputed step, lo to lo+1.
    /// @param stateTreeBefore tree below the conceded state root
    /// @param nodesTree tree over the tensor roots of all nodes
    /// @param nodeChildren its hashes two levels down
    /// @param stateTree tree below the claimed state root
    /// @param slotChildren its hashes two levels down
    function revealTrace(
        uint256 id, bytes32 stateTreeBefore, bytes32 nodesTree, bytes32[] calldata nodeChildren,
        bytes32 stateTree, bytes32[] calldata slotChildren
    ) external;

    /// @notice Challenger, where the revealed children are no leaves: `hash` at `index` of their level is the first
    /// wrong one.
    function nameSubtree(uint256 id, Tree tree, uint64 index, bytes32 hash, bytes32[] calldata proof) external;

    /// @notice Solver: hashes two levels (or the one there is) below the named subtree.
    function revealChildren(uint256 id, bytes32[] calldata children) external;

    /// @notice Challenger: node `node` is the first with a wrong output. Concedes every earlier one.
    /// @param root the solver's tensor root of it, which `proof` leads to the last revealed position
    /// @param encodingProof from the leaf of `encoding` to the graph's tree
    function nameNode(
        uint256 id, uint32 node, bytes32 root, bytes32[] calldata proof,
        bytes calldata encoding, bytes32[] calldata encodingProof
    ) external;

    /// @notice Challenger: slot `slot` of the claimed state is not what the graph says it repeats. Decides.
    /// @param root tensor root in the claimed state, which `proof` leads to the last revealed position
    /// @param encodingProof from the leaf of the slot's `encoding` to the graph's tree
    /// @param source tensor root of the node, or of the slot in the state before, that is to be repeated
    /// @param sourceProof to the nodes tree or to the state tree before
    function nameSlot(
        uint256 id, uint32 slot, bytes32 root, bytes32[] calldata proof, bytes calldata encoding,
        bytes32[] calldata encodingProof, bytes32 source, bytes32[] calldata sourceProof
    ) external;

    /// @notice Solver: the chunk tree of the named node's output and its hashes two levels down.
    function revealChunks(uint256 id, bytes32 chunksTree, bytes32[] calldata children) external;

    /// @notice Challenger: the chunk at `index`, whose leaf is `hash`, holds a wrong word.
    function nameChunk(uint256 id, uint64 index, bytes32 hash, bytes32[] calldata proof) external;

    /// @notice Solver: the named chunk (or the only one).
    function revealChunk(uint256 id, bytes calldata chunk) external;

    /// @notice Challenger: `element` of the node's output is wrong. Decides for `map`, `gather` and padding; also for
    /// `max` with a counter-example k. A sum, or `k` = DEMAND, asks the solver to answer.
    /// @param chunk the revealed one
    /// @param openings inputs of the node there, see docs/protocol.md; none where the solver is to answer
    function nameElement(
        uint256 id, uint64 element, bytes calldata chunk, bytes calldata encoding, uint32 k,
        IStepVerifier.Opening[] calldata openings
    ) external;

    /// @notice Solver: the input at `k` equals the claimed extremum. Decides.
    function revealWitness(
        uint256 id, uint32 k, bytes calldata encoding, IStepVerifier.Opening[] calldata openings
    ) external;

    /// @notice Solver: the segment's sum in pieces of w = ⌈(b−a)/64⌉ terms.
    /// @param exponents that the operands are scaled by; like `encoding` needed for the first segment, [0, K), and
    /// then ignored
    function revealSums(uint256 id, int64[] calldata sums, int16[2] calldata exponents, bytes calldata encoding)
        external;

    /// @notice Challenger: piece `i`, of more than one term, is wrong.
    /// @param sums the revealed ones
    function nameSum(uint256 id, uint32 i, int64[] calldata sums) external;

    /// @notice Challenger: piece `i`, of one term, is wrong. Decides.
    function proveTerm(
        uint256 id, uint32 i, int64[] calldata sums, bytes calldata encoding,
        IStepVerifier.Opening[] calldata openings
    ) external;

    /// @notice Challenger, wherever it may name a piece: the exponent of `operand` is wrong. Decides with a
    /// counter-example k; `k` = DEMAND asks the solver to answer.
    /// @param openings the operand at k; none where the solver is to answer
    function nameExponent(
        uint256 id, uint8 operand, uint32 k, bytes calldata encoding, IStepVerifier.Opening[] calldata openings
    ) external;

    /// @notice Solver: what the operand reads at `k` has the claimed exponent. Decides.
    function revealExponent(
        uint256 id, uint32 k, bytes calldata encoding, IStepVerifier.Opening[] calldata openings
    ) external;

    /// @notice Anyone, once the mover's clock has run out: the mover loses.
    function timeout(uint256 id) external;

    /// @notice Either party: the sender loses.
    function concede(uint256 id) external;

    /// @notice Anyone, when the task no longer trains (its solver was convicted in another dispute): the bond goes
    /// back.
    function dismiss(uint256 id) external;

    /// @notice Anyone: slash again, after a conviction that the market refused.
    function enforce(uint256 id) external;

    function dispute(uint256 id) external view returns (Dispute memory);

    /// @notice Who is on the move, and the last timestamp at which it may move. Zero when nobody is.
    function onMove(uint256 id) external view returns (address mover, uint64 deadline);

    function disputeCount() external view returns (uint256);
}
