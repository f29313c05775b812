from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tunekeeper import data
from tunekeeper.core.nouns.data import Example
from tunekeeper.core.nouns.retraining import Model
from tunekeeper.data import checks, judged, scores
from tunekeeper.data.config import Config
from tunekeeper.workspace import Workspace

MakeExample = Callable[..., Example]
NO = "I'm sorry, but I can't help with that."
Tickets = Callable[..., list[tuple[str, str]]]
Write = Callable[[str, Any], Path]


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
    held = write("held.jsonl", [{"prompt": tickets(30)[5][0], "answer": "A", "id": "held"}])
    checks.check(ws, task, section, against=held)
    assert data.freeze(ws, task, section).report["quality"]["kinds"] == {"contradiction": 2, "leak": 1}
    data.import_files(ws, task, section, [write("more.jsonl", [{"prompt": "One more that was never asked", "answer": "C"}])])
    kept = data.freeze(ws, task, section).report["quality"]
    assert kept["kinds"] == {"contradiction": 2}, "the draft is another than the one that was checked"


@pytest.mark.parametrize("few", [31, 30])
def test_contradictions_that_nobody_looked_for_are_no_full_quality(
    ws: Workspace, task: Model, write: Write, tickets: Tickets, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    monkeypatch.setattr(judged, "FEW", few)
    rows = [{"prompt": text, "answer": "A", "id": f"t{i}"} for i, (text, _) in enumerate(tickets(30))]
    rows += [{"prompt": tickets(30)[3][0], "answer": "B", "id": "other"}]
    section = Config(contradictions="flag")
    data.import_files(ws, task, section, [write("rows.jsonl", rows)])
    kept = data.freeze(ws, task, section).report["quality"]
    if few == 31:
        assert (kept["score"], kept["kinds"]) == (pytest.approx(0.9548, abs=1e-3), {"contradiction": 2})
    else:
        assert (kept["score"], kept["at_most"], kept["kinds"]) == (None, 1.0, {})


def test_of_a_large_draft_some_rows_are_looked_at_evenly_spread(tmp_path: Path, row: MakeExample) -> None:
    from tunekeeper.data.examples import encode

    path = tmp_path / "draft.jsonl"
    rows = [row(f"question {i} about things?", NO if i % 2 else "It works again.", id=f"r{i}") for i in range(3000)]
    path.write_bytes(b"".join(encode(each, with_split=True) for each in rows))
    kept = judged.of_draft(path, len(rows), Config())
    assert kept is not None
    assert (kept["rows"], kept["of"]) == (1000, 3000)
    assert (kept["score"], kept["at_most"]) == (None, pytest.approx(0.6, abs=0.05))
    assert kept == judged.of_draft(path, len(rows), Config()), "the same rows each time"
    assert "by 1000 of its 3000 rows" in scores.sentence(kept)
    assert json.dumps(kept)
