// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {IStepVerifier} from "../interfaces/IStepVerifier.sol";
import {Attempts} from "../lib/Attempts.sol";
import {Merkle} from "../lib/Merkle.sol";
import {Words} from "../lib/Words.sol";
import {Sources} from "../step/Kinds.sol";
import {Clocks} from "./Clocks.sol";
import {Descent} from "./Descent.sol";
import {Turns} from "./Turns.sol";

/// @title The moves that end a dispute: about a slot; about a node, from its element to a word, a term or an exponent
/// @dev The game calls this code with delegatecall: storage, sender and events are the game's. Called directly it finds
/// no disputes, and refuses every move. It moves no money: it says who wins, and the game concludes.
/// Every verb has the selector of the game's verb of the same name; IDisputeGame says what it does.
contract Endings is Turns {
    using Descent for Descent.Position;

    enum Winner {
        Undecided,
        Solver,
        Challenger
    }

    uint256 private constant SLOT_HEAD = 14; // source, index, dtype, length; the name follows

    IStepVerifier private immutable _verifier;

    constructor(IStepVerifier verifier_) {
        _verifier = verifier_;
    }

    function nameSlot(
        uint256 id,
        uint32 slot,
        bytes32 root,
        bytes32[] calldata proof,
        bytes calldata encoding,
        bytes32[] calldata encodingProof,
        bytes32 source,
        bytes32[] calldata sourceProof
    ) external returns (Winner) {
        Record storage d = _turnToName(id);
        _enter(d, Tree.Slots);
        _positionOf(d).leafAt(slot, root, proof);
        GraphHeader memory graph = _graphOf(d);
        uint256 place = uint256(graph.nodes) + graph.constants + slot;
        _requireInGraph(graph, place, Merkle.leaf(encoding), encodingProof);
        (bool fromNode, uint32 index) = _parseSlot(slot, encoding);
        Descent.Position memory tree = fromNode
            ? Descent.whole(graph.nodes, _traceOf(d).nodesTree)
            : Descent.whole(graph.slots, _traceOf(d).stateTreeBefore);
        tree.leafAt(index, source, sourceProof);
        emit SlotJudged(id, d.lo, slot, root, source);
        return root == source ? Winner.Solver : Winner.Challenger;
    }

    function nameElement(
        uint256 id,
        uint64 element,
        bytes calldata chunk,
        bytes calldata encoding,
        uint32 k,
        IStepVerifier.Opening[] calldata openings
    ) external returns (Winner) {
        Record storage d = _turn(id, Phase.NameElement);
        Descent.requireEqual(d.position.hash, Merkle.leaf(chunk)); // of a whole chunk, see revealChunk
        uint64 place = element / uint64(Merkle.CHUNK_ELEMENTS);
        if (place != d.position.index) revert ElementOutsideChunk(element, d.position.index);
        uint32 word = Words.wordAt(chunk, element % Merkle.CHUNK_ELEMENTS);
        (d.element, d.word) = (element, word);
        IStepVerifier.Ending ending = d.node.ending;
        if (element >= d.node.length) return _judgeElement(id, d, 0); // padding
        if (ending == IStepVerifier.Ending.Compute) {
            int256 computed = _judge(IStepVerifier.compute.selector, d, encoding, k, openings, 0, 0);
            return _judgeElement(id, d, uint32(uint256(computed)));
        }
        if (ending == IStepVerifier.Ending.Extremum && k != DEMAND) {
            return _judgeExtremum(id, d, k, _compare(d, encoding, k, openings));
        }
        emit ElementNamed(id, element, word, ending);
        bool summed = ending == IStepVerifier.Ending.Sum;
        if (summed) (d.a, d.b) = (0, d.node.extent);
        _ask(d, summed ? Phase.RevealSums : Phase.RevealWitness);
        return Winner.Undecided;
    }

    function revealWitness(uint256 id, uint32 k, bytes calldata encoding, IStepVerifier.Opening[] calldata openings)
        external
        returns (Winner)
    {
        Record storage d = _turn(id, Phase.RevealWitness);
        int8 order = _compare(d, encoding, k, openings);
        if (order != 0) revert WitnessDiffers(k, order);
        return _judgeExtremum(id, d, k, order);
    }

    function revealSums(uint256 id, int64[] calldata sums, int16[2] calldata exponents, bytes calldata encoding)
        external
        returns (Winner)
    {
        Record storage d = _turn(id, Phase.RevealSums);
        (uint32 a, uint32 b) = (d.a, d.b);
        uint256 count = Descent.pieces(b - a, SUM_FAN);
        if (sums.length != count) revert SumCount(count, sums.length);
        int256 total;
        for (uint256 i; i < count; ++i) total += sums[i];
        if (b - a == d.node.extent) {
            Descent.requireEqual(d.node.leaf, Merkle.leaf(encoding));
            uint32 word = _verifier.rounded(encoding, exponents, total);
            if (word != d.word) revert RoundedDiffers(d.word, word);
            (d.first, d.second) = (exponents[0], exponents[1]);
        } else if (total != d.sum) {
            revert SumDiffers(d.sum, total);
        }
        _revealHere(d, _hash(sums), Phase.NameSum);
        emit SumsRevealed(id, a, b, [d.first, d.second], sums);
        return Winner.Undecided;
    }

    function nameSum(uint256 id, uint32 i, int64[] calldata sums) external returns (Winner) {
        Record storage d = _turn(id, Phase.NameSum);
        (uint32 a, uint32 b) = _pieceOfSum(d, i, sums);
        if (b - a == 1) revert TermCount(i, 1);
        (d.a, d.b, d.sum) = (a, b, sums[i]);
        emit SumNamed(id, a, b, sums[i]);
        _ask(d, Phase.RevealSums);
        return Winner.Undecided;
    }

    function proveTerm(
        uint256 id,
        uint32 i,
        int64[] calldata sums,
        bytes calldata encoding,
        IStepVerifier.Opening[] calldata openings
    ) external returns (Winner) {
        Record storage d = _turn(id, Phase.NameSum);
        (uint32 a, uint32 b) = _pieceOfSum(d, i, sums);
        if (b - a != 1) revert TermCount(i, b - a);
        int256 computed = _judge(IStepVerifier.term.selector, d, encoding, a, openings, d.first, d.second);
        emit TermJudged(id, d.lo, d.node.index, d.element, a, sums[i], computed);
        return computed == sums[i] ? Winner.Solver : Winner.Challenger;
    }

    function nameExponent(
        uint256 id,
        uint8 operand,
        uint32 k,
        bytes calldata encoding,
        IStepVerifier.Opening[] calldata openings
    ) external returns (Winner) {
        Record storage d = _turn(id, Phase.NameSum);
        if (operand >= d.node.scaled) revert OperandOutOfRange(operand, d.node.scaled);
        int16 claimed = _exponent(d, operand);
        if (k != DEMAND) {
            return _judgeExponent(id, d, operand, k, _compareExponent(d, encoding, k, openings, operand, claimed));
        }
        d.operand = operand;
        emit ExponentNamed(id, operand, claimed);
        _ask(d, Phase.RevealExponent);
        return Winner.Undecided;
    }

    function revealExponent(uint256 id, uint32 k, bytes calldata encoding, IStepVerifier.Opening[] calldata openings)
        external
        returns (Winner)
    {
        Record storage d = _turn(id, Phase.RevealExponent);
        uint8 operand = d.operand;
        int8 order = _compareExponent(d, encoding, k, openings, operand, _exponent(d, operand));
        if (order != 0) revert WitnessDiffers(k, order);
        return _judgeExponent(id, d, operand, k, order);
    }

    /// @notice See IDisputeGame. Nobody needs it on chain, and the game has no room for it.
    function dispute(uint256 id) external view returns (Dispute memory) {
        Record storage d = _disputes[id];
        Dispute memory shown;
        (shown.taskId, shown.attempt) = (Attempts.taskOf(d.attemptId), Attempts.numberOf(d.attemptId));
        (shown.challenger, shown.checkpoint) = (d.challenger, d.checkpoint);
        (shown.place, shown.phase, shown.tree, shown.solver) = (d.place, d.phase, d.tree, d.solver);
        (shown.lo, shown.hi) = (d.lo, d.hi);
        Clocks.Shared storage clock = _clocks[d.attemptId];
        Clocks.Instant since = _solverMoves(d.phase) ? clock.since : d.since;
        shown.clocks = Clocks.State(clock.left, d.challengerLeft, since);
        shown.graph = _graphOf(d);
        (shown.conceded, shown.claimed) = (d.conceded, d.claimed);
        Trace storage trace = _traceOf(d);
        (shown.stateTreeBefore, shown.nodesTree, shown.stateTree) =
            (trace.stateTreeBefore, trace.nodesTree, trace.stateTree);
        (shown.position, shown.node) = (d.position, d.node);
        shown.claim = Claim(d.element, d.word, d.a, d.b, d.sum, d.operand, [d.first, d.second]);
        return shown;
    }

    /// @notice See IDisputeGame. It is here because the game has no room for it.
    function onMove(uint256 id) external view returns (address mover, uint64 deadline) {
        Record storage d = _disputes[id];
        if (!_isRunning(d.phase)) return (address(0), 0);
        Clocks.Shared storage clock = _clocks[d.attemptId];
        Clocks.Instant last = _solverMoves(d.phase)
            ? Clocks.deadline(clock.left, clock.since)
            : Clocks.deadline(d.challengerLeft, d.since);
        return (_mover(d), Clocks.Instant.unwrap(last));
    }

    function _parseSlot(uint32 slot, bytes calldata encoding) private pure returns (bool fromNode, uint32 index) {
        uint8 source = encoding.length < SLOT_HEAD ? 0 : uint8(encoding[0]);
        fromNode = source == Sources.NODE;
        if (!fromNode && source != Sources.STATE) revert MalformedSlot(slot, encoding.length, source);
        index = uint32(bytes4(encoding[1:5]));
    }

    function _judgeElement(uint256 id, Record storage d, uint32 computed) private returns (Winner) {
        uint32 claimed = d.word;
        emit ElementJudged(id, d.lo, d.node.index, d.element, claimed, computed);
        return claimed == computed ? Winner.Solver : Winner.Challenger;
    }

    function _judgeExtremum(uint256 id, Record storage d, uint32 k, int8 order) private returns (Winner) {
        emit ExtremumJudged(id, d.lo, d.node.index, d.element, k, d.word, order);
        return order <= 0 ? Winner.Solver : Winner.Challenger;
    }

    function _judgeExponent(uint256 id, Record storage d, uint8 operand, uint32 k, int8 order)
        private
        returns (Winner)
    {
        emit ExponentJudged(id, d.lo, d.node.index, d.element, operand, k, _exponent(d, operand), order);
        return order <= 0 ? Winner.Solver : Winner.Challenger;
    }

    /// Order of the value at k against the claimed extremum.
    function _compare(
        Record storage d,
        bytes calldata encoding,
        uint32 k,
        IStepVerifier.Opening[] calldata openings
    ) private view returns (int8) {
        uint32 claimed = d.word;
        return int8(_judge(IStepVerifier.compare.selector, d, encoding, k, openings, int256(uint256(claimed)), 0));
    }

    /// Order of what the contested operand reads at k against the claimed exponent.
    function _compareExponent(
        Record storage d,
        bytes calldata encoding,
        uint32 k,
        IStepVerifier.Opening[] calldata openings,
        uint8 operand,
        int16 claimed
    ) private view returns (int8) {
        bytes4 question = IStepVerifier.compareExponent.selector;
        return int8(_judge(question, d, encoding, k, openings, int256(uint256(operand)), claimed));
    }

    /// Asks the verifier `question(evidence, first, second)`, where the evidence is the named node at k. A question
    /// with fewer arguments ignores the rest.
    /// @dev IStepVerifier.Evidence is encoded straight from calldata: a struct would first be copied to memory with
    /// all its chunks, and then be copied again. Fields in a row are encoded like the struct, except that offsets
    /// count from the first argument and not from the struct, which begins three words later.
    function _judge(
        bytes4 question,
        Record storage d,
        bytes calldata encoding,
        uint32 k,
        IStepVerifier.Opening[] calldata openings,
        int256 first,
        int256 second
    ) private view returns (int256) {
        Descent.requireEqual(d.node.leaf, Merkle.leaf(encoding));
        bytes memory asked = abi.encodeWithSelector(
            question, 96, first, second, _roots(d), d.node.index, d.lo, d.element, k, encoding, openings
        );
        assembly ("memory-safe") {
            let offsets := add(asked, 484) // after length, selector, 3 arguments, 7 words of roots and 4 words
            mstore(offsets, sub(mload(offsets), 96))
            mstore(add(offsets, 32), sub(mload(add(offsets, 32)), 96))
        }
        (bool answered, bytes memory answer) = address(_verifier).staticcall(asked);
        if (!answered) {
            assembly ("memory-safe") {
                revert(add(answer, 32), mload(answer))
            }
        }
        return abi.decode(answer, (int256));
    }

    /// The trees that inputs of the named node are opened against.
    function _roots(Record storage d) private view returns (IStepVerifier.Roots memory) {
        GraphHeader storage graph = _graphOf(d);
        Trace storage trace = _traceOf(d);
        return IStepVerifier.Roots({
            nodesTree: trace.nodesTree,
            stateTree: trace.stateTreeBefore,
            graphTree: graph.tree,
            nodes: graph.nodes,
            constants: graph.constants,
            slots: graph.slots,
            datasets: graph.datasets
        });
    }

    function _exponent(Record storage d, uint8 operand) private view returns (int16) {
        return operand == 0 ? d.first : d.second;
    }

    function _pieceOfSum(Record storage d, uint32 i, int64[] calldata sums)
        private
        view
        returns (uint32 a, uint32 b)
    {
        Descent.requireEqual(d.position.hash, _hash(sums));
        if (i >= sums.length) revert SumOutOfRange(i, sums.length);
        return Descent.piece(d.a, d.b, i, SUM_FAN);
    }

    /// keccak256(abi.encode(sums)), where encoding them one by one would cost more than the rest of the move.
    function _hash(int64[] calldata sums) private pure returns (bytes32 hash) {
        assembly ("memory-safe") {
            let at := mload(0x40)
            let size := shl(5, sums.length)
            mstore(at, 32)
            mstore(add(at, 32), sums.length)
            calldatacopy(add(at, 64), sums.offset, size)
            hash := keccak256(at, add(size, 64))
        }
    }
}
