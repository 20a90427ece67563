"""Every command that README and docs tell a reader to type is one that the command line takes."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Final

import click
import pytest

from tests.support.told import PAGES, ROOT, Told, commands, ours, parse, told

EVERY: Final = [each for page in PAGES for each in told(page)]
OURS: Final = [each for each in EVERY if ours(each.words) is not None]
OTHERS: Final = [each for each in EVERY if each.whole and ours(each.words) is None]
ELSEWHERE: Final = {  # what this project neither has nor tests: tools of the system, and `pip` (test_distribution)
    "pip", "/opt/offchain/bin/pip", "npm", "eval", "source", "useradd", "python3", "install", "systemctl", "journalctl",
    "podman", "export", "cd", "git",
}  # fmt: skip
SCRIPT: Final = re.compile(r"(scripts|tests|examples|services)/[\w/.-]+")


def test_the_pages_tell_of_many_commands() -> None:
    assert len(OURS) > 100
    assert {each.page for each in OURS} >= {"README.md", "docs/operating.md", "docs/settings.md", "docs/page.md"}


@pytest.mark.parametrize("each", OURS, ids=str)
def test_the_command_line_takes_it(each: Told) -> None:
    words = ours(each.words)
    assert words is not None
    parse(words, each.whole)


@pytest.mark.parametrize("each", OTHERS, ids=str)
def test_what_else_is_told_is_there(each: Told) -> None:
    """Verbs of make, scripts, files of tests."""
    program, *words = each.words
    if program == "make":
        verbs = (ROOT / "Makefile").read_text().partition(".PHONY:")[2].splitlines()[0].split()
        assert words[0] in verbs
    elif program in ("brownie", ".venv/bin/brownie"):
        assert words[0] == "test" or (ROOT / "scripts" / f"{words[1]}.py").exists()
    elif program not in ELSEWHERE:
        named = [word for word in each.words if SCRIPT.fullmatch(word.partition("::")[0])]
        assert named, each
        assert all((ROOT / word.partition("::")[0]).exists() for word in named)


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("offchain task pots digits.task", "no command 'pots'"),
        ("offchain worker --rolle solver", "No such option"),
        ("offchain worker --poll fast", "not a valid float"),
        ("offchain vault deposit", "Missing argument"),
    ],
)
def test_a_command_that_is_wrong_is_noticed(line: str, wrong: str) -> None:
    (words,) = commands(line)
    with pytest.raises(click.UsageError) as raised:
        parse(words[1:], True)
    assert wrong.lower() in raised.value.format_message().lower()


def test_every_page_is_in_the_list_of_pages_and_every_link_leads_somewhere() -> None:
    listed = (ROOT / "docs" / "README.md").read_text()
    for page in (ROOT / "docs").glob("*.md"):
        assert page.name == "README.md" or f"({page.name})" in listed, page.name
    for page in PAGES:
        for link in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text()):
            assert link.startswith(("http", "mailto")) or (page.parent / link).exists(), (page.name, link)


def test_every_anchor_of_a_link_is_a_heading() -> None:
    for page in PAGES:
        for link, anchor in re.findall(r"\]\(([^)#\s]*)#([^)]+)\)", page.read_text()):
            target = page.parent / link if link else page
            if not link.startswith("http"):
                assert anchor in anchors(target), (page.name, link, anchor)


def anchors(page: Path) -> set[str]:
    """As the forge makes them of headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_completion_in_bash_knows_the_commands() -> None:
    """As `eval "$(_OFFCHAIN_COMPLETE=bash_source offchain)"` does, without importing what the commands need."""
    offchain = ROOT / ".venv/bin/offchain"
    asked = f'COMP_WORDS="offchain wo" COMP_CWORD=1 _OFFCHAIN_COMPLETE=bash_complete {offchain}'
    done = subprocess.run(["bash", "-c", asked], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["plain,worker"]
    source = f"_OFFCHAIN_COMPLETE=bash_source {offchain}"
    done = subprocess.run(["bash", "-c", source], capture_output=True, text=True, check=True, timeout=60)
    assert "complete -o nosort -F _offchain_completion offchain" in done.stdout
