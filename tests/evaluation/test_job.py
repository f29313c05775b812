from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.evaluation.conftest import TASK, question, right, rule
from tunekeeper.core.errors import UpstreamUnavailable
from tunekeeper.core.nouns.evaluation import Case
from tunekeeper.core.nouns.serving import Slot
from tunekeeper.evaluation.job import ANSWERS, messages_for, read_cases, run, write_cases
from tunekeeper.evaluation.results import Result, decode, encode
from tunekeeper.jobs.context import JobContext
from tunekeeper.workspace import Workspace


def case(i: int) -> Case:
    return Case(id=f"c{i}", messages=({"role": "user", "content": question(i)},), expected=right(i), category="x")


def asked(ws: Workspace, cases: list[Case], answers: dict[str, Any], **changes: Any) -> dict[str, Any]:
    digest = ws.blobs.put_bytes(json.dumps(answers).encode())
    slot = Slot(
        id="exam", model="m", version="v1", engine="fake", files={"model": str(ws.blobs.path(digest).relative_to(ws.root))}
    )
    return {
        "slot": msgspec.to_builtins(slot),
        "cases": ws.blobs.put_bytes(write_cases(cases)),
        "scorers": {"exact": {}, "format": {"spec": TASK.format}},
        "max_tokens": 64,
        "concurrency": 4,
        "timeout": 10.0,
        **changes,
    }


@pytest.fixture
def context(ws: Workspace, tmp_path: Path) -> JobContext:
    (tmp_path / "work").mkdir()
    return JobContext(root=ws.root, work=tmp_path / "work", journal=tmp_path / "journal")


def test_every_case_is_asked_scored_and_kept(ws: Workspace, context: JobContext) -> None:
    output = run(asked(ws, [case(i) for i in range(12)], rule(12, wrong=2)), context)
    assert (output["cases"], output["unanswered"]) == (12, 0)
    found = {r.case: r for r in decode((context.work / ANSWERS).read_bytes())}
    assert len(found) == 12
    assert [found[f"c{i}"].scores["exact"][0] for i in (0, 1, 2)] == [0.0, 0.0, 1.0]
    assert found["c0"].scores["format"] == (1.0, "well formed")
    assert found["c3"].answer == right(3)
    assert context.journal is not None
    assert json.loads(context.journal.read_text().splitlines()[-1])["answered"] == 12


def test_a_key_that_came_with_a_line_end_is_sent_without_it(
    ws: Workspace, context: JobContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXAM_KEY", " sk-exam\n")
    wanted = asked(ws, [case(0)], rule(1))
    output = run(wanted | {"slot": wanted["slot"] | {"api_key_env": "EXAM_KEY"}}, context)
    assert (output["cases"], output["unanswered"]) == (1, 0)


def test_a_second_attempt_asks_only_what_is_missing(ws: Workspace, context: JobContext) -> None:
    cases = [case(i) for i in range(10)]
    first = [Result(case=f"c{i}", answer="from before", scores={"exact": (0.0, "")}) for i in range(6)]
    torn = encode([Result(case="c6", answer="torn")])[:20]
    (context.work / ANSWERS).write_bytes(encode(first) + torn)
    run(asked(ws, cases, rule(10)), context)
    found = {r.case: r.answer for r in decode((context.work / ANSWERS).read_bytes())}
    assert len(found) == 10
    assert [found[f"c{i}"] for i in (5, 6)] == ["from before", right(6)]
    before = (context.work / ANSWERS).read_bytes()
    # Nothing is missing any more: no server is started, even where none could be.
    run(
        asked(ws, cases, rule(10), slot={"id": "gone", "model": "m", "engine": "openai", "endpoint": "http://127.0.0.1:9/v1"}),
        context,
    )
    assert (context.work / ANSWERS).read_bytes() == before


def test_a_server_that_is_gone_ends_the_exam_with_one_line(ws: Workspace, context: JobContext) -> None:
    slot = {"id": "gone", "model": "m", "engine": "openai", "endpoint": "http://127.0.0.1:9/v1"}
    with pytest.raises(UpstreamUnavailable, match="slot gone: 8 cases in a row got no answer"):
        run(asked(ws, [case(i) for i in range(40)], {}, slot=slot), context)


def test_cases_survive_their_file_with_any_text() -> None:
    odd = Case(id="ö", messages=({"role": "user", "content": "line\nbreak \u2028 ü"},), expected={"a": [1, None]}, tags=("edge",))
    assert read_cases(write_cases([odd])) == [odd]


def test_a_prompted_base_gets_its_own_prompt_and_examples() -> None:
    question = Case(id="a", messages=({"role": "system", "content": "task"}, {"role": "user", "content": "?"}))
    shots = ({"role": "user", "content": "1"}, {"role": "assistant", "content": "2"})
    base = Slot(id="s", model="m", system="own", messages=shots)
    assert [m["content"] for m in messages_for(base, question)] == ["own", "1", "2", "?"]
    assert [m["content"] for m in messages_for(Slot(id="s", model="m"), question)] == ["task", "?"]


def test_cases_that_stand_among_the_learned_rows_are_marked(ws: Workspace, context: JobContext) -> None:
    def row(i: int, asked: str) -> bytes:
        messages = [{"role": "user", "content": asked}, {"role": "assistant", "content": right(i)}]
        return json.dumps({"id": f"r{i}", "messages": messages}).encode() + b"\n"

    sides = {"train": [row(0, question(0)), row(1, question(1).upper()), row(2, "Another")], "eval": [row(3, question(3))]}
    cases = [case(i) for i in range(6)]
    run(asked(ws, cases, rule(6), learned=ws.rows.put(sides)), context)
    found = decode((context.work / ANSWERS).read_bytes())
    assert {r.case for r in found if r.learned} == {"c0", "c1"}
