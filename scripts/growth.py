#!/usr/bin/env python3
"""Measures piece by piece, draws how the cost grows, and writes docs/benchmarks.md from everything measured so far.

    python scripts/growth.py --only model --only step --executor torch --threads 2
    python scripts/growth.py --device cuda --only step  # a section of its own; what a CPU took stays
    python scripts/growth.py --draw                     # measures nothing

Raw rows go to docs/figures/PIECE.json (on a card cuda-PIECE.json), figures beside them. Every piece takes less than ten
minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
import torch
from rich.progress import TimeElapsedColumn

ROOT: Final = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from offchain.bench import chain, dispute, gemm, replay, step  # noqa: E402
from offchain.bench import hash as hashing  # noqa: E402
from offchain.bench import map as elementwise  # noqa: E402
from offchain.bench.growth import PIECES, points  # noqa: E402
from offchain.bench.machine import machine  # noqa: E402
from offchain.bench.timing import Settings  # noqa: E402
from offchain.commands.bench import ratio_shown, shown  # noqa: E402
from offchain.errors import OffchainError  # noqa: E402
from offchain.exec.make import EXECUTORS  # noqa: E402
from offchain.progress import watching  # noqa: E402

mpl.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter  # noqa: E402

AXES: Final = {  # piece -> title, x
    "model": ("A step against the size of the model", "parameters"),
    "batch": ("A step against the batch", "rows a batch"),
    "threads": ("A step against threads", "threads"),
    "steps": ("A dispute against the steps of its interval", "steps"),
    "nodes": ("A dispute against the nodes of the step graph", "nodes"),
    "elements": ("A dispute against the size of the largest tensor", "elements"),
}
MARKERS: Final = ("o", "x", "^", "v")
COUNTS: Final = {"moves": "moves", "gas": "gas", "largest": "gas of the largest move", "proof": "bytes of a proof"}
DESCENT: Final = (
    "A reveal names 256 children, so 256 times as many cost two more moves, and a proof two more groups of hashes."
)
WHY: Final = {  # what a figure shows on any machine
    "model": "A step of a small model is mostly overhead between operations, that of a large one mostly products.",
    "batch": "What does not grow with the batch, such as the optimizer's update, has its largest share at one row.",
    "threads": "Sums are exact, so the number of threads changes no bit of a step.",
    "steps": f"{DESCENT} The size of a proof does not depend on the steps: only the disputed one is opened.",
    "nodes": DESCENT,
    "elements": f"{DESCENT} A tensor of one chunk (1,024 elements) needs no descent. A larger dot is a longer sum.",
}
JOBS: Final = ("gpt", "gpt-sdpa", "cnn", "mlp")
VERBS: Final = {  # pieces that are a verb of `offchain bench`
    "step": lambda settings, watch: step.rows((*JOBS, "depthwise"), settings, watch),
    "memory": lambda settings, watch: step.memory_rows(JOBS, settings, watch),
    "gemm": gemm.rows,
    "map": elementwise.rows,
    "hash": lambda settings, watch: hashing.rows(JOBS, settings, watch),
    "replay": lambda settings, watch: replay.rows((*JOBS, "lora"), settings, watch),
    "dispute": lambda settings, watch: dispute.rows(settings, watch=watch),
    "chain": lambda settings, watch: chain.rows(settings, watch=watch),
}
CARD: Final = ("step", "gemm", "map", "hash", "replay")  # what is measured on a card
ON_A_CARD: Final = "cuda-"  # before the names of their files
HEAD: Final = """# Benchmarks

