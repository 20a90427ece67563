"""Draws a comparison: welfare, waiting, idle machines and crowding, by scenario and rule."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from offchain.economics.comparison import Figures
from offchain.errors import BadInput

PANELS: Final = {
    "optimum": "cost of the optimum / cost (more is better)",
    "wait": "minutes from posting to work",
    "idle": "idle machines",
    "crowding": "work on the busiest tenth",
}
WIDTH: Final = 0.8  # of all bars of a scenario
FORMATS: Final = (".svg", ".png", ".pdf")


def check(file: Path) -> None:
    """Raises BadInput if `draw` could not write such a file."""
    if file.suffix not in FORMATS:
        raise BadInput(f"{file}: a plot is a file that ends in {', '.join(FORMATS)}")
    if not file.parent.is_dir():
        raise BadInput(f"{file.parent} is not a folder")
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise BadInput("a plot needs matplotlib: pip install '.[economics]' in the checkout") from error


def draw(figures: Sequence[Figures], file: Path) -> None:
    """Write the figure; the same figures give the same SVG. Raises BadInput; `check` finds most causes before."""
    from matplotlib.figure import Figure

    canvas = Figure(figsize=(11, 6.5), layout="constrained")
    axes = canvas.subplots(2, 2).ravel()
    for axis, (field, label) in zip(axes, PANELS.items(), strict=True):
        _bars(axis, figures, field)
        axis.set_ylabel(label)
    axes[0].axhline(1, color="black", linewidth=0.8)
    axes[1].set_yscale("symlog", linthresh=1)
    handles, labels = axes[0].get_legend_handles_labels()
    canvas.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False, fontsize="small")
    save(canvas, file, "market")


def save(canvas: Any, file: Path, salt: str) -> None:
    """Write a figure; `salt` names what is inside of it. Raises BadInput."""
    import matplotlib as mpl

    try:
        with mpl.rc_context({"svg.hashsalt": salt}):
            canvas.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else None)
    except OSError as error:
        raise BadInput(f"{file} cannot be written: {error.strerror}") from error


def _bars(axis: Any, figures: Sequence[Figures], field: str) -> None:
    scenarios = list(dict.fromkeys(row.scenario for row in figures))
    rules = list(dict.fromkeys(row.rule for row in figures))
    width = WIDTH / len(rules)
    for place, rule in enumerate(rules):
        heights = [getattr(row, field) for row in figures if row.rule == rule]
        left = [x - WIDTH / 2 + (place + 0.5) * width for x in range(len(scenarios))]
        axis.bar(left, heights, width, label=rule)
    axis.set_xticks(range(len(scenarios)), [name.replace(", ", ",\n") for name in scenarios])
    axis.spines[["top", "right"]].set_visible(False)
