"""`offchain`: the command line. Commands parse and print; the work is done in other rooms."""

from __future__ import annotations

import errno
import os
import sys
from importlib import import_module
from typing import Final

import click
from click.shell_completion import CompletionItem

from offchain import __version__
from offchain.errors import OffchainError, OutOfMemory
from offchain.lines import users_traceback
from offchain.text import printable

TRACEBACK: Final = "--traceback"
COMMANDS: Final = {  # name -> module and attribute, imported when called: torch and web3 take seconds to import
    "chain": ("offchain.commands.chain", "chain"),
    "deploy": ("offchain.commands.chain", "deploy"),
    "status": ("offchain.commands.money", "status"),
    "account": ("offchain.commands.account", "account"),
    "vault": ("offchain.commands.account", "vault"),
    "verifier": ("offchain.commands.verifier", "verifier"),
    "task": ("offchain.commands.task", "task"),
    "generate": ("offchain.commands.generate", "generate"),
    "certificate": ("offchain.commands.certificate", "certificate"),
    "run": ("offchain.commands.run", "run"),
    "worker": ("offchain.commands.worker", "worker"),
    "page": ("offchain.commands.page", "page"),
    "adjudicate": ("offchain.commands.adjudicate", "adjudicate"),
    "bench": ("offchain.commands.bench", "bench"),
    "economics": ("offchain.commands.economics", "economics"),
    "demo": ("offchain.commands.demo", "demo"),
}
SUMMARIES: Final = {
    "chain": "Start a local chain (Ganache).",
    "deploy": "Deploy all contracts and write their addresses to a file.",
    "status": "Show what an account has, earned and lost, and what it must do by when.",
    "account": "Make an account, fund it, see its balances and its history.",
    "vault": "Move tokens into the vault and out of it.",
    "verifier": "Name the key and the stake with which checkpoints are drawn for audits.",
    "task": "Build, quote, post, follow, end and fetch training tasks.",
    "generate": "Show the text of a generation as it grows.",
    "certificate": "Show others what a model was computed from, and where that was settled.",
    "run": "Train a task file on this machine, without a chain.",
    "worker": "Bid, train, audit and dispute, until stopped; check and drain a worker.",
    "page": "Watch a deployment in a browser.",
    "adjudicate": "Have deployed contracts judge a step, and compare with the executor.",
    "bench": "Measure steps, products, hashing and disputes against what people use now.",
    "economics": "Simulate the market: who gets which task, and what that is worth.",
    "demo": "Show everything on a local chain: an honest run, then a cheat.",
}


class LazyGroup(click.Group):
    """A group that imports a command when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module, attribute = COMMANDS[name]
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Names of commands without importing them, so that a shell has them at once."""
        names = [CompletionItem(name, help=what) for name, what in SUMMARIES.items() if name.startswith(incomplete)]
        return names or super().shell_complete(ctx, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(SUMMARIES.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="offchain")
@click.option("--traceback", is_flag=True, help="Of an error in a job, show where your code raised it. Anywhere.")
def root(traceback: bool) -> None:
    """Strangers train your model; a contract can judge any single float of it.

    \b
    Try:  offchain demo
    """


def _said(error: click.ClickException) -> str:
    """What is wrong with the words of a command, in one line, and where its help is."""
    said = error.format_message().rstrip(".").replace("\n", " ")
    if isinstance(error, click.NoSuchOption) and error.option_name[1:2].isdigit():
        said = f"{error.option_name}…: amounts and numbers are not negative"
    context = error.ctx if isinstance(error, click.UsageError) else None
    return said if context is None else f"{said} (see `{context.command_path} --help`)"


def _hash_alike(words: list[str]) -> None:
    """Start a command that builds a job again, with hashes of text that are the same in every process.

    The order of a set of names follows from them, and so may what a job makes of it: the same job makes the same file.
    """
    builds = {"task", "build"} <= set(words) or (
        {"task", "post"} <= set(words) and any(w.endswith(".py") for w in words)
    )
    said = builds and sys.orig_argv[-len(words) :] == words
    if said and os.name == "posix" and sys.flags.hash_randomization:
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | {"PYTHONHASHSEED": "0"})


def _require_stdout() -> None:
    """End where stdout is closed: what the command would do would not be shown, and might go into a file that it opens.

    In place of a stdin or a stderr that is closed there is nothing, for the same reason.
    """
    for number, stream in ((0, sys.stdin), (2, sys.stderr)):
        if stream is None:
            nothing = os.open(os.devnull, os.O_RDWR)
            os.dup2(nothing, number)  # which may be where it is
    if sys.stdout is None:
        os.write(2, b"error: standard output is closed; send it to a file, or to /dev/null\n")
        sys.exit(OffchainError.exit_code)


def main() -> None:
    """Entry point. An error is one line on stderr and an exit code, see offchain.errors."""
    _require_stdout()
    words = sys.argv[1:]
    _hash_alike(words)
    try:
        words_of_click = [word for word in words if word != TRACEBACK]
        root.main(words_of_click, prog_name="offchain", standalone_mode=False, auto_envvar_prefix="OFFCHAIN")
    except OffchainError as error:
        if TRACEBACK in words:
            click.echo("\n".join(printable(line, 4_000) for line in users_traceback(error)), err=True)
        click.echo("\n".join(printable(line, 4_000) for line in f"error: {error}".splitlines()), err=True)
        sys.exit(error.exit_code)
    except click.exceptions.Exit as leave:
        sys.exit(leave.exit_code)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(error.exit_code)
    except click.ClickException as error:
        click.echo(f"error: {printable(_said(error), 4_000)}", err=True)
        sys.exit(error.exit_code)
    except MemoryError as error:  # raised outside of nodes, which raise OutOfMemory
        click.echo(f"error: not enough memory ({error or 'Python does not say for what'})", err=True)
        sys.exit(OutOfMemory.exit_code)
    except (click.Abort, KeyboardInterrupt) as stop:
        for line in (*getattr(stop.__cause__ or stop, "__notes__", ()), "stopped"):
            click.echo(line, err=True)
        sys.exit(130)
    except OSError as error:  # what no command has named better: a full disk, a folder that is not there
        what = f"{error.filename}: " if error.filename else ""
        remedy = "; free some room on the disk" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        click.echo(f"error: {printable(f'{what}{error.strerror or error}{remedy}', 4_000)}", err=True)
        sys.exit(OffchainError.exit_code)


if __name__ == "__main__":
    main()
