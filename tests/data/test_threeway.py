from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from tests.data.small import compare
from tunekeeper import data
from tunekeeper.core.errors import UserError
from tunekeeper.core.nouns.data import DatasetVersion, Example
from tunekeeper.core.nouns.retraining import Model
from tunekeeper.data import drafts, freezing, versions
from tunekeeper.data.config import Config
from tunekeeper.data.revert import revert
from tunekeeper.data.tallies import SIDES
from tunekeeper.data.threeway import MOST_SHOWN, MergeDone, common_parent, merge_versions
from tunekeeper.workspace import Workspace

Make = Callable[[str, str], Example]


@pytest.fixture
def q(row: Any) -> Make:
    """`q(id, answer)`: a row with that answer."""
    return lambda id, answer: row(f"what is {id}?", answer, id=id)


def answers(rows: Sequence[Example]) -> dict[str, str]:
    return {row.id: str(row.messages[-1]["content"]) for row in rows}


class Merging:
    """Merges rows by freezing them as versions of one model."""

    def __init__(self, ws: Workspace) -> None:
        self.ws = ws

    def frozen(self, rows: Sequence[Example], parent: str | None = None) -> str:
        """The id of a version of these rows; a row of both sides, in every version the same, comes last on its side."""
        message = ({"role": "user", "content": "stays"}, {"role": "assistant", "content": "as it is"})
        stays = [Example(id=f"stays_{side}", messages=message, fingerprint="", split=side) for side in SIDES]
        return freezing.freeze_examples(self.ws, "desk", [*rows, *stays], parent=parent).id

    def __call__(
        self, base: Sequence[Example] | None, a: Sequence[Example], b: Sequence[Example], prefer: Any = None
    ) -> tuple[MergeDone, list[Example]]:
        """What a merge of `a` and `b`, which grew from `base`, did, and the rows of the draft that it made."""
        parent = None if base is None else self.frozen(base)
        done = merge_versions(self.ws, self.frozen(a, parent), self.frozen(b, parent), prefer=prefer)
        held = drafts.load_draft(self.ws, "desk") if done.draft is not None else []
        return done, [row for row in held if not row.id.startswith("stays_")]


@pytest.fixture
def merge(ws: Workspace) -> Merging:
    return Merging(ws)


def test_what_one_side_changed_is_taken_and_what_both_changed_alike_is_taken_once(q: Make, merge: Merging) -> None:
    base = [q(id, "old") for id in ("same", "ours", "theirs", "gone_a", "gone_b", "gone_both", "alike")]
    a = [q("same", "old"), q("ours", "A"), q("theirs", "old"), q("gone_b", "old"), q("alike", "new"), q("new_a", "1")]
    b = [q("same", "old"), q("ours", "old"), q("theirs", "B"), q("gone_a", "old"), q("alike", "new"), q("new_b", "2")]
    done, rows = merge(base, a, b)
    assert done.conflicts == ()
    assert answers(rows) == {"same": "old", "ours": "A", "theirs": "B", "alike": "new", "new_a": "1", "new_b": "2"}
    assert [row.id for row in rows] == ["same", "ours", "theirs", "alike", "new_a", "new_b"]
    assert (done.counts, done.examples) == ({"from_a": 3, "from_b": 3, "both": 2, "conflicts": 0}, 8)


def test_what_both_changed_differently_is_a_conflict_with_all_three_texts(q: Make, merge: Merging) -> None:
    base = [q("edited", "old"), q("cut_b", "old"), q("cut_a", "old")]
    a = [q("edited", "A"), q("cut_b", "A"), q("new", "A")]
    b = [q("edited", "B"), q("cut_a", "B"), q("new", "B")]
    done, rows = merge(base, a, b)
    assert [(c.id, c.why) for c in done.conflicts] == [
        ("edited", "edited differently"),
        ("cut_b", "edited in a, removed in b"),
        ("new", "added differently"),
        ("cut_a", "removed in a, edited in b"),
    ]
    first = done.conflicts[0]
    assert [answers([row]) for row in (first.base, first.a, first.b) if row] == [{"edited": t} for t in ("old", "A", "B")]
    assert (rows, done.examples, done.draft) == ([], 2, None)
    assert answers(merge(base, a, b, prefer="a")[1]) == {"edited": "A", "cut_b": "A", "new": "A"}
    assert answers(merge(base, a, b, prefer="b")[1]) == {"edited": "B", "cut_a": "B", "new": "B"}


def test_an_edit_on_one_side_and_a_move_on_the_other_are_both_kept(q: Make, merge: Merging) -> None:
    moved = replace(q("x", "old"), split="eval")
    for a, b in ((q("x", "new"), moved), (moved, q("x", "new"))):
        [row] = merge([q("x", "old")], [a], [b])[1]
        assert (answers([row]), row.split) == ({"x": "new"}, "eval")
    back = merge([moved], [q("x", "old")], [moved])[1]
    assert [row.split for row in back] == ["train"]
    both_new = merge([], [q("x", "old")], [moved])[1]
    assert [row.split for row in both_new] == ["eval"]


