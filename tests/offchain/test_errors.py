"""The tree in the docstring of offchain.errors is the tree of the classes."""

from __future__ import annotations

import ast
import builtins
import re
from importlib import import_module
from pathlib import Path

from offchain import errors
from offchain.errors import OffchainError

PACKAGE = Path(errors.__file__).parent
LINE = re.compile(r"^([│├└─ ]*)(\w+) +(\d?) +(.+?)(?: \(([\w.]+)\))?$")


def written() -> dict[str, tuple[str, int, str]]:
    """Name -> parent, exit code, module, as the docstring says."""
    found: dict[str, tuple[str, int, str]] = {}
    path: list[str] = []
    assert errors.__doc__
    for line in errors.__doc__.split("\n\n", 1)[1].splitlines():
        match = LINE.match(line)
        assert match, line
        indent, name, code, _, module = match.groups()
        path = [*path[: len(indent) // 4], name]
        parent = path[-2] if len(path) > 1 else "Exception"
        found[name] = parent, int(code) if code else found[parent][1], f"offchain.{module or 'errors'}"
    return found


def defined() -> dict[str, str]:
    """Name -> module of every exception that a source defines, but for private ones, which never leave their module."""
    classes = list[tuple[str, str, set[str]]]()
    for file in PACKAGE.rglob("*.py"):
        module = ".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts)
        for item in ast.walk(ast.parse(file.read_text())):
            if isinstance(item, ast.ClassDef):
                bases = {base.id for base in item.bases if isinstance(base, ast.Name)}
                classes.append((item.name, module, bases))
    known = {
        name for name, kind in vars(builtins).items() if isinstance(kind, type) and issubclass(kind, BaseException)
    }
    while more := {name for name, _, bases in classes if bases & known} - known:
        known |= more
    return {name: module for name, module, bases in classes if bases & known and not name.startswith("_")}


def test_the_docstring_names_every_exception_where_it_is_defined() -> None:
    assert {name: module for name, (_, _, module) in written().items()} == defined()


def test_parents_and_exit_codes_are_as_written() -> None:
    for name, (parent, code, module) in written().items():
        kind = getattr(import_module(module), name)
        assert issubclass(kind, OffchainError)
        assert (kind.__base__.__name__, kind.exit_code) == (parent, code), name
