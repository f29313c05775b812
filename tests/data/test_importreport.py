from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tunekeeper.data import drafts
from tunekeeper.data.archives import nameless
from tunekeeper.data.findings import Finding
from tunekeeper.data.importreport import Notes
from tunekeeper.workspace import Workspace


def noted(ws: Workspace, found: list[tuple[str, Finding]], *, replace: bool = False) -> list[dict[str, Any]]:
    """What the report of an import with these findings holds."""
    with nameless() as (file, _):
        notes = Notes(file=file)
        for action, each in found:
            if action == "dropped":
                notes.drop(each, {"n": each.line})
            else:
                notes.flag(each)
        path: Path = notes.save(ws, "desk", replace=replace)
    return [json.loads(line) for line in path.read_text().splitlines()]


def broken(line: int, detail: str = "why") -> Finding:
    return Finding(kind="broken", file="a.csv", line=line, detail=detail)


def test_the_report_holds_all_and_on_record_stays_what_was_dropped_or_redacted_once(ws: Workspace) -> None:
    near = Finding(kind="near_duplicate", id="b", of="a")
    report = noted(ws, [("dropped", broken(1)), ("flagged", near), ("flagged", Finding(kind="pii", id="c"))])
    assert [(row["kind"], row["action"]) for row in report] == [
        ("broken", "dropped"),
        ("near_duplicate", "flagged"),
        ("pii", "flagged"),
    ]
    noted(ws, [("dropped", broken(2)), ("dropped", broken(1, "still")), ("dropped", broken(2, "again"))])
    kept = [(row["kind"], row["line"], row["detail"]) for row in drafts.load_findings(ws, "desk")]
    assert kept == [("broken", 1, "still"), ("pii", None, ""), ("broken", 2, "again")]
    noted(ws, [("dropped", broken(3))], replace=True)
    assert [row["line"] for row in drafts.load_findings(ws, "desk")] == [3]


def test_the_first_rows_of_each_reason_are_named_and_all_are_counted(ws: Workspace) -> None:
    with nameless() as (file, _):
        notes = Notes(file=file)
        for line in range(1, 6):
            notes.drop(broken(line), None)
            notes.drop(Finding(kind="empty", id=f"e{line}", detail="nothing"), None)
        assert notes.dropped == {"broken": 5, "empty": 5}
        assert notes.broken == ["a.csv:1: why", "a.csv:2: why", "a.csv:3: why"]
        assert notes.left_out[:2] == ["a.csv:1: broken: why", "e1: empty: nothing"]
        assert len(notes.left_out) == 6
        assert notes.by_file == {"a.csv": {"broken": 5}}
