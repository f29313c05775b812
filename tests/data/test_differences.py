from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.data.small import compare
from tunekeeper import data
from tunekeeper.core.errors import DataError, NotFound, UserError
from tunekeeper.core.nouns.data import Example
from tunekeeper.core.nouns.retraining import Model
from tunekeeper.data import drafts
from tunekeeper.data.config import Config
from tunekeeper.data.difftext import as_text
from tunekeeper.data.erase import erase_data
from tunekeeper.workspace import Workspace

MakeExample = Callable[..., Example]


def test_rows_are_added_removed_edited_and_moved_by_their_own_id(row: MakeExample) -> None:
    a = [row("q1", "x", id="1"), row("q2", "x", id="2"), row("q3", "x", id="3"), row("q4", "x", id="4")]
    b = [row("q1", "x", id="1"), row("q2", "y", id="2"), replace(a[2], split="eval"), row("q5", "x", id="5")]
    found = compare(a, b)
    assert (found.added, found.removed, found.moved) == (("5",), ("4",), ("3",))
    [edit] = found.edited
    assert (edit.id, edit.before[-1]["content"], edit.after[-1]["content"]) == ("2", "x", "y")
    assert found.counts == {"added": 1, "removed": 1, "edited": 1, "moved": 1, "metadata": 0, "unchanged": 2}


def test_a_row_that_says_the_same_with_other_metadata_is_told_with_what_became_of_it(
    ws: Workspace, task: Model, row: MakeExample
) -> None:
    a = [row("q1", "x", id="1", category="bug", agent="ana"), row("q2", "x", id="2"), row("q3", "x", id="3")]
    b = [row("q1", "x", id="1", category="refund"), row("q2", "y", id="2", category="bug"), row("q3", "x", id="3")]
    for rows in (a, b):
        drafts.save_draft(ws, "desk", [replace(e, split="eval") if e.id == "3" else e for e in rows])
        data.freeze(ws, task, Config())
    found = data.diff(ws, "desk/d1", "desk/d2")
    [one] = found.metadata
    assert (one.id, one.before, one.after) == ("1", {"category": "bug", "agent": "ana"}, {"category": "refund"})
    assert found.counts == {"added": 0, "removed": 0, "edited": 1, "moved": 0, "metadata": 1, "unchanged": 1}
    assert as_text(found)[0] == "0 added, 0 removed, 1 edited, 0 moved, 1 metadata, 1 unchanged"
    assert as_text(found)[-1] == "metadata 1: agent: ana -> none, category: bug -> refund"
    assert [edit.id for edit in found.edited] == ["2"]


@pytest.mark.parametrize("seed", [1, 2])
def test_a_version_is_compared_with_the_draft_as_with_the_version_that_it_becomes(
    ws: Workspace, task: Model, row: MakeExample, seed: int
) -> None:
    rng = random.Random(seed)
    a = [row(f"plain {n}", "x", id=f"t{n}", category=rng.choice("abc")) for n in range(80)]
    a = [replace(e, split=rng.choice(("train", "eval"))) for e in a]
    drafts.save_draft(ws, "desk", a)
    data.freeze(ws, task, Config())
    b = [replace(e, split=rng.choice(("train", "eval"))) if rng.random() < 0.1 else e for e in a if rng.random() < 0.9]
    b = [replace(row(f"plain {e.id[1:]}", "y", id=e.id), split=e.split) if rng.random() < 0.1 else e for e in b]
    b = [replace(e, metadata={**e.metadata, "category": "z"}) if rng.random() < 0.1 else e for e in b]
    drafts.save_draft(ws, "desk", [*b, *(row(f"lumen {n}", "x", id=f"n{n}", category="new") for n in range(9))])
    found = data.diff(ws, "desk/d1", "draft")
    assert found == data.diff(ws, "d1", "desk/draft", model="desk")
    assert all(found.counts.values())
    assert "lumen" in found.new_words
    data.freeze(ws, task, Config())
    later = data.diff(ws, "desk/d1", "desk/d2")
    assert (found.counts, found.topics, found.new_words) == (later.counts, later.topics, later.new_words)
    for name in ("added", "removed", "moved", "edited", "metadata"):
        assert sorted(getattr(found, name), key=str) == sorted(getattr(later, name), key=str)
    assert data.diff(ws, "desk/d2", "draft").counts["unchanged"] == later.counts["unchanged"] + sum(
        later.counts[name] for name in ("added", "edited", "metadata")
    )


def test_a_line_of_the_draft_that_somebody_wrote_otherwise_is_no_difference(ws: Workspace, task: Model, row: MakeExample) -> None:
    rows = [row("q1", "x", id="1"), replace(row("q2", "x", id="2"), split="eval")]
    drafts.save_draft(ws, "desk", rows)
    data.freeze(ws, task, Config())
    path = drafts.folder(ws, "desk") / "draft.jsonl"
    path.write_bytes(path.read_bytes().replace(b'{"fingerprint":', b'{ "fingerprint": ', 1))
    assert data.diff(ws, "desk/d1", "draft").counts["unchanged"] == 2