def test_metadata_that_one_side_alone_changed_is_taken(row: Any, merge: Merging) -> None:
    old, relabelled, edited = (row("what?", text, id="x", category=name) for text, name in (("1", "p"), ("1", "q"), ("2", "p")))
    assert merge([old], [old], [relabelled])[1][0].metadata["category"] == "q"
    assert merge([old], [relabelled], [old])[1][0].metadata["category"] == "q"
    for done, [kept] in (merge([old], [relabelled], [edited]), merge([old], [edited], [relabelled])):
        assert (answers([kept]), kept.metadata["category"]) == ({"x": "2"}, "q"), (
            "what it says and its metadata, each from its side"
        )
        assert (done.counts["from_a"], done.counts["from_b"], done.counts["both"]) == (1, 1, 0)


def test_metadata_that_both_changed_differently_is_a_conflict_and_what_was_noted_of_a_rewrite_is_none(
    row: Any, merge: Merging
) -> None:
    old, p, q = (row("what?", "1", id="x", category=name) for name in "opq")
    done, _ = merge([old], [p], [q])
    assert [(c.id, c.why) for c in done.conflicts] == [("x", "edited differently")]
    assert [merge([old], [p], [q], prefer=side)[1][0].metadata["category"] for side in "ab"] == ["p", "q"]
    assert merge([old], [p], [p])[0].counts["both"] == 1
    once, later = (replace(p, metadata={**p.metadata, "rewritten": [{"at": at}]}) for at in ("2026-01-01", "2026-01-02"))
    assert merge([old], [once], [later])[1] == [once]


def test_an_edited_row_that_is_named_by_its_content_is_one_row(row: Any, merge: Merging) -> None:
    base, a, b = row("Where?", "here"), row("Where?", "there"), row("Where?", "gone")
    assert answers(merge([base], [a], [base])[1]) == {a.id: "there"}
    assert [c.why for c in merge([base], [a], [b])[0].conflicts] == ["edited differently"]


def test_merging_is_the_same_both_ways_round_and_with_itself_changes_nothing(q: Make, merge: Merging) -> None:
    base = [q(str(i), "old") for i in range(12)]
    a = [q(str(i), "A" if i % 4 == 0 else "old") for i in range(10)]
    b = [q(str(i), "B" if i % 4 == 1 else "old") for i in range(1, 13)]
    (one, _), (other, _) = merge(base, a, b), merge(base, b, a)
    assert {c.id for c in one.conflicts} == {c.id for c in other.conflicts} == {"0"}
    assert answers(merge(base, a, b, "a")[1]) == answers(merge(base, b, a, "b")[1])
    assert merge(base, a, a)[1] == a
    assert merge(base, base, b)[1] == b


def test_versions_without_a_common_parent_share_what_they_hold_alike(q: Make, row: Any, merge: Merging) -> None:
    a = [q("alike", "1"), q("ours", "A"), q("both", "A"), row("Where?", "here"), row("Who?", "me")]
    b = [row("Who?", "me"), q("theirs", "B"), q("alike", "1"), q("both", "B"), row("Where?", "there")]
    done, _ = merge(None, a, b)
    assert (done.base, [c.why for c in done.conflicts]) == (None, ["added differently"] * 2)
    assert done.counts == {"from_a": 1, "from_b": 1, "both": 4, "conflicts": 2}
    done, rows = merge(None, a, b, prefer="b")
    assert [row.messages[-1]["content"] for row in rows] == ["1", "A", "B", "there", "me", "B"]


def test_of_many_conflicts_the_first_thousand_are_shown_and_all_are_counted(q: Make, merge: Merging) -> None:
    a, b = ([q(str(i), text) for i in range(MOST_SHOWN + 1)] for text in ("A", "B"))
    done, _ = merge(None, a, b)
    assert (len(done.conflicts), done.counts["conflicts"]) == (MOST_SHOWN, MOST_SHOWN + 1)
    assert done.conflicts[-1].id == str(MOST_SHOWN - 1)


@pytest.fixture
def fork(ws: Workspace, task: Model, q: Make) -> tuple[DatasetVersion, DatasetVersion]:
    """desk/d3 and a kept draft desk/d2, both grown from desk/d1."""
    base = [replace(q("e", "old"), split="eval"), q("t", "old"), q("u", "old")]
    drafts.save_draft(ws, "desk", base)
    first = data.freeze(ws, task, Config())
    drafts.save_draft(ws, "desk", [base[0], q("t", "mine"), base[2]])
    revert(ws, first.id)
    drafts.save_draft(ws, "desk", [*base, q("new", "theirs")])
    return data.freeze(ws, task, Config()), versions.resolve(ws, "desk/d2")


