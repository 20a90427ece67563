"""The tables that every viewer sees, and what of them is new to one who has seen an earlier version."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from secrets import token_hex
from threading import Lock
from typing import Any

Row = dict[str, Any]  # of plain JSON values; `id` is unique in its table


class Board:
    """Tables of rows, each with the version in which it last changed. Used from several threads.

    Args:
        changed: called, in the thread of `put`, after a version that differs from the one before.
    """

    def __init__(self, changed: Callable[[], None] = lambda: None) -> None:
        self.changed = changed
        self.version = 0
        self._epoch = token_hex(8)  # another one where rows have vanished: whoever looks must begin anew
        self._facts: Row = {}
        self._tables: dict[str, dict[Any, tuple[int, Row]]] = {}
        self._lock = Lock()

    def put(self, facts: Mapping[str, Any], tables: Mapping[str, Iterable[Row]]) -> None:
        """The tables as they are now. Tables that are not named stay."""
        with self._lock:
            version = self.version + 1
            changed = dict(facts) != self._facts
            self._facts = dict(facts)
            for name, rows in tables.items():
                changed = self._put(name, rows, version) or changed
            if changed:
                self.version = version
        if changed:
            self.changed()

    def _put(self, name: str, rows: Iterable[Row], version: int) -> bool:
        old, new, changed = self._tables.get(name, {}), dict[Any, tuple[int, Row]](), False
        for row in rows:
            before = old.get(row["id"])
            same = before is not None and before[1] == row
            new[row["id"]] = before if same and before else (version, row)
            changed = changed or not same
        if any(key not in new for key in old):
            self._epoch, changed = token_hex(8), True
        self._tables[name] = new
        return changed

    def since(self, epoch: str, version: int) -> Row:
        """What has changed since a version of an epoch; everything for an unknown one."""
        with self._lock:
            after = version if epoch == self._epoch else -1
            tables = {name: [row for at, row in rows.values() if at > after] for name, rows in self._tables.items()}
            return {"epoch": self._epoch, "version": self.version, "whole": after < 0, "facts": self._facts, **tables}
