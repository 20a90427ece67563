"""The text of a generation piece by piece, as its checkpoints come, and taken back where one of them falls."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from offchain.errors import BadInput
from offchain.lower import compile as lower
from offchain.market.view import CheckpointView, Status, TaskView
from offchain.store.blobs import BlobStore
from offchain.store.fetch import FetchOptions
from offchain.worker.gathered import Gathered
from offchain.worker.reading import Piece, Reading, Withdrawn
from tests.offchain.test_program import a_program
from tests.support.generated import Spoken
from tests.support.tasks import BARE, unposted

FILES = FetchOptions(schemes=frozenset({"file"}), private=True)


class Watched:
    """A reader of a generation whose solver serves from a folder."""

    def __init__(self, folder: Path, **changes: object) -> None:
        self.spoken = Spoken(folder / "solver", **changes)
        task = self.spoken.task
        self.terms = unposted(**{name: getattr(task, name) for name in BARE})
        self.gathered = Gathered(task, BlobStore(folder / "mine", options=FILES))
        self.reading = Reading(task, self.gathered)

    def point(self, state: list) -> CheckpointView:
        root, name = self.spoken.publish(self.terms, state)
        return CheckpointView(root, 0, 0, 0, f"file://{self.spoken.blobs.path(name)}")

    def news(self, points: list[CheckpointView], paid: int = 0) -> list[Piece | Withdrawn]:
        self.view = TaskView(1, self.terms, "0xR", "0xS", Status.TRAINING, 0, 0, 1, paid, tuple(points))
        for _ in points:
            list(self.gathered.look(self.view))
        return list(self.reading.news(self.view))


def test_pieces_make_the_text(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    assert watched.news([]) == [] and [row.text for row in watched.reading.rows(watched.view)] == [""] * 3
    points = [watched.point(state) for state in watched.spoken.states]
    first = watched.news(points[:1])
    assert watched.news(points[:1]) == []
    second = watched.news(points, paid=1)
    pieces = [piece for piece in (*first, *second) if isinstance(piece, Piece)]
    rows = watched.reading.rows(watched.view)
    for number, row in enumerate(rows):
        own = [piece for piece in pieces if piece.row == number]
        assert "".join(piece.text for piece in own) == row.text
        assert row.prompt + row.text == watched.spoken.texts[number]
        assert sum((piece.tokens for piece in own), ()) == row.tokens and row.done and own[-1].done
    assert [row.paid for row in rows] == [3, 5, 2]  # of 5 steps, from each prompt's last token on


def test_a_checkpoint_that_falls_takes_its_text_back(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    right = [watched.point(state) for state in watched.spoken.states]
    false = watched.point(watched.spoken.swapped(1, 0, 2))
    assert {piece.checkpoint for piece in watched.news([right[0], false])} == {0, 1}
    shown = [row.text for row in watched.reading.rows(watched.view)]
    assert watched.news(right[:1]) == [Withdrawn(1)]
    assert [piece.checkpoint for piece in watched.news(right)] == [1, 1, 1]
    texts = [row.text for row in watched.reading.rows(watched.view)]
    assert [a == b for a, b in zip(shown, texts, strict=True)] == [True, True, False]
    other = [replace(right[0], root=bytes(32)), right[1]]  # of which nothing is served
    assert watched.news(other) == [Withdrawn(0)] and watched.reading.rows(watched.view)[0].text == ""


def test_a_row_that_is_done_says_so_once(tmp_path: Path) -> None:
    whole = Watched(tmp_path / "whole").spoken
    stop = whole.program.continued(whole.tokens)[1][0]  # the second prompt ends at once
    watched = Watched(tmp_path / "cut", stop=stop)
    points = [watched.point(state) for state in watched.spoken.states]
    own = [piece for piece in watched.news(points) if isinstance(piece, Piece) and piece.row == 1]
    assert own == [Piece(0, 1, (), "", True)]


def test_another_task_is_refused(tmp_path: Path) -> None:
    task = lower(a_program())
    with pytest.raises(BadInput, match="is no generation"):
        Reading(task, Gathered(task, BlobStore(tmp_path)))
