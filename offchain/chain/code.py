"""Whether contracts on a chain are those of this package, byte for byte."""

from __future__ import annotations

from typing import Final

from offchain.chain.client import Chain
from offchain.chain.deployment import CONTRACTS, load_artifact
from offchain.chain.rpc import asking

EMPTY: Final = b"\x7f" + bytes(32)  # PUSH32 of a value that the constructor fills in
HEAD: Final = 32  # bytes with which code begins, before any value that its constructor fills in


def differing(chain: Chain) -> list[str]:
    """The parts of a deployment whose code is not this package's. The token is left out: it may be anybody's."""
    wrong = []
    for part, contract in CONTRACTS.items():
        if part == "token":
            continue
        with asking(f"reading the code of the {part}"):
            code = bytes(chain.w3.eth.get_code(chain.deployment.addresses[part]))
        if not is_made_by(code, bytes.fromhex(load_artifact(contract)["bytecode"].removeprefix("0x"))):
            wrong.append(part)
    return wrong


def is_made_by(code: bytes, creation: bytes) -> bool:
    """Whether creation code leaves this code: it holds it, with zeros where the constructor fills in values.

    Such a value is pushed as a word of its own, so other zeros must be zeros in both.
    """
    at = creation.find(code[:HEAD])
    while code and at >= 0:
        made = creation[at : at + len(code)]
        if len(made) == len(code) and _without_values(code, made) == made:
            return True
        at = creation.find(code[:HEAD], at + 1)
    return False


def _without_values(code: bytes, made: bytes) -> bytes:
    """Code with zeros wherever `made` pushes a word of zeros."""
    at, parts, end = made.find(EMPTY), list[bytes](), 0
    while at >= 0:
        parts += [code[end : at + 1], EMPTY[1:]]
        end = at + len(EMPTY)
        at = made.find(EMPTY, end)
    return b"".join([*parts, code[end:]])
