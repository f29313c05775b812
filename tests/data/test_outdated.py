from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tunekeeper.core.errors import Busy, DataError, UserError
from tunekeeper.core.nouns.data import Example
from tunekeeper.core.nouns.retraining import Model
from tunekeeper.data import drafts, gathering, mending
from tunekeeper.data.config import Config
from tunekeeper.data.outdated import Pruned, aged, outworn, overtaken, prune
from tunekeeper.text.vocabulary import Glossary
from tunekeeper.workspace import Workspace

MakeExample = Callable[..., Example]
SECTION = Config(glossary={"Nimbus": "Lumen", "fax": ""}, collect_sample=0)
YEAR = timedelta(days=365)


@pytest.fixture
def draft(ws: Workspace, row: MakeExample) -> list[Example]:
    """Eight rows: two old, one of them spoken for since; two with terms out of use; two that answer one question."""
    rows = [
        row("How do I reset it, the old one?", "press", id="old", created="2024-05-01"),
        row("How do I open the lid of it?", "pull", id="confirmed", created="2024-05-01", said_at="2025-12-01T00:00:00+00:00"),
        row("Is Nimbus down?", "no", id="renamed", created="2025-12-01"),
        row("Can I send a fax?", "yes", id="gone term", created="2025-12-01"),
        row("Where is it?", "here", id="first", created="2025-11-01"),
        row("where is it", "there", id="later", created="2025-12-01"),
        row("When is that?", "now", id="undated"),
        row("Who are you anyway?", "me", id="fine", created="2025-12-30"),
    ]
    drafts.save_draft(ws, "desk", rows)
    return rows


def ids(ws: Workspace) -> list[str]:
    return [e.id for e in drafts.load_draft(ws, "desk")]


def why(done: Pruned) -> dict[str | None, str]:
    return {found.id: found.kind for found in done.rows}


def test_rows_leave_by_age_by_name_and_by_a_later_answer_and_come_back_for_good(
    ws: Workspace, task: Model, draft: list[Example]
) -> None:
    options: dict[str, Any] = {"older_than": YEAR, "renamed": True, "superseded": True}
    tried = prune(ws, task, SECTION, **options, dry_run=True)
    assert ids(ws) == [row.id for row in draft]
    done = prune(ws, task, SECTION, **options)
    assert done == tried
    assert why(done) == {
        "old": "outdated",
        "renamed": "stale_vocabulary",
        "gone term": "stale_vocabulary",
        "first": "superseded",
    }
    assert (done.undated, ids(ws)) == (1, ["confirmed", "later", "undated", "fine"])
    assert (done.effect.before.examples, done.effect.after.examples, done.effect.counts["removed"]) == (8, 4, 4)
    assert (done.effect.before.oldest, done.effect.after.newest) == (
        datetime(2024, 5, 1, tzinfo=UTC),
        datetime(2025, 12, 30, tzinfo=UTC),
    )
    back = mending.readmit(ws, task, SECTION, ["old", "renamed", "first"]).changed
    assert (set(back), prune(ws, task, SECTION, **options).dropped) == ({"old", "renamed", "first"}, {})


def test_each_reason_is_asked_for_by_itself(ws: Workspace, task: Model, draft: list[Example]) -> None:
    assert prune(ws, task, SECTION, older_than=YEAR, dry_run=True).dropped == {"outdated": 1}
    assert prune(ws, task, SECTION, renamed=True, dry_run=True).dropped == {"stale_vocabulary": 2}
    assert prune(ws, task, SECTION, superseded=True, dry_run=True).dropped == {"superseded": 1}


def test_what_was_pruned_is_not_collected_again(ws: Workspace, task: Model, draft: list[Example], traffic: Any) -> None:
    asked = traffic.ask("Is it raining at your place?", "no", edit="yes, with Nimbus")
    gathering.collect(ws, task, SECTION)
    mending.rewrite_terms(ws, task, SECTION)
    traffic.clock.advance(400 * 86_400)
    assert asked in why(prune(ws, task, SECTION, older_than=YEAR))
    assert gathering.collect(ws, task, SECTION, since=traffic.clock.utc() - timedelta(days=500)).added == ()
    assert asked not in ids(ws)


