"""`offchain.toml`: one file of settings, which flags and OFFCHAIN_* variables win over.

At its top stand the options that many commands share (SHARED), in a table named like a command, as `[worker]` or
`[task.post]`, that command's options, each under the name of its flag. `[profile.NAME]` has the same parts again, which
win where --profile names it.
"""

from __future__ import annotations

import os
import stat
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from offchain.errors import BadInput
from offchain.plainfile import read_plain

FILE: Final = "offchain.toml"
MAX_FILE: Final = 1 << 20  # bytes
FILE_VARIABLE: Final = "OFFCHAIN_SETTINGS"  # names the file; empty: none is read
ACCOUNT: Final = "account"  # a setting, and a command with a table
IDENTITIES: Final = ("key", ACCOUNT, "dev-account")  # one of them says who signs
SHARED: Final = ("rpc", "deployment", *IDENTITIES, "password-file")
PROFILE: Final = "profile"
WITHOUT: Final = (
    "adjudicate",
    "bench",
    "economics",
    "demo",
)  # take no settings: their figures depend on nothing hidden

# click's name of an option's type -> what TOML may say, and that in words; a string for all others
KINDS: Final[Mapping[str, tuple[tuple[type, ...], str]]] = {
    "integer": ((int,), "a whole number"),
    "integer range": ((int,), "a whole number"),
    "float": ((int, Decimal), "a number"),
    "float range": ((int, Decimal), "a number"),
    "tokens": ((int, Decimal, str), "an amount"),
    "boolean": ((bool,), "true or false"),
}
STRING: Final = ((str,), "a string in quotes")

Keys = tuple[str, ...]  # where something stands in the file: names of tables, and of the setting
F = TypeVar("F", bound=Any)


