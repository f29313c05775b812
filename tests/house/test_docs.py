"""Documents agree with the code: the tree in the README, the coverage table, the generated reference."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tunekeeper.cli.reference import pages

SECTIONS = {
    "PLAN": 21,
    "DATA": 29,
    "TRAIN": 18,
    "EVAL": 42,
    "GATE": 11,
    "DEPL": 17,
    "ADP": 7,
    "BG": 8,
    "CAN": 15,
    "SHD": 9,
    "AB": 11,
    "PRE": 11,
    "RBK": 16,
    "POST": 7,
    "LOG": 4,
    "MON": 18,
    "DRIFT": 12,
    "ALRT": 8,
    "DASH": 8,
    "WIN": 4,
    "RETR": 13,
    "CAD": 5,
    "MAT": 6,
    "ROLE": 4,
    "FAIL": 22,
    "FIX": 23,
}
"""Requirement section → its last number; every number up to it is a requirement."""
STATES = {"done", "part", "later"}
ROW = re.compile(r"^\| *([A-Z]+-\d\d) *\| *(.+?) *\| *(\w+) *\| *(.*?) *\| *(.*?) *\|$")
FILE = re.compile(r"`([\w./-]+\.\w+)`")


def rows(text: str) -> list[tuple[str, ...]]:
    """Rows of the coverage table: id, title, state, code, test."""
    return [match.groups() for line in text.splitlines() if (match := ROW.match(line))]


def faults(text: str, repository: Path) -> list[str]:
    """What is wrong with a coverage table."""
    found = rows(text)
    names = [row[0] for row in found]
    wanted = {f"{section}-{number:02}" for section, last in SECTIONS.items() for number in range(1, last + 1)}
    wrong = [f"{name} is missing" for name in sorted(wanted - set(names))]
    wrong += [f"{name} stands twice" for name in sorted({name for name in names if names.count(name) > 1})]
    wrong += [f"{name} is no requirement" for name in sorted(set(names) - wanted)]
    for name, title, state, code, test in found:
        if state not in STATES or len(title) < 3:
            wrong.append(f"{name}: {state!r} is no state, or the title is missing")
        if state == "done" and not (FILE.search(code) and FILE.search(test)):
            wrong.append(f"{name}: done, but no code or no test is named")
        wrong += [f"{name}: {path} is not there" for path in FILE.findall(code + test) if not (repository / path).exists()]
    return wrong


def test_the_coverage_table_names_every_requirement_once_and_only_files_that_are_there(repository: Path):
    text = (repository / "docs" / "coverage.md").read_text(encoding="utf-8")
    assert faults(text, repository) == []
    assert len(rows(text)) == sum(SECTIONS.values())


def test_the_table_is_really_read(repository: Path):
    text = "| PLAN-01 | A title | done | `no/such.py` | |\n| PLAN-01 | x | maybe | | |\n| NEW-01 | A title | later | | |\n"
    wrong = faults(text, repository)
    assert "PLAN-02 is missing" in wrong
    assert {"PLAN-01 stands twice", "NEW-01 is no requirement", "PLAN-01: no/such.py is not there"} <= set(wrong)
    assert {"PLAN-01: done, but no code or no test is named", "PLAN-01: 'maybe' is no state, or the title is missing"} <= set(
        wrong
    )


def test_the_readme_lists_every_room_and_every_top_level_file(repository: Path):
    readme = (repository / "README.md").read_text(encoding="utf-8")
    source = repository / "src" / "tunekeeper"
    rooms = [f"{path.name}/" for path in source.iterdir() if (path / "__init__.py").exists()]
    files = [path.name for path in source.glob("*.py") if not path.name.startswith("__")]
    top = [path.name for path in repository.iterdir() if path.is_file() and not path.name.startswith(".")]
    folders = [f"{path.name}/" for path in repository.iterdir() if path.is_dir() and (path / "..").exists() and _kept(path)]
    assert [name for name in (*rooms, *files, *top, *folders) if name not in readme] == []
    assert len(rooms) > 15


def _kept(folder: Path) -> bool:
    return folder.name in ("docs", "examples", "benchmarks", "src", "tests")


def test_the_readme_names_no_room_that_is_not_there(repository: Path):
    readme = (repository / "README.md").read_text(encoding="utf-8")
    tree = re.findall(r"^  (\w+)/ ", readme, re.MULTILINE)
    assert len(tree) > 15
    assert [name for name in tree if not (repository / "src" / "tunekeeper" / name).is_dir()] == []


@pytest.mark.parametrize("name", ["cli.md", "config.md", "tunekeeper.schema.json", "model.schema.json"])
def test_the_reference_is_what_the_code_says(repository: Path, name: str):
    path = repository / "docs" / "reference" / name
    assert path.read_text(encoding="utf-8") == pages()[name], "run make docs"


def test_what_the_documents_point_at_is_there(repository: Path):
    links, missing = 0, []
    for page in [repository / "README.md", repository / "CONTRIBUTING.md", *(repository / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", page.read_text(encoding="utf-8")):
            links += 1
            if not (page.parent / target).exists():
                missing.append(f"{page.relative_to(repository)}: {target}")
    assert missing == []
    assert links > 5
