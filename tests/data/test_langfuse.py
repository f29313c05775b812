from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tunekeeper import data
from tunekeeper.core.nouns.retraining import Model
from tunekeeper.data import drafts
from tunekeeper.data.config import Config
from tunekeeper.data.conversations import Unreadable
from tunekeeper.data.outside import rows_of
from tunekeeper.data.rows import parse_row
from tunekeeper.workspace import Workspace

Write = Callable[[str, Any], Path]
ASKED = [{"role": "user", "content": "Where is it?"}]
PARAMETERS = {"type": "object", "properties": {"id": {"type": "string"}}}
TOOL = {"type": "function", "function": {"name": "find", "description": "Finds", "parameters": PARAMETERS}}
CORRECTION = {
    "id": "s-1",
    "name": "output",
    "dataType": "CORRECTION",
    "traceId": "t-1",
    "observationId": "o-1",
    "authorUserId": "anna",
    "stringValue": "At the depot.",
    "timestamp": "2026-05-02T10:00:00Z",
}


def observed(output: Any, **more: Any) -> dict[str, Any]:
    return {"id": "o-1", "traceId": "t-1", "type": "GENERATION", "level": "DEFAULT", "input": ASKED, "output": output, **more}


def answer(row: dict[str, Any]) -> Any:
    return parse_row(row, {}).messages[-1]


@pytest.mark.parametrize(
    "output",
    [
        '{"category":"shipping","urgent":true}',
        '["shipping"]',
        '{"subject": "Your order", "content": "It is on its way."}',
        '{"error":"none","fixed":1}',
    ],
)
def test_an_answer_in_json_is_learned_as_it_was_written(output: str) -> None:
    assert answer(observed(output))["content"] == output
    assert json.loads(answer(observed(json.loads(output)))["content"]) == json.loads(output)


def test_a_call_that_failed_teaches_nothing_however_far_its_answer_came() -> None:
    with pytest.raises(Unreadable, match="failed"):
        parse_row(observed({"role": "assistant", "content": "It is"}, level="ERROR", statusMessage="stream closed"), {})


def test_what_langchain_traced_has_its_calls_and_the_tools_it_offered() -> None:
    called = {"id": "c-1", "name": "find", "args": {"id": "7"}, "type": "tool_call"}
    said = {"role": "assistant", "content": "", "tool_calls": [called]}
    made = parse_row(observed(said, input=[*ASKED, {"role": "tool", "content": TOOL}]), {})
    function = {"name": "find", "arguments": '{"id": "7"}'}
    assert made.messages == (
        ASKED[0],
        {"role": "assistant", "content": None, "tool_calls": [{"id": "c-1", "type": "function", "function": function}]},
    )
    assert made.tools == (TOOL,)


@pytest.mark.parametrize(
    "more",
    [
        {"toolDefinitions": {"find": json.dumps({"description": "Finds", "parameters": PARAMETERS})}},
        {"tool_definitions": json.dumps({"find": json.dumps({"description": "Finds", "parameters": PARAMETERS})})},
        {"input": {"messages": ASKED, "functions": [TOOL["function"]]}},
    ],
)
def test_the_tools_are_found_wherever_langfuse_keeps_them(more: dict[str, Any]) -> None:
    assert parse_row(observed("Here.", **more), {}).tools == (TOOL,)


def test_tags_of_a_table_are_a_list_again() -> None:
    assert parse_row(observed("Here.", tags='["a"]'), {}).metadata["tags"] == ["a"]


@pytest.mark.parametrize("of", ["o-1", None])
def test_a_trace_saved_from_the_screen_teaches_what_corrects_it(of: str | None) -> None:
    span = {"id": "o-0", "type": "SPAN", "traceId": "t-1", "input": "x", "output": "y"}
    [row] = rows_of({"observations": [span, observed("Gone.")], "scores": [CORRECTION | {"observationId": of}]}) or []
    made = parse_row(row, {})
    assert made.messages[-1]["content"] == "At the depot."
    told = {"rejected": "Gone.", "said_by": "anna", "said_at": "2026-05-02T10:00:00Z", "said_as": "correction"}
    assert made.metadata == {"id": "o-1", "request_id": "t-1", **told}
    assert rows_of({"observations": [observed("Gone.")], "scores": []}) == [observed("Gone.")]


def test_corrections_in_a_file_of_their_own_find_their_observations(ws: Workspace, task: Model, write: Write) -> None:
    blob = {
        "id": "o-1",
        "trace_id": "t-1",
        "type": "GENERATION",
        "parent_observation_id": "",
        "input": "Where?",
        "output": "Gone.",
    }
    other = blob | {"id": "o-2", "trace_id": "t-2", "input": "Who?", "output": "We."}
    score = {"id": "s", "trace_id": "t-1", "observation_id": None, "name": "ok", "data_type": "NUMERIC", "value": 1}
    right = score | {"data_type": "CORRECTION", "long_string_value": "At the depot.", "string_value": ""}
    rows, scores = write("rows.jsonl", [blob, other]), write("scores.jsonl", [score, right, right | {"trace_id": "t-9"}])
    done = data.import_files(ws, task, Config(), [rows, scores])
    draft = {row.id: (row.messages[-1]["content"], row.metadata.get("rejected")) for row in drafts.load_draft(ws, "desk")}
    assert draft == {"o-1": ("At the depot.", "Gone."), "o-2": ("We.", None)}
    assert (done.added, done.dropped) == (2, {"broken": 1})
    assert done.broken[0].endswith("a score of Langfuse, no conversation: import it together with the observations")
    assert done.unread == ("messages, corrections or demonstrations of 1 of 2 rows, which are in none of the files",)
    assert data.import_files(ws, task, Config(), [scores, rows]).added == 0


def test_an_item_without_what_is_expected_says_so_in_a_table_as_well(ws: Workspace, task: Model, tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text("id,datasetId,input,expectedOutput\n1,d,Hi there,Hello\n2,d,Who?,\n", "utf-8")
    done = data.import_files(ws, task, Config(), [tmp_path / "items.csv"])
    assert (done.added, done.broken) == (1, ("items.csv:3: the row's output is empty",))
