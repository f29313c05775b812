from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tunekeeper.core.errors import DataError
from tunekeeper.core.nouns.data import Example
from tunekeeper.data.balance import (
    imbalance,
    mix,
    recency,
    refuse_made_up,
    spread,
    stale_vocabulary,
    synthetic_only,
    synthetic_share,
    topics,
)
from tunekeeper.data.config import Config
from tunekeeper.data.rows import parse_row
from tunekeeper.data.tallies import of_examples, says_synthetic

MakeExample = Callable[..., Example]


def test_only_synthetic_rows_are_a_finding_and_one_real_row_ends_it(row: MakeExample) -> None:
    made_up = [row("a", "b", synthetic=True), row("c", "d", synthetic="yes"), row("e", "f", origin="generated")]
    assert [f.detail for f in synthetic_only(made_up)] == ["all 3 rows are synthetic; none shows real traffic"]
    assert synthetic_only([*made_up, row("g", "h")]) == []
    assert synthetic_only([]) == []


@pytest.mark.parametrize(("old", "new", "found"), [(2, 8, True), (6, 4, False), (0, 8, False), (5, 5, False)])
def test_too_many_rows_of_the_last_month_are_a_finding_when_the_set_reaches_further_back(
    row: MakeExample, old: int, new: int, found: bool
) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    rows = [row(f"o{i}", "x", created=(now - timedelta(days=90 + i)).isoformat()) for i in range(old)]
    rows += [row(f"n{i}", "x", created=int((now - timedelta(days=i)).timestamp())) for i in range(new)]
    rows.append(row("undated", "x", created="some day"))
    assert bool(recency(rows, Config())) is found


def test_old_terms_are_found_as_whole_words_with_the_new_one(row: MakeExample) -> None:
    rows = [row("nimbus  mail is down", "Nimbus Mail is up", id="a"), row("Nimbus Mailing", "fine")]
    found = stale_vocabulary(rows, {"Nimbus Mail": "Lumen Post", "Nimbus": "", "old": "new"})
    told = [(f.id, f.topic) for f in found]
    assert told[:2] == [("a", "nimbus  mail"), ("a", "Nimbus Mail")]
    assert found[1].detail == "'Nimbus Mail' is out of use: write 'Lumen Post'"
    assert found[2].detail == "'Nimbus' is out of use: remove it"


def test_topics_are_counted_most_first(row: MakeExample) -> None:
    rows = [row(f"q{i}", "x", category="bug" if i < 100 else "billing") for i in range(101)]
    assert topics(rows) == {"bug": 100, "billing": 1}


@pytest.mark.parametrize(("made_up", "real", "told"), [(6, 4, True), (5, 5, False), (3, 0, False), (0, 0, False)])
def test_too_many_synthetic_rows_among_real_ones_are_a_finding(row: MakeExample, made_up: int, real: int, told: bool) -> None:
    rows = [row(f"s{i}", "x", synthetic=True) for i in range(made_up)] + [row(f"r{i}", "x") for i in range(real)]
    found = [f.detail for f in synthetic_share(rows, Config())]
    assert found == (["6 of 10 rows (60%) are synthetic; 50% are allowed"] if told else [])
    assert synthetic_share(rows, Config(synthetic_share=1.0)) == []


def test_a_set_without_a_real_row_is_refused(row: MakeExample) -> None:
    with pytest.raises(DataError, match="desk: all 1 rows are synthetic"):
        refuse_made_up("desk", of_examples([row("a", "b", synthetic=True)]))
    refuse_made_up("desk", of_examples([row("a", "b"), row("c", "d", synthetic=True)]))
    refuse_made_up("desk", of_examples([]))


def test_the_mix_counts_ages_and_synthetic_rows(row: MakeExample) -> None:
    rows = [row("a", "x", created="2026-01-31"), row("b", "x", created="2026-01-02"), row("c", "x", created="2026-01-01")]
    found = mix([*rows, row("d", "x", synthetic=True)], Config())
    assert (found.examples, found.dated, found.recent, found.synthetic) == (4, 3, 2, 1)
    assert (mix([], Config()).recent, mix([], Config()).dated) == (0, 0)


