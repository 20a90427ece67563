"""Text that strangers wrote, made fit for a terminal or a log."""

from __future__ import annotations

from typing import Final

MOST: Final = 200  # characters


def printable(text: str, most: int = MOST) -> str:
    """One line of `text`: `?` in place of every character that would move a cursor, break a line, or show nothing.

    What is longer than `most` characters is cut.
    """
    shown = "".join(c if c.isprintable() else "?" for c in text[: most + 1])
    return shown if len(shown) <= most else shown[:most] + "…"
