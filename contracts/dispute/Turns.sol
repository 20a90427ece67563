// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {IDispute} from "../interfaces/IDispute.sol";
import {Attempts} from "../lib/Attempts.sol";
import {Merkle} from "../lib/Merkle.sol";
import {Clocks} from "./Clocks.sol";
import {Descent} from "./Descent.sol";

/// @title What is stored of a dispute, whose turn it is, and what the solver has revealed
/// @dev The storage that the game and its endings share: all of it is declared here. The order of the fields packs
/// what one move reads and writes into few slots.
/// Step roots, a step's trees and the children of their positions serve every dispute of the attempt that stands at the
/// same spot. A step has one trace, whoever asks for it; so below a step a tree, a level and an index say which hash
/// is meant. A chunk and sums are revealed in each dispute: they are cheap to compute, and keeping them costs more gas
/// than sending them again.
abstract contract Turns is IDispute {
    using Clocks for Clocks.Shared;
    using Descent for Descent.Position;

    /// A dispute as it is stored. IDispute.Dispute says what its fields hold.
    struct Record {
        // one slot
        address challenger;
        uint64 attemptId; // Attempts.id
        uint32 place;
        // one slot, which every move writes
        address solver;
        Clocks.Duration challengerLeft;
        Clocks.Instant since; // of the challenger's turn
        Phase phase;
        Tree tree;
        // one slot
        uint32 lo;
        uint32 hi;
        uint32 checkpoint;
        uint8 operand;
        bytes32 conceded;
        bytes32 claimed;
        Descent.Position position;
        Node node;
        // the claim, with both exponents
        uint64 element;
        uint32 word;
        uint32 a;
        uint32 b;
        int64 sum;
        int16 first;
        int16 second;
    }

    /// The trees of a step, as the solver has revealed them.
    struct Trace {
        bytes32 stateTreeBefore;
        bytes32 nodesTree;
        bytes32 stateTree;
    }

    /// @notice In place of a counter-example k: the solver must show where what it claims is reached.
    uint32 public constant DEMAND = type(uint32).max;
    /// @notice Most pieces of a revealed sum.
    uint256 public constant SUM_FAN = 64;

    /// One bit per phase in which the solver is on the move.
    uint256 private constant SOLVER_PHASES = (1 << uint8(Phase.RevealSteps)) | (1 << uint8(Phase.RevealTrace))
        | (1 << uint8(Phase.RevealChildren)) | (1 << uint8(Phase.RevealChunks)) | (1 << uint8(Phase.RevealChunk))
        | (1 << uint8(Phase.RevealWitness)) | (1 << uint8(Phase.RevealSums)) | (1 << uint8(Phase.RevealExponent));

    mapping(uint256 id => Record) internal _disputes;

    /// The solver's clock in each attempt.
    mapping(uint256 attemptId => Clocks.Shared) internal _clocks;

    /// Preimage of each task's graph root, once a dispute has shown it. Endings, which runs on the game's storage, only
    /// reads it.
    // slither-disable-next-line uninitialized-state
    mapping(uint256 taskId => GraphHeader) internal _graphs;

    /// What the solver has revealed at a spot: the tree over a list of step roots, a position's own hash, a tree of
    /// chunks. 0 if nothing.
    mapping(bytes32 spot => bytes32) private _revealed;
    mapping(bytes32 spot => Trace) private _traces;

    /// A move begins: right phase, right sender, in time. A challenger's time is charged.
    function _turn(uint256 id, Phase expected) internal returns (Record storage d) {
        d = _disputes[id];
        if (d.phase != expected) revert WrongPhase(expected, d.phase);
        _begin(d);
    }

    /// The same for moves that name a part of a revealed trace or of a single revealed tree.
    function _turnToName(uint256 id) internal returns (Record storage d) {
        d = _disputes[id];
        if (d.phase != Phase.NameTrace && d.phase != Phase.NameChild) revert WrongPhase(Phase.NameChild, d.phase);
        _begin(d);
    }

    /// The challenger has made its move, and the solver has to reveal something. If it is revealed already, the
    /// challenger goes on at once.
    function _ask(Record storage d, Phase next) internal {
        d.phase = next;
        if (!_catchUp(d)) _clocks[d.attemptId].wait();
    }

    /// The solver has made its move: it revealed `value` here. A list that is revealed once is not replaced by another.
    function _reveal(Record storage d, bytes32 value) internal {
        bytes32 spot = _spot(d, d.phase);
        bytes32 before = _revealed[spot];
        if (before == 0) _revealed[spot] = value;
        else Descent.requireEqual(before, value);
        _take(d, value);
        _proceed(d);
    }

    /// The solver has made its move: it revealed, for this dispute alone, what has this hash.
    function _revealHere(Record storage d, bytes32 hash, Phase next) internal {
        (d.position.hash, d.phase) = (hash, next);
        _proceed(d);
    }

    function _revealTrace(Record storage d, Trace memory trace) internal {
        Trace storage kept = _traces[_spot(d, Phase.RevealTrace)];
        if (kept.nodesTree == 0) {
            (kept.stateTreeBefore, kept.nodesTree, kept.stateTree) =
                (trace.stateTreeBefore, trace.nodesTree, trace.stateTree);
        } else {
            Descent.requireEqual(kept.nodesTree, trace.nodesTree); // the roots fix the other two
        }
        d.phase = Phase.NameTrace;
        _proceed(d);
    }

    /// Goes on where the solver has revealed, in another dispute, what is due here.
    function _catchUp(Record storage d) internal returns (bool) {
        Phase phase = d.phase;
        if (phase > Phase.RevealChunks) return false;
        if (phase == Phase.RevealTrace) {
            if (_traceOf(d).nodesTree == 0) return false;
            d.phase = Phase.NameTrace;
            return true;
        }
        bytes32 value = _revealed[_spot(d, phase)];
        if (value == 0) return false;
        _take(d, value);
        return true;
    }

    /// It is the challenger's turn again.
    function _proceed(Record storage d) internal {
        _clocks[d.attemptId].proceed();
        d.since = Clocks.current();
    }

    function _graphOf(Record storage d) internal view returns (GraphHeader storage) {
        return _graphs[Attempts.taskOf(d.attemptId)];
    }

    /// The trace of the step that the dispute has come to. Empty if it is not revealed.
    function _traceOf(Record storage d) internal view returns (Trace storage) {
        return _traces[_spot(d, Phase.RevealTrace)];
    }

    /// The tree over the step roots that the solver revealed between `lo` and `hi`.
    function _stepsOf(Record storage d) internal view returns (bytes32) {
        return _revealed[_spot(d, Phase.RevealSteps)];
    }

    /// Enters `tree`. A revealed trace shows the trees of nodes and slots; later only one tree is shown.
    function _enter(Record storage d, Tree tree) internal {
        if (d.phase == Phase.NameTrace && tree != Tree.Chunks) d.tree = tree;
        if (d.tree != tree) revert WrongTree(d.tree, tree);
    }

    /// The position whose children are revealed, in the tree that was entered.
    function _positionOf(Record storage d) internal view returns (Descent.Position memory) {
        if (d.phase != Phase.NameTrace) return d.position;
        return d.tree == Tree.Nodes
            ? Descent.whole(_graphOf(d).nodes, _traceOf(d).nodesTree)
            : Descent.whole(_graphOf(d).slots, _traceOf(d).stateTree);
    }

    function _requireInGraph(GraphHeader memory graph, uint256 place, bytes32 leaf, bytes32[] calldata proof)
        internal
        view
    {
        uint256 leaves = uint256(graph.nodes) + graph.constants + graph.slots + graph.datasets;
        Descent.whole(leaves, graph.tree).leafAt(uint64(place), leaf, proof);
    }

    function _mover(Record storage d) internal view returns (address) {
        return _solverMoves(d.phase) ? d.solver : d.challenger;
    }

    function _solverMoves(Phase phase) internal pure returns (bool) {
        return (SOLVER_PHASES >> uint8(phase)) & 1 == 1;
    }

    function _isRunning(Phase phase) internal pure returns (bool) {
        return phase != Phase.None && phase != Phase.Resolved;
    }

    function _begin(Record storage d) private {
        address mover = _mover(d);
        if (msg.sender != mover) revert WrongTurn(mover, msg.sender);
        if (_solverMoves(d.phase)) {
            _clocks[d.attemptId].requireTime();
        } else {
            d.challengerLeft = Clocks.charge(d.challengerLeft, d.since);
            d.since = Clocks.current();
        }
    }

    /// From a phase of the solver to the challenger's next one.
    function _take(Record storage d, bytes32 value) private {
        Phase phase = d.phase;
        if (phase == Phase.RevealSteps) {
            d.phase = Phase.NameStep;
        } else if (phase == Phase.RevealChildren) {
            d.phase = Phase.NameChild;
        } else {
            d.position = Descent.whole(Merkle.chunks(d.node.length), value);
            (d.tree, d.phase) = (Tree.Chunks, Phase.NameChild);
        }
    }

    /// Where a dispute stands when something is revealed in this phase. Two disputes of an attempt that stand at the
    /// same spot ask for the same thing.
    function _spot(Record storage d, Phase phase) private view returns (bytes32) {
        uint256 place;
        if (phase == Phase.RevealChildren) {
            place = uint256(uint8(d.tree)) << 72 | uint256(d.position.level) << 64 | d.position.index;
            if (d.tree == Tree.Chunks) place |= uint256(d.node.index) << 80;
        } else if (phase == Phase.RevealChunks) {
            place = d.node.index;
        }
        return keccak256(abi.encode(d.attemptId, uint256(uint8(phase)) << 64 | uint256(d.lo) << 32 | d.hi, place));
    }
}
