"""How much is drawn: by the profile of a run, also where a test has a number of its own."""

from __future__ import annotations

from typing import Final

from hypothesis import settings

USUAL: Final = 50  # examples of a property, in the profile of `make test-all`


def examples(usual: int) -> int:
    """So many in the usual profile, and in another one in proportion; at least one."""
    return max(1, usual * settings().max_examples // USUAL)