Written by `scripts/growth.py` from the raw rows in `docs/figures/`, which the same script measures. A ratio is ours
divided by the peer's: the median over pairs that are measured in turn in one process. `offchain bench VERB --help` says
what each peer is.
"""


def measure(piece: str, settings: Settings) -> dict[str, Any]:
    """Points, and the machine and settings that they were measured with."""
    with watching("measuring", TimeElapsedColumn()) as watch:
        if piece in VERBS:
            found = [{**row.facts(), **row.notes} for row in VERBS[piece](settings, watch)]
        else:
            found = [asdict(point) for point in points(piece, settings, watch)]
    on_card = settings.device.startswith("cuda")
    on = {"machine": _card() if on_card else machine(), "torch": torch.__version__, **asdict(settings)}
    return {"piece": piece, "on": on, "points": found}


def _card() -> str:
    """The name and the driver of the first card."""
    asked = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    name, driver = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.splitlines()[0].split(", ")
    return f"{name}, driver {driver}"


# --- figures -----------------------------------------------------------------------------------------------------


def draw(measured: dict[str, Any], file: Path) -> None:
    """Steps: seconds and ratio. Disputes: moves, gas (in all, and dashed that of the largest move), proof."""
    piece, lines = measured["piece"], _series(measured)
    panels = ("moves", "gas", "proof") if _is_dispute(measured) else ("s", "ratio")
    figure, axes = plt.subplots(1, len(panels), figsize=(4 * len(panels), 3.4), layout="constrained")
    figure.suptitle(AXES[piece][0])
    for axis, panel in zip(axes, panels, strict=True):
        for (name, some), marker in zip(lines.items(), MARKERS, strict=False):
            field = "ours_s" if panel == "s" else panel
            [line] = axis.plot(*_line(some, field), marker=marker, fillstyle="none", label=name)
            if panel == "gas":
                axis.plot(*_line(some, "largest"), "--", marker=marker, fillstyle="none", color=line.get_color(),
                          label=f"{name}, largest move")  # fmt: skip
        if panel == "s":
            axis.plot(*_line(next(iter(lines.values())), "peer_s"), marker="s", color="black", label="plain torch")
            axis.set(yscale="log", ylabel="seconds a step")
            axis.yaxis.set(major_locator=LogLocator(subs=(1, 2, 5)), major_formatter=EngFormatter(unit="s"))
            axis.yaxis.set_minor_formatter(NullFormatter())
        else:
            if panel == "ratio":
                axis.axhline(1, color="black", linewidth=0.8, label="plain torch")
            axis.set_ylim(0, 1.25 * max(1, axis.dataLim.ymax))
            axis.set_ylabel(COUNTS.get(panel, "ratio to plain torch"))
            if panel != "ratio":
                axis.yaxis.set_major_formatter(EngFormatter(sep=""))
        _ticks(axis, piece, [point["x"] for point in measured["points"]])
        axis.legend(frameon=False, fontsize="small")
    with mpl.rc_context({"svg.hashsalt": piece}):  # the same rows give the same file
        figure.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else None)
    plt.close(figure)


def _ticks(axis: Any, piece: str, xs: Sequence[int]) -> None:
    """At what was measured, on a logarithmic axis; numbers below a thousand in full."""
    ticks, shorten = sorted(set(xs)), EngFormatter(sep="", places=0)
    axis.set(xscale="log", xlabel=AXES[piece][1])
    axis.set_xticks(ticks, [shorten(tick) for tick in ticks])
    axis.set_xticks([], minor=True)
    axis.margins(x=0.08)


def _series(measured: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The points of each line."""
    series: dict[str, list[dict[str, Any]]] = {}
    for point in measured["points"]:
        series.setdefault(point["series"], []).append(point)
    return series


def _is_dispute(measured: dict[str, Any]) -> bool:
    return "moves" in measured["points"][0]["values"]


def _line(some: Sequence[dict[str, Any]], field: str) -> tuple[list[float], list[float]]:
    return [point["x"] for point in some], [point["values"][field] for point in some]


# --- the document ------------------------------------------------------------------------------------------------


def document(folder: Path) -> str:
    """docs/benchmarks.md, from the rows in the folder."""
    parts, found = [HEAD], {file.stem: json.loads(file.read_text()) for file in sorted(folder.glob("*.json"))}
    for verb in VERBS:
        if verb in found:
            parts += [f"## {verb}\n", f"`{_script(found[verb])}`\n", _rows(found[verb]["points"]), _said(found[verb])]
        for name in (name for name in found if name.startswith(f"{verb}-")):  # more rows, by another command
            parts += [f"`{found[name]['command']}`\n", _rows(found[name]["points"]), _said(found[name])]
    parts += _build(found)
    parts += _on_a_card(found)
    parts += ["## How the cost grows\n"] if found.keys() & PIECES.keys() else []
    for piece, (title, _) in AXES.items():
        if piece in found:
            parts += [
                f"### {title}\n",
                f"![{title}](figures/{piece}.svg)\n",
                _seen(found[piece]),
                _points(found[piece]),
                _said(found[piece]),
            ]
    return "\n".join(parts)


