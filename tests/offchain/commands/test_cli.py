"""The command line: an error is one line on stderr and an exit code, and no file is written."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from offchain import cli
from offchain.commands.common import TOKENS, say, show, table_of
from offchain.market.money import tokens
from tests.support.terminal import run

JOB = """
import torch
from offchain.job import Job

x = torch.linspace(-1, 1, 96).reshape(32, 3)
job = Job(
    model=torch.nn.Linear(3, 2),
    loss=lambda model, batch: torch.nn.functional.mse_loss(model(batch["x"]), batch["y"]),
    optimizer=(torch.optim.SGD, {"lr": 0.1}),
    dataset={"x": x, "y": x[:, :2] * 2},
    batch_size=4, steps=8, interval=4, name="line",
)
"""


SILENT = {  # what prints no data but what it did, or its log
    ("worker",), ("worker", "drain"), ("page",), ("chain", "up"),
}  # fmt: skip


def test_every_command_explains_itself_with_an_example(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, text, _ = run(capsys, monkeypatch, "--help")
    assert code == 0
    assert all(name in text for name in cli.COMMANDS)
    for words, command in leaves():
        code, text, _ = run(capsys, monkeypatch, *words, "--help")
        assert code == 0
        assert "Example:" in text, words
        assert max(map(len, text.splitlines())) <= 80, words
        assert (words in SILENT) is not has_json(command), f"{words}: it prints data, or it does not"


def test_every_example_is_a_command_that_is_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OFFCHAIN_SETTINGS", "")
    seen = 0
    for _, command in leaves():
        examples = re.sub(r"\\\n\s*", "", (command.help or "").partition("Example:")[2])
        for line in filter(None, map(str.strip, examples.splitlines())):
            words = shlex.split(line)
            understood(cli.root, "offchain", words[words.index("offchain") + 1 :], None)
            seen += 1
    assert seen > len(cli.COMMANDS)
    with pytest.raises(click.UsageError):
        understood(cli.root, "offchain", ["task", "post", "digits.task"], None)


def understood(command: click.Command, name: str, words: list[str], parent: click.Context | None) -> None:
    """Raises click's UsageError for words that a command does not take. Runs nothing."""
    context = command.make_context(name, list(words), parent=parent)
    rest = [*context._protected_args, *context.args]
    if isinstance(command, click.Group) and rest:
        found, below, rest = command.resolve_command(context, rest)
        assert below is not None
        understood(below, str(found), rest, context)


