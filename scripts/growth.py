#!/usr/bin/env python3
"""Measures piece by piece, draws how the cost grows, and writes docs/benchmarks.md from everything measured so far.

    python scripts/growth.py --only model --only step --executor torch --threads 2
    python scripts/growth.py --draw                     # measures nothing

Raw rows go to docs/figures/PIECE.json, figures beside them. Every piece takes less than ten minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
import torch

ROOT: Final = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from offchain.bench import chain, dispute, gemm, replay, step  # noqa: E402
from offchain.bench import hash as hashing  # noqa: E402
from offchain.bench import map as elementwise  # noqa: E402
from offchain.bench.growth import PIECES, points  # noqa: E402
from offchain.bench.timing import Settings  # noqa: E402
from offchain.commands.bench import shown, watching  # noqa: E402
from offchain.commit.roots import threads  # noqa: E402
from offchain.errors import OffchainError  # noqa: E402
from offchain.exec.base import EXECUTORS  # noqa: E402

mpl.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402
from matplotlib.ticker import EngFormatter  # noqa: E402

AXES: Final = {  # piece -> title, x
    "model": ("A step against the size of the model", "parameters"),
    "batch": ("A step against the batch", "rows a batch"),
    "threads": ("A step against threads", "threads"),
    "steps": ("A dispute against the steps of its interval", "steps"),
    "nodes": ("A dispute against the nodes of the step graph", "nodes"),
    "elements": ("A dispute against the size of the largest tensor", "elements"),
}
COUNTS: Final = {"moves": "moves", "gas": "gas", "largest": "gas of the largest move", "proof": "bytes of a proof"}
VERBS: Final = {  # pieces that are a verb of `offchain bench`
    "step": lambda settings, watch: step.rows(JOBS, settings, watch),
    "memory": lambda settings, watch: step.memory_rows(JOBS, settings, watch),
    "gemm": gemm.rows,
    "map": elementwise.rows,
    "hash": lambda settings, watch: hashing.rows(JOBS, settings, watch),
    "replay": lambda settings, watch: replay.rows(JOBS, settings, watch),
    "dispute": lambda settings, watch: dispute.rows(settings, watch=watch),
    "chain": lambda settings, watch: chain.rows(settings, watch=watch),
}
JOBS: Final = ("gpt", "gpt-sdpa", "cnn", "mlp")
HEAD: Final = """# Benchmarks

Written by `scripts/growth.py`, which measures again, from the raw rows in `docs/figures/`. Ratios are ours to the
peer's, medians over pairs taken in turn in one process; `offchain bench VERB --help` says what each peer is.
"""


def measure(piece: str, settings: Settings) -> dict[str, Any]:
    """Points, and on what they were measured."""
    with watching() as watch:
        if piece in VERBS:
            found = [{**row.facts(), **row.notes} for row in VERBS[piece](settings, watch)]
        else:
            found = [asdict(point) for point in points(piece, settings, watch)]
    on = {"machine": _machine(), "torch": torch.__version__, **asdict(settings)}
    return {"piece": piece, "on": on, "points": found}


def _machine() -> str:
    """The processor's name, and how many there are."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    name = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    return f"{name}, {threads()} cores"


# --- figures -----------------------------------------------------------------------------------------------------


def draw(measured: dict[str, Any], file: Path) -> None:
    """Steps: seconds and ratio. Disputes: moves, gas, proof."""
    piece = measured["piece"]
    series: dict[str, list[dict[str, Any]]] = {}
    for point in measured["points"]:
        series.setdefault(point["series"], []).append(point)
    steps = "moves" not in measured["points"][0]["values"]
    panels = ("s", "ratio") if steps else ("moves", "gas", "proof")
    figure, axes = plt.subplots(1, len(panels), figsize=(4 * len(panels), 3.2), layout="constrained")
    for axis, panel in zip(axes, panels, strict=True):
        for name, some in series.items():
            axis.plot(*_line(some, "ours_s" if panel == "s" else panel), marker="o", label=name)
        if panel == "s":
            axis.plot(*_line(next(iter(series.values())), "peer_s"), marker="s", color="black", label="plain torch")
            axis.set(yscale="log", ylabel="seconds a step")
        else:
            axis.set_ylim(0, 1.2 * axis.dataLim.ymax)
            axis.set_ylabel(COUNTS.get(panel, panel))
            axis.yaxis.set_major_formatter(EngFormatter(sep=""))
        ticks = sorted({point["x"] for point in measured["points"]})
        axis.set(xscale="log", xlabel=AXES[piece][1])
        axis.set_xticks(ticks, map(EngFormatter(sep="", places=0), ticks))
        axis.set_xticks([], minor=True)
        axis.legend(frameon=False)
    with mpl.rc_context({"svg.hashsalt": piece}):  # the same rows give the same file
        figure.savefig(file, metadata={"Date": None})
    plt.close(figure)


