"""`offchain bench`: what things cost, compared with what people use now."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click
from rich.console import Console
from rich.progress import TimeElapsedColumn
from rich.table import Table

from offchain.commands.common import json_option
from offchain.exec.make import EXECUTORS
from offchain.progress import Watch, watching

if TYPE_CHECKING:
    from offchain.bench.timing import Row, Settings

JOBS: Final = ("gpt", "gpt-sdpa", "cnn", "mlp", "depthwise", "lora")  # of offchain.bench.jobs, which imports torch
PROGRAMS: Final = ("minilm", "generation")  # of offchain.bench.programs

F = TypeVar("F", bound=Callable[..., Any])


@click.group()
def bench() -> None:
    """Measure ours and a peer alternately, in one process.

    A ratio is ours to the peer's, the median over all pairs: 2 is twice as slow (or large). --quick only tries a verb
    out: its sizes are small, and its ratios mean nothing.

    \b
    Example:  offchain bench step --job gpt
              offchain bench step --executor torch --threads 1 --bits 21 --json
    """


# --- options and tables ------------------------------------------------------------------------------------------


def measured(command: F) -> F:
    """Adds the options of `Settings`, and passes one as `settings`."""

    @click.option("--executor", type=click.Choice(list(EXECUTORS)), default="fused", show_default=True)
    @click.option("--device", default="cpu", show_default=True, help="For both: cpu, cuda, cuda:1 …")
    @click.option("--threads", type=click.IntRange(1), help="For both, on the CPU. Default: all cores.")
    @click.option("--bits", type=click.IntRange(2, 27), multiple=True, help="May be repeated. Default: 13 and 21.")
    @counted
    @wraps(command)
    def wrapped(
        executor: str, device: str, threads: int | None, bits: tuple[int, ...], n: int | None, quick: bool, **rest: Any
    ) -> None:
        from offchain.bench.timing import Settings

        command(settings=Settings(executor, device, threads, bits or (13, 21), n, quick), **rest)

    return wrapped  # type: ignore[return-value]


def counted(command: F) -> F:
    """Adds --n, --quick and --json."""
    command = click.option("--n", type=click.IntRange(1), help="Pairs. Default: depends on the size.")(command)
    command = click.option("--quick", is_flag=True, help="Small sizes, two pairs, to see that it works.")(command)
    return json_option(command)


def jobs_option(*default: str, of: Sequence[str] = JOBS) -> Callable[[F], F]:
    """Adds --job, passed as `jobs`."""

    def adding(command: F) -> F:
        @click.option("--job", "jobs", type=click.Choice(of), multiple=True, default=default, show_default=True,
                      help="May be repeated.")  # fmt: skip
        @wraps(command)
        def wrapped(**options: Any) -> None:
            command(**options)

        return wrapped  # type: ignore[return-value]

    return adding


def report(measure: Callable[[Watch], Iterator[Row]], as_json: bool, about: str) -> None:
    """Measure, with a bar on stderr; then a table, or JSON."""
    with watching("measuring", TimeElapsedColumn()) as watch:
        rows = list(measure(watch))
    if as_json:
        click.echo(json.dumps([row.facts() for row in rows], indent=2))
        return
    from offchain.bench.machine import machine

    table = Table(box=None, pad_edge=False, caption=about, caption_justify="left")
    notes = list(dict.fromkeys(name for row in rows for name in row.notes))
    table.add_column("ratio", justify="right")
    table.add_column("")
    for head in ("bits", "ours", "peer", "n", *notes):
        table.add_column(head, justify="right")
    for row in rows:
        sides = (shown(value, row.unit) for value in (row.ours, row.peer))
        cells = (ratio_shown(row.ratio), row.name, str(row.bits or ""), *sides, str(row.n))
        table.add_row(*cells, *(row.notes.get(name, "") for name in notes))
    Console(width=80, highlight=False).print(table)
    click.echo(f"on {machine()}")


def ratio_shown(ratio: float) -> str:
    """Three digits: 2.11, 6,740; two of a small share: 0.03 %."""
    if ratio < 0.01:
        return f"{100 * ratio:.2g} %"
    return f"{ratio:.3g}" if ratio < 1000 else f"{float(f'{ratio:.3g}'):,.0f}"


def shown(value: float, unit: str) -> str:
    """A quantity for people, with three digits."""
    if unit == "gas":
        return f"{value:,.0f}"
    scale, name = next((s, n) for s, n in SCALES[unit] if value >= s or (s, n) == SCALES[unit][-1])
    return f"{value / scale:.3g} {name}"


SCALES: Final = {
    "s": ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")),
    "bytes": ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")),
}


# --- verbs -------------------------------------------------------------------------------------------------------


@bench.command()
@jobs_option("gpt", "cnn", "mlp", of=(*JOBS, *PROGRAMS))
@click.option("--memory", is_flag=True, help="Measure peak memory instead: ours_bytes and peer_bytes.")
@measured
def step(jobs: tuple[str, ...], memory: bool, settings: Settings, as_json: bool) -> None:
    """Compare a training step with plain torch's.

    gpt is 4 layers of width 256 with 8 heads, sequence 128, batch 16, AdamW, attention as minGPT writes it; gpt-sdpa
    the same with scaled_dot_product_attention; cnn, mlp and lora are examples/cnn_digits.py, mlp_digits.py and
    lora_minilm.py. The peer is eager float32 with autograd and the optimizer's fused kernel; a second row has
    use_deterministic_algorithms(True). minilm is examples/embed_mails.py, 32 mails a step; generation a token a step
    for 8 prompts by a Llama of 17 million weights; their peer is the same step in eager torch.
    Ours does not include hashing, which is done once an interval: see `offchain bench hash`.

    Memory is the peak during a step (parameters, optimizer, dataset, workspaces; not Python and its libraries), each
    side in a fresh process: the process's on a CPU, that of torch's allocator on a GPU.

    \b
    Example:  offchain bench step --job gpt --bits 8 --threads 2
              offchain bench step --memory --json
    """
    from offchain.bench import step as verb

    make = verb.memory_rows if memory else verb.rows
    report(lambda watch: make(jobs, settings, watch), as_json, "peer: eager torch")


@bench.command()
@measured
def gemm(settings: Settings, as_json: bool) -> None:
    """Compare an exact matrix product with BLAS.

    1024 x 768 times 768 x 3072. dot is all that the chosen executor does for it: from float32 operands their exponents,
    quantisation, exact sums, one rounding to float32. The peers are torch.matmul in float32, and in float64 with
    float64 operands.

    \b
    Example:  offchain bench gemm --bits 8 --threads 1
    """
    from offchain.bench.gemm import rows

    report(lambda watch: rows(settings, watch), as_json, "peer: torch.matmul")


@bench.command()
@jobs_option("gpt")
@measured
def engines(jobs: tuple[str, ...], settings: Settings, as_json: bool) -> None:
    """Measure how far processes differ that choose anew what multiplies.

    The slowest of 20 fresh processes (--n) beside the median one: by steps relative to plain torch's in the same
    process, by seconds, and by plain torch's seconds, which shows how far the machine itself differs. Processes take
    turns. chosen: 16 or 8 lanes of digits, or the BLAS's name.

    That takes about five minutes for each precision; --quick shows in a fraction of it what comes.

    \b
    Example:  offchain bench engines --bits 21
    """
    from offchain.bench.engines import rows

    report(lambda watch: rows(jobs, settings, watch), as_json, "peer: the median process")


@bench.command("map")
@measured
def elementwise(settings: Settings, as_json: bool) -> None:
    """Compare elementwise chains with torch's.

    On 4M elements: minGPT's GELU; scaling, causal mask and softmax of attention scores; an update of Adam. eager is the
    same expression in torch, operation by operation; kernel is torch's own fused kernel. --bits has no effect.

    \b
    Example:  offchain bench map --threads 1
    """
    from offchain.bench.map import rows

    report(lambda watch: rows(settings, watch), as_json, "peer: torch")


@bench.command("hash")
@jobs_option("gpt")
@measured
def hashing(jobs: tuple[str, ...], settings: Settings, as_json: bool) -> None:
    """Measure hashing a state, and committing to it.

    state root: the Merkle root on all cores (or --threads), compared with hashlib.sha256 of the same bytes on one core.
    commit: fetching the state from the executor and hashing it, compared with 100 steps (one is measured in each pair).
    Its ratio is what committing adds to an interval of 100 steps.

    \b
    Example:  offchain bench hash --json
    """
    from offchain.bench.hash import rows

    report(lambda watch: rows(jobs, settings, watch), as_json, "peer: one SHA-256; 100 steps")


@bench.command()
@jobs_option("gpt", "lora", "cnn", "mlp")
@measured
def replay(jobs: tuple[str, ...], settings: Settings, as_json: bool) -> None:
    """Compare what a dispute has its players compute with training.

    interval: ten steps with the roots of the states after each, computed once for all disputes about an interval. Slots
    that no step can change are not hashed. replay: the disputed step with its full trace, which is the outputs of all
    nodes, and their trees. The peer is the same executor's steps in training.

    \b
    Example:  offchain bench replay --job gpt --bits 21
    """
    from offchain.bench.replay import rows

    report(lambda watch: rows(jobs, settings, watch), as_json, "peer: the step in training")


@bench.command()
@click.option("--gas", is_flag=True, help="Show ours_gas and peer_gas: the peer is a plain token transfer.")
@measured
def dispute(gas: bool, settings: Settings, as_json: bool) -> None:
    """Measure whole disputes of different sizes.

    The rows vary the steps of an interval, the nodes of the graph, and the elements of the largest tensor. The chain is
    a Ganache. A cheat falsifies one element of a map (judged by computing it) or of a dot (judged by one term of its
    sum) in the last step of an interval, and is convicted. Ours is all moves of both players, mined; each has computed
    the interval and that step before. Moves and gas do not count the opening. The peer is a replay of the interval,
    which is what a judge without disputes would do, and no contract can.

    \b
    Example:  offchain bench dispute --bits 21 --n 1
              offchain bench dispute --quick --gas --json
    """
    from offchain.bench.dispute import rows

    about = "peer: a token transfer" if gas else "peer: replaying the interval off chain"
    report(lambda watch: rows(settings, "gas" if gas else "s", watch), as_json, about)


@bench.command()
@click.option("--gas", is_flag=True, help="Show ours_gas and peer_gas instead of seconds.")
@counted
def chain(gas: bool, n: int | None, quick: bool, as_json: bool) -> None:
    """Measure every transaction of a task.

    First an honest task of three checkpoints on a Ganache: seconds from the client's call to its receipt, or gas. whole
    task is the sum, compared with one mean transfer. Then, in another task, the first transaction of a dispute (open)
    and its shortest end (concede: the solver gives up and is slashed). An audit sends no transaction unless it finds a
    wrong root.

    The peer of each transaction is a plain token transfer by the same account through the same client, right after it.
    --n is the number of tasks.

    \b
    Example:  offchain bench chain --n 10 --gas
    """
    from offchain.bench.chain import rows
    from offchain.bench.timing import Settings

    settings = Settings(n=n, quick=quick)
    report(lambda watch: rows(settings, "gas" if gas else "s", watch), as_json, "peer: a token transfer")


@bench.command()
@counted
def looks(n: int | None, quick: bool, as_json: bool) -> None:
    """Measure a worker's look at a market with 5,000 open tasks and 10,000 unpaid checkpoints.

    The chain is a Ganache; filling it takes some minutes. The account is a verifier without a part in any of the tasks.
    first looks reads them all, in parts, as a worker does that has just started; then looks at new blocks in which
    nothing changed, or one task was posted; then what the roles decide from it. The peer is a look at a market without
    tasks.

    \b
    Example:  offchain bench looks --n 20
    """
    from offchain.bench.looks import rows
    from offchain.bench.timing import Settings

    settings = Settings(n=n, quick=quick)
    report(lambda watch: rows(settings, watch), as_json, "peer: a look at an empty market")
