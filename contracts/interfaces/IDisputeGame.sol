// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {IDispute} from "./IDispute.sol";
import {IStepVerifier} from "./IStepVerifier.sol";

/// @title From "this checkpoint is wrong" to one float operation that the contract executes itself
/// @notice The solver reveals what lies below its own hashes; the challenger names the first wrong part of it.
/// Every move is checked when it is made. The party whose clock runs out loses. docs/protocol.md, section 4, has the
/// table of moves.
interface IDisputeGame is IDispute {
    /// @notice Challenge checkpoint `checkpoint`: it is wrong, and the one before it (or the initial state) is right.
    /// Locks the task's bond from the sender's free balance. The solver moves first. An account may have one running
    /// dispute about a checkpoint.
    /// @param root the one that is wrong: by the time this is mined, the next attempt may have committed a right one
    /// @param header preimage of the task's graph root
    function open(uint256 taskId, uint32 checkpoint, bytes32 root, GraphHeader calldata header)
        external
        returns (uint256 id);

    /// @notice Solver: state roots after lo+w, lo+2w, … , hi steps, with w = ⌈(hi−lo)/256⌉.
    /// The last is the claimed root.
    function revealSteps(uint256 id, bytes32[] calldata roots) external;

    /// @notice Challenger: root `i` of that list is the first wrong one.
    /// @param rootBefore root i−1 with its proof in the tree over the list; ignored if i is 0
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

    /// @notice Challenger, if the revealed children are no leaves: `hash` at `index` of their level is the first wrong
    /// one.
    function nameSubtree(uint256 id, Tree tree, uint64 index, bytes32 hash, bytes32[] calldata proof) external;

    /// @notice Solver: the hashes two levels below the named subtree, or one level if there is only one.
    function revealChildren(uint256 id, bytes32[] calldata children) external;

    /// @notice Challenger: node `node` is the first with a wrong output. All earlier nodes are conceded.
    /// @param root tensor root that the solver claims for it; `proof` leads to the last revealed position
    /// @param encodingProof from the leaf of `encoding` to the graph's tree
    function nameNode(
        uint256 id, uint32 node, bytes32 root, bytes32[] calldata proof,
        bytes calldata encoding, bytes32[] calldata encodingProof
    ) external;

    /// @notice Challenger: slot `slot` of the claimed state differs from what it repeats by the graph. Decides.
    /// @param root tensor root in the claimed state; `proof` leads to the last revealed position
    /// @param encodingProof from the leaf of the slot's `encoding` to the graph's tree
    /// @param source tensor root of what the slot repeats: a node, or a slot of the state before
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

    /// @notice Challenger: `element` of the node's output is wrong. Decides for `map`, `gather` and padding, and for
    /// `max` with a counter-example k. For a sum, and for `max` with `k` = DEMAND, the solver must answer.
    /// @param chunk the revealed one
    /// @param openings inputs of the node at the element, see docs/protocol.md; none if the solver must answer
    function nameElement(
        uint256 id, uint64 element, bytes calldata chunk, bytes calldata encoding, uint32 k,
        IStepVerifier.Opening[] calldata openings
    ) external;

    /// @notice Solver: the input at `k` equals the claimed extremum. Decides.
    function revealWitness(
        uint256 id, uint32 k, bytes calldata encoding, IStepVerifier.Opening[] calldata openings
    ) external;

    /// @notice Solver: the segment's sum in pieces of w = ⌈(b−a)/64⌉ terms.
    /// @param exponents by which the operands are scaled; like `encoding` read for the first segment, [0, K), only
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

    /// @notice Challenger, instead of naming a piece: the exponent of `operand` is wrong. Decides with a
    /// counter-example k; with `k` = DEMAND the solver must answer.
    /// @param openings the operand at k; none if the solver must answer
    function nameExponent(
        uint256 id, uint8 operand, uint32 k, bytes calldata encoding, IStepVerifier.Opening[] calldata openings
    ) external;

    /// @notice Solver: the word that the operand reads at `k` has the claimed exponent. Decides.
    function revealExponent(
        uint256 id, uint32 k, bytes calldata encoding, IStepVerifier.Opening[] calldata openings
    ) external;

    /// @notice Anyone, once the mover's clock has run out: the mover loses.
    function timeout(uint256 id) external;

    /// @notice Either party: the sender loses.
    function concede(uint256 id) external;

    /// @notice Anyone, while the solver is on the move: go on, since the solver has revealed in another dispute of the
    /// task what is due here. It is cheaper than to reveal it again.
    function follow(uint256 id) external;

    /// @notice Anyone, if its attempt is over (the solver was convicted in another dispute): the bond is
    /// returned, and the challenger gets a bounty if its dispute was about what was proved wrong, or nothing was.
    function dismiss(uint256 id) external;

    function dispute(uint256 id) external view returns (Dispute memory);

    /// @notice The party on the move, and the last timestamp at which it may move. Both are 0 if no move is due.
    function onMove(uint256 id) external view returns (address mover, uint64 deadline);

    function disputeCount() external view returns (uint256);
}