def _line(some: Sequence[dict[str, Any]], field: str) -> tuple[list[float], list[float]]:
    return [point["x"] for point in some], [point["values"][field] for point in some]


# --- the document ------------------------------------------------------------------------------------------------


def document(folder: Path) -> str:
    """docs/benchmarks.md, from the rows that are there."""
    parts, found = [HEAD], {file.stem: json.loads(file.read_text()) for file in sorted(folder.glob("*.json"))}
    for verb in VERBS:
        if verb in found:
            parts += [f"## {verb}\n", _rows(found[verb]["points"]), _said(found[verb])]
    parts += ["## How the cost grows\n"] if found.keys() & PIECES.keys() else []
    for piece, (title, _) in AXES.items():
        if piece in found:
            parts += [
                f"### {title}\n",
                f"![{title}](figures/{piece}.svg)\n",
                _points(found[piece]),
                _said(found[piece]),
            ]
    return "\n".join(parts)


def _rows(rows: list[dict[str, Any]]) -> str:
    """Rows of a verb, in whatever unit they are, and what it notes besides."""
    unit = next(key.removeprefix("ours_") for key in rows[0] if key.startswith("ours_"))
    fixed = ("name", "bits", f"ours_{unit}", f"peer_{unit}", "ratio", "n")
    notes = list(dict.fromkeys(key for row in rows for key in row if key not in fixed))
    cells = []
    for row in rows:
        sides = (shown(row[f"{side}_{unit}"], unit) for side in ("ours", "peer"))
        noted = (row.get(note, "") for note in notes)
        cells.append((f"{row['ratio']:.3g}", row["name"], row["bits"] or "", *sides, row["n"], *noted))
    return table(("ratio", "what", "bits", "ours", "peer", "pairs", *notes), cells)


def _points(measured: dict[str, Any]) -> str:
    found = measured["points"]
    fields = list(COUNTS) if "moves" in found[0]["values"] else ["ratio"]
    cells = []
    for point in found:
        values = point["values"]
        counts = (f"{values[field]:.3g}" if field == "ratio" else f"{values[field]:,}" for field in fields)
        sides = (shown(values[side], "s") for side in ("ours_s", "peer_s"))
        cells.append((f"{point['x']:,}", point["series"], *counts, *sides, values["n"]))
    counted = (COUNTS.get(field, field) for field in fields)
    return table((AXES[measured["piece"]][1], "", *counted, "ours", "peer", "pairs"), cells)


def _said(measured: dict[str, Any]) -> str:
    """On what that was measured."""
    on = measured["on"]
    cores = "" if measured["piece"] == "threads" else f", threads: {on['threads'] or 'all'}"
    small = ", small sizes that only show that it works" if on["quick"] else ""
    return f"{on['machine']}; torch {on['torch']}, executor {on['executor']} on {on['device']}{cores}{small}.\n"


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(map(str, line))} |\n" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=[*VERBS, *PIECES], help="again for more; default: all")
    parser.add_argument("--draw", action="store_true", help="measure nothing")
    parser.add_argument("--executor", choices=list(EXECUTORS), default="fused")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, help="default: all cores")
    parser.add_argument("--bits", type=int, action="append", help="again for more; default: 21 and 8")
    parser.add_argument("--n", type=int, help="pairs; default: what suits")
    parser.add_argument("--quick", action="store_true", help="small sizes: shows only that it works")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs", help="where everything goes")
    args = parser.parse_args()
    figures = args.docs / "figures"
    figures.mkdir(parents=True, exist_ok=True)
    try:
        bits = tuple(args.bits or (21, 8))
        settings = Settings(args.executor, args.device, args.threads, bits, args.n, args.quick)
        for piece in [] if args.draw else args.only or [*VERBS, *PIECES]:
            measured = measure(piece, settings)
            (figures / f"{piece}.json").write_text(json.dumps(measured, indent=1) + "\n")
    except OffchainError as error:
        parser.error(str(error))
    for piece in PIECES:
        raw = figures / f"{piece}.json"
        if raw.exists():
            draw(json.loads(raw.read_text()), raw.with_suffix(".svg"))
    (args.docs / "benchmarks.md").write_text(document(figures))


if __name__ == "__main__":
    main()