def test_two_versions_are_merged_against_their_parent_into_the_draft(
    ws: Workspace, task: Model, fork: tuple[DatasetVersion, DatasetVersion]
) -> None:
    done = merge_versions(ws, "desk/d3", "desk/d2", by="ana")
    assert (done.base, done.conflicts, done.counts["from_a"], done.counts["from_b"]) == ("desk/d1", (), 1, 1)
    assert done.draft is not None
    assert done.draft.kept == "desk/d3"
    assert answers(drafts.load_draft(ws, "desk")) == {"e": "old", "t": "mine", "u": "old", "new": "theirs"}
    frozen = data.freeze(ws, task, Config())
    assert (frozen.report["origin"]["merged"], frozen.report["origin"]["by"]) == ("desk/d3 + desk/d2", "ana")
    found = compare(list(versions.read_examples(ws, "desk/d3")), list(versions.read_examples(ws, frozen)))
    assert [edit.id for edit in found.edited] == ["t"]


def test_versions_that_were_frozen_from_one_brought_back_are_merged_against_that(ws: Workspace, task: Model, q: Make) -> None:
    base = [replace(q("e", "old"), split="eval"), q("t", "old"), q("u", "old"), q("w", "old")]
    drafts.save_draft(ws, "desk", base)
    first = data.freeze(ws, task, Config())
    drafts.save_draft(ws, "desk", [base[0], q("t", "mine"), q("u", "mine"), base[3]])
    left = data.freeze(ws, task, Config())
    revert(ws, first.id)
    drafts.save_draft(ws, "desk", [*base[:2], q("u", "theirs"), q("w", "theirs")])
    right = data.freeze(ws, task, Config())
    done = merge_versions(ws, left.id, right.id)
    assert (done.base, [each.id for each in done.conflicts]) == (first.id, ["u"])
    merge_versions(ws, left.id, right.id, prefer="b")
    assert answers(drafts.load_draft(ws, "desk")) == {"e": "old", "t": "mine", "u": "theirs", "w": "theirs"}
    merged = data.freeze(ws, task, Config())
    assert merge_versions(ws, merged.id, left.id, dry_run=True).base == left.id


def test_a_conflict_and_a_dry_run_write_nothing(
    ws: Workspace, task: Model, q: Make, fork: tuple[DatasetVersion, DatasetVersion]
) -> None:
    drafts.save_draft(ws, "desk", [replace(q("e", "old"), split="eval"), q("t", "yours"), q("u", "old")])
    data.freeze(ws, task, Config())
    folder = drafts.folder(ws, "desk")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    done = merge_versions(ws, "d4", "d2", model="desk")
    assert [c.id for c in done.conflicts] == ["t"]
    assert done.draft is None
    assert merge_versions(ws, "d4", "d2", model="desk", prefer="b", dry_run=True).draft is None
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert len(versions.log(ws, "desk")) == 4
    merge_versions(ws, "d4", "d2", model="desk", prefer="b")
    assert answers(drafts.load_draft(ws, "desk"))["t"] == "mine"


def test_versions_of_two_models_are_not_merged(ws: Workspace, q: Make, fork: tuple[DatasetVersion, DatasetVersion]) -> None:
    drafts.save_draft(ws, "other", [replace(q("e", "x"), split="eval"), q("t", "x")])
    data.freeze(ws, Model(name="other"), Config())
    with pytest.raises(UserError, match="of two models"):
        merge_versions(ws, "desk/d1", "other/d1")


def test_the_common_parent_is_the_newest_shared_one() -> None:
    parents = {"d1": None, "d2": "d1", "d3": "d2", "d4": "d2", "d5": "d4", "d9": None}
    known = {
        id: DatasetVersion(id=id, model="m", number=int(id[1:]), digest=id, examples=2, train=1, eval=1, parent=parent)
        for id, parent in parents.items()
    }
    for a, b, expected in (("d3", "d5", "d2"), ("d5", "d3", "d2"), ("d5", "d4", "d4"), ("d5", "d5", "d5")):
        found = common_parent(known[a], known[b], known)
        assert found is not None
        assert found.id == expected
    assert common_parent(known["d9"], known["d5"], known) is None


def test_a_question_that_a_row_of_all_versions_asks_too_is_told_apart_by_name(ws: Workspace, task: Model, row: Any) -> None:
    """Both sides add another answer to a question that a row which nobody touched asks already: two rows, no conflict."""
    shared = [row("asked by many?", "1"), replace(row("held out?", "2", id="h"), split="eval")]

    def frozen(*more: Example) -> DatasetVersion:
        drafts.save_draft(ws, "desk", [*shared, *more])
        return data.freeze(ws, task, Config())

    base = frozen(row("another?", "3", id="o"))
    b = frozen(row("another?", "3", id="o"), row("asked by many?", "B"))
    revert(ws, base.id)
    a = frozen(row("another?", "3", id="o"), row("asked by many?", "A"))
    done = merge_versions(ws, a.id, b.id)
    assert (done.base, done.conflicts, done.examples) == (base.id, (), 5)
    assert [e.messages[-1]["content"] for e in drafts.load_draft(ws, "desk")] == ["1", "3", "A", "2", "B"]
