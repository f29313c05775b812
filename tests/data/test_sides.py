from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.data.small import assign
from tunekeeper import data
from tunekeeper.core.errors import DataError
from tunekeeper.core.nouns.data import Example
from tunekeeper.core.nouns.retraining import Model
from tunekeeper.data import drafts, freezing
from tunekeeper.data.config import Config
from tunekeeper.data.effect import effect
from tunekeeper.data.mending import readmit
from tunekeeper.data.outdated import prune
from tunekeeper.data.sides import side_bias, traits_of
from tunekeeper.workspace import Workspace

MakeExample = Callable[..., Example]
START = datetime(2026, 1, 1, tzinfo=UTC)


def make(row: MakeExample, number: int, rng: random.Random, **other: Any) -> Example:
    """A row of mixed traffic; `other` overrides what it is like."""
    kind = {
        "topic": rng.choice("abc"),
        "words": rng.randint(5, 60),
        "days": rng.randint(0, 100),
        "file": rng.choice("xyz"),
    } | other
    text = f"q{number} " + " ".join(f"w{rng.randint(0, 10**6)}" for _ in range(kind["words"]))
    at = (START + timedelta(days=kind["days"])).isoformat()
    return row(text, "fine", id=str(number), source=f"file:{kind['file']}.csv:{number}", category=kind["topic"], created=at)


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ({"topic": "a"}, ["topic 'a': "]),
        ({"words": 70}, ["length: "]),
        ({"days": 99}, ["date: "]),
        ({"file": "z"}, ["source 'z.csv': "]),
        ({"topic": "b", "days": 1}, ["topic 'b': ", "date: 2026-0"]),
        ({}, []),
    ],
)
def test_each_respect_in_which_the_sides_differ_is_named(row: MakeExample, other: dict[str, Any], told: list[str]) -> None:
    rng = random.Random(1)
    rows = [make(row, n, rng) for n in range(500)]
    rows += [replace(make(row, 500 + n, rng, **other), split="eval") for n in range(60)]
    found = side_bias(map(traits_of, rows))
    assert [each.kind for each in found] == ["side_bias"] * len(told)
    assert all(each.detail.startswith(begin) for each, begin in zip(found, told, strict=True)), found
    few = side_bias(map(traits_of, rows[:549]))
    assert all("none held out" in each.detail for each in few), "too few rows are held out to tell more"


def test_a_topic_that_stands_on_one_side_alone_is_named_however_small_its_share(row: MakeExample) -> None:
    rng = random.Random(3)
    rows = [make(row, n, rng, file="x") for n in range(1800)]
    rows += [replace(make(row, 1800 + n, rng, file="x"), split="eval") for n in range(200)]
    one = [make(row, 3000 + n, rng, topic="vip", file="x") for n in range(80)]
    [found] = side_bias(map(traits_of, [*rows, *one]))
    assert (found.kind, found.topic, found.detail) == ("side_bias", "vip", "topic 'vip': 80 rows to learn from, none held out")
    [found] = side_bias(map(traits_of, [*rows, *(replace(e, split="eval") for e in one[:6])]))
    assert found.detail == "topic 'vip': 6 rows held out, none to learn from"
    assert side_bias(map(traits_of, [*rows, *one[:50]])) == [], "chance leaves out so few"
    assert side_bias(map(traits_of, [*rows, *(replace(e, split="eval") for e in one[:4])])) == []


def test_what_the_split_itself_deals_out_is_never_called_biased(row: MakeExample) -> None:
    for seed in range(12):
        rng = random.Random(seed)
        rows = assign([make(row, n, rng) for n in range(600)], {}, 0.1, 0.85)
        assert side_bias(map(traits_of, rows)) == [], seed


def test_files_that_are_called_after_a_split_tell_nothing_of_the_source(row: MakeExample) -> None:
    rng = random.Random(3)
    rows = [make(row, n, rng, file="data/train-00000") for n in range(540)]
    rows += [replace(make(row, 540 + n, rng, file="data/test-00000"), split="eval") for n in range(60)]
    assert side_bias(map(traits_of, rows)) == []


