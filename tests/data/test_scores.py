from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tunekeeper import data
from tunekeeper.core.nouns.data import Example
from tunekeeper.core.nouns.retraining import Model
from tunekeeper.data import checks, scores
from tunekeeper.data.config import Config
from tunekeeper.data.findings import KINDS, Finding, finding
from tunekeeper.workspace import Workspace

MakeExample = Callable[..., Example]
NO = "I'm sorry, but I can't help with that."
Tickets = Callable[..., list[tuple[str, str]]]
Write = Callable[[str, Any], Path]


@pytest.mark.parametrize(
    ("kinds", "synthetic", "score"),
    [
        ((), False, 1.0),
        ((), True, 0.8),
        (("refusal",), False, 0.2),
        (("refusal", "refusal"), False, 0.2),
        (("stale_vocabulary",), False, 0.7),
        (("refusal", "stale_vocabulary"), False, 0.14),
        (("empty", "near_duplicate"), False, 0.0),
        (("uncovered", "recency"), False, 1.0),
    ],
)
def test_each_kind_takes_its_part_once(kinds: tuple[str, ...], synthetic: bool, score: float) -> None:
    assert scores.row_score(kinds, synthetic=synthetic) == score


def test_every_kind_with_a_penalty_is_one_that_checks_report() -> None:
    assert set(scores.PENALTIES) | set(scores.SET_PENALTIES) <= set(KINDS)
    assert all(0 < part <= 1 for part in (*scores.PENALTIES.values(), *scores.SET_PENALTIES.values()))


def test_a_set_is_as_good_as_its_rows_less_what_the_whole_loses(row: MakeExample) -> None:
    rows = [row(f"question {i}?", "yes", id=f"r{i}") for i in range(4)]
    found = [finding("refusal", rows[0], "no"), finding("refusal", rows[0], "no"), Finding(kind="refusal", id="gone")]
    quality = scores.quality_of(rows, found)
    assert quality is not None
    assert (quality.score, quality.clean, quality.low, quality.kinds) == (0.8, 0.75, 1, {"refusal": 1})
    worse = scores.quality_of(rows, [*found, Finding(kind="recency")])
    assert worse is not None
    assert worse.score == 0.72
    assert scores.quality_of([], found) is None


def test_a_version_keeps_the_quality_it_was_frozen_with(ws: Workspace, task: Model, write: Write, tickets: Tickets) -> None:
    def chat(i: int, text: str, answer: str) -> dict[str, Any]:
        return {"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": answer}], "id": f"t{i}"}

    rows = [chat(i, text, answer if i % 4 else NO) for i, (text, answer) in enumerate(tickets(40))]
    section = Config(refusals="flag")
    data.import_files(ws, task, section, [write("rows.jsonl", rows)])
    version = data.freeze(ws, task, section)
    kept = version.report["quality"]
    assert (kept["score"], kept["clean"], kept["low"], kept["rows"], kept["of"]) == (0.8, 0.75, 10, 40, 40)
    assert kept["kinds"] == {"refusal": 10}
    assert scores.sentence(kept) == "0.80 (75% clean, 10 low): 10 refusal"
    assert scores.sentence(None) == ""


def test_a_whole_check_of_just_these_rows_counts_instead(ws: Workspace, task: Model, write: Write, tickets: Tickets) -> None:
    rows = [{"prompt": text, "answer": "A", "id": f"t{i}"} for i, (text, _) in enumerate(tickets(30))]
    rows += [{"prompt": tickets(30)[3][0], "answer": "B", "id": "other"}]
    section = Config(contradictions="flag")
    data.import_files(ws, task, section, [write("rows.jsonl", rows)])
    assert data.freeze(ws, task, section).report["quality"]["kinds"] == {}
    checks.check(ws, task, section)
    more = [{"prompt": "One more thing that was never asked", "answer": "C", "id": "more"}]
    version = data.freeze(ws, task, section, note="again")
    assert version.number == 1, "nothing changed"
    data.import_files(ws, task, section, [write("more.jsonl", more)])
    assert data.freeze(ws, task, section).report["quality"]["kinds"] == {}, "the draft is another than the one that was checked"
    data.import_files(ws, task, section, [write("last.jsonl", [{"prompt": "And a last one", "answer": "D", "id": "last"}])])
    checks.check(ws, task, section)
    assert data.freeze(ws, task, section).report["quality"]["kinds"] == {"contradiction": 2}


def test_of_a_large_draft_some_rows_are_looked_at_evenly_spread(tmp_path: Path, row: MakeExample) -> None:
    from tunekeeper.data.examples import encode

    path = tmp_path / "draft.jsonl"
    rows = [row(f"question {i} about things?", NO if i % 2 else "It works again.", id=f"r{i}") for i in range(3000)]
    path.write_bytes(b"".join(encode(each, with_split=True) for each in rows))
    kept = scores.of_draft(path, len(rows), Config())
    assert kept is not None
    assert (kept["rows"], kept["of"]) == (1000, 3000)
    assert kept["score"] == pytest.approx(0.6, abs=0.05)
    assert kept == scores.of_draft(path, len(rows), Config()), "the same rows each time"
    assert "by 1000 of its 3000 rows" in scores.sentence(kept)
    assert json.dumps(kept)
