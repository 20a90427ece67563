"""A node between a worker and Ganache that loses transactions, and may claim that it still has them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import requests
from eth_utils.crypto import keccak
from hexbytes import HexBytes


@dataclass
class Lossy:
    """Hands every question on, but swallows some transactions.

    Attributes:
        swallow: how many transactions are still to be lost; their senders are told that they were sent.
        claims: whether the lost ones are reported as pending; else the node knows nothing of them.
        deaf: whether it refuses batches.
        uncounted: how many mined transactions of an account it does not count yet.
        lost: the hashes of what was lost.
        sent: how many transactions were handed on.
    """

    behind: str
    url: str = ""
    swallow: int = 0
    claims: bool = True
    deaf: bool = False
    uncounted: int = 0
    lost: list[str] = field(default_factory=list)
    sent: int = 0

    def answer(self, body: Any) -> Any:
        if isinstance(body, list):
            if self.deaf:
                return {"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": "no batches here"}}
            return [self.answer(question) for question in body]
        method, params = body["method"], body["params"]
        result: Any = None
        if method == "eth_sendRawTransaction":
            if self.swallow:
                self.swallow -= 1
                result = "0x" + keccak(HexBytes(params[0])).hex()
                self.lost.append(result)
            else:
                self.sent += 1
        elif method == "eth_getTransactionByHash" and params[0] in self.lost and self.claims:
            result = {"hash": params[0], "blockNumber": None}
        if result is not None:
            return {"jsonrpc": "2.0", "id": body["id"], "result": result}
        answer = requests.post(self.behind, json=body, timeout=60).json()
        if method == "eth_getTransactionCount" and params[1] == "pending" and self.lost and self.claims:
            latest = requests.post(self.behind, json=body | {"params": [params[0], "latest"]}, timeout=60).json()
            answer["result"] = hex(int(latest["result"], 16) + 1)
        if method == "eth_getTransactionCount":
            answer["result"] = hex(int(answer["result"], 16) - self.uncounted)
        return answer


@contextmanager
def lossy(behind: str) -> Iterator[Lossy]:
    """A proxy in front of a node, within the block."""
    node = Lossy(behind)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.dumps(node.answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    node.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield node
    finally:
        server.shutdown()
        server.server_close()