def test_check_says_it(ws: Workspace, task: Model, row: MakeExample) -> None:
    rng = random.Random(2)
    rows = [make(row, n, rng) for n in range(300)] + [
        replace(make(row, 300 + n, rng, topic="a"), split="eval") for n in range(60)
    ]
    with drafts.locked(ws, "desk"):
        drafts.save_draft(ws, "desk", rows)
    report = data.checks.check(ws, task, Config(), only="side_bias")
    assert [found.topic for found in report.findings] == ["a"]


@pytest.mark.parametrize("looked_at", [1_500, 120])
def test_freezing_and_the_effect_of_it_warn_of_what_the_guard_finds(
    ws: Workspace, task: Model, row: MakeExample, monkeypatch: pytest.MonkeyPatch, looked_at: int
) -> None:
    monkeypatch.setattr(freezing, "LOOKED_AT", looked_at)
    rng = random.Random(4)
    rows = [make(row, n, rng, words=50 if n % 3 == 0 else 5) for n in range(600)]
    drafts.save_draft(ws, "desk", [replace(e, split="eval" if n % 3 == 0 else "train") for n, e in enumerate(rows)])
    warned = effect(ws, "desk", Config(eval_share=0.3)).warnings
    assert [text.partition(":")[0] for text in warned] == ["length"]
    report = data.freeze(ws, task, Config(eval_share=0.3)).report
    assert [text.partition(":")[0] for text in report["warnings"]] == ["length"]


def test_a_draft_whose_held_out_rows_were_all_pruned_is_refused_with_what_brings_some_back(
    ws: Workspace, task: Model, row: MakeExample
) -> None:
    rows = [row(f"Where is parcel {i} of street {i * i}?", f"In {i} days.", id=f"r{i}", created="2026-01-01") for i in range(30)]
    sided = assign(rows, {}, 0.1, 0.9)
    old = [replace(e, metadata={**e.metadata, "created": "2010-01-01"}) if e.split == "eval" else e for e in sided]
    with drafts.locked(ws, task.name):
        drafts.save_draft(ws, task.name, old)
    prune(ws, task, Config(), older_than=timedelta(days=3650))
    with pytest.raises(DataError, match="27 rows and none of them held out; no row changes sides") as caught:
        data.freeze(ws, task, Config())
    fix = "import rows of other questions, conversations and users: new ones are dealt out so that neither side lacks any"
    assert caught.value.fix == f"tunekeeper data readmit --reason outdated --model {task.name}, or {fix}"
    readmit(ws, task, Config(), (), reason="outdated")
    assert data.freeze(ws, task, Config()).eval == 3


def test_a_draft_of_which_nothing_is_to_be_held_out_is_refused_with_the_key_to_change(
    ws: Workspace, task: Model, row: MakeExample
) -> None:
    section = Config(eval_share=0)
    with drafts.locked(ws, task.name):
        drafts.save_draft(ws, task.name, [row(f"Question {i * i}?", f"Answer {i}.") for i in range(20)])
    with pytest.raises(DataError, match="none of them held out") as caught:
        data.freeze(ws, task, section)
    assert str(caught.value.fix).startswith(f"write data: {{eval_share: 0.1}} in models/{task.name}.yaml, then import rows")


def test_a_draft_of_one_user_is_refused_with_the_key_that_binds_it_and_dealt_out_anew_without_it(
    ws: Workspace, task: Model, write: Callable[..., Any]
) -> None:
    rows = [{"question": f"Where is parcel {i} of street {i * i}?", "answer": f"In {i} days."} for i in range(20)]
    data.import_files(ws, task, Config(), [write("all.jsonl", [{**each, "account_id": "shop"} for each in rows])])
    with pytest.raises(DataError, match="20 rows and none of them held out; all of them name one account_id") as caught:
        data.freeze(ws, task, Config())
    assert str(caught.value.fix).endswith("the file without it: tunekeeper data import FILE --replace --model desk")
    data.import_files(ws, task, Config(), [write("all.jsonl", rows)], replace=True)
    assert data.freeze(ws, task, Config()).eval == 2
