// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {IDispute} from "../interfaces/IDispute.sol";
import {Clocks} from "./Clocks.sol";
import {Descent} from "./Descent.sol";

/// @title What is stored of a dispute, and whose turn it is
/// @dev The storage that the game and its endings share: all of it is declared here. The order of the fields packs
/// what one move reads and writes into few slots.
abstract contract Turns is IDispute {
    /// A dispute as it is stored. IDispute.Dispute says what its fields hold.
    struct Record {
        uint256 taskId;
        address challenger;
        uint32 lo;
        uint32 hi;
        address solver;
        uint32 checkpoint;
        // every move writes the slot of these six
        Clocks.Duration solverLeft;
        Clocks.Duration challengerLeft;
        Clocks.Instant since;
        Phase phase;
        Tree tree;
        uint8 operand;
        GraphHeader graph;
        bytes32 conceded;
        bytes32 claimed;
        bytes32 list;
        bytes32 stateTreeBefore;
        bytes32 nodesTree;
        bytes32 stateTree;
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

    /// @notice In place of a counter-example k: the solver must show where what it claims is reached.
    uint32 public constant DEMAND = type(uint32).max;
    /// @notice Most pieces of a revealed sum.
    uint256 public constant SUM_FAN = 64;

    /// One bit per phase in which the solver is on the move.
    uint256 private constant SOLVER_PHASES = (1 << uint8(Phase.RevealSteps)) | (1 << uint8(Phase.RevealTrace))
        | (1 << uint8(Phase.RevealChildren)) | (1 << uint8(Phase.RevealChunks)) | (1 << uint8(Phase.RevealChunk))
        | (1 << uint8(Phase.RevealWitness)) | (1 << uint8(Phase.RevealSums)) | (1 << uint8(Phase.RevealExponent));

    mapping(uint256 id => Record) internal _disputes;

    /// A move begins: right phase, right sender, in time. Its time is charged.
    function _turn(uint256 id, Phase expected) internal returns (Record storage d) {
        d = _disputes[id];
        if (d.phase != expected) revert WrongPhase(expected, d.phase);
        _charge(d);
    }

    /// The same for moves that name a part of a revealed trace or of a single revealed tree.
    function _turnToName(uint256 id) internal returns (Record storage d) {
        d = _disputes[id];
        if (d.phase != Phase.NameTrace && d.phase != Phase.NameChild) revert WrongPhase(Phase.NameChild, d.phase);
        _charge(d);
    }

    function _mover(Record storage d) internal view returns (address) {
        return _solverMoves(d.phase) ? d.solver : d.challenger;
    }

    /// What the mover has left on its clock, not counting this turn.
    function _left(Record storage d) internal view returns (Clocks.Duration) {
        return _solverMoves(d.phase) ? d.solverLeft : d.challengerLeft;
    }

    function _solverMoves(Phase phase) internal pure returns (bool) {
        return (SOLVER_PHASES >> uint8(phase)) & 1 == 1;
    }

    /// The mover's clock stops, and the other's begins to run.
    function _charge(Record storage d) private {
        address mover = _mover(d);
        if (msg.sender != mover) revert WrongTurn(mover, msg.sender);
        Clocks.Duration rest = Clocks.charge(_left(d), d.since);
        if (_solverMoves(d.phase)) d.solverLeft = rest;
        else d.challengerLeft = rest;
        d.since = Clocks.current();
    }
}