def test_a_group_shows_what_is_typed_most(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    groups = [name for name, command in named() if isinstance(command, click.Group)]
    assert {"account", "task", "vault", "worker"} <= set(groups)
    for name in groups:
        code, text, _ = run(capsys, monkeypatch, name, "--help")
        assert (code, f"Example:  offchain {name}" in text) == (0, True), name
        assert max(map(len, text.splitlines())) <= 80, name


def test_long_lines_are_broken_between_words_on_a_terminal_only(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    line = "awarded to 0x3C44CdDd for 0.126095; " * 4 + "http://127.0.0.1:46401/" + "f" * 90
    say(line)
    assert capsys.readouterr().out == f"{line}\n"
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    say(line, "short")
    *broken, address, short = capsys.readouterr().out.splitlines()
    assert short == "short" and address.strip() == line.split()[-1]
    assert len(broken) == 2 and all(len(part) <= 80 for part in broken) and broken[1].startswith("  ")
    assert " ".join(part.strip() for part in (*broken, address)) == line


def test_tables_of_80_columns_cut_nothing_off(capsys: pytest.CaptureFixture[str]) -> None:
    price, name = "333,333,333,333,333,333,333,333,333,333.000001", "w" * 64
    table_of(
        ["task", "status", "price", "checkpoints"], [(999, "completed", price, "1000000 of 1000000, 1000000 paid")]
    )
    show([(name, "8" * 64)], as_json=False)
    out = capsys.readouterr().out
    assert "…" not in out and max(map(len, out.splitlines())) <= 80
    assert out.count("w") == 64 and out.count("8") == 64 and out.count("3") == price.count("3")


def named() -> list[tuple[str, click.Command]]:
    return [(name, cli.root.get_command(click.Context(cli.root), name)) for name in cli.COMMANDS]  # type: ignore[misc]


def leaves() -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command that does something, with its words."""
    waiting: list[tuple[tuple[str, ...], click.Command]] = [((), cli.root)]
    while waiting:
        words, command = waiting.pop()
        if not isinstance(command, click.Group) or command.invoke_without_command:
            yield words, command
        if isinstance(command, click.Group):
            context = click.Context(command)
            names = command.list_commands(context)
            waiting += [((*words, name), command.get_command(context, name)) for name in names]  # type: ignore[misc]


def has_json(command: click.Command) -> bool:
    return any("--json" in option.opts for option in command.params)


def test_help_is_there_before_torch_and_web3_are() -> None:
    """`offchain --help` takes less than 0.3 s; these take seconds."""
    heavy = ("torch", "web3", "numpy", "rich", "eth_account", "structlog")
    words = [sys.executable, "-X", "importtime", "-m", "offchain", "--help"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert "click" in imported and not imported & set(heavy)


def test_build_and_inspect(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "job.py").write_text(JOB)
    file = tmp_path / "line.task"
    code, out, _ = run(capsys, monkeypatch, "task", "build", str(tmp_path / "job.py"), "-o", str(file), "--json")
    assert (code, json.loads(out)["name"]) == (0, "line")
    code, out, _ = run(capsys, monkeypatch, "task", "inspect", str(file), "--json")
    assert (code, json.loads(out)["steps"]) == (0, 8)


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (JOB.replace("batch_size=4", "batch_size=64"), "batch_size"),
        (JOB.replace("batch_size=4, ", ""), "batch_size"),
        ("job = 3", "job"),
    ],
)
def test_a_bad_job_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, broken: str, said: str
) -> None:
    (tmp_path / "job.py").write_text(broken)
    file = tmp_path / "line.task"
    code, _, err = run(capsys, monkeypatch, "task", "build", str(tmp_path / "job.py"), "-o", str(file))
    assert code == 2
    assert err.count("\n") == 1
    assert said in err
    assert not file.exists()


def test_an_altered_task_file_is_refused_before_the_chain_is_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bad.task").write_bytes(b"\x08\0\0\0\0\0\0\0{}      ")
    command = ["task", "post", str(tmp_path / "bad.task"), "--max-price", "1", "--rpc", "http://127.0.0.1:1"]
    code, _, err = run(capsys, monkeypatch, *command)
    assert code == 2
    assert err.count("\n") == 1


def test_no_deployment_and_no_chain_say_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = str(tmp_path / "deployment.json")
    code, _, err = run(capsys, monkeypatch, "task", "status", "--deployment", missing, "--dev-account", "1")
    assert (code, "offchain deploy" in err) == (2, True)
    code, _, err = run(capsys, monkeypatch, "deploy", "--rpc", "http://127.0.0.1:1", "--dev-account", "0")
    assert code == 4
    assert err.count("\n") == 1


def test_a_new_key_is_private_and_never_overwritten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "worker.key"
    code, out, _ = run(capsys, monkeypatch, "account", "new", "-o", str(file))
    secret = file.read_text()
    assert code == 0
    assert file.stat().st_mode & 0o777 == 0o600
    assert secret.strip() not in out
    code, _, _ = run(capsys, monkeypatch, "account", "new", "-o", str(file))
    assert (code, file.read_text()) == (2, secret)


@pytest.mark.parametrize(("text", "units"), [("1", 10**18), ("0.5", 5 * 10**17), ("0", 0)])
def test_amounts(text: str, units: int) -> None:
    assert TOKENS.convert(text, None, None) == units
    assert tokens(units) == text


# --- where nobody listens


@pytest.mark.parametrize("closed", ["1", "1, 2", "0, 1"])
def test_nothing_is_done_where_stdout_is_closed(closed: str, tmp_path: Path) -> None:
    """It ended with 0, and what it printed went to whatever file it opened first."""
    code = f"import os, sys; [os.close(n) for n in ({closed},)]; os.execv(sys.executable, sys.argv[1:])"
    for words in (["account", "new", "-o", str(tmp_path / "me.key")], ["--help"]):
        command = [sys.executable, "-c", code, sys.executable, "-m", "offchain", *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        said = "" if "2" in closed else "error: standard output is closed; send it to a file, or to /dev/null\n"
        assert (done.returncode, done.stderr) == (1, said)
    assert list(tmp_path.iterdir()) == []


def test_a_command_whose_stderr_is_closed_still_answers(tmp_path: Path) -> None:
    code = "import os, sys; os.close(0); os.close(2); os.execv(sys.executable, sys.argv[1:])"
    command = [sys.executable, "-c", code, sys.executable, "-m", "offchain", "account", "new", "-o", "me.key", "--json"]
    codes = []
    for _ in range(2):
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
        codes.append(done.returncode)
    assert codes == [0, 2] and (tmp_path / "me.key").stat().st_size == 64 + 1


def test_who_stops_listening_is_told_nothing_more() -> None:
    listening, words = subprocess.PIPE, [sys.executable, "-m", "offchain", "task", "post", "--help"]
    with subprocess.Popen(words, stdout=listening, stderr=subprocess.PIPE) as command:
        assert command.stdout is not None and command.stderr is not None
        command.stdout.close()
        assert (command.stderr.read(), command.wait()) == (b"", 1)


# --- a job's own code

NEIGHBOUR = """
def double(x):
    print("from a neighbour")
    return x * 2
"""


def test_a_job_imports_its_neighbours_and_prints_beside_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "a_neighbour_of_a_job.py").write_text(NEIGHBOUR)
    text = JOB.replace("import torch\n", "import torch\nfrom a_neighbour_of_a_job import double\n", 1)
    (tmp_path / "job.py").write_text(text.replace('model(batch["x"]),', 'double(model(batch["x"])),'))
    words = ["task", "build", str(tmp_path / "job.py"), "-o", str(tmp_path / "a.task"), "--json"]
    code, out, err = run(capsys, monkeypatch, *words)
    assert (code, json.loads(out)["name"]) == (0, "line")
    assert "from a neighbour" in err


def test_traceback_shows_the_users_own_frames(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "job.py"
    inner = "def inner(x):\n    raise ValueError('of my own')\n\ndef outer(x):\n    return inner(x)\n"
    file.write_text(
        JOB.replace("x = torch", inner + "x = torch", 1).replace('model(batch["x"]),', 'outer(batch["x"]),')
    )
    words = ["task", "build", str(file), "-o", str(tmp_path / "a.task")]
    code, _, err = run(capsys, monkeypatch, *words)
    assert (code, err.count("\n")) == (2, 1)
    code, _, err = run(capsys, monkeypatch, *words, "--traceback")
    lines = err.splitlines()
    assert (code, lines[0]) == (2, "Traceback (most recent call last):")
    assert [line.partition("in ")[2] for line in lines if line.startswith("  File")] == ["<lambda>", "outer", "inner"]
    assert lines[-2:] == ["ValueError: of my own", lines[-1]]
    assert lines[-1].startswith("error: ")
    assert not any("site-packages" in line for line in lines)


@pytest.mark.slow
def test_the_same_job_makes_the_same_file_byte_for_byte(tmp_path: Path) -> None:
    """Even one that iterates over a set of text. And what it prints, in whatever way, leaves the answer alone."""
    names = "names = list({'red', 'green', 'blue', 'white', 'black', 'grey'})\nx = names.index('red') + torch"
    prints = "\nimport os, sys\nos.system('echo of a program')\nos.write(1, b'raw')\nsys.__stdout__.write('dunder')\n"
    (tmp_path / "job.py").write_text(JOB.replace("x = torch", names, 1) + prints)
    files = [tmp_path / f"{seed}.task" for seed in (1, 2)]
    for seed, file in enumerate(files):
        words = [sys.executable, "-m", "offchain", "task", "build", str(tmp_path / "job.py"), "-o", str(file), "--json"]
        done = subprocess.run(words, check=True, capture_output=True, env={**os.environ, "PYTHONHASHSEED": str(seed)})
        assert json.loads(done.stdout)["name"] == "line"
        assert all(word in done.stderr.decode() for word in ("of a program", "raw", "dunder"))
    assert files[0].read_bytes() == files[1].read_bytes()


def test_no_file_is_written_over_the_one_that_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "job.py"
    file.write_text(JOB)
    commands: list[list[str]] = [["task", "build"], ["run"], ["task", "post", "--max-price", "1"]]
    for words in commands:
        code, out, err = run(capsys, monkeypatch, *words, str(file), "-o", str(file))
        assert (code, out) == (2, "") and err == f"error: {file}: is the file that is read; name another one with -o\n"
        assert file.read_text() == JOB


def test_a_device_or_a_pipe_is_not_replaced_by_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files are renamed at the end: `-o /dev/null` was a file afterwards, where its user is allowed to do that."""
    (tmp_path / "job.py").write_text(JOB)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    node = ["--rpc", "http://127.0.0.1:9", "--dev-account", "0"]
    for words in (["task", "build", str(tmp_path / "job.py")], ["account", "new"], ["certificate", "make", "0", *node]):
        code, out, err = run(capsys, monkeypatch, *words, "-o", str(pipe))
        assert (code, out, err.count("\n")) == (2, "", 1) and str(pipe) in err
        assert pipe.is_fifo() and sorted(file.name for file in tmp_path.iterdir()) == ["job.py", "pipe"]


def test_a_job_file_runs_as_a_program_without_arguments(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(text: str) -> str:
        (tmp_path / "job.py").write_text(text)
        code, out, err = run(capsys, monkeypatch, "task", "build", str(tmp_path / "job.py"), "-o", str(tmp_path / "a"))
        assert (code, out, err.count("\n")) == (2, "", 1)
        return err

    arguments = "import argparse, sys\np = argparse.ArgumentParser()\np.add_argument('--lr', type=float, default=0.1)\n"
    end = "raise ValueError(f'{p.parse_args().lr} {len(sys.argv)}\\nand more')\n"
    assert refused(arguments + end).endswith("line 4: ValueError: 0.1 1\n")
    assert refused("assert False").endswith("line 1: AssertionError\n")
    assert 'not only where __name__ is "__main__"' in refused("if __name__ == '__main__':\n    job = 3\n")
