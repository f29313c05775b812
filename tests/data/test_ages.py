from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tunekeeper import data
from tunekeeper.core.nouns.data import Example
from tunekeeper.data import drafts
from tunekeeper.data.ages import as_text, of_version
from tunekeeper.data.diffpage import write_page
from tunekeeper.data.erase import erase_data
from tunekeeper.data.freezing import freeze_examples
from tunekeeper.workspace import Workspace


def dated(row: Callable[..., Example], day: str, *names: str, **more: Any) -> list[Example]:
    """A row of that day for each name; none has a date where the day is empty."""
    created = {"created": f"{day}T10:00:00Z"} if day else {}
    return [row(f"what is {name}?", "so", id=name, **created, **more) for name in names]


def test_a_difference_says_how_recent_both_versions_are_as_text_and_page_too(ws: Workspace, row: Any, tmp_path: Any) -> None:
    held = [replace(each, split="eval") for each in dated(row, "2026-01-05", "h")]
    old = [*held, *dated(row, "2026-01-01", "a", "b"), *dated(row, "", "undated")]
    new = [*held, *dated(row, "2026-01-01", "a"), *dated(row, "2026-03-01", "c", "d"), *dated(row, "2026-02-10", "e")]
    first, second = (freeze_examples(ws, "desk", rows).id for rows in (old, new))
    found = data.diff(ws, first, second)
    assert found.recency is not None
    before, after = found.recency
    assert (before.dated, before.recent, after.dated, after.recent) == (3, 3, 5, 3)
    assert [f"{each:%Y-%m-%d}" for each in (before.oldest, after.newest) if each] == ["2026-01-01", "2026-03-01"]
    told = "of the last 30 days: 3 of 3 until 2026-01-05 -> 3 of 5 until 2026-03-01 dated rows"
    assert as_text(before, after) == [told]
    write_page(ws, first, second, tmp_path / "page.html")
    assert told.replace(">", "&gt;") in (tmp_path / "page.html").read_text()
    drafts.save_draft(ws, "desk", new)
    assert data.diff(ws, first, "draft", model="desk").recency == found.recency
    same = data.diff(ws, first, first).recency
    assert same is not None
    assert as_text(*same) == []


def test_rows_without_a_date_have_no_age(ws: Workspace, row: Any) -> None:
    rows = [replace(each, split="eval") for each in dated(row, "", "a")] + dated(row, "", "b")
    version = freeze_examples(ws, "desk", rows).id
    found = data.diff(ws, version, version).recency
    assert found is not None
    assert (found[0].dated, found[0].recent, found[0].oldest, found[0].newest) == (0, 0, None, None)


def test_ages_are_counted_anew_where_a_row_was_erased_or_an_older_release_counted_none(ws: Workspace, row: Any) -> None:
    theirs = dated(row, "2026-01-05", "h", user_id="mallory")
    rows = [*theirs, *(replace(each, split="eval") for each in dated(row, "2026-01-01", "a")), *dated(row, "2026-01-01", "b")]
    version = freeze_examples(ws, "desk", rows)
    reader = ws.rows.open(version.manifest or "")
    counted = of_version(version, reader)
    assert (counted.dated, counted.recent) == (3, 3)
    assert of_version(replace(version, report={}), reader) == counted
    assert of_version(replace(version, report={**version.report, "ages": None}), reader) == counted
    erase_data(ws, set(), "mallory")
    after = of_version(version, ws.rows.open(version.manifest or ""))
    assert (after.dated, after.newest) == (2, counted.oldest)
