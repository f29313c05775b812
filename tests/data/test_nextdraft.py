from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.data.small import deal_out
from tunekeeper import data
from tunekeeper.core.errors import ConfigError
from tunekeeper.core.nouns.data import Example
from tunekeeper.core.nouns.retraining import Cycle, Model
from tunekeeper.data import drafts, filerows, gathering, mending, nextdraft, versions
from tunekeeper.data.config import Config
from tunekeeper.data.effect import effect
from tunekeeper.data.examples import decode, encode
from tunekeeper.data.nextdraft import Came
from tunekeeper.data.outdated import prune
from tunekeeper.data.reviewed import export_cases
from tunekeeper.workspace import Workspace

MakeExample = Callable[..., Example]
Tickets = Callable[..., list[tuple[str, str]]]
SECTION = Config(min_corrections=1, collect_sample=0)


@pytest.fixture(params=["held", "one by one"])
def rows(request: pytest.FixtureRequest, row: MakeExample, tickets: Tickets, monkeypatch: pytest.MonkeyPatch) -> list[Example]:
    """Forty tickets, which the verbs hold in memory or, as if they were very many, do not."""
    if request.param == "one by one":
        monkeypatch.setattr(filerows, "HELD", 0)
    days = ("2024-05-01", "2025-12-01")
    return [row(text, answer, id=f"t{i}", created=days[i % 4 > 0]) for i, (text, answer) in enumerate(tickets(40))]


def sides(rows: list[Example]) -> dict[str, str]:
    return {each.id: each.split for each in rows}


def test_new_rows_are_dealt_out_and_those_with_a_side_keep_it(ws: Workspace, rows: list[Example], row: MakeExample) -> None:
    before = deal_out(ws, rows, SECTION)
    assert [each.split for each in before].count("eval") == 4
    one = next(each for each in before if each.split == "eval")
    twin = replace(one, id="twin", messages=(*one.messages[:-1], {"role": "assistant", "content": "?"}), fingerprint="sha256:1")
    put = [(encode(each, with_split=True), Came.STAYED) for each in before]
    nextdraft.save(ws, "desk", [*put, (encode(replace(twin, split="train"), with_split=True), Came.NEW)], SECTION)
    after = drafts.load_draft(ws, "desk")
    assert after[:-1] == before
    assert (after[-1].id, after[-1].split) == ("twin", "eval"), "it asks what a held-out row asks"


def test_a_row_of_the_newest_version_has_the_side_that_it_had_there(ws: Workspace, task: Model, rows: list[Example]) -> None:
    before = deal_out(ws, rows, SECTION)
    data.freeze(ws, task, SECTION)
    drafts.save_draft(ws, "desk", [])
    assert sides(deal_out(ws, rows[::-1], Config(eval_share=0.5))) == sides(before)


def test_the_working_draft_is_the_newest_version_where_there_is_none(ws: Workspace, task: Model, rows: list[Example]) -> None:
    with nextdraft.working(ws, "desk") as lines:
        assert list(lines()) == []
    before = deal_out(ws, rows, SECTION)
    data.freeze(ws, task, SECTION)
    with nextdraft.working(ws, "desk") as lines:
        drafts.save_draft(ws, "desk", before[:3])
        assert next(lines()) == encode(before[0], with_split=True)
        assert list(map(decode, lines())) == before, "the rows as they were, from the first"
    (drafts.folder(ws, "desk") / "draft.jsonl").unlink()
    with nextdraft.working(ws, "desk") as lines:
        assert sides(list(map(decode, lines()))) == sides(before)


def test_a_share_that_makes_no_sense_leaves_the_draft_alone(ws: Workspace, rows: list[Example]) -> None:
    before = deal_out(ws, rows, SECTION)
    with pytest.raises(ConfigError, match="eval_share"):
        nextdraft.save(ws, "desk", [], Config(eval_share=0.7))
    assert drafts.load_draft(ws, "desk") == before


@pytest.fixture
def traffic_about(traffic: Any) -> Callable[[], Iterator[str]]:
    """Three requests: one praised, one corrected, one that asks what a row of the draft asks and is answered otherwise."""

    def ask() -> Iterator[str]:
        praised = traffic.ask("Is there a garden at the office?", "yes")
        traffic.say(praised, "thumb", "up")
        yield praised
        yield traffic.ask("Which tower is the tall one?", "no", edit="the left one")
        yield traffic.ask("The parcel vanished in Oslo. Customer 0.", "no", edit="it came back")

    return ask


def test_what_people_said_joins_a_draft_that_is_not_held(
    ws: Workspace, task: Model, rows: list[Example], row: MakeExample, traffic_about: Callable[[], Iterator[str]]
) -> None:
    stale = row("The parcel vanished in Oslo. Customer 0.", "it is gone", id="stale", created="2024-05-01")
    before = deal_out(ws, [each for each in rows if each.messages[1] != stale.messages[1]] + [stale], SECTION)
    praised, corrected, again = traffic_about()
    tried = gathering.collect(ws, task, SECTION, dry_run=True)
    assert drafts.load_draft(ws, "desk") == before
    done = gathering.collect(ws, task, SECTION)
    assert (set(done.added), done.replaced, done.dropped) == ({praised, corrected, again}, 1, {"contradiction": 1})
    assert (tried.added, tried.examples) == (done.added, done.examples)
    after = drafts.load_draft(ws, "desk")
    assert [each for each in after if each.id in sides(before)] == before[:-1]
    assert (len(after), [line["id"] for line in drafts.load_findings(ws, "desk")]) == (len(before) + 2, ["stale"])


def test_a_cycle_pruning_bringing_back_and_the_effect_say_the_same_of_rows_that_are_not_held(
    ws: Workspace, task: Model, rows: list[Example], tmp_path: Path, traffic_about: Callable[[], Iterator[str]]
) -> None:
    before = deal_out(ws, rows, SECTION)
    first = effect(ws, "desk", SECTION)
    assert (first.parent, first.counts["added"], first.after.examples, len(first.new_words)) == (None, 40, 40, 20)
    data.freeze(ws, task, SECTION)
    ids = list(traffic_about())
    answer = data.poke(ws, task, SECTION, Cycle(id="cyc_1", model="desk", number=1, why="edits"))
    assert (answer.record, len(drafts.load_draft(ws, "desk"))) == ("desk/d2", 42)  # type: ignore[union-attr]
    assert ids[1] in sides(drafts.load_draft(ws, "desk"))
    done = prune(ws, task, SECTION, older_than=timedelta(days=365))
    assert (done.dropped, done.effect.before.examples, done.effect.after.examples) == ({"outdated": 10}, 42, 32)
    assert sum(topic.removed for topic in done.effect.topics) == 10
    found = effect(ws, "desk", SECTION)
    assert (found.parent, found.counts["removed"], found.counts["unchanged"]) == ("desk/d2", 10, 32)
    assert [(t.topic, t.removed) for t in found.topics] == [(t.topic, t.removed) for t in done.effect.topics]
    back = mending.readmit(ws, task, SECTION, (), reason="outdated")
    assert (len(back.changed), back.examples) == (10, 42)
    after = sides(drafts.load_draft(ws, "desk"))
    assert {id: side for id, side in after.items() if id in sides(before)} == sides(before), "no row changes sides"
    assert prune(ws, task, SECTION, older_than=timedelta(days=365)).dropped == {}
    assert export_cases(ws, task, SECTION, tmp_path / "cases.jsonl").added == 0
    assert versions.ls(ws, "desk").examples == 42
