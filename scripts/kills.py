#!/usr/bin/env python
"""Real workers on a real chain while machines, files, nodes and networks break: what must hold, holds.

scripts/kills.py --faults 1000 --seed 1 --record kills.json
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from random import Random

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.faults.island import Island  # noqa: E402
from tests.faults.story import KINDS, Story, Struck  # noqa: E402

EACH = 14  # faults while one task lasts
TASKS = 8  # on one island


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kind", choices=KINDS, action="append", help="of tasks; may be given again")
    parser.add_argument("--record", type=Path, help="write what was done, and what was found")
    parser.add_argument("--folder", type=Path, help="keep the logs of all processes here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        sys.exit(run(options, options.folder or Path(scratch)))


def run(options: argparse.Namespace, folder: Path) -> int:
    random, started = Random(options.seed), time.monotonic()
    struck: list[Struck] = []
    stories: list[dict[str, object]] = []
    while len(struck) < options.faults:
        place = folder / f"island-{len(stories)}"
        place.mkdir(parents=True)
        with Island(place) as island:
            for _ in range(TASKS):
                kinds = options.kind or KINDS
                story = Story(island, random, kinds[len(stories) % len(kinds)], min(EACH, options.faults - len(struck)))
                began = time.monotonic()
                wrong = story.play()
                struck += story.struck
                row = {"kind": story.kind, "seconds": round(time.monotonic() - began, 1), "wrong": wrong}
                stories.append(row | {"faults": [asdict(each) for each in story.struck]})
                print(f"{len(struck):>5} faults  {story.kind:<8} {row['seconds']:>6} s  {'; '.join(wrong) or 'holds'}")
                if wrong or len(struck) >= options.faults:
                    break
    summary = {
        "seed": options.seed,
        "faults": len(struck),
        "tasks": len(stories),
        "seconds": round(time.monotonic() - started),
        "by_fault": dict(Counter(each.fault for each in struck)),
        "by_phase": dict(Counter(each.phase for each in struck)),
        "wrong": [each for each in stories if each["wrong"]],
    }
    print(json.dumps(summary, indent=2))
    if options.record:
        options.record.write_text(json.dumps(summary, indent=2) + "\n")
    return 1 if summary["wrong"] else 0


if __name__ == "__main__":
    main()
