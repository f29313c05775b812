"""The raw export and the suite: what is planted, what the files in the repository hold."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path

from tunekeeper.demo.raw import CLEAN, COLUMNS, PLANTED, export, suite_cases, write_export

EXAMPLE = Path(__file__).parents[2] / "examples" / "support_desk"


def test_the_export_has_the_planted_rows_beside_the_clean_ones() -> None:
    found = export()
    rows = [*found.table, *found.lines]
    assert len(rows) == CLEAN + sum(PLANTED.values())
    assert len(rows) + len(found.broken_table) + len(found.broken_lines) >= 1050
    assert len({row.id for row in rows}) == len(rows)
    assert sorted(row.created for row in rows) == [row.created for row in rows]
    assert sum(not row.answer.strip() for row in rows) == PLANTED["empty"]
    texts = Counter(row.ticket for row in rows)
    assert sum(count - 1 for count in texts.values()) == PLANTED["exact_duplicate"] + PLANTED["contradiction"]
    assert sum("@example." in row.ticket for row in rows) > 20


def test_the_files_in_the_repository_are_what_the_seed_makes(tmp_path: Path) -> None:
    write_export(tmp_path, export())
    for name in ("tickets.csv", "tickets.jsonl"):
        assert (tmp_path / name).read_bytes() == (EXAMPLE / "data" / name).read_bytes()
    with (tmp_path / "tickets.csv").open(newline="") as file:
        lines = list(csv.reader(file))
    assert tuple(lines[0]) == COLUMNS
    assert sum(len(line) != len(COLUMNS) for line in lines) == 3


def test_the_suite_shares_no_text_with_the_export_and_asks_new_pairs() -> None:
    cases = [json.loads(line) for line in (EXAMPLE / "suites/core.jsonl").read_text().splitlines()]
    assert cases == suite_cases(200, avoid=export().texts)
    asked = {case["messages"][-1]["content"] for case in cases}
    rows = [*export().table, *export().lines]
    assert len(asked) == 200
    assert not asked & {row.ticket for row in rows}
    assert not any(text in row.ticket for row in rows for text in asked)
    assert sum("held_pair" in case["tags"] for case in cases) == 140
    assert all(json.loads(case["expected"])["category"] == case["category"] for case in cases)
