"""What a contract has stored, shown to who has no node: a block's header, and paths through its tries (EIP-1186).

Whoever knows the hash of a block can check everything here against it, and needs to trust nobody.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import rlp
from eth_utils.crypto import keccak
from rlp.exceptions import RLPException
from trie import HexaryTrie
from trie.exceptions import BadTrieProof, InvalidNode, MissingTraversalNode, MissingTrieNode, ValidationError
from web3 import Web3

from offchain.chain.client import Chain
from offchain.chain.rpc import asking
from offchain.chain.storage import WORD
from offchain.errors import BadBlob, ChainError, ChainUnavailable

# Of a header, in its order (execution-apis and EIPs 1559, 4895, 4844, 4788, 7685): the later ones only where a chain
# has them.
FIELDS: Final = (
    "parentHash", "sha3Uncles", "miner", "stateRoot", "transactionsRoot", "receiptsRoot", "logsBloom", "difficulty",
    "number", "gasLimit", "gasUsed", "timestamp", "extraData", "mixHash", "nonce", "baseFeePerGas", "withdrawalsRoot",
    "blobGasUsed", "excessBlobGas", "parentBeaconBlockRoot", "requestsHash",
)  # fmt: skip
NUMBERS: Final = frozenset(
    {"difficulty", "number", "gasLimit", "gasUsed", "timestamp", "baseFeePerGas", "blobGasUsed", "excessBlobGas"}
)
LEAST_FIELDS: Final = 15
MAX_HEADER: Final = 4_096  # bytes
MAX_NODE: Final = 1_024  # bytes of a trie's node: 17 hashes and some lengths
MAX_DEPTH: Final = 65  # nodes on a path: a key has 64 digits
_MALFORMED: Final = (
    RLPException, BadTrieProof, InvalidNode, MissingTraversalNode, MissingTrieNode, ValidationError,
    TypeError, ValueError, KeyError, IndexError, RecursionError, AttributeError,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Header:
    """A block's header as it is hashed."""

    raw: bytes

    @property
    def hash(self) -> bytes:
        return keccak(self.raw)

    def field(self, name: str) -> bytes:
        """Raises BadBlob where the bytes are no header."""
        if len(self.raw) > MAX_HEADER:
            raise BadBlob(f"header: {len(self.raw)} bytes are above the limit of {MAX_HEADER}")
        try:
            fields = rlp.decode(self.raw)
        except _MALFORMED as error:
            raise BadBlob("header: not the header of a block") from error
        plain = isinstance(fields, list) and all(isinstance(value, bytes) for value in fields)
        if not plain or not LEAST_FIELDS <= len(fields) <= len(FIELDS):
            raise BadBlob("header: not the header of a block")
        return bytes(fields[FIELDS.index(name)])

    @property
    def number(self) -> int:
        return int.from_bytes(self.field("number"))


@dataclass(frozen=True, slots=True)
class Stored:
    """What a contract has stored, with the proofs.

    Attributes:
        address: 20 bytes.
        code: of the contract.
        account: nodes of the trie of accounts, from the root to the contract's.
        slots: key of a storage slot -> nodes of the contract's trie, from the root to that slot.
    """

    address: bytes
    code: bytes
    account: tuple[bytes, ...]
    slots: Mapping[int, tuple[bytes, ...]]

    def words(self, state_root: bytes) -> dict[int, int]:
        """Storage slot -> the word in it, by a block's root of all accounts. Raises BadBlob where a proof fails."""
        name = Web3.to_checksum_address(self.address)
        account = _found(state_root, self.address, self.account, f"account {name}")
        if not isinstance(account, list) or len(account) != 4 or not all(isinstance(a, bytes) for a in account):
            raise BadBlob(f"account {name}: is not on this chain")
        _, _, storage_root, code_hash = account
        if keccak(self.code) != code_hash:
            raise BadBlob(f"account {name}: has other code than is named here")
        words = {}
        for slot, path in self.slots.items():
            word = _found(storage_root, slot.to_bytes(WORD), path, f"account {name}: storage slot {slot:#x}")
            if not isinstance(word, bytes) or len(word) > WORD:
                raise BadBlob(f"account {name}: storage slot {slot:#x}: holds no word")
            words[slot] = int.from_bytes(word)
        return words


def _found(root: bytes, key: bytes, path: tuple[bytes, ...], what: str) -> Any:
    """The value under a key of a trie, decoded; b"" for none. Raises BadBlob."""
    if len(path) > MAX_DEPTH or any(len(node) > MAX_NODE for node in path):
        raise BadBlob(f"{what}: its proof is too long")
    try:
        value = HexaryTrie.get_from_proof(root, keccak(key), [rlp.decode(node) for node in path])
        return rlp.decode(value) if value else b""
    except _MALFORMED as error:
        raise BadBlob(f"{what}: its proof does not hold ({type(error).__name__})") from error


def prove(chain: Chain, wanted: Mapping[str, Collection[int]]) -> tuple[Header, dict[str, Stored]]:
    """The latest block's header, and what parts of a deployment hold there in these storage slots.

    Raises ChainError where the node cannot prove it, ChainUnavailable.
    """
    with asking("reading a block's header"):
        (answer,) = chain.wire.ask([("eth_getBlockByNumber", ("latest", False))])
        header = _header(answer["result"])
        at = str(answer["result"]["number"])
    return header, {part: _proven(chain, part, slots, at) for part, slots in wanted.items()}


def _header(block: Mapping[str, Any]) -> Header:
    """Raises ChainUnavailable for a block of a kind that this version cannot hash."""
    named = [name for name in FIELDS if block.get(name) is not None]
    raw = rlp.encode([_value(name, block[name]) for name in named])
    header = Header(raw)
    if tuple(named) != FIELDS[: len(named)] or header.hash != bytes.fromhex(block["hash"][2:]):
        raise ChainUnavailable("this chain's blocks have a header that is not known here: nothing can be proven by it")
    return header


def _value(name: str, value: str) -> bytes:
    if name not in NUMBERS:
        return bytes.fromhex(value[2:])
    number = int(value, 16)
    return number.to_bytes((number.bit_length() + 7) // 8)


def _proven(chain: Chain, part: str, slots: Iterable[int], at: str) -> Stored:
    address, keys = chain.deployment.addresses[part], sorted(slots)
    asked = [("eth_getProof", (address, [f"{key:#066x}" for key in keys], at)), ("eth_getCode", (address, at))]
    proof, code = chain.wire.ask(asked)
    if "result" not in proof:
        why = proof["error"]["message"]
        raise ChainError(f"the node does not prove what the {part} holds: {why}; ask another one with --rpc")
    with asking(f"reading proofs of the {part}"):
        found = proof["result"]
        paths = [_nodes(entry["proof"]) for entry in found["storageProof"]]
        slots_found = dict(zip(keys, paths, strict=True))
        return Stored(bytes.fromhex(address[2:]), _raw(code["result"]), _nodes(found["accountProof"]), slots_found)


def _nodes(path: Iterable[str]) -> tuple[bytes, ...]:
    return tuple(_raw(node) for node in path)


def _raw(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))
