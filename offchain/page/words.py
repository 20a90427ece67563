"""How the page says amounts, times and what strangers wrote. Everything returned is one bounded line of plain text."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any, Final

import numpy as np

from offchain.market.view import NOBODY
from offchain.text import printable

DECIMALS: Final = 18
LINE: Final = 120  # characters of what a stranger wrote
LEAST: Final = 1e-6
GWEI: Final = 10**9
LATEST: Final = 253_402_300_799  # the last second that a date can have


def amount(units: int) -> str:
    """Tokens, or ether: whole ones, in six digits; none smaller than a millionth."""
    value = float(Decimal(units).scaleb(-DECIMALS))
    if 0 < abs(value) < LEAST:
        return f"under {LEAST:f}"
    return f"{value:,.6g}" if abs(value) < 1e6 else f"{value:,.0f}"


def count(number: int) -> str:
    return f"{number:,}"


def gwei(wei: int) -> str:
    return f"{wei / GWEI:,.3g} gwei"


def lasting(seconds: int) -> str:
    """A duration in its two largest parts: `1 h 5 min`."""
    parts, left = list[str](), max(0, seconds)
    for name, size in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        whole, left = divmod(left, size)
        if whole or (name == "s" and not parts):
            parts.append(f"{whole} {name}")
    return " ".join(parts[:2])


def moment(timestamp: int, now: int) -> str:
    """A time of this machine's clock: `14:32:05`, with its date where that is not today's; "" for none."""
    if not 0 < timestamp <= LATEST:
        return ""
    try:
        when, today = datetime.fromtimestamp(timestamp).astimezone(), datetime.fromtimestamp(now).astimezone()
    except (OverflowError, ValueError, OSError):
        return ""
    return f"{when:%H:%M:%S}" if when.date() == today.date() else f"{when:%Y-%m-%d %H:%M}"


def until(timestamp: int, now: int) -> str:
    """A deadline: when, and how long that still is."""
    left = timestamp - now
    return f"{moment(timestamp, now)} ({f'in {lasting(left)}' if left >= 0 else f'{lasting(-left)} ago'})"


def account(address: str) -> str:
    """An address as people compare them; "" for nobody."""
    return "" if address == NOBODY else f"{address[:6]}…{address[-4:]}"


def digest(value: bytes) -> str:
    return f"{value.hex()[:12]}…"


def stranger(text: str) -> str:
    """What somebody wrote on the chain or in a file."""
    return printable(text, LINE)


def word(value: int) -> str:
    """The f32 that a judged word stands for, and its bits."""
    number = np.array([value & 0xFFFFFFFF], np.uint32).view(np.float32)[0].item()
    return f"{number:.9g} (0x{value & 0xFFFFFFFF:08x})"


def size(values: Any) -> int:
    """How many there are of something that a node has answered with."""
    return len(values) if isinstance(values, list | tuple | bytes) else 0
