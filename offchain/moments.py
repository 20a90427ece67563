"""Times as people read them: local dates, spans, and how long until then."""

from __future__ import annotations

from datetime import datetime
from typing import Final

HOUR: Final = 3_600  # seconds
DAY: Final = 24 * HOUR


def span(seconds: float) -> str:
    """Seconds as people read them."""
    for unit, name in ((DAY, "days"), (HOUR, "h"), (60, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.3g} {name}"
    return f"{seconds:.0f} s"


def local(timestamp: int, now: int | None = None) -> str:
    """A timestamp in this machine's time zone; only the time of day where it is that of the day of `now`."""
    then = datetime.fromtimestamp(timestamp)
    if now is not None and then.date() == datetime.fromtimestamp(now).date():
        return f"{then:%H:%M:%S}"
    return f"{then:%Y-%m-%d %H:%M:%S}"


def moment(timestamp: int, now: int) -> str:
    """A local time, and how far away it is by the clock of the chain."""
    away = timestamp - now
    return f"{local(timestamp, now)} ({f'in {span(away)}' if away >= 0 else f'{span(-away)} ago'})"
