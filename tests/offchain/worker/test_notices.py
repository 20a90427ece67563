"""Whoever does not read the log is told of losses and of fraud; no service holds a worker up."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import pytest
import structlog

from offchain.errors import BadInput
from offchain.worker.alarms import FraudUnanswered, Lost, LowVault
from offchain.worker.events import Audited, DefenceLost, DisputeOver, TaskFit
from offchain.worker.notices import Notices

COIN = 10**18


class _Service(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.heard.append(json.loads(body))  # type: ignore[attr-defined]
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def service() -> Iterator[HTTPServer]:
    """What apprise calls json://: it keeps what it is told."""
    with HTTPServer(("127.0.0.1", 0), _Service) as server:
        server.heard = []  # type: ignore[attr-defined]
        Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_losses_and_fraud_are_told_and_nothing_else(service: HTTPServer) -> None:
    with Notices([f"json://127.0.0.1:{service.server_port}"], "0xabc") as notices:
        for event in (
            TaskFit(1, "1 s a step"),
            LowVault(1, 2, "a bond"),
            Audited(1, 0, True, b"", b""),
            Audited(1, 1, False, b"\1", b"\2"),
            Lost(2, "conviction", "the stake is lost: a checkpoint was convicted", 3 * COIN // 2),
            FraudUnanswered(1, 1, COIN, 0, 60),
            FraudUnanswered(1, 1, COIN, 0, 40),  # the same again
            DisputeOver(4, True, False),
            DefenceLost("it died of SIGKILL", 0.2),
        ):
            notices.on_event(event)
    heard = service.heard  # type: ignore[attr-defined]
    assert [said["title"] for said in heard] == [
        "offchain 0xabc: checkpoint 1 of task 1 is false",
        "offchain 0xabc: lost 1.5 tokens in task 2",
        "offchain 0xabc: fraud in task 1, and no bond to dispute it",
        "offchain 0xabc: defence lost",
    ]
    assert "amount: 1.5" in heard[1]["message"] and "checkpoint was convicted" in heard[1]["message"]


def test_a_service_that_is_away_is_said_once_and_holds_nothing_up() -> None:
    with structlog.testing.capture_logs() as logs, Notices(["json://127.0.0.1:9"], "0xabc") as notices:
        began = time.monotonic()
        for task in range(3):
            notices.on_event(Lost(task, "bid", "so", COIN))
        assert time.monotonic() - began < 0.5
    assert [line["event"] for line in logs] == ["not notified"]


def test_an_address_that_apprise_does_not_know_is_refused_without_showing_it() -> None:
    with pytest.raises(BadInput, match=r"--notify, address 1 \(nosuch://…\): apprise does not know it") as raised:
        Notices(["nosuch://secret@example.org"], "0xabc")
    assert "secret" not in str(raised.value)
