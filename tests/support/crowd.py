"""Many transactions at once, as a flood of strangers sends them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from offchain.chain.abi import interface
from tests.support.deployment import GAS_PRICE, Funded

GAS: Final = 1_000_000  # of each
TOGETHER: Final = 30  # as many as fit into a block


def flood(place: Funded, name: str, part: str, function: str, arguments: Sequence[Sequence[Any]]) -> None:
    """Sends one call of a function by a person for each of `arguments`; the node signs, some go into one block."""
    call = {"from": place.address(name), "to": place.deployment.addresses[part], "gas": hex(GAS)}
    data = ["0x" + interface(part).call_data(function, args).hex() for args in arguments]
    wire = place.quick(name).wire
    with place.clock.stopped():
        for first in range(0, len(data), TOGETHER):
            some = data[first : first + TOGETHER]
            sent = wire.ask(
                [("eth_sendTransaction", [call | {"data": each, "gasPrice": hex(GAS_PRICE)}]) for each in some]
            )
            place.clock.tick()
            receipts = wire.ask([("eth_getTransactionReceipt", [answer["result"]]) for answer in sent])
            assert {receipt["result"]["status"] for receipt in receipts} == {"0x1"}
