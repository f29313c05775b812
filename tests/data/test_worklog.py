from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tunekeeper.core.clock import ManualClock
from tunekeeper.core.errors import UserError
from tunekeeper.core.nouns.retraining import Model
from tunekeeper.data import import_files, worklog
from tunekeeper.data.config import Config
from tunekeeper.workspace import Workspace

Write = Callable[[str, Iterable[Any]], Path]


def rows(n: int, start: int = 0) -> list[dict[str, Any]]:
    return [{"instruction": f"What is case {i}?", "output": f"It is answer number {i}."} for i in range(start, start + n)]


def test_a_sitting_lasts_from_its_first_to_its_last_command_and_a_long_pause_ends_it(
    ws: Workspace, task: Model, write: Write, clock: ManualClock
) -> None:
    for at, minutes in enumerate((0, 20, 25, 200, 10)):
        clock.advance(timedelta(minutes=minutes).total_seconds())
        import_files(ws, task, Config(), [write(f"{at}.jsonl", rows(3, at * 10))])
    entries = worklog.load(ws, "desk")
    assert [entry.what for entry in entries] == ["import"] * 5
    assert worklog.hours_seen(entries) == pytest.approx((20 + 25 + 10) / 60)
    assert worklog.hours_noted(entries) == 0


def test_a_dry_run_leaves_no_trace(ws: Workspace, task: Model, write: Write) -> None:
    import_files(ws, task, Config(), [write("a.jsonl", rows(3))], dry_run=True)
    worklog.save_hours(ws, "desk", 2, by="ana", dry_run=True)
    assert worklog.load(ws, "desk") == []


def test_hours_are_noted_by_hand_with_who_and_what(ws: Workspace) -> None:
    worklog.save_hours(ws, "desk", 2.5, by="ana", what="picked tickets")
    worklog.save_hours(ws, "desk", 1, by="bob")
    entries = worklog.load(ws, "desk")
    assert [(e.by, e.what, e.hours) for e in entries] == [("ana", "picked tickets", 2.5), ("bob", "", 1)]
    assert (worklog.hours_noted(entries), worklog.hours_seen(entries)) == (3.5, 0)


@pytest.mark.parametrize("hours", [0, -1, 169, float("nan")])
def test_hours_that_nobody_can_have_worked_are_refused(ws: Workspace, hours: float) -> None:
    with pytest.raises(UserError, match="cannot be noted"):
        worklog.save_hours(ws, "desk", hours, by="ana")
