"""The connection to a node. Requests are bounded in time and size, and fail in one of two ways.

`ChainUnavailable`: there is no answer, or a malformed one; wait and try again. `Reverted` and other `ChainError`s: a
working node refused.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, cast
from urllib.parse import urlsplit

import requests
from urllib3.exceptions import HTTPError
from web3 import Web3
from web3.exceptions import (
    BlockNotFound,
    ContractCustomError,
    ContractLogicError,
    TransactionNotFound,
    Web3Exception,
    Web3RPCError,
)
from web3.middleware import ExtraDataToPOAMiddleware
from web3.providers import HTTPProvider
from web3.types import RPCEndpoint, RPCResponse

from offchain.chain.reverts import reverted, show
from offchain.errors import BadInput, ChainError, ChainUnavailable, OffchainError
from offchain.store.addresses import is_loopback

MAX_ANSWER: Final = 64 << 20  # bytes
CONNECT_TIMEOUT: Final = 5.0  # seconds
READ_TIMEOUT: Final = 30.0  # between two bytes
WHOLE_TIMEOUT: Final = 120.0  # until all of an answer is there
REMEDY: Final = "is that what --rpc names?"
BATCH: Final = 100  # most questions in one request; fewer if the node refuses so many
ACCEPTED: Final = 100  # batches in a row after which a node that refused larger ones is asked more at once again

Question = tuple[str, Sequence[Any]]  # method and parameters
Answer = dict[str, Any]  # {"result": …} or {"error": {"code": int, "message": str, …}}


class Wire(HTTPProvider):
    """A JSON-RPC endpoint that is not trusted. Requests raise ChainUnavailable."""

    def __init__(self, url: str, max_answer: int = MAX_ANSWER) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise BadInput("the chain's address must be http://… or https://…; correct --rpc")
        super().__init__(url, exception_retry_configuration=None)
        self.place = f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")
        self._url, self._max_answer, self._session = url, max_answer, requests.Session()
        self._session.trust_env = not is_loopback(parts.hostname)  # no proxy reaches this machine's loopback
        self._width, self._accepted = BATCH, 0  # questions in a request, and batches of that size that were answered

    def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        raw, status = self._post(self.encode_rpc_request(method, params))
        answer = _checked(_parsed(raw))
        if answer is None:
            raise ChainUnavailable(f"{self.place} does not answer as a node does (HTTP {status}); {REMEDY}")
        return cast(RPCResponse, {"jsonrpc": "2.0", "id": 0} | answer)

    def ask(self, questions: Sequence[Question]) -> list[Answer]:
        """The answers to questions that do not depend on each other, in their order. Few requests: they are batched.

        Nodes limit batches, and some refuse them all: what is refused is asked again in smaller parts, at last alone.
        Parameters are JSON as the node wants it, and so are results: nothing is converted.
        """
        answers: list[Answer] = []
        while len(answers) < len(questions):
            part = questions[len(answers) : len(answers) + self._width]
            found = self._batch(part)
            if found is not None:
                answers += found
                self._accepted += 1
                if self._accepted >= ACCEPTED:
                    self._width, self._accepted = min(BATCH, 2 * self._width), 0
            elif len(part) > 1:
                self._width, self._accepted = max(1, len(part) // 2), 0
            else:
                raise ChainUnavailable(f"{self.place} does not answer as a node does; {REMEDY}")
        return answers

    def _batch(self, questions: Sequence[Question]) -> list[Answer] | None:
        """None if the node does not answer every question."""
        asked = [{"jsonrpc": "2.0", "id": n, "method": method, "params": params}
                 for n, (method, params) in enumerate(questions)]  # fmt: skip
        body = asked if len(asked) > 1 else asked[0]
        answer = _parsed(self._post(json.dumps(body).encode())[0])
        if len(asked) == 1:
            single = _checked(answer)
            return None if single is None else [single]
        if not isinstance(answer, list):
            return None
        by_id = {entry["id"]: _checked(entry) for entry in answer if isinstance(entry, dict) and _is_id(entry)}
        found = [by_id.get(n) for n in range(len(asked))]
        return None if None in found else cast(list[Answer], found)

    def _post(self, body: bytes) -> tuple[bytes, int]:
        """The answer's bytes, and its HTTP status."""
        try:
            with self._session.post(
                self._url,
                data=body,
                headers={"Content-Type": "application/json"},
                timeout=(CONNECT_TIMEOUT, READ_TIMEOUT),
                stream=True,
                allow_redirects=False,
            ) as answer:
                return self._read(answer), answer.status_code
        except (requests.RequestException, HTTPError) as error:
            # The text of the error may hold the whole address, and in it a secret key of the node's provider.
            why = f"no answer from the chain at {self.place} ({type(error).__name__})"
            raise ChainUnavailable(f"{why}; does its node run, and is that what --rpc names?") from None

    def _read(self, answer: requests.Response) -> bytes:
        """Part by part as it comes: who sends a byte now and then must not keep a caller for ever."""
        body, until = bytearray(), time.monotonic() + WHOLE_TIMEOUT
        while part := answer.raw.read1(1 << 16, decode_content=True):
            body += part
            if len(body) > self._max_answer:
                raise ChainUnavailable(f"{self.place} answers with more than {self._max_answer} bytes")
            if time.monotonic() > until:
                raise ChainUnavailable(f"{self.place} has not answered in full after {WHOLE_TIMEOUT:g} s; {REMEDY}")
        return bytes(body)


def _parsed(raw: bytes) -> Any:
    """None for what is no JSON."""
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        return None


def _checked(answer: Any) -> Answer | None:
    """The result or the error in an answer to one question; None if there is neither."""
    if not isinstance(answer, dict):
        return None
    error = answer.get("error")
    if isinstance(error, dict) and isinstance(error.get("message"), str):
        return {"error": error | {"code": _code(error)}}
    return {"result": answer["result"]} if "result" in answer else None


def _is_id(entry: dict[str, Any]) -> bool:
    return isinstance(entry.get("id"), int)


def _code(error: dict[str, Any]) -> int:
    code = error.get("code")
    return code if isinstance(code, int) else -32000


def connect(url: str) -> Web3:
    """Web3 over a `Wire`. Sends nothing yet. Raises BadInput for a malformed address."""
    w3 = Web3(Wire(url))
    w3.middleware_onion.remove("validation")  # it asks for the chain's id before every request
    w3.middleware_onion.inject(cast(Any, ExtraDataToPOAMiddleware), layer=0)  # for clique chains
    return w3


@contextmanager
def asking(what: str) -> Iterator[None]:
    """Turns whatever a node's answer makes the block raise into Reverted, ChainError or ChainUnavailable."""
    try:
        yield
    except (OffchainError, TransactionNotFound, BlockNotFound):
        raise
    except (ContractCustomError, ContractLogicError) as error:
        refusal = reverted(what, error.data)
        raise (refusal if refusal.name else ChainError(f"{what}: {show(error.message or refusal)}")) from None
    except Web3RPCError as error:
        raise ChainError(f"{what}: the node says: {show(rpc_message(error))}") from None
    except (Web3Exception, ValueError, TypeError, KeyError, AttributeError, OverflowError, IndexError) as error:
        raise ChainUnavailable(f"{what}: the node's answer is malformed ({type(error).__name__})") from error


def rpc_message(error: Web3RPCError) -> str:
    """The node's own words."""
    answer = error.rpc_response
    message = answer["error"]["message"] if answer and isinstance(answer.get("error"), dict) else str(error)
    return str(message)
