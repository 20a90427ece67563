"""The commands that the pages tell a reader to type."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click

from offchain.cli import root

ROOT: Final = Path(__file__).resolve().parents[2]
PAGES: Final = (
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "examples/README.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
)
SHELLS: Final = ("", "sh")  # languages of blocks that hold commands: some of their lines, or all
PROGRAMS: Final = ("offchain", "make", "pip", "python", "python3", "pytest", "brownie", "torchrun", "npm", "podman")
BLOCK: Final = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE: Final = re.compile(r"`(offchain [a-z][^`]*)`")
OURS: Final = re.compile(r"^(?:\S*/)?offchain$")


@dataclass(frozen=True)
class Told:
    """A command, the page that has it, and whether it stands in a block: then it is complete."""

    page: str
    words: tuple[str, ...]
    whole: bool

    def __str__(self) -> str:
        return f"{self.page}: {' '.join(self.words)}"


def told(page: Path) -> Iterator[Told]:
    """Every command of a page."""
    text, name = page.read_text(), str(page.relative_to(ROOT))
    for language, body in BLOCK.findall(text):
        if language in SHELLS:
            for line in body.replace("\\\n", " ").splitlines():
                found = (Told(name, words, True) for words in commands(line))
                yield from (each for each in found if language or is_command(each.words))
    for line in BLOCK.sub("", text).splitlines():
        if line.startswith("    "):
            yield from (Told(name, words, True) for words in commands(line) if is_command(words))
    for line in INLINE.findall(BLOCK.sub("", text)):
        yield from (Told(name, words, False) for words in commands(" ".join(line.split())))


def commands(line: str) -> Iterator[tuple[str, ...]]:
    """The commands of a line, without comments, pipes and what is sent to the background; none of a line of prose."""
    bare = re.sub(r"(^|\s)#.*$", "", line).strip()
    if not re.match(r"^[\w./$_=-]+( |$)", bare) or set(bare) & set("│─▸├└┌"):
        return
    for part in re.split(r"&&|\|| & |&$|>", bare):
        try:
            words = shlex.split(part)
        except ValueError:
            return
        while words and re.match(r"^\w+=", words[0]):
            words = words[1:]
        if words:
            yield tuple(words)


def is_command(words: tuple[str, ...]) -> bool:
    """Whether a line begins with a program that these pages speak of, and not with what a program has printed."""
    return words[0].rpartition("/")[2] in PROGRAMS


def ours(words: tuple[str, ...]) -> tuple[str, ...] | None:
    """The words after `offchain`, be it behind torchrun or inside of a container; None: another program."""
    for at, word in enumerate(words):
        if OURS.match(word) and (at == 0 or words[0] in ("torchrun", "python") or words[:2] == ("podman", "exec")):
            return words[at + 1 :]
    return None


def parse(words: tuple[str, ...], whole: bool) -> click.Command:
    """The command that these words call. Raises click.UsageError for what the command line would not take.

    `whole`: nothing that it needs may be missing. Words in capitals and … stand for a reader's own.
    """
    command: click.Command = root
    context = click.Context(root, info_name="offchain")
    rest = [word for word in words if word != "…"] if whole else without_lone_options(words)
    while True:
        options, rest, _ = command.make_parser(context).parse_args(rest)
        _check(command, context, options, whole)
        if not isinstance(command, click.Group) or not rest or rest[0].isupper():
            return command
        name = rest.pop(0)
        found = command.get_command(context, name)
        if found is None:
            raise click.UsageError(f"there is no command {name!r} in `{context.command_path}`")
        command, context = found, click.Context(found, info_name=name, parent=context)


def without_lone_options(words: tuple[str, ...]) -> list[str]:
    """The words of a sentence, which may end by naming an option, without its value."""
    kept = [word for word in words if word != "…"]
    return kept[:-1] if kept[-1].startswith("--") else kept


def _check(command: click.Command, context: click.Context, options: dict[str, Any], whole: bool) -> None:
    for parameter in command.params:
        value = options.get(str(parameter.name))
        given = isinstance(value, str | list | tuple) and bool(value)
        if whole and parameter.required and not given and value is not True:
            raise click.MissingParameter(ctx=context, param=parameter)
        if given and not (isinstance(parameter, click.Option) and parameter.is_flag) and not _stands_for(value):
            parameter.type_cast_value(context, value)


def _stands_for(value: Any) -> bool:
    """Whether a value is a place where the reader's own goes."""
    words = [value] if isinstance(value, str) else [str(word) for word in value]
    return any(word.isupper() or "…" in word for word in words)