def _script(measured: dict[str, Any]) -> str:
    """The command that measured it."""
    on = measured["on"]
    given = [f"--bits {bits}" for bits in on["bits"]]
    given += [f"--{name} {on[name]}" for name in ("n", "threads") if on[name]]
    return " ".join(["python scripts/growth.py --only", measured["piece"], *given])


def _build(found: dict[str, Any]) -> list[str]:
    """What it costs to build a job."""
    if "build" not in found:
        return []
    rows = found["build"]["points"]
    heads = ["what", "nodes", "lowering", "kernels", "compiling them", "both"]
    lines = [
        f"| {r['name']} | {r['nodes']:,} | {r['lower']:.1f} s | {r['kernels']} | {r['compile']:.1f} s | "
        f"{r['lower'] + r['compile']:.1f} s |"
        for r in rows
    ]
    table = "\n".join([f"| {' | '.join(heads)} |", "|" + " --- |" * len(heads), *lines])
    on = f"{found['build']['machine']}; torch {found['build']['torch']}, processor time, other work on the machine."
    return ["## build\n", "`python scripts/build_cost.py`\n", f"{table}\n", f"{on}\n"]


def _on_a_card(found: dict[str, Any]) -> list[str]:
    """A table for each verb that was measured on a card, with its command, and what the tables show."""
    rows = {verb: found[ON_A_CARD + verb]["points"] for verb in CARD if ON_A_CARD + verb in found}
    parts = ["## On a card\n", _card_shown(rows)] if rows else []
    for verb, some in rows.items():
        parts += [f"### {verb} on a card\n", f"`{_command(verb, some)}`\n", _rows(some), _said(found[ON_A_CARD + verb])]
    for run in found.get(f"{ON_A_CARD}tests", {"points": []})["points"]:
        parts += [f"`{run['command']}`: {run['result']}\n", _said(found[f"{ON_A_CARD}tests"])]
    return parts


def _command(verb: str, rows: list[dict[str, Any]]) -> str:
    """The command that measures the same jobs."""
    names = {row["name"].partition(",")[0].split()[-1] for row in rows}
    return " ".join(["offchain bench", verb, "--device cuda", *(f"--job {name}" for name in JOBS if name in names)])


def _card_shown(rows: dict[str, list[dict[str, Any]]]) -> str:
    """What the tables of a card show, in a sentence each."""

    def span(verb: str, name: str = "", scale: float = 1, unit: str = "") -> str:
        ratios = sorted(scale * row["ratio"] for row in rows[verb] if row["name"].startswith(name))
        return f"{ratio_shown(ratios[0])} to {ratio_shown(ratios[-1])}{unit}"

    said = []
    if "step" in rows:
        said.append(
            f"A step takes {span('step')} times as long as in eager torch: in jobs this small eager torch is bound by "
            "kernel launches, most of which CUDA graphs save."
        )
    if "replay" in rows:
        said.append(
            f"A traced step takes {span('replay', 'replay')} times as long as a plain one, because every output is "
            "downloaded and hashed by the CPU."
        )
    if "hash" in rows:
        said.append(f"Committing the state every 100 steps costs {span('hash', 'commit', 100, ' %')} of the time.")
    return " ".join(said) + "\n"


def _rows(rows: list[dict[str, Any]]) -> str:
    """A verb's rows as a table, with their unit and their notes."""
    unit = next(key.removeprefix("ours_") for key in rows[0] if key.startswith("ours_"))
    fixed = ("name", "bits", f"ours_{unit}", f"peer_{unit}", "ratio", "n")
    notes = list(dict.fromkeys(key for row in rows for key in row if key not in fixed))
    cells = []
    for row in rows:
        sides = (shown(row[f"{side}_{unit}"], unit) for side in ("ours", "peer"))
        noted = (row.get(note, "") for note in notes)
        cells.append((ratio_shown(row["ratio"]), row["name"], row["bits"] or "", *sides, row["n"], *noted))
    return table(("ratio", "what", "bits", "ours", "peer", "pairs", *notes), cells)


