#!/usr/bin/env python
"""Real workers on a real chain while machines, files, nodes and networks break: what must hold, holds.

scripts/kills.py --faults 1000 --seed 1 --record kills.jsonl

The record has one line for each task. Started again with the same record, it goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.faults.island import Island  # noqa: E402
from tests.faults.story import KINDS, Story  # noqa: E402
from tests.support.works import every_kind  # noqa: E402

EACH = 14  # faults while one task lasts
TASKS = 8  # on one island

Row = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """So many faults, `each` in one task at the most. What breaks in a task follows from the seed and its number."""

    faults: int
    seed: int
    kinds: Sequence[str] = KINDS
    each: int = EACH

    def story(self, island: Island, number: int, left: int) -> Story:
        random = Random(f"{self.seed}, {number}")
        work = every_kind(12, 3, number)  # each story's own: nobody has its states from the one before
        return Story(island, work, random, self.kinds[number % len(self.kinds)], min(self.each, left))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kind", choices=KINDS, action="append", help="of tasks; may be given again")
    parser.add_argument("--record", type=Path, help="a line of JSON for each task; go on after the last one")
    parser.add_argument("--folder", type=Path, help="keep the logs of all processes here")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped; the same command goes on"))  # and ends what it started
    plan = Plan(options.faults, options.seed, options.kind or KINDS)
    rows = read(options.record, plan.seed)
    with tempfile.TemporaryDirectory() as scratch:
        for row in played(plan, options.folder or Path(scratch), rows):
            rows.append(row)
            if options.record:
                with options.record.open("a", encoding="utf-8") as record:
                    record.write(json.dumps(row) + "\n")
            ending = "; ".join(row["wrong"]) or "holds"
            print(f"{struck(rows):>5} faults  {row['kind']:<8} {row['seconds']:>6} s  {ending}", flush=True)
    print(json.dumps(summary(plan.seed, rows), indent=2))
    sys.exit(any(row["wrong"] for row in rows))


def read(record: Path | None, seed: int) -> list[Row]:
    """What a record has. Exits if it is another seed's."""
    if record is None or not record.exists():
        return []
    rows = [json.loads(line) for line in record.read_text(encoding="utf-8").splitlines()]
    if any(row["seed"] != seed for row in rows):
        sys.exit(f"{record} is the record of another seed; name another file")
    return rows


def played(plan: Plan, folder: Path, before: Sequence[Row] = ()) -> Iterator[Row]:
    """Plays tasks after those `before` until all faults are made; a new island after one that went wrong."""
    number, left = len(before), plan.faults - struck(before)
    while left > 0:
        with ExitStack() as stack:
            folder.mkdir(parents=True, exist_ok=True)
            place = tempfile.mkdtemp(prefix=f"island-{number}-", dir=folder)
            island = stack.enter_context(Island(Path(place)))
            for _ in range(TASKS):
                row = play(plan.story(island, number, left), plan.seed, number)
                number, left = number + 1, left - len(row["faults"])
                yield row
                if row["wrong"] or left <= 0:
                    break


def play(story: Story, seed: int, number: int) -> Row:
    began = time.monotonic()
    try:
        wrong = story.play()
    except Exception as error:  # whatever ends a story early is a finding, and the next one is played
        traceback.print_exc()
        wrong = [f"{type(error).__name__}: {error}"]
    row = {"seed": seed, "task": number, "kind": story.kind, "seconds": round(time.monotonic() - began, 1)}
    return row | {"wrong": wrong, "faults": [asdict(each) for each in story.struck]}


def struck(rows: Sequence[Row]) -> int:
    return sum(len(row["faults"]) for row in rows)


def summary(seed: int, rows: Sequence[Row]) -> dict[str, Any]:
    faults = [each for row in rows for each in row["faults"]]
    return {
        "seed": seed,
        "faults": len(faults),
        "tasks": len(rows),
        "seconds": round(sum(row["seconds"] for row in rows)),
        "by_fault": dict(Counter(each["fault"] for each in faults)),
        "by_phase": dict(Counter(each["phase"] for each in faults)),
        "wrong": [row for row in rows if row["wrong"]],
    }


if __name__ == "__main__":
    main()
