"""Strings on chain are whatever bytes a stranger sent; nobody stumbles over them."""

from __future__ import annotations

from dataclasses import astuple

import pytest
from eth_abi.abi import encode

from offchain.chain.abi import interface
from tests.support.tasks import unposted
from tests.support.wire import call_with, marked

RAW = b"http://host/\xff\xfe\x80\x1b[2J"


def test_terms_with_a_string_that_is_not_utf_8_are_read() -> None:
    terms = astuple(unposted(uri=marked(len(RAW))))
    answer = call_with("market", "post", [terms], RAW)[4:]  # a call's arguments have the form of an answer
    uri = interface("market").result("terms", answer)["uri"]
    assert uri == "http://host/\\xff\\xfe\\x80\x1b[2J"
    assert uri.encode()  # so that it can be hashed, and noted in a database


def test_an_event_with_such_a_string_is_read() -> None:
    events = interface("log").events
    topic = next(topic for topic, entry in events.items() if entry["name"] == "Committed")
    plain = [item["type"] for item in events[topic]["inputs"] if not item["indexed"]]
    indexed = [item for item in events[topic]["inputs"] if item["indexed"]]
    values = [RAW if kind == "string" else bytes(32) if kind == "bytes32" else 0 for kind in plain]
    data = encode(["bytes" if kind == "string" else kind for kind in plain], values)
    found = interface("log").event([topic, *[bytes(32)] * len(indexed)], data)
    assert found is not None
    assert found[1]["uri"].startswith("http://host/\\xff")


def test_what_is_no_string_at_all_is_still_refused() -> None:
    with pytest.raises(ValueError, match="not what the contract's interface says"):
        interface("market").result("terms", bytes(31))