def test_a_correction_in_the_log_overtakes_a_row_of_the_draft(
    ws: Workspace, task: Model, draft: list[Example], traffic: Any
) -> None:
    traffic.ask("Who are you anyway?", "me", edit="a program")
    done = prune(ws, task, SECTION, superseded=True)
    assert (why(done)["fine"], ids(ws).count("fine")) == ("superseded", 0)
    assert "a program" in next(found.detail for found in done.rows if found.id == "fine")


def test_an_answer_that_people_keep_correcting_leaves(ws: Workspace, task: Model, row: MakeExample, traffic: Any) -> None:
    drafts.save_draft(
        ws, "desk", [row("I want my money back for Thing1", "refused", id="old"), row("Hello you", "hi", id="fine")]
    )
    for i in range(6):
        traffic.ask(f"I want my money back for Gadget{i}", "refused", edit="granted")
    assert why(prune(ws, task, SECTION, superseded=True)) == {"old": "superseded"}


def test_a_term_in_a_tools_call_counts_and_one_in_the_instructions_does_not(row: MakeExample) -> None:
    plain = row("Hello", "there")
    call = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f", "arguments": '{"app": "Nimbus"}'}}]}
    calling = row("Hello you", "x", id="calling")
    calling = type(calling)(id="calling", messages=(*calling.messages[:-1], call), fingerprint="f")
    glossary = Glossary({"Nimbus": "Lumen", "Triage": "Sort"})
    assert [found.id for found in outworn([plain, calling], glossary)] == ["calling"]


def test_a_row_as_old_as_the_newest_answer_is_not_overtaken(row: MakeExample) -> None:
    rows = [row("Where?", "here", id="a"), row("Where?", "there", id="b")]
    assert list(overtaken(rows, [], [], Config())) == []
    assert list(aged(rows, datetime(2026, 1, 1, tzinfo=UTC))) == []


def test_what_cannot_be_pruned_is_said(ws: Workspace, task: Model, draft: list[Example]) -> None:
    with pytest.raises(UserError, match="what is out of date"):
        prune(ws, task, SECTION)
    with pytest.raises(UserError, match="no glossary"):
        prune(ws, task, Config(), renamed=True)
    with pytest.raises(DataError, match="no draft"):
        prune(ws, Model(name="other"), SECTION, older_than=YEAR)
    drafts.save_draft(ws, "desk", draft[:1])
    with pytest.raises(DataError, match="every row"):
        prune(ws, task, SECTION, older_than=YEAR)
    with drafts.locked(ws, "desk"), pytest.raises(Busy):
        prune(ws, task, SECTION, older_than=YEAR)


def test_no_users_word_overtakes_a_reviewers_and_praise_overtakes_nothing(
    ws: Workspace, task: Model, row: MakeExample, traffic: Any
) -> None:
    drafts.save_draft(
        ws,
        "desk",
        [
            row("Who are you?", "me", id="judged", said_as="review", said_at="2025-12-01T00:00:00+00:00"),
            row("Where is it?", "here", id="corrected", said_as="edit", said_at="2025-12-01T00:00:00+00:00"),
            row("Where is it?", "there", id="praised", said_as="thumb", said_at="2025-12-02T00:00:00+00:00"),
        ],
    )
    traffic.ask("Who are you?", "me", edit="a program")
    assert why(prune(ws, task, SECTION, superseded=True, dry_run=True)) == {}


def test_of_corrections_of_one_question_the_one_said_last_overtakes(
    ws: Workspace, task: Model, row: MakeExample, traffic: Any
) -> None:
    drafts.save_draft(ws, "desk", [row("Who are you?", "nobody", id="old", created="2025-12-01"), row("When?", "now", id="fine")])
    first = traffic.ask("Who are you?", "me")
    traffic.ask("Who are you?", "me", edit="a program")
    traffic.clock.advance(3600)
    traffic.say(first, "edit", "a robot")
    [found] = prune(ws, task, SECTION, superseded=True, dry_run=True).rows
    assert "'a robot'" in found.detail
