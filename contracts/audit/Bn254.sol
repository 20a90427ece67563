// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

/// @title Points and BLS signatures of BN254, over the precompiles of EIP-196, EIP-197 and EIP-198
/// @notice Signatures are points of G1. A key is secret · g1 in G1, where keys are added, and secret · g2 in G2,
/// against which signatures are checked. docs/protocol.md, section 6, has the bytes.
/// @dev A precompile that refuses its input takes all the gas that it was given. So every point from outside is checked
/// here before it gets there; only the subgroup of G2 is left to the pairing, which gets bounded gas.
library Bn254 {
    struct G1 {
        uint256 x;
        uint256 y;
    }

    /// x = x0 + x1·i and y = y0 + y1·i, in the order of EIP-197.
    struct G2 {
        uint256 x1;
        uint256 x0;
        uint256 y1;
        uint256 y0;
    }

    /// @notice The field that coordinates are in, and the number of points of each group.
    uint256 internal constant P = 0x30644e72e131a029b85045b68181585d97816a916871ca8d3c208c16d87cfd47;
    uint256 internal constant ORDER = 0x30644e72e131a029b85045b68181585d2833e84879b9709143e1f593f0000001;

    /// @notice Most tries of `hashToG1`. A try finds a point with probability 0.47, so that all fail with probability
    /// 0.53^256 < 2^-235. Then the message can't be signed, for anybody.
    uint256 internal constant MAX_TRIES = 256;

    uint256 private constant ROOT = (P + 1) / 4; // a^ROOT is a square root of a, if a has one, as P mod 4 = 3
    uint256 private constant WHOLE = 5 * P; // the largest multiple of P that 256 bits hold

    // b of the twist's y² = x³ + b: 3 / (9 + i)
    uint256 private constant B1 = 0x9713b03af0fed4cd2cafadeed8fdf4a74fa084e52d1852e4a2bd0685c315d2;
    uint256 private constant B0 = 0x2b149d40ceb8aaae81be18991be06ac3b5b4c5e559dbefa33267e6dc24a138e5;

    // −g2
    uint256 private constant NEG_X1 = 0x198e9393920d483a7260bfb731fb5d25f1aa493335a9e71297e485b7aef312c2;
    uint256 private constant NEG_X0 = 0x1800deef121f1e76426a00665e5c4479674322d4f75edadd46debd5cd992f6ed;
    uint256 private constant NEG_Y1 = 0x275dc4a288d1afb3cbb1ac09187524c7db36395df7be3b99e673b13a075a65ec;
    uint256 private constant NEG_Y0 = 0x1d9befcd05a5323e6da4d435f3b617cdb3af83285c2df711ef39c01571827f9d;

    // precompiles
    uint256 private constant POWER = 5;
    uint256 private constant ADD = 6;
    uint256 private constant MULTIPLY = 7;
    uint256 private constant PAIRING = 8;

    uint256 private constant PAIRING_GAS = 226_000; // twice what two pairs cost since EIP-1108

    error CoordinateTooLarge(uint256 coordinate);
    error PointAtInfinity();
    error NotOnCurve(uint256 x, uint256 y);
    error NotOnTwist(uint256 x1, uint256 x0, uint256 y1, uint256 y0);
    error NotInSubgroup(uint256 x1, uint256 x0, uint256 y1, uint256 y0);
    /// No try found a point: see MAX_TRIES.
    error NoPoint(bytes32 seed);
    /// The point (x, y) does not sign the message whose hash is `seed`, or the key's two points are of different
    /// secrets.
    error WrongSignature(bytes32 seed, uint256 x, uint256 y);
    error NoSigners();
    /// A bit is set that belongs to none of the keys.
    error BitmapTooLong(uint256 keys, uint256 bitmap);
    error KeyTwice(uint256 first, uint256 second);
    /// The precompile fails only when it runs out of gas.
    error PrecompileFailed(uint256 precompile);

    /// @notice Refuses what is no point of G1, and infinity. All points of the curve are in G1.
    function requireG1(G1 memory point) internal pure {
        (uint256 x, uint256 y) = (point.x, point.y);
        _requireCoordinate(x);
        _requireCoordinate(y);
        if (x == 0 && y == 0) revert PointAtInfinity();
        if (mulmod(y, y, P) != _cubic(x)) revert NotOnCurve(x, y);
    }

    /// @notice Refuses what is no point of the twist, and infinity. Who uses the point in a pairing learns there
    /// whether it is in G2.
    function requireTwist(G2 memory point) internal pure {
        (uint256 x1, uint256 x0, uint256 y1, uint256 y0) = (point.x1, point.x0, point.y1, point.y0);
        _requireCoordinate(x1);
        _requireCoordinate(x0);
        _requireCoordinate(y1);
        _requireCoordinate(y0);
        if (x1 | x0 | y1 | y0 == 0) revert PointAtInfinity();
        (uint256 a0, uint256 a1) = _times(x0, x1, x0, x1);
        (a0, a1) = _times(a0, a1, x0, x1);
        (uint256 c0, uint256 c1) = _times(y0, y1, y0, y1);
        if (c0 != addmod(a0, B0, P) || c1 != addmod(a1, B1, P)) revert NotOnTwist(x1, x0, y1, y0);
    }

    /// @notice The point of G1 that stands for a message: the first try of h = keccak256(seed ‖ n), n = 0, 1, …, that
    /// is below 5·P and gives x = h mod P a y on the curve; the even one. `seed` is the message's keccak256.
    /// @dev Nobody knows its logarithm, and every x of the curve is as likely as every other. Whoever may choose
    /// parts of a message can search for one that needs n more tries, for about 2^n hashes; a try takes 2,100 gas.
    function hashToG1(bytes32 seed) internal view returns (G1 memory) {
        for (uint256 n; n < MAX_TRIES; ++n) {
            uint256 x = uint256(keccak256(abi.encode(seed, n)));
            if (x >= WHOLE) continue;
            x %= P;
            uint256 square = _cubic(x);
            uint256 y = _power(square, ROOT);
            if (mulmod(y, y, P) == square) return G1(x, y & 1 == 0 ? y : P - y);
        }
        revert NoPoint(seed);
    }

    /// @notice Refuses a signature that is not the key's over the message.
    /// @param key a point of G2, checked when it was registered
    function requireSigned(G2 memory key, bytes memory message, G1 memory signature) internal view {
        requireG1(signature);
        requireTwist(key);
        bytes32 seed = keccak256(message);
        if (!_areEqual(signature, hashToG1(seed), key)) revert WrongSignature(seed, signature.x, signature.y);
    }

    /// @notice The same, and that both points of the key have one secret, which only `point` may be known to have.
    /// @dev e(s, g2) = e(h, key) and e(point, g2) = e(g1, key), the second to the power of a factor that depends on all
    /// of them: one pairing instead of two. If either is false, at most one factor of 2^254 hides it.
    /// @param point a point of G1
    function requireSignedByBoth(G1 memory point, G2 memory key, bytes memory message, G1 memory signature)
        internal
        view
    {
        requireG1(signature);
        requireTwist(key);
        bytes32 seed = keccak256(message);
        uint256 factor = uint256(keccak256(abi.encode(signature, point, key, seed)));
        G1 memory left = _add(signature, _multiply(point, factor));
        G1 memory right = _add(hashToG1(seed), _multiply(G1(1, 2), factor));
        if (!_areEqual(left, right, key)) revert WrongSignature(seed, signature.x, signature.y);
    }

    /// @notice Refuses a signature that is not the sum of those of `signers` over the message.
    /// @param keys in G1, each checked and shown to be somebody's when it was registered: else a key could be made that
    /// takes the others out of the sum
    /// @param signers bit i stands for keys[i]
    /// @param sum of the signers' keys in G2, by whoever calls; checked against the sum in G1
    function requireSignedByAll(
        G1[] memory keys,
        uint256 signers,
        G2 memory sum,
        bytes memory message,
        G1 memory signature
    ) internal view {
        requireSignedByBoth(sumOf(keys, signers), sum, message, signature);
    }

    /// @notice The sum of the keys that a bitmap chooses.
    function sumOf(G1[] memory keys, uint256 signers) internal view returns (G1 memory sum) {
        if (signers == 0) revert NoSigners();
        if (signers >> keys.length != 0) revert BitmapTooLong(keys.length, signers);
        for (uint256 i; i < keys.length; ++i) {
            if (signers >> i & 1 == 0) continue;
            G1 memory key = keys[i];
            for (uint256 j; j < i; ++j) {
                if (signers >> j & 1 != 0 && keys[j].x == key.x && keys[j].y == key.y) revert KeyTwice(j, i);
            }
            sum = _add(sum, key);
        }
        if (sum.x | sum.y == 0) revert PointAtInfinity();
    }

    /// Whether e(a, g2) = e(c, key).
    function _areEqual(G1 memory a, G1 memory c, G2 memory key) private view returns (bool) {
        uint256[12] memory input = [
            a.x, a.y, NEG_X1, NEG_X0, NEG_Y1, NEG_Y0, c.x, c.y, key.x1, key.x0, key.y1, key.y0
        ];
        bool done;
        uint256 answer;
        assembly ("memory-safe") {
            done := staticcall(PAIRING_GAS, PAIRING, input, 384, 0, 32)
            answer := mload(0)
        }
        // All that the precompile could refuse was checked, but this.
        if (!done) revert NotInSubgroup(key.x1, key.x0, key.y1, key.y0);
        return answer == 1;
    }

    function _add(G1 memory a, G1 memory b) private view returns (G1 memory sum) {
        uint256[4] memory input = [a.x, a.y, b.x, b.y];
        bool done;
        assembly ("memory-safe") {
            done := staticcall(gas(), ADD, input, 128, sum, 64)
        }
        if (!done) revert PrecompileFailed(ADD);
    }

    function _multiply(G1 memory a, uint256 factor) private view returns (G1 memory product) {
        uint256[3] memory input = [a.x, a.y, factor];
        bool done;
        assembly ("memory-safe") {
            done := staticcall(gas(), MULTIPLY, input, 96, product, 64)
        }
        if (!done) revert PrecompileFailed(MULTIPLY);
    }

    function _power(uint256 base, uint256 exponent) private view returns (uint256 power) {
        uint256[6] memory input = [32, 32, 32, base, exponent, P];
        bool done;
        assembly ("memory-safe") {
            done := staticcall(gas(), POWER, input, 192, 0, 32)
            power := mload(0)
        }
        if (!done) revert PrecompileFailed(POWER);
    }

    function _requireCoordinate(uint256 coordinate) private pure {
        if (coordinate >= P) revert CoordinateTooLarge(coordinate);
    }

    /// x³ + 3
    function _cubic(uint256 x) private pure returns (uint256) {
        return addmod(mulmod(mulmod(x, x, P), x, P), 3, P);
    }

    /// (a0 + a1·i)·(b0 + b1·i)
    function _times(uint256 a0, uint256 a1, uint256 b0, uint256 b1) private pure returns (uint256, uint256) {
        uint256 real = addmod(mulmod(a0, b0, P), P - mulmod(a1, b1, P), P);
        return (real, addmod(mulmod(a0, b1, P), mulmod(a1, b0, P), P));
    }
}
