"""Events pass between processes unchanged."""

from __future__ import annotations

import json

import pytest

from offchain.worker.events import Audited, DefenceStarted, Started, TaskUnfit, WorkerEvent
from offchain.worker.telling import packed, unpacked


@pytest.mark.parametrize(
    "event",
    [
        Started(("solver", "verifier"), "http://here"),
        Audited(1, 2, True, b"\x00\xff", b""),
        TaskUnfit(3, "too slow", None),
        DefenceStarted(),
    ],
    ids=lambda event: event.name,
)
def test_an_event_is_the_same_after_a_journey(event: WorkerEvent) -> None:
    assert unpacked(json.loads(json.dumps(packed(event)))) == event


def test_what_is_no_event_is_refused() -> None:
    with pytest.raises(KeyError):
        unpacked({"event": "Nothing", "facts": {}})
