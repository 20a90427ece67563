"""What only an attacker sends: calls whose bytes no client of ours would write."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from offchain.chain.abi import interface
from offchain.chain.transactions import Mined
from tests.support.deployment import Funded, NodeSender

MARK: Final = "\u2588"  # stands where the raw bytes go


def marked(size: int) -> str:
    """A text of that many bytes, to be replaced by `call_with`."""
    return MARK * (size // 3) + "~" * (size % 3)


def call_with(part: str, function: str, args: Sequence[Any], raw: bytes) -> bytes:
    """The bytes of a call in which one argument is `marked(len(raw))`, with `raw` in its place."""
    data = interface(part).call_data(function, args)
    mark = marked(len(raw)).encode()
    assert data.count(mark) == 1
    return data.replace(mark, raw)


def send_raw(place: Funded, person: str, part: str, function: str, args: Sequence[Any], raw: bytes) -> Mined:
    """Sends `call_with` from a person's account."""
    sender = NodeSender(place.clock, place.address(person))
    return sender.send(place.deployment.addresses[part], call_with(part, function, args, raw), f"{part}.{function}")
