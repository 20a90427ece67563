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


def one_line(text: str) -> str:
    """The whole of `text` as one printable line, in which ends of lines and tabs show as \\n and \\t."""
    return printable(text.replace("\n", "\\n").replace("\t", "\\t"), len(text) * 2)
