from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.data.small import deal_out
from tunekeeper import data
from tunekeeper.core.errors import DataError
from tunekeeper.core.nouns.data import Example
from tunekeeper.core.nouns.retraining import Model
from tunekeeper.data import drafts, freezing, versions
from tunekeeper.data.config import Config
from tunekeeper.data.erase import erase_data
from tunekeeper.workspace import Workspace

MakeExample = Callable[..., Example]
SECTION = Config()


def test_a_version_holds_the_draft_as_it_was(ws: Workspace, task: Model, filled: list[Example]) -> None:
    version = data.freeze(ws, task, SECTION, note="first")
    assert (version.id, version.number, version.parent, version.note) == ("desk/d1", 1, None, "first")
    assert (version.examples, version.train, version.eval) == (40, 36, 4)
    assert version.created == ws.clock.utc()
    drafts.save_draft(ws, "desk", [])
    assert list(versions.read_examples(ws, version)) == sorted(filled, key=lambda e: e.split == "eval")
    assert [e.split for e in versions.read_examples(ws, "desk/d1", "eval")] == ["eval"] * 4


def test_an_unchanged_draft_gives_the_same_version_and_a_changed_one_the_next(
    ws: Workspace, task: Model, filled: list[Example]
) -> None:
    first = data.freeze(ws, task, SECTION)
    assert data.freeze(ws, task, SECTION, note="again") == first
    drafts.save_draft(ws, "desk", filled[1:])
    second = data.freeze(ws, task, SECTION)
    assert (second.id, second.parent) == ("desk/d2", "desk/d1")
    assert second.digest != first.digest
    assert [v.id for v in versions.log(ws, "desk")] == ["desk/d2", "desk/d1"]


def test_the_digest_is_of_content_order_and_sides_alone(
    ws: Workspace, task: Model, tmp_path: Path, filled: list[Example]
) -> None:
    from tunekeeper.workspace import create_workspace

    other = create_workspace(tmp_path / "other")
    drafts.save_draft(other, "desk", filled)
    first = data.freeze(ws, task, SECTION)
    assert data.freeze(other, task, SECTION).digest == first.digest
    drafts.save_draft(other, "desk", filled[::-1])
    assert data.freeze(other, task, SECTION).digest != first.digest


@pytest.mark.parametrize("rows", [0, 1])
def test_a_draft_with_an_empty_side_is_refused_and_nothing_is_left(
    ws: Workspace, task: Model, row: MakeExample, rows: int
) -> None:
    drafts.save_draft(ws, "desk", [row("a", "b")][:rows])
    with pytest.raises(DataError, match="desk"):
        data.freeze(ws, task, SECTION)
    assert versions.log(ws, "desk") == []


def test_warnings_stand_in_the_report(ws: Workspace, task: Model, row: MakeExample) -> None:
    rows = [row(f"q{i}", "x", synthetic=True, category="bug") for i in range(10)]
    deal_out(ws, rows, SECTION)
    with pytest.raises(DataError, match="all 10 rows are synthetic") as caught:
        data.freeze(ws, task, SECTION)
    assert "--force" in str(caught.value.fix)
    version = data.freeze(ws, task, SECTION, report={"cycle": "cyc_1"}, force=True)
    assert version.report["warnings"] == ["all 10 rows are synthetic; none shows real traffic"]
    assert (version.report["topics"], version.report["cycle"]) == ({"bug": 10}, "cyc_1")


def test_a_detached_version_is_known_by_its_id_and_nothing_grows_from_it(
    ws: Workspace, task: Model, filled: list[Example]
) -> None:
    first = data.freeze(ws, task, SECTION)
    wrong: list[Any] = [replace(e, messages=(*e.messages[:-1], {"role": "assistant", "content": "no"})) for e in filled]
    odd = freezing.freeze_examples(ws, "desk", wrong, parent=first.id, note="shuffled")
    assert (odd.id, odd.parent, odd.examples) == ("desk/d2", "desk/d1", 40)
    assert {e.fingerprint for e in versions.read_examples(ws, odd)}.isdisjoint({e.fingerprint for e in filled})
    assert versions.latest(ws, "desk") == first
    assert data.freeze(ws, task, SECTION) == first
    drafts.save_draft(ws, "desk", filled[1:])
    third = data.freeze(ws, task, SECTION)
    assert (third.id, third.parent) == ("desk/d3", "desk/d1")


def test_versions_share_their_rows_and_an_unchanged_draft_stores_nothing(ws: Workspace, task: Model, row: MakeExample) -> None:
    rng = random.Random(1)
    rows = [row(f"q{n} {rng.randbytes(60).hex()}", "x", id=f"t{n}") for n in range(3000)]
    rows = [replace(e, split="eval" if n % 10 == 0 else "train") for n, e in enumerate(rows)]

    def stored() -> int:
        return sum(path.stat().st_size for path in ws.path("blobs").rglob("*") if path.is_file())

    drafts.save_draft(ws, "desk", rows)
    first = data.freeze(ws, task, SECTION)
    before = stored()
    assert data.freeze(ws, task, SECTION) == first
    assert stored() == before
    drafts.save_draft(ws, "desk", [*rows[:1500], row("new", "x", id="new"), *rows[1501:]])
    second = data.freeze(ws, task, SECTION)
    assert stored() - before < before / 50
    assert [e.id for e in versions.read_examples(ws, second)].count("new") == 1
    assert [e.id for e in versions.read_examples(ws, first)].count("t1500") == 1
    moved = [replace(e, split="train") for e in rows[:-10]] + rows[-10:]
    drafts.save_draft(ws, "desk", moved)
    third = data.freeze(ws, task, SECTION)
    assert stored() - before < before / 25, "a row that moves to the other side is not stored again"
    assert (third.train, third.eval) == (2999, 1)


def test_a_draft_that_somebody_wrote_otherwise_is_the_same_version(ws: Workspace, task: Model, filled: list[Example]) -> None:
    first = data.freeze(ws, task, SECTION)
    path = drafts.folder(ws, "desk") / "draft.jsonl"
    path.write_bytes(b"".join(json.dumps(json.loads(line)).encode() + b"\n" for line in path.read_bytes().splitlines()))
    assert data.freeze(ws, task, SECTION) == first
    assert not versions.ls(ws, "desk").changed


def test_an_erased_row_that_is_imported_again_makes_a_version_that_has_it(ws: Workspace, task: Model, row: MakeExample) -> None:
    rows = [row(f"q{n}", "x", id=f"t{n}", user_id=f"u{n}") for n in range(5)]
    rows = [*rows[:4], replace(rows[4], split="eval")]
    drafts.save_draft(ws, "desk", rows)
    first = data.freeze(ws, task, SECTION)
    erase_data(ws, set(), "u2")
    drafts.save_draft(ws, "desk", rows)
    second = data.freeze(ws, task, SECTION)
    assert (second.digest, second.id) == (first.digest, "desk/d2")
    assert [e.id for e in versions.read_examples(ws, second)] == [e.id for e in rows]
    assert data.freeze(ws, task, SECTION) == second