def test_the_draft_is_what_a_version_is_compared_with_and_has_to_be_there(ws: Workspace, task: Model, row: MakeExample) -> None:
    drafts.save_draft(ws, "desk", [row("q1", "x", id="1"), replace(row("q2", "x", id="2"), split="eval")])
    data.freeze(ws, task, Config())
    with pytest.raises(UserError) as refused:
        data.diff(ws, "draft", "desk/d1")
    assert refused.value.fix == "tunekeeper data diff desk/d1 draft"
    (drafts.folder(ws, "desk") / "draft.jsonl").unlink()
    with pytest.raises(DataError, match="desk has no draft"):
        data.diff(ws, "desk/d1", "draft")


def test_a_row_without_a_name_is_the_same_row_when_it_asks_the_same(row: MakeExample) -> None:
    found = compare([row("Where is it?", "here"), row("Gone", "x")], [row("where is it", "there"), row("New", "x")])
    assert [(e.before[-1]["content"], e.after[-1]["content"]) for e in found.edited] == [("here", "there")]
    assert (found.counts["added"], found.counts["removed"]) == (1, 1)


def test_topics_and_new_words_tell_where_the_set_went(row: MakeExample) -> None:
    a = [row(f"parcel {i}", "x", id=f"a{i}", category="shipping") for i in range(4)]
    b = a[:2] + [row(f"refund for lumen {i}", "x", id=f"b{i}", category="refund") for i in range(3)]
    found = compare(a, b)
    assert found.topics == {"shipping": (4, 2), "refund": (0, 3)}
    assert found.new_words == ("lumen", "refund")


def test_versions_are_compared_by_name_and_the_text_names_the_rows(ws: Workspace, task: Model, row: MakeExample) -> None:
    rows = [replace(row(f"q{i}", "old", id=f"t{i}"), split="eval" if i == 0 else "train") for i in range(3)]
    drafts.save_draft(ws, "desk", rows)
    data.freeze(ws, task, Config())
    drafts.save_draft(ws, "desk", [rows[0], replace(row("q1", "new", id="t1"), split="train")])
    data.freeze(ws, task, Config())
    found = data.diff(ws, "d1", "latest", model="desk")
    assert as_text(found) == [
        "0 added, 1 removed, 1 edited, 0 moved, 1 unchanged",
        "topic none: 3 -> 2",
        "removed: t2",
        "edited t1: q1 => [-old-]{+new+}",
    ]
    with pytest.raises(NotFound):
        data.diff(ws, "desk/d1", "desk/d9")


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_versions_differ_as_their_rows_do(ws: Workspace, task: Model, row: MakeExample, seed: int) -> None:
    rng = random.Random(seed)

    def some(n: int, word: str) -> Example:
        named = {"id": f"t{n}"} if rng.random() < 0.5 else {}
        made = row(f"{word} question {n}", rng.choice(("yes", "no")), category=rng.choice(("bug", "refund")), **named)
        return replace(made, split=rng.choice(("train", "eval")))

    a = [some(n, "plain") for n in range(120)]
    b = [e for e in a if rng.random() < 0.9]
    b = [replace(e, split="eval") if rng.random() < 0.1 else e for e in b]
    b = [row(e.messages[1]["content"], "edited", id=e.id if e.id[0] == "t" else None) if rng.random() < 0.1 else e for e in b]
    b += [some(n, "lumen") for n in range(200, 220)]
    b.sort(key=lambda e: rng.random() if seed == 3 else 0.0)
    for rows in (a, b):
        drafts.save_draft(ws, "desk", rows)
        data.freeze(ws, task, Config(), force=True)
    found, expected = data.diff(ws, "desk/d1", "desk/d2"), compare(a, b)
    assert (found.counts, found.topics, found.new_words) == (expected.counts, expected.topics, expected.new_words)
    assert "lumen" in found.new_words
    assert (set(found.added), set(found.removed), set(found.moved)) == tuple(
        map(set, (expected.added, expected.removed, expected.moved))
    )
    assert sorted(e.id for e in found.edited) == sorted(e.id for e in expected.edited)


def test_a_word_that_a_row_of_both_uses_is_not_new_and_erased_rows_are_in_neither(
    ws: Workspace, task: Model, row: MakeExample
) -> None:
    rows = [row(f"old {n}", "x", id=f"t{n}", user_id=f"u{n}") for n in range(6)]
    rows += [replace(row("the Lümen again", "x", id="held", user_id="u9"), split="eval")]
    drafts.save_draft(ws, "desk", rows)
    data.freeze(ws, task, Config())
    drafts.save_draft(ws, "desk", [*rows[1:], *(row(f"lümen flux {n}", "x", id=f"n{n}") for n in range(3))])
    data.freeze(ws, task, Config())
    assert data.diff(ws, "desk/d1", "desk/d2").new_words == ("flux",)
    erase_data(ws, set(), "u0")
    erase_data(ws, set(), "u3")
    found = data.diff(ws, "desk/d1", "desk/d2")
    assert found.counts == {"added": 3, "removed": 0, "edited": 0, "moved": 0, "metadata": 0, "unchanged": 5}
    assert found.topics == {"none": (5, 8)}
