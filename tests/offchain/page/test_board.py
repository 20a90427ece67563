"""Who has seen a version gets what has changed since, and no more."""

from __future__ import annotations

from datetime import datetime

from offchain.page import words
from offchain.page.board import Board


def test_only_rows_that_changed_are_told() -> None:
    calls: list[int] = []
    board = Board(lambda: calls.append(1))
    board.put({"block": 1}, {"tasks": [{"id": 1, "paid": 0}, {"id": 2, "paid": 0}]})
    first = board.since("", -1)
    assert first["whole"] and len(first["tasks"]) == 2
    board.put({"block": 1}, {"tasks": [{"id": 1, "paid": 0}, {"id": 2, "paid": 1}]})
    news = board.since(first["epoch"], first["version"])
    assert (news["whole"], news["tasks"]) == (False, [{"id": 2, "paid": 1}])
    board.put({"block": 1}, {"tasks": [{"id": 1, "paid": 0}, {"id": 2, "paid": 1}]})
    assert (board.version, len(calls)) == (news["version"], 2)


def test_after_rows_have_vanished_all_is_told_again() -> None:
    board = Board()
    board.put({}, {"tasks": [{"id": 1}, {"id": 2}]})
    first = board.since("", -1)
    board.put({}, {"tasks": [{"id": 2}]})
    news = board.since(first["epoch"], first["version"])
    assert news["whole"] and news["tasks"] == [{"id": 2}] and news["epoch"] != first["epoch"]


def test_words() -> None:
    assert [words.amount(units) for units in (0, 10**17, 1234567 * 10**18)] == ["0", "0.1", "1,234,567"]
    assert words.amount(5_801) == "under 0.000001"
    assert [words.lasting(s) for s in (0, 59, 3_660, 90_000)] == ["0 s", "59 s", "1 h 1 min", "1 d 1 h"]
    now = int(datetime(2026, 5, 4, 12, 0).timestamp())
    assert words.moment(now + 5, now) == "12:00:05" and words.moment(now + 86_400, now).startswith("2026-05-05")
    assert [words.moment(t, now) for t in (0, -5, 2**64 - 1)] == [""] * 3
    assert words.until(now + 61, now) == "12:01:01 (in 1 min 1 s)"
    assert words.stranger("a\nb\x00" + "c" * 999) == "a?b?" + "c" * 116 + "…"