@dataclass(frozen=True)
class Settings:
    """A file of settings. `body` is its content as tomllib reads it, with decimals for floats."""

    path: Path
    text: str
    body: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> Settings:
        """Raises BadInput: the file is missing or not TOML."""
        try:
            text = read_plain(path, MAX_FILE).decode()
            return cls(path, text, tomllib.loads(text, parse_float=Decimal))
        except OSError as error:
            raise BadInput(f"{path}: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise BadInput(f"{path}: no text in UTF-8 (byte {error.start})") from error
        except ValueError as error:  # tomllib's says the line
            raise BadInput(f"{path}: {error}") from error
        except RecursionError as error:
            raise BadInput(f"{path}: its brackets are nested too deeply") from error

    def at(self, *keys: str) -> Any:
        """What stands there, or None."""
        found: Any = self.body
        for key in keys:
            found = found.get(key) if isinstance(found, dict) else None
        return found

    def wrong(self, keys: Keys, what: str) -> BadInput:
        """An error that names the file, the line where something stands, and what is wrong with it."""
        return BadInput(f"{self.path}:{self._line(keys)}: {what}")

    def _line(self, keys: Keys) -> int:
        """The line where a value ends: the first up to which the text has it."""
        lines = self.text.splitlines(keepends=True)
        for number in range(1, len(lines) + 1):
            try:
                found: Any = tomllib.loads("".join(lines[:number]))
            except ValueError:  # inside a value of several lines
                continue
            for key in keys:
                found = found.get(key) if isinstance(found, dict) else None
            if found is not None:
                return number
        return len(lines)


def config_folder() -> Path:
    """The user's folder for this program's configuration and accounts."""
    return Path(click.get_app_dir("offchain"))


def find() -> Path | None:
    """The file that OFFCHAIN_SETTINGS names; else the first of this folder, those above it, and the configuration's.

    Raises BadInput for a file that was found, and that another user may have written.
    """
    named = os.environ.get(FILE_VARIABLE)
    if named is not None:
        return Path(named) if named else None
    here = Path.cwd()
    for folder in (here, *here.parents, config_folder()):
        file = folder / FILE
        if file.is_file():
            _require_own(file)
            return file
    return None


def _require_own(file: Path) -> None:
    """What it names decides where money goes, and it may lie in a folder that others can write to."""
    status = file.stat()
    if status.st_uid not in (0, os.getuid()) or status.st_mode & stat.S_IWOTH:
        raise BadInput(f"{file}: another user may have written it; set {FILE_VARIABLE} to its path if you trust it")


def settings_option(command: F) -> F:
    """Adds --profile, and makes what the file says the defaults of the command's options."""
    decorated: F = click.option(
        "--profile", metavar="NAME", envvar="OFFCHAIN_PROFILE", is_eager=True, expose_value=False, callback=_settle,
        help=f"Take [profile.NAME] of {FILE} too.",
    )(command)  # fmt: skip
    return decorated


def _settle(context: click.Context, _: click.Parameter, profile: str | None) -> None:
    """Eager, so that no other option has been looked up yet."""
    if context.resilient_parsing:
        return
    path = find()
    if path is not None:
        context.default_map = defaults(context, Settings.read(path), profile)
    elif profile:
        raise BadInput(f"--profile {profile}: there is no {FILE} in this folder, above it, or in {config_folder()}")


def defaults(context: click.Context, settings: Settings, profile: str | None) -> dict[str, Any]:
    """The values of a command's options, by the names of its parameters. Raises BadInput."""
    options = {_flag(option): option for option in context.command.params if isinstance(option, click.Option)}
    options.pop(PROFILE, None)
    words = _words_of(context)
    found: dict[str, Keys] = {}
    for prefix in _prefixes(settings, profile):
        _check_groups(context, settings, prefix, words)
        shared = [name for name in SHARED if _stands(settings, (*prefix, name))]
        own = [name for name in settings.at(*prefix, *words) or () if name not in _verbs(context)] if words else []
        places = [(prefix, shared, SHARED), *_inherited(settings, prefix, words, options)]
        for keys, names, allowed in (*places, ((*prefix, *words), own, tuple(options))):
            _check_names(settings, keys, names, allowed)
            if any(name in IDENTITIES for name in names):
                found = {name: where for name, where in found.items() if name not in IDENTITIES}
            found |= {name: (*keys, name) for name in names if name in options}
    return {str(options[name].name): _value(settings, keys, options[name], context) for name, keys in found.items()}


def _stands(settings: Settings, keys: Keys) -> bool:
    """Whether a shared setting has a value: `account` as a table is that of the command with this name."""
    value = settings.at(*keys)
    return value is not None and not (keys[-1] == ACCOUNT and isinstance(value, dict))


def _verbs(context: click.Context) -> list[str]:
    """The commands below one that is a command itself, as `worker` is: their tables stand in its own."""
    return context.command.list_commands(context) if isinstance(context.command, click.Group) else []


def _inherited(
    settings: Settings, prefix: Keys, words: Keys, options: Mapping[str, click.Option]
) -> list[tuple[Keys, list[str], Keys]]:
    """What the tables of the commands above say about options that this one has too, as [worker] for `worker check`."""
    found = []
    for depth in range(1, len(words)):
        keys = (*prefix, *words[:depth])
        names = [name for name in settings.at(*keys) or () if name in options]
        found.append((keys, names, tuple(options)))
    return found


def _flag(option: click.Option) -> str:
    """The name of an option's flag without its dashes."""
    return max(option.opts, key=len).lstrip("-")


def _prefixes(settings: Settings, profile: str | None) -> list[Keys]:
    """The tables whose parts count, the strongest last. Raises BadInput for a profile that is not there."""
    if not profile:
        return [()]
    profiles = settings.at(PROFILE)
    if not isinstance(settings.at(PROFILE, profile), dict):
        known = ", ".join(profiles) if isinstance(profiles, dict) else "none"
        raise BadInput(f"{settings.path}: no profile {profile!r}; there are: {known}")
    return [(), (PROFILE, profile)]


def _words_of(context: click.Context) -> Keys:
    """The words of the command, as ("task", "post")."""
    words: list[str] = []
    while context.parent is not None:
        words.insert(0, str(context.info_name))
        context = context.parent
    return tuple(words)


def _check_groups(context: click.Context, settings: Settings, prefix: Keys, words: Keys) -> None:
    """Raises BadInput for an entry, on the way to a command's table, that no command reads."""
    group: Any = context.find_root().command
    for depth in range(len(words) + 1):
        keys = (*prefix, *words[:depth])
        table = settings.at(*keys)
        if table is not None and not isinstance(table, dict):
            if keys == (*prefix, ACCOUNT):
                return  # who signs
            raise settings.wrong(keys, f"{keys[-1]}: must be a table, as [{'.'.join(keys)}]")
        if not isinstance(group, click.Group) or depth == len(words):  # the command's own table is looked at later
            return
        own = [_flag(option) for option in group.params if isinstance(option, click.Option)] if depth else []
        for name in table or {}:
            if name not in own:
                _check_entry(settings, (*keys, name), [*group.list_commands(context), *own], top=depth == 0)
        group = group.get_command(context, words[depth]) if depth < len(words) else None


def _check_entry(settings: Settings, keys: Keys, commands: list[str], top: bool) -> None:
    """Raises BadInput unless it is a command's table or, at the top, a setting that commands share."""
    name = keys[-1]
    if top and (name in SHARED or keys == (PROFILE,)):
        return
    if name not in commands:
        allowed = (*SHARED, *commands) if top else tuple(commands)
        raise settings.wrong(keys, f"{name}: neither a setting nor a command's table{_meant(name, allowed)}")
    if top and name in WITHOUT:
        raise settings.wrong(keys, f"{name}: `offchain {name}` takes no settings")


def _check_names(settings: Settings, keys: Keys, names: Sequence[str], allowed: Keys) -> None:
    for name in names:
        if name not in allowed:
            raise settings.wrong((*keys, name), f"{name}: no such setting{_meant(name, allowed)}")
    given = [name for name in names if name in IDENTITIES]
    if len(given) > 1:
        raise settings.wrong((*keys, given[-1]), f"{' and '.join(given)} name two accounts; keep one")


def _meant(name: str, allowed: Keys) -> str:
    close = get_close_matches(name.replace("_", "-"), allowed, 1)
    return f"; did you mean {close[0]}?" if close else f"; there are: {', '.join(allowed)}"


def _value(settings: Settings, keys: Keys, option: click.Option, context: click.Context) -> Any:
    """A setting as the words that the command line would have. Paths count from the file's folder. Raises BadInput."""
    value = settings.at(*keys)
    if option.multiple != isinstance(value, list):
        raise settings.wrong(keys, f"{keys[-1]}: must be {'a list' if option.multiple else 'one value, not a list'}")
    kinds, words = KINDS.get(option.type.name, STRING)
    for part in value if option.multiple else [value]:
        if not isinstance(part, kinds) or (isinstance(part, bool) and bool not in kinds):
            raise settings.wrong(keys, f"{keys[-1]}: must be {words}")
    said = [_said(settings, option, part) for part in value] if option.multiple else _said(settings, option, value)
    try:
        option.type_cast_value(context, said)
    except click.BadParameter as error:
        raise settings.wrong(keys, f"{keys[-1]}: {error.message}") from None
    return said


def _said(settings: Settings, option: click.Option, value: Any) -> Any:
    if isinstance(option.type, click.Path):
        return str(settings.path.parent / Path(value).expanduser())
    return value if isinstance(value, bool) else str(value)
