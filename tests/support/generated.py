"""A small generation with a vocabulary, whose solver serves the outputs of its checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import offchain
from offchain.commit.roots import state_root, state_tree
from offchain.ir.arrays import Array
from offchain.market.view import Terms
from offchain.store.blobs import BlobStore
from offchain.store.checkpoint import save_outputs
from offchain.task import slot_of
from offchain.worker.names import outputs_name
from tests.offchain.test_generation import VOCABULARY, a_generation

WORDS = [chr(ord("a") + number) for number in range(VOCABULARY - 5)] + ["\n", "\x1b[2J", " ", "ä", "é"]


class Spoken:
    """The generation, what it says, and its state after each interval."""

    def __init__(self, folder: Path, **changes: Any) -> None:
        self.program = a_generation(vocabulary=WORDS, **changes)
        run = offchain.compile(self.program, executor="torch", threads=1)
        self.task, self.blobs, self.states = run.task, BlobStore(folder), list[list[Array]]()
        for _ in range(self.task.intervals):
            run.run(self.task.interval)
            self.states.append(run.arrays())
        self.tokens = run.outputs["token"]
        self.texts = self.program.texts(self.tokens)

    def publish(self, terms: Terms, state: list[Array]) -> tuple[bytes, str]:
        """Serve what the interval before a state has output; the root, and the file's name."""
        tree = state_tree(state)
        root = state_root(state)
        name = outputs_name(terms, root)
        self.blobs.publish(name, lambda path: save_outputs(path, self.task, state, tree))
        return root, name

    def swapped(self, interval: int, step: int, row: int) -> list[Array]:
        """The state after that interval, with another token in it."""
        state, numbers = list(self.states[interval]), [slot.spec.name for slot in self.task.graph.slots]
        at = numbers.index(slot_of("token"))
        state[at] = np.array(state[at])
        state[at].reshape(self.task.interval, -1)[step, row] ^= 1
        return state