@pytest.mark.parametrize(
    ("answers", "field", "labels"),
    [
        (['{"note": "n%d", "category": "bug"}', '{"note": "m%d", "category": "bill"}'], "category", {"bug": 15, "bill": 15}),
        (["bug", "bug", "bill"], "answer", {"bug": 20, "bill": 10}),
        (['{"urgent": true}', '{"urgent": false}'], "urgent", {"true": 15, "false": 15}),
        (["A long answer number %d."], None, {}),
        (['{"note": "n%d"}'], None, {}),
        (["You are welcome!", "It is on its way.", "Please try again.", "Danke schön!"], None, {}),
        (["请稍等。", "已经发货了！"], None, {}),
        (["Yes.", "No."], "answer", {"Yes.": 15, "No.": 15}),
        (["needs review", "out of scope"], "answer", {"needs review": 15, "out of scope": 15}),
        (["<think>\nIt says %d.\n</think>\n\nbug", "bill"], "answer", {"bug": 15, "bill": 15}),
        (['<think>Hm %d.</think>{"label": "bug"}', '{"label": "bill"}'], "label", {"bug": 15, "bill": 15}),
        (['{"currency": "EUR", "intent": "pay"}', '{"currency": "USD", "intent": "ask"}'], "intent", {"pay": 15, "ask": 15}),
    ],
)
def test_labels_are_what_few_different_answers_say(
    row: MakeExample, answers: list[str], field: str | None, labels: dict[str, int]
) -> None:
    given = [answers[i % len(answers)] for i in range(30)]
    rows = [row(f"q{i}?", text % i if "%" in text else text) for i, text in enumerate(given)]
    found = spread(rows)
    assert (found.field, found.labels) == (field, labels)


def test_short_answers_that_are_said_once_are_no_labels(row: MakeExample) -> None:
    said = ["ok"] * 50 + ["sure thing", "thanks a lot", "see you", "no idea", "maybe later", "on it", "call me", "done"]
    assert spread([row(f"q{i}?", text) for i, text in enumerate(said)]).field is None
    assert spread([row(f"q{i}?", text) for i, text in enumerate([*said[:52], *["thanks a lot"] * 8])]).field == "answer"


def test_a_label_that_hardly_any_row_teaches_is_told_and_one_that_nearly_all_do(row: MakeExample) -> None:
    def set_of(**labels: int) -> list[Example]:
        return [row(f"{name} {i}?", f'{{"category": "{name}"}}') for name, n in labels.items() for i in range(n)]

    def told(rows: list[Example], section: Config = Config()) -> list[str]:
        return [f.detail for f in imbalance(spread(rows), len(rows), section)]

    assert told(set_of(bug=90, bill=6, rare=4)) == [
        "label 'bug' has 90 of 100 rows (90%); 80% are allowed",
        "label 'rare' has 4 of 100 rows; 5 are the least to learn it from",
    ]
    assert told(set_of(bug=60, bill=40)) == []
    assert told(set_of(bug=46, rare=3)) == [], "too few rows to judge"
    assert told(set_of(bug=90, bill=10), Config(label_share=0.95)) == []
    topics_only = [row(f"q{i}?", f"Answer number {i}.", category="a" if i else "b") for i in range(60)]
    assert told(topics_only)[0].startswith("topic 'a' has 59 of 60 rows")


@pytest.mark.parametrize(
    ("metadata", "made_up"),
    [
        ({"synthetic": True}, True),
        ({"is_synthetic": "Yes"}, True),
        ({"generated": 1}, True),
        ({"generated_by": "gpt-4"}, True),
        ({"source": "Synthetic:v2"}, True),
        ({"source": "llm-generated"}, True),
        ({"source": "tickets", "origin": "augmented"}, True),
        ({"synthetic": "false", "generated": "2026-01-02", "generated_by": " "}, False),
        ({"source": "file:synthetic.jsonl:1"}, False),
        ({"source": "user-generated"}, False),
        ({"source": "synthetics"}, False),
        ({"origin": 5}, False),
    ],
)
def test_rows_say_in_several_ways_that_a_machine_made_them_up(metadata: dict[str, Any], made_up: bool) -> None:
    assert says_synthetic(metadata) is made_up


def test_a_row_that_says_beside_its_messages_that_it_is_synthetic_is_so() -> None:
    talk = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    told = {"messages": talk, "source": "synthetic"}
    assert says_synthetic(parse_row(told, {}).metadata)
    assert not parse_row({**told, "source": "file:a.jsonl:1", "fingerprint": "sha256:0"}, {}).metadata, "what we wrote ourselves"
