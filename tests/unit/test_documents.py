"""The tables of failures and threats name tests; each name must exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NAMED = re.compile(r"`(test_\w+)`")


def rows(document: str) -> dict[str, str]:
    lines = (ROOT / "docs" / document).read_text().splitlines()
    cells = [line.strip("|").split("|") for line in lines if re.match(r"\| [FT]\d+ \|", line)]
    return {row[0].strip(): row[-1].strip() for row in cells}


def defined() -> set[str]:
    files = (ROOT / "tests").rglob("test_*.py")
    return {name for file in files for name in re.findall(r"def (test_\w+)\(", file.read_text())}


@pytest.mark.parametrize(("document", "letter", "count"), [("failures.md", "F", 66), ("threats.md", "T", 43)])
def test_every_row_stands_in_the_table_and_names_real_tests_or_is_open(document: str, letter: str, count: int) -> None:
    table = rows(document)
    assert list(table) == [f"{letter}{number}" for number in range(1, count + 1)]
    for row, tests in table.items():
        names = NAMED.findall(tests)
        assert names or tests.startswith("open"), f"{row} names no test"
        assert set(names) <= defined(), f"{row} names a test that does not exist"


def test_every_other_row_of_the_failures_names_real_tests() -> None:
    page = (ROOT / "docs" / "failures.md").read_text()
    lines = page.partition("## What people do")[2].splitlines()
    table = [line for line in lines if line.startswith("|")][2:]
    assert table
    for line in table:
        names = NAMED.findall(line)
        assert names, f"{line} names no test"
        assert set(names) <= defined(), f"{line} names a test that does not exist"


def test_every_relative_link_in_the_documents_leads_somewhere() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
