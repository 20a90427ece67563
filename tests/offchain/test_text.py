"""Whatever a stranger writes is one harmless line where it is shown."""

from __future__ import annotations

import pytest

from offchain.text import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://host/a b", "http://host/a b"),
        ("\x1b[2J\x1b]0;title\x07", "?[2J?]0;title?"),
        ("one\r\ntwo\u2028three\x85", "one??two?three?"),
        ("\u202egnp.exe", "?gnp.exe"),  # would turn the rest of the line round
        ("\ud800\x00", "??"),
        ("grüße, 数", "grüße, 数"),
    ],
)
def test_nothing_moves_a_cursor_or_breaks_a_line(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_length_is_bounded() -> None:
    assert printable("x" * 1_000_000, 10) == "x" * 10 + "…"
    assert printable("x" * 10, 10) == "x" * 10
