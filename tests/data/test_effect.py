from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from tunekeeper.core.errors import DataError
from tunekeeper.core.nouns.data import Example
from tunekeeper.core.nouns.retraining import Model
from tunekeeper.data import drafts, freezing
from tunekeeper.data.config import Config
from tunekeeper.data.effect import as_text, between, effect, survey
from tunekeeper.workspace import Workspace

MakeExample = Callable[..., Example]
SECTION = Config()


@pytest.fixture
def rows(row: MakeExample) -> list[Example]:
    """Forty rows: thirty bugs of last year, ten refunds of this week; every tenth held out."""
    made = []
    for i in range(40):
        kind, created = ("refund", "2026-01-04") if i % 4 == 0 else ("bug", "2025-06-01")
        example = row(f"Case {i} of {kind} number {i * 7}", json.dumps({"category": kind}), id=f"r{i}", created=created)
        made.append(replace(example, split="eval" if i % 10 == 0 else "train"))
    return made


def test_what_freezing_would_change_is_said_per_topic_label_age_and_origin(
    ws: Workspace, task: Model, rows: list[Example], row: MakeExample
) -> None:
    drafts.save_draft(ws, "desk", rows)
    frozen = freezing.freeze(ws, task, SECTION)
    edited = replace(rows[1], messages=(*rows[1].messages[:-1], {"role": "assistant", "content": "{}"}), fingerprint="sha256:e")
    fresh = [
        row(f"Unicorn {i} ran away", json.dumps({"category": "pets"}), id=f"n{i}", created="2026-01-05", synthetic=True)
        for i in range(50)
    ]
    drafts.save_draft(ws, "desk", [edited, *rows[3:], *fresh])
    found = effect(ws, "desk", SECTION)
    assert (found.parent, found.counts["added"], found.counts["removed"], found.counts["edited"]) == (frozen.id, 50, 2, 1)
    changes = {t.topic: (t.before, t.after, t.added, t.removed, t.edited) for t in found.topics}
    assert changes == {"pets": (0, 50, 50, 0, 0), "refund": (10, 9, 0, 1, 0), "bug": (30, 28, 0, 1, 0), "none": (0, 1, 0, 0, 1)}
    assert found.topics[0].topic == "pets"
    assert (found.before.labels, found.after.labels) == ({"bug": 30, "refund": 10}, {"pets": 50, "bug": 28, "refund": 9})
    assert (found.after.recent, found.after.dated, found.after.synthetic, found.after.eval) == (59, 88, 50, 3)
    assert len(found.warnings) == 3, "half of it is made up, most of it is of the last month, and hardly any is held out"
    lines = as_text(found)
    assert lines[0] == f"50 added, 2 removed, 1 edited, 0 moved, 37 unchanged against {frozen.id}"
    assert any(line.startswith("pets") and "50 (57%)" in line for line in lines)
    assert lines[-1].startswith("new words: ")
    freezing.freeze(ws, task, SECTION)
    assert effect(ws, "desk", SECTION).counts["unchanged"] == 88


def test_why_freezing_would_be_refused_is_said_before(rows: list[Example], row: MakeExample) -> None:
    assert survey(rows, 40, SECTION).refused == ""
    one_sided = survey([r for r in rows if r.split == "train"], 36, SECTION)
    assert one_sided.refused.startswith("36 rows to learn from and 0 held out")
    made_up = survey([replace(r, metadata={"synthetic": True}) for r in rows], 40, SECTION)
    assert "synthetic" in made_up.refused
    assert "refused" in as_text(between(survey([], 0, SECTION), made_up, {"added": 40}))[1]


def test_nothing_has_a_shape_too_and_lengths_are_of_whole_conversations(row: MakeExample) -> None:
    empty = survey([], 0, SECTION).shape
    assert (empty.examples, empty.length, empty.oldest, empty.labels) == (0, 0, None, {})
    system = len("Triage the ticket. Answer with JSON.")
    shape = survey([row("x" * n, "y", id=f"r{n}") for n in (10, 20, 30)], 3, SECTION).shape
    assert (shape.length, shape.long) == (system + 21, system + 31)


def test_without_a_draft_there_is_no_effect(ws: Workspace) -> None:
    with pytest.raises(DataError, match="no draft"):
        effect(ws, "desk", SECTION)