def _points(measured: dict[str, Any]) -> str:
    found = measured["points"]
    fields = list(COUNTS) if _is_dispute(measured) else ["ratio"]
    cells = []
    for point in found:
        values = point["values"]
        counts = (ratio_shown(values[field]) if field == "ratio" else f"{values[field]:,}" for field in fields)
        sides = (shown(values[side], "s") for side in ("ours_s", "peer_s"))
        cells.append((f"{point['x']:,}", point["series"], *counts, *sides, values["n"]))
    counted = (COUNTS.get(field, field) for field in fields)
    return table((AXES[measured["piece"]][1], "", *counted, "ours", "peer", "pairs"), cells)


def _seen(measured: dict[str, Any]) -> str:
    """What a figure shows, from its points, and why."""
    piece, shows = measured["piece"], _grown if _is_dispute(measured) else _compared
    said = [shows(name, some, AXES[piece][1]) for name, some in _series(measured).items()]
    return " ".join([*said, WHY[piece]]) + "\n"


def _compared(name: str, some: Sequence[dict[str, Any]], what: str) -> str:
    """A step beside plain torch's, from the first point to the last."""
    first, *_, last = some
    ratios = [point["values"]["ratio"] for point in some]
    ends = (f"{ratio_shown(end['values']['ratio'])} at {end['x']:,}" for end in (first, last))
    return f"At {name} the ratio is {' and '.join(ends)} {what}, {ratio_shown(max(ratios))} at most."


def _grown(name: str, some: Sequence[dict[str, Any]], what: str) -> str:
    """How a dispute grows while its step, interval or tensor grows."""
    first, last = (some[0], some[-1])
    before, after = first["values"], last["values"]
    times = {field: after[field] / before[field] for field in ("gas", "proof")}
    return (
        f"A false {name} with {last['x'] / first['x']:,.0f} times the {what} takes {after['moves']} moves instead of "
        f"{before['moves']}, {times['gas']:.2f} times the gas and {times['proof']:.2f} times the proof."
    )


def _said(measured: dict[str, Any]) -> str:
    """The machine and the settings that it was measured with."""
    on = measured["on"]
    cores = "" if measured["piece"] == "threads" or on["device"] != "cpu" else f", threads: {on['threads'] or 'all'}"
    small = ", small sizes that only test the script" if on["quick"] else ""
    return f"{on['machine']}; torch {on['torch']}, executor {on['executor']} on {on['device']}{cores}{small}.\n"


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(map(str, line))} |\n" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=[*VERBS, *PIECES], help="again for more; default: all")
    parser.add_argument("--draw", action="store_true", help="measure nothing, only write the page and its figures")
    parser.add_argument("--executor", choices=list(EXECUTORS), default="fused")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, help="default: all cores")
    parser.add_argument("--bits", type=int, action="append", help="again for more; default: 13 and 21")
    parser.add_argument("--n", type=int, help="pairs; default: what suits the piece")
    parser.add_argument("--quick", action="store_true", help="small sizes, which only test the script")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs", help="the folder of the page")
    args = parser.parse_args()
    card = ON_A_CARD if args.device.startswith("cuda") else ""
    pieces = args.only or ([*CARD] if card else [*VERBS, *PIECES])
    if card and not {*pieces} <= {*CARD}:
        parser.error(f"on a card only these are measured: {', '.join(CARD)}")
    figures = args.docs / "figures"
    figures.mkdir(parents=True, exist_ok=True)
    try:
        bits = tuple(args.bits or (13, 21))
        settings = Settings(args.executor, args.device, args.threads, bits, args.n, args.quick)
        for piece in [] if args.draw else pieces:
            measured = measure(piece, settings)
            (figures / f"{card}{piece}.json").write_text(json.dumps(measured, indent=1) + "\n")
    except OffchainError as error:
        parser.error(str(error))
    for piece in PIECES:
        raw = figures / f"{piece}.json"
        if raw.exists():
            draw(json.loads(raw.read_text()), raw.with_suffix(".svg"))
    (args.docs / "benchmarks.md").write_text(document(figures))


if __name__ == "__main__":
    main()
