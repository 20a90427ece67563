"""docs/architecture.md lists the rooms from the top down; imports hold to it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parent.parent
PAGE: Final = ROOT / "docs" / "architecture.md"
PACKAGE: Final = "offchain"
FILES: Final = {  # module -> its file
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((ROOT / PACKAGE).rglob("*.py"))
}
MOST_LINES: Final = 400
MOST_LINES_OF_A_FUNCTION: Final = 40


def floors(page: str, what: str = "rooms") -> list[list[str]]:
    """A list of rooms in the page: one floor a line, from the top down, each a list of folders and files."""
    (block,) = re.findall(rf"^```{what}\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    return [line.split("  ")[0].split() for line in block.splitlines() if line.strip()]


ROOMS: Final = {
    f"{PACKAGE}.{room.strip('/').removesuffix('.py').replace('/', '.')}": floor
    for floor, rooms in enumerate(floors(PAGE.read_text()))
    for room in rooms
}


def room_of(module: str) -> str:
    """The innermost room of the page that holds a module."""
    names = [".".join(module.split(".")[:n]) for n in range(len(module.split(".")), 0, -1)]
    return next((name for name in names if name in ROOMS), "")


def imports(module: str, path: Path) -> Iterator[tuple[str, int]]:
    """Modules of the package that a module imports, wherever in it, and in which line."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}, line {node.lineno}: a relative import"
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in FILES else str(node.module) for name in inner]
        else:
            continue
        yield from ((name, node.lineno) for name in names if name in FILES and name != module)


# The package itself only hands on a few names, and its version: it takes part in no arrow.
ARROWS: Final = {
    module: {target: line for target, line in imports(module, path) if target != PACKAGE}
    for module, path in FILES.items()
    if module != PACKAGE
}


def is_allowed(source: str, target: str) -> bool:
    """Whether a room may import from another: only from one that stands further down."""
    return source == target or ROOMS[source] < ROOMS[target]


def test_every_module_has_a_room() -> None:
    assert [module for module in ARROWS if not room_of(module)] == []
    assert [room for room in ROOMS if not any(room_of(module) == room for module in FILES)] == []


def test_arrows_point_down() -> None:
    wrong = [
        f"{FILES[module].relative_to(ROOT)}:{line} imports {target}, which stands above it or beside it"
        for module, targets in ARROWS.items()
        for target, line in targets.items()
        if not is_allowed(room_of(module), room_of(target))
    ]
    assert wrong == []


def test_no_circles() -> None:
    """Imports inside functions, or for type checkers alone, count: they hide a circle and do not end it."""
    try:
        TopologicalSorter(ARROWS).prepare()
    except CycleError as error:
        pytest.fail(f"a circle of imports: {' -> '.join(error.args[1])}")


def test_arrows_of_contracts_point_down() -> None:
    folder = ROOT / "contracts"
    rooms = {room: floor for floor, line in enumerate(floors(PAGE.read_text(), "contracts")) for room in line}

    def room(path: Path) -> str:
        name = path.relative_to(folder).as_posix()
        return name if name in rooms else f"{name.partition('/')[0]}/"

    sources = [path for path in folder.rglob("*.sol") if "test" not in path.relative_to(folder).parts]
    arrows = {
        (path, (path.parent / target).resolve())
        for path in sources
        for target in re.findall(r'^import .*"(\..*)";', path.read_text(), re.MULTILINE)
    }
    assert {room(path) for path in sources} == set(rooms) and len(arrows) > len(sources)
    places = [(a, b, room(a), room(b)) for a, b in arrows]
    assert [(a.name, b.name) for a, b, above, below in places if above != below and rooms[above] >= rooms[below]] == []


def test_an_import_from_above_is_found() -> None:
    ir, commands = (f"{PACKAGE}.{name}" for name in ("ir", "commands"))
    assert is_allowed(commands, ir) and not is_allowed(ir, commands)


# --- sizes ---------------------------------------------------------------------------------------------------------


SOURCES: Final = sorted(
    path
    for folder in (PACKAGE, "contracts", "scripts", "tests", "examples")
    for suffix in ("*.py", "*.sol")
    for path in (ROOT / folder).rglob(suffix)
)


def test_no_file_is_longer_than_400_lines() -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in SOURCES}
    assert {name: lines for name, lines in lengths.items() if lines > MOST_LINES} == {}


def test_no_function_is_longer_than_40_lines() -> None:
    """Lines of the body after the docstring; comments and blank lines count."""
    long = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}: {lines} lines"
        for path in SOURCES
        if path.suffix == ".py"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if (lines := length_of(node)) > MOST_LINES_OF_A_FUNCTION
    ]
    assert long == []


def length_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return int(body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0
