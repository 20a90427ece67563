// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

/// @title One element of one node
/// @notice The seam between the dispute game and the numerics: the game walks hashes, this judges words.
/// @dev Stateless. Encodings and meanings: docs/protocol.md.
interface IStepVerifier {
    /// How a dispute about one element of a node ends.
    enum Ending {
        Compute, // map, gather: the contract computes the element
        Extremum, // max: a counter-example or a witness
        Sum // dot, sum, scatter_add: a counter-example or a witness of an exponent, or one term of an exact sum
    }

    /// The trees that a node's inputs are opened against.
    struct Roots {
        bytes32 nodesTree; // outputs of this step's nodes, as the solver claims them
        bytes32 stateTree; // state before the step
        bytes32 graphTree; // leaves of the graph
        uint32 nodes;
        uint32 constants;
        uint32 slots;
        uint32 datasets;
    }

    /// Proof that one element of an input stands in its committed tensor.
    struct Opening {
        bytes32[] refProof; // tensor root -> tree of its source
        bytes32[] chunkProof; // chunk leaf -> chunk tree of the tensor
        bytes chunk; // 4,096 bytes
    }

    /// A node at one element (and one k, where its kind has that axis) with the inputs it reads there.
    struct Evidence {
        Roots roots;
        uint32 node; // index of the node; inputs of source `node` must be earlier
        uint32 step; // t
        uint64 element;
        uint32 k;
        bytes encoding;
        Opening[] openings;
    }

    /// `expected` is the tree of the input's source, `actual` what the opening folds to.
    error OpeningMismatch(uint256 input, bytes32 expected, bytes32 actual);
    /// With too few openings, `expected` counts those that are needed up to this input.
    error OpeningCount(uint256 expected, uint256 actual);
    error ChunkLength(uint256 input, uint256 actual);
    error ElementOutOfRange(uint64 element, uint64 length);
    error ExtentOutOfRange(uint32 k, uint32 extent);
    error InputNotEarlier(uint32 node, uint32 input);
    error MalformedNode(uint256 position);
    error OperandOutOfRange(uint256 operand, uint256 scaled);
    /// A scaled operand has one of −149 to 129; where there is no second one, 0 is claimed.
    error ExponentOutOfRange(uint256 operand, int16 exponent);
    /// The verifier has no judge for nodes of that kind.
    error UnknownKind(uint256 kind);
    error WrongEnding(Ending expected, Ending actual);
    /// Every sum of a node that decodes is far below 2^127.
    error TotalOutOfRange(int256 total);

    /// @notice What the game needs to know about a node.
    /// @return ending how a dispute about an element ends
    /// @return dtype 1 for f32, 2 for i32
    /// @return length number of output elements
    /// @return extent K, 0 for map
    /// @return scaled number of operands that have an exponent: 2 for dot, 1 for sum and scatter_add, else 0
    function describe(bytes calldata encoding)
        external
        pure
        returns (Ending ending, uint8 dtype, uint64 length, uint32 extent, uint8 scaled);

    /// @notice The element of a `map` or `gather`. All inputs are opened.
    function compute(Evidence calldata evidence) external view returns (uint32 word);

    /// @notice Order of the value at k against a claimed `max`: −1 smaller, 0 equal, 1 greater. X is opened at k.
    /// A claimed f32 that is a NaN but not the canonical one counts as smaller than everything.
    function compare(Evidence calldata evidence, uint32 claimed) external view returns (int8 order);

    /// @notice The word that a total S rounds to with claimed exponents (EA and EB, or EX and 0).
    function rounded(bytes calldata encoding, int16[2] calldata exponents, int256 total)
        external
        pure
        returns (uint32 word);

    /// @notice Order of the exponent of what `operand` (0 or 1) reads at k against the claimed one, like `compare`.
    /// Only that operand is opened.
    function compareExponent(Evidence calldata evidence, uint8 operand, int16 claimed)
        external
        view
        returns (int8 order);

    /// @notice The integer that index k adds to the sum with these exponents. Every input is opened, in input order.
    function term(Evidence calldata evidence, int16[2] calldata exponents) external view returns (int256 value);
}
