"""What is counted of a worker's events, and who may read it."""

from __future__ import annotations

import json
import re
import socket
from contextlib import ExitStack

import pytest
import requests

from offchain.errors import BadInput
from offchain.market.money import DECIMALS
from offchain.worker import metrics
from offchain.worker.alarms import Lost
from offchain.worker.events import (
    Audited,
    CommitSent,
    Computing,
    DefenceLost,
    DefenceStarted,
    DisputeOver,
    DisputeSeen,
    Moved,
    Progress,
    WorkerEvent,
)
from offchain.worker.kept import Keeps, RewardSent
from offchain.worker.looks import Fetched, Looked
from offchain.worker.metrics import Metrics, MetricsServer
from tests.support.town import Town
from tests.support.works import every_kind

COIN = 10**DECIMALS
LOOKED = Looked(0.02, 1_000, 5 * COIN // 2, COIN, 7, 2, 1, 3)


def counted(*events: WorkerEvent) -> dict[str, float]:
    """Every sample, after these events."""
    made = Metrics(["solver"])
    for event in events:
        made.on_event(event)
    return read(made.text().decode())


def read(text: str) -> dict[str, float]:
    return {name: float(value) for name, value in re.findall(r"^(\S+) (\S+)$", text, re.MULTILINE)}


def test_a_look_shows_what_the_account_has_and_must_do() -> None:
    found = counted(LOOKED)
    assert found["offchain_free_tokens"] == 2.5 and found["offchain_ether"] == 1
    assert (found["offchain_moves_due"], found["offchain_tasks_held"], found["offchain_tasks_followed"]) == (1, 2, 7)
    assert found["offchain_seats"] == 3
    assert found["offchain_look_seconds_count"] == 1 and found["offchain_look_seconds_sum"] == 0.02
    assert found["offchain_chain_timestamp_seconds"] == 1_000


def test_keeping_is_counted_by_what_was_signed_and_earned() -> None:
    found = counted(Keeps(1, 0, 0, 0), Keeps(1, 0, 0, 1), RewardSent(1, 0, 0, COIN // 4, 80_000))
    assert (found["offchain_kept_checkpoints_total"], found["offchain_keeping_tokens_total"]) == (2, 0.25)
    assert found["offchain_gas_total"] == 80_000


def test_losses_are_counted_by_what_they_came_from() -> None:
    found = counted(Lost(1, "deadline", "so", COIN), Lost(2, "conviction", "so", 4 * COIN))
    assert found["offchain_deadlines_missed_total"] == 1
    lost = {how: found[f'offchain_lost_tokens_total{{how="{how}"}}'] for how in metrics.LOSSES}
    assert lost == {"deadline": 1, "conviction": 4, "bid": 0, "dispute": 0, "keeping": 0}


def test_steps_are_counted_from_where_the_computing_began() -> None:
    found = counted(Computing(1, "train", 1, 50), Progress(1, "train", 60, 300), Progress(1, "train", 75, 300))
    assert found['offchain_steps_total{purpose="train"}'] == 25
    assert found['offchain_steps_per_second{purpose="train"}'] > 0


def test_disputes_replays_fetches_and_gas_are_counted() -> None:
    found = counted(
        Audited(1, 0, True, b"", b""),
        Audited(1, 1, False, b"", b""),
        Fetched("state", True, 0.5, 4_096),
        Fetched("task", False, 10.0, 0),
        DisputeSeen(3, 1, 1, "challenger"),
        Moved(3, "NAME_STEP", "nameStep", 0, 4, 100_000),
        DisputeOver(3, True, False),
        CommitSent(1, 0, b"", 90_000),
    )
    assert found['offchain_replays_total{verdict="right"}'] == found['offchain_replays_total{verdict="wrong"}'] == 1
    assert found['offchain_fetches_total{kind="state",outcome="came"}'] == 1
    assert found['offchain_fetches_total{kind="task",outcome="failed"}'] == 1
    assert found['offchain_fetched_bytes_total{kind="state"}'] == 4_096
    assert (
        found['offchain_disputes_total{side="challenger"}']
        == found['offchain_disputes_ended_total{outcome="won"}']
        == 1
    )
    assert (found["offchain_moves_total"], found["offchain_gas_total"]) == (1, 190_000)


def test_a_worker_is_well_while_it_looks_and_its_defence_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Metrics(["solver"])
    assert made.health()[1]["wrong"] == ["no look at the chain yet"]
    made.on_event(LOOKED)
    made.on_event(DefenceStarted())
    assert made.health()[0]
    made.on_event(DefenceLost("it died of SIGKILL", 0.2))
    assert made.health()[1]["wrong"] == ["the process of the defence is down"]
    made.on_event(DefenceStarted())
    monkeypatch.setattr(metrics, "LATE", 0.0)
    assert made.health() == (False, made.health()[1])


def test_it_is_served_read_only_and_to_this_machine() -> None:
    made = Metrics(["solver", "verifier"])
    with MetricsServer(made, "127.0.0.1", 0) as server:
        answer = requests.get(f"{server.url}/metrics", timeout=10)
        assert answer.status_code == 200 and answer.headers["Content-Type"].startswith("text/plain")
        assert 'roles="solver,verifier"' in answer.text
        assert requests.get(f"{server.url}/healthz", timeout=10).status_code == 503
        made.on_event(LOOKED)
        well = requests.get(f"{server.url}/healthz", timeout=10)
        assert well.status_code == 200 and json.loads(well.text)["ok"]
        assert requests.get(f"{server.url}/", timeout=10).status_code == 404
        assert requests.post(f"{server.url}/metrics", timeout=10).status_code == 405
        lured = requests.get(f"{server.url}/metrics", headers={"Host": "evil.example"}, timeout=10)
        assert (lured.status_code, "offchain_" in lured.text) == (403, False)
        port = int(server.url.rpartition(":")[2])
        with pytest.raises(BadInput, match=rf"cannot serve metrics at 127.0.0.1:{port}: .*; name another --metrics"):
            MetricsServer(made, "127.0.0.1", port)


def test_a_caller_that_says_nothing_keeps_nobody_waiting() -> None:
    with ExitStack() as stack:
        server = stack.enter_context(MetricsServer(Metrics(["solver"]), "127.0.0.1", 0))
        for _ in range(3):
            stack.enter_context(socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2]))))
        assert requests.get(f"{server.url}/metrics", timeout=5).status_code == 200


def test_a_real_worker_is_counted(town: Town) -> None:
    task = every_kind(6, 3)
    made = Metrics(["solver"])
    worker = town.worker("solver", "solver", "solver")
    note = worker._on_event
    assert note is not None

    def both(event: WorkerEvent) -> None:
        note(event)
        made.on_event(event)

    worker._on_event = both
    town.post(task)
    town.until(lambda: town.told(CommitSent))
    found = read(made.text().decode())
    assert found["offchain_look_seconds_count"] > 3 and found["offchain_free_tokens"] > 0
    assert found["offchain_ether"] > 0 and found["offchain_gas_total"] > 100_000
    assert found['offchain_fetches_total{kind="task",outcome="came"}'] == 1
    assert found['offchain_steps_total{purpose="train"}'] >= 3
    assert found["offchain_tasks_held"] == 1
