"""Nodes that lie or do not answer, and errors that no contract defines."""

from __future__ import annotations

import gzip
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from web3 import Web3

from offchain.chain import rpc
from offchain.chain.client import Chain
from offchain.chain.ganache import Ganache
from offchain.chain.reader import Reader
from offchain.chain.reverts import reverted
from offchain.chain.rpc import Wire
from offchain.errors import BadInput, ChainError, ChainUnavailable
from offchain.market.view import SOLVER
from tests.support.deployment import QUICK, Funded


@pytest.fixture(scope="module")
def built(ganache: Ganache) -> Funded:
    return Funded.kept(ganache)


@dataclass
class Liar:
    """A node that answers each method as the test says, and 0x0 to all others."""

    url: str
    answers: dict[str, Any] = field(default_factory=dict)
    raw: bytes | None = None
    pause: float = 0.0  # seconds between two bytes
    headers: dict[str, str] = field(default_factory=dict)

    def answer(self, question: dict[str, Any]) -> bytes:
        if self.raw is not None:
            return self.raw
        result = self.answers.get(question["method"], "0x0")
        return json.dumps({"jsonrpc": "2.0", "id": question["id"], "result": result}).encode()


@pytest.fixture
def liar() -> Iterator[Liar]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = node.answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            for name, value in ({"Content-Length": str(len(body))} | node.headers).items():
                self.send_header(name, value)
            self.close_connection = True
            self.end_headers()
            if not node.pause:
                self.wfile.write(body)
                return
            with suppress(OSError):  # whoever asked has left
                for byte in body:
                    self.wfile.write(bytes([byte]))
                    time.sleep(node.pause)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    node = Liar(f"http://127.0.0.1:{server.server_port}/secret-token")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield node
    server.shutdown()
    server.server_close()


def lied_to(built: Funded, liar: Liar) -> Chain:
    return Chain(liar.url, built.deployment, built.accounts["solver"], QUICK)


def test_a_chain_whose_number_is_none(built: Funded, liar: Liar) -> None:
    liar.answers = {"eth_chainId": {"a": "\x1b[2J"}}
    with pytest.raises(ChainError, match="is on chain 1337, not") as raised:
        built.deployment.require_on(Web3(Wire(liar.url)))
    assert "\x1b" not in str(raised.value)


@pytest.mark.parametrize(
    "raw",
    [b"", b"no json", b"[]", b"{}", b"null", b'{"result"', b'{"error": 5}', b'{"error": {}}', b"[" * 100_000],
)
def test_answer_that_is_none(built: Funded, liar: Liar, raw: bytes) -> None:
    liar.raw = raw
    with pytest.raises(ChainUnavailable, match="does not answer as a node does"):
        lied_to(built, liar).head()


@pytest.mark.parametrize("result", [None, 5, "x", "0x", [], {}, "0x" + "ff" * 10_000, {"number": "0x1"}])
@pytest.mark.parametrize(
    "look",
    [
        lambda chain: chain.head(),
        lambda chain: chain.free(),
        lambda chain: chain.logs(["game"], 0, 5),
        lambda chain: chain.task(0, None),
        lambda chain: chain.settle(),
        lambda chain: Reader(chain).read(),
        lambda chain: chain.register(SOLVER, ""),
    ],
)
def test_answer_of_the_wrong_shape(built: Funded, liar: Liar, result: Any, look: Callable[[Chain], Any]) -> None:
    methods = ("eth_getBlockByNumber", "eth_call", "eth_getLogs", "eth_getTransactionCount", "eth_chainId")
    liar.answers = dict.fromkeys(methods, result)
    chain = lied_to(built, liar)
    try:
        seen = look(chain)
    except (ChainUnavailable, ChainError):
        return
    # An answer of the right shape is believed: an empty list of events, a number.
    assert seen in ([], None) or (look.__code__.co_names[0] == "free" and isinstance(seen, int))


def test_oversized_answer_is_refused(liar: Liar) -> None:
    liar.raw = b" " * 10_001
    with pytest.raises(ChainUnavailable, match="more than 10000 bytes"):
        Wire(liar.url, max_answer=10_000).make_request("eth_chainId", [])  # type: ignore[arg-type]


def test_an_answer_that_comes_byte_by_byte_is_not_waited_for(liar: Liar, monkeypatch: pytest.MonkeyPatch) -> None:
    liar.raw, liar.pause = b" " * 100, 0.05
    monkeypatch.setattr(rpc, "WHOLE_TIMEOUT", 0.3)
    began = time.monotonic()
    with pytest.raises(ChainUnavailable, match=r"has not answered in full after 0\.3 s"):
        Wire(liar.url).make_request("eth_chainId", [])  # type: ignore[arg-type]
    assert time.monotonic() - began < 4


def test_an_answer_that_is_compressed_or_cut_short(liar: Liar) -> None:
    liar.raw = gzip.compress(b'{"jsonrpc": "2.0", "id": 0, "result": "0x5"}')
    liar.headers = {"Content-Encoding": "gzip"}
    assert Wire(liar.url).make_request("eth_chainId", [])["result"] == "0x5"  # type: ignore[arg-type]
    liar.headers = {"Content-Encoding": "gzip", "Content-Length": str(len(liar.raw) + 5), "Connection": "close"}
    with pytest.raises(ChainUnavailable, match="no answer from the chain"):
        Wire(liar.url).make_request("eth_chainId", [])  # type: ignore[arg-type]


def test_foreign_events_are_not_taken_in(built: Funded, liar: Liar) -> None:
    entry = {
        "address": "0x" + "12" * 20,
        "topics": [],
        "data": "0x",
        "blockNumber": "0x1",
        "logIndex": "0x0",
        "blockHash": "0x" + "00" * 32,
        "transactionHash": "0x" + "00" * 32,
        "transactionIndex": "0x0",
        "removed": False,
    }
    liar.answers["eth_getLogs"] = [entry]
    assert lied_to(built, liar).logs(["game"], 0, 5) == []


def test_silent_chain_is_unavailable_and_its_address_is_kept_secret(built: Funded) -> None:
    chain = Chain("http://user:secret@127.0.0.1:9/secret-token", built.deployment, None)
    with pytest.raises(ChainUnavailable, match=r"no answer from the chain at http://127\.0\.0\.1:9") as caught:
        chain.head()
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["", "127.0.0.1:8545", "file:///etc/passwd", "http://"])
def test_address_that_is_none_is_refused(built: Funded, url: str) -> None:
    with pytest.raises(BadInput):
        Chain(url, built.deployment, None)


def test_unknown_and_mangled_errors_are_one_readable_line() -> None:
    assert "0xdeadbeef" in str(reverted("x", "0xdeadbeef"))
    assert "without a reason" in str(reverted("x", None))
    assert "without a reason" in str(reverted("x", "0xzz"))
    panic = reverted("x", "0x4e487b71" + "11".rjust(64, "0"))
    assert (panic.name, panic.arguments) == ("Panic", {"code": 17})
    assert "undecodable" in str(reverted("x", "0x4e487b71" + "11"))
    text = ("\n\x1b[2J" + "a" * 5000).encode()
    head = (32).to_bytes(32, "big") + len(text).to_bytes(32, "big") + text.ljust(-(-len(text) // 32) * 32, b"\0")
    shown = str(reverted("x", b"\x08\xc3\x79\xa0" + head))
    assert len(shown) < 300
    assert shown.isprintable()
