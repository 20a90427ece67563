"""Every event has its own name and a readable line in the log; every action is acted upon."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, get_args

import pytest

from offchain.market.actions import Action, Audit, Train
from offchain.worker import alarms, claimed, events, kept, looks, said, vouched
from offchain.worker.acts import Acts
from offchain.worker.display import write_line
from offchain.worker.events import ChainSilent, DisputeEnded, InFlight, Progress, Started, Trained, WorkerEvent
from offchain.worker.keeping import Keeping
from offchain.worker.said import Paid

KINDS = [
    kind
    for module in (alarms, claimed, events, kept, looks, said, vouched)
    for kind in vars(module).values()
    if isinstance(kind, type) and issubclass(kind, WorkerEvent) and kind not in (WorkerEvent, DisputeEnded)
]


class Lines:
    """A logger that keeps its lines."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, dict[str, Any]]] = []

    def __getattr__(self, level: str) -> Any:
        return lambda name, **facts: self.lines.append((level, name, facts))


def test_names_tell_events_apart() -> None:
    assert len({kind.name for kind in KINDS}) == len(KINDS) > 20


def test_a_line_shows_bytes_as_hex_and_roles_as_words() -> None:
    log = Lines()
    write_line(log, Trained(5, 1, b"\xab" * 32))
    write_line(log, Started(("solver", "verifier"), ""))
    write_line(log, ChainSilent("no answer", 0.5), traceback=True)
    assert log.lines == [
        ("info", "trained", {"task": 5, "checkpoint": 1, "root": "ab" * 32}),
        ("info", "started", {"roles": "solver, verifier", "blobs": ""}),
        ("warning", "chain unavailable", {"error": "no answer", "retry_in": 0.5, "exc_info": True}),
    ]


def test_a_line_has_money_in_whole_tokens() -> None:
    log = Lines()
    write_line(log, alarms.Lost(5, "deadline", "so", 4_320 * 10**18 // 10))
    write_line(log, Paid(5, 0, "0xSolver", 10**18, 0, 10**16))
    assert log.lines[0] == ("error", "lost", {"task": 5, "kind": "deadline", "how": "so", "amount": "432"})
    assert {name: log.lines[1][2][name] for name in ("amount", "withheld", "fee")} == {
        "amount": "1", "withheld": "0", "fee": "0.01",
    }  # fmt: skip


def test_no_line_has_wei_and_amounts_are_numbers_in_strings() -> None:
    log = Lines()
    write_line(log, InFlight("market.commit", 3, 2_500_000_000, 31.0, "replaced"))
    write_line(log, alarms.LowEther(1_234_567 * 10**18 + 5 * 10**17, 3, 30))
    assert log.lines[0][2]["fee"] == "2.5 gwei"
    assert log.lines[1][2] == {"ether": "1234567.5", "moves": 3, "least": 30}
    shown = {str(field.type) for kind in KINDS for field in fields(kind)}
    assert {"Units", "GasPrice"} <= shown and not shown & {"Wei"}


def test_progress_has_no_line() -> None:
    log = Lines()
    write_line(log, Progress(5, "train", 1, 8))
    assert log.lines == []


def test_every_action_is_acted_upon() -> None:
    nobody: Any = None
    acts = Acts(*[nobody] * 6, Keeping(*[nobody] * 6), nobody)
    assert set(acts.table) == set(get_args(Action)) - {Train, Audit}
    with pytest.raises(KeyError):
        acts.perform(nobody, "an action of no role")  # type: ignore[arg-type]
