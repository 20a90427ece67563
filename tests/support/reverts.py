"""Which typed error a call was refused with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from eth_abi import decode
from eth_utils import abi_to_signature, function_signature_to_4byte_selector
from web3.contract import Contract
from web3.exceptions import ContractCustomError, ContractLogicError


def typed_error(contract: Contract, data: str) -> tuple[str, tuple[Any, ...]]:
    """Name and values of the error in `data`, by the contract's ABI."""
    raw = bytes.fromhex(data.removeprefix("0x"))
    for entry in contract.abi:
        if entry["type"] == "error":
            signature = abi_to_signature(entry)
            if function_signature_to_4byte_selector(signature) == raw[:4]:
                types = signature[signature.index("(") + 1 : -1]
                return entry["name"], decode(types.split(",") if types else [], raw[4:])
    return data[:10], ()


@contextmanager
def reverts(contract: Contract, name: str, *values: Any) -> Iterator[list[Any]]:
    """The block must be refused with the error `name`, with these first values. Yields a list of all its values."""
    seen: list[Any] = []
    with pytest.raises((ContractCustomError, ContractLogicError)) as caught:
        yield seen
    error, actual = typed_error(contract, str(caught.value.data))
    assert (error, actual[: len(values)]) == (name, values), f"{error}{actual}"
    seen.extend(actual)
