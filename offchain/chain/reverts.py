"""Why a contract refused a call, in words."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any, Final

from offchain.chain.abi import Entry, decode_values, known_errors, names
from offchain.errors import ChainError
from offchain.market.money import tokens
from offchain.market.view import Phase, Status, TreeName
from offchain.moments import local
from offchain.text import printable

ENUMS: Final = {
    "enum ITaskMarket.Status": Status,
    "enum IDispute.Phase": Phase,
    "enum IDispute.Tree": TreeName,
}

MONEY: Final = frozenset(
    {"InsufficientFree", "InsufficientPot", "PriceTooHigh", "StakeTooSmall", "ERC20InsufficientBalance"}
)  # in all numbers
TIMES: Final = frozenset({"readyAt", "current", "ends", "ended", "deadline"})
NO_TIME: Final = 1 << 33  # no timestamp of the next centuries

REMEDIES: Final = {  # how the contracts refuse what people ask for by hand -> what to do
    "ERC20InsufficientBalance": "`offchain account fund --to ADDRESS --tokens N` sends its wallet more",
    "InsufficientFree": "`offchain vault deposit N` moves more from its wallet into the vault",
    "ZeroAmount": "name an amount above 0",
    "NothingToWithdraw": "`offchain vault withdraw N` asks for a withdrawal first",
    "WithdrawalNotReady": "wait until then",
    "NotAVerifier": "`offchain worker --role verifier` enters it in the register; start it once before",
    "NotEnrolled": "`offchain verifier enroll` registers its signing key first",
    "NothingToRelease": "`offchain verifier unstake N` takes it out of the stake first",
    "NotReleased": "wait until then",
    "NotRegistered": "it is in the register no more, or never was",
    "OwnableUnauthorizedAccount": "only the account that deployed may: on a local chain, --dev-account 0",
}
MAX_SHOWN = 200  # characters of one argument; a hostile node may send any number


class Reverted(ChainError):
    """A contract refused a call.

    Attributes:
        name: of the typed error; "Error" for a plain message, "Panic" for a check that the compiler added, the
            selector in hex for an error that no artifact has, "" if there was no data.
        arguments: its arguments by name.
    """

    def __init__(self, what: str, name: str, arguments: Mapping[str, Any]) -> None:
        self.what, self.name, self.arguments = what, name, dict(arguments)
        shown = ", ".join(f"{key}={_said(name, key, value)}" for key, value in self.arguments.items())
        said = f"{what} was refused: {name}({shown})" if name else f"{what} was refused without a reason"
        super().__init__(f"{said}; {REMEDIES[name]}" if name in REMEDIES else said)


def _said(error: str, key: str, value: object) -> str:
    """An argument as people read it: money in tokens, timestamps as local times."""
    if isinstance(value, int) and not isinstance(value, Enum):
        if error in MONEY:
            return tokens(value)
        if key in TIMES and 0 < value < NO_TIME:
            return local(value)
    return show(value)


def reverted(what: str, data: object) -> Reverted:
    """The error in a revert's data, which is hex text, bytes, or a dict that some nodes wrap around them."""
    raw = revert_bytes(data)
    entry = known_errors().get(raw[:4])
    if entry is None:
        return Reverted(what, f"0x{raw[:4].hex()}" if raw else "", {})
    try:
        values = decode_values(entry["inputs"], raw[4:])
    except ValueError:
        return Reverted(what, entry["name"], {"undecodable": raw[4:]})
    named = zip(names(entry["inputs"]), map(_enumerated, entry["inputs"], values), strict=True)
    return Reverted(what, entry["name"], dict(named))


def _enumerated(item: Entry, value: Any) -> Any:
    """The member of a known enum that a value stands for, else the value."""
    enum = ENUMS.get(item.get("internalType", ""))
    return next((member for member in enum or () if member == value), value)


def revert_bytes(data: object) -> bytes:
    """The bytes of a revert; empty if there are none."""
    if isinstance(data, Mapping):
        return revert_bytes(data.get("result", data.get("data")))
    if isinstance(data, bytes):
        return data
    if not isinstance(data, str):
        return b""
    try:
        return bytes.fromhex(data[data.find("0x") + 2 :] if "0x" in data else data)
    except ValueError:
        return b""


def show(value: object) -> str:
    """One argument for people: bytes in hex, at most MAX_SHOWN characters, all of them printable."""
    text = "0x" + value.hex() if isinstance(value, bytes) else str(value)
    text = value.name if isinstance(value, Enum) else text
    return printable(text, MAX_SHOWN)
