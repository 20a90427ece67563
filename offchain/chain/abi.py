"""Encodes calls, and decodes answers, events and errors, by the contracts' ABIs, which are part of the package.

Everything decoded here came over the network. Data that does not fit the ABI raises ValueError, and nothing else.
Strings on chain are whatever bytes a stranger sent. Those that are not UTF-8 are read all the same, each wrong byte as
`\\xff`: whoever reads every task must not stumble over one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from eth_abi.abi import encode
from eth_abi.codec import ABIDecoder
from eth_abi.decoding import StringDecoder
from eth_abi.exceptions import DecodingError, EncodingError, ParseError
from eth_abi.registry import ABIRegistry, registry
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from offchain.chain.deployment import CONTRACTS, load_artifact

Entry = Mapping[str, Any]

ERROR_STRING: Final[Entry] = {"type": "error", "name": "Error", "inputs": [{"name": "message", "type": "string"}]}
PANIC: Final[Entry] = {"type": "error", "name": "Panic", "inputs": [{"name": "code", "type": "uint256"}]}


def _lenient() -> ABIDecoder:
    known: ABIRegistry = registry.copy()  # type: ignore[no-untyped-call]
    known.unregister_decoder("string")
    text = StringDecoder(handle_string_errors="backslashreplace")  # type: ignore[no-untyped-call]
    known.register_decoder("string", text, label="string")
    return ABIDecoder(known)


_DECODER: Final = _lenient()


@dataclass(frozen=True, slots=True)
class Event:
    """One decoded log entry."""

    address: str  # checksummed, of the contract
    name: str
    args: Mapping[str, Any]
    block: int
    index: int  # within the block
    transaction: bytes = b""  # hash of the one that caused it


class Interface:
    """One contract's ABI. Function names are unique in our contracts."""

    def __init__(self, abi: Sequence[Entry]) -> None:
        self.functions = {entry["name"]: entry for entry in abi if entry["type"] == "function"}
        self.events = {keccak(text=signature(entry)): entry for entry in abi if entry["type"] == "event"}
        self.errors = {selector(entry): entry for entry in abi if entry["type"] == "error"}

    def call_data(self, function: str, args: Sequence[Any]) -> bytes:
        """Bytes of a call. Raises ValueError for arguments that do not fit, KeyError for an unknown function."""
        entry = self.functions[function]
        types = [type_of(item) for item in entry["inputs"]]
        if len(types) != len(args):
            raise ValueError(f"{function} takes {len(types)} arguments, has {len(args)}")
        try:
            return selector(entry) + encode(types, args)
        except (EncodingError, TypeError, OverflowError) as error:
            raise ValueError(f"{function}: {error}") from error

    def result(self, function: str, data: bytes) -> Any:
        """What a call returned: one value, or a tuple of several; structs by field name. Raises ValueError."""
        outputs = self.functions[function]["outputs"]
        values = decode_values(outputs, data)
        return values[0] if len(values) == 1 else values

    def event(self, topics: Sequence[bytes], data: bytes) -> tuple[str, dict[str, Any]] | None:
        """Name and arguments of a log entry; None for an event that the ABI does not know. Raises ValueError."""
        entry = self.events.get(topics[0]) if topics else None
        if entry is None:
            return None
        indexed = [item for item in entry["inputs"] if item["indexed"]]
        if len(topics) != 1 + len(indexed):
            raise ValueError(f"{entry['name']} has {len(topics)} topics")
        args = dict(zip(names(indexed), decode_values(indexed, b"".join(topics[1:])), strict=True))
        plain = [item for item in entry["inputs"] if not item["indexed"]]
        return entry["name"], args | dict(zip(names(plain), decode_values(plain, data), strict=True))


@cache
def interface(part: str) -> Interface:
    """The interface of a part of a deployment ("vault", "market", ...)."""
    return Interface(load_artifact(CONTRACTS[part])["abi"])


@cache
def known_errors() -> dict[bytes, Entry]:
    """Every typed error of every contract, by selector: the contract that a call goes to may call others."""
    found: dict[bytes, Entry] = {selector(entry): entry for entry in (ERROR_STRING, PANIC)}
    for part in CONTRACTS:
        found |= interface(part).errors
    return found


def names(items: Sequence[Entry]) -> list[str]:
    """Names of parameters; a parameter without a name gets its position."""
    return [item["name"] or str(n) for n, item in enumerate(items)]


def type_of(item: Entry) -> str:
    """Canonical type of a parameter, structs as tuples."""
    kind: str = item["type"]
    if not kind.startswith("tuple"):
        return kind
    inner = ",".join(type_of(component) for component in item["components"])
    return f"({inner}){kind.removeprefix('tuple')}"


def signature(entry: Entry) -> str:
    return f"{entry['name']}({','.join(type_of(item) for item in entry['inputs'])})"


def selector(entry: Entry) -> bytes:
    """First four bytes of a call or of a typed error."""
    return keccak(text=signature(entry))[:4]


def decode_values(items: Sequence[Entry], data: bytes) -> tuple[Any, ...]:
    """The values in `data`; structs are dicts by field name. Raises ValueError."""
    try:
        raw = _DECODER.decode([type_of(item) for item in items], data)
    except (DecodingError, ParseError, OverflowError) as error:
        raise ValueError(f"not what the contract's interface says: {error}") from error
    return tuple(_named(item, value) for item, value in zip(items, raw, strict=True))


def _named(item: Entry, value: Any) -> Any:
    if item["type"] == "address":
        return to_checksum_address(value)
    if item["type"] == "tuple[]":
        return tuple(_named({**item, "type": "tuple"}, each) for each in value)
    if item["type"] != "tuple":
        return value
    components = item["components"]
    return {c["name"]: _named(c, v) for c, v in zip(components, value, strict=True)}
