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
from tunekeeper.data.outside import rows_in_line
from tunekeeper.data.rows import parse_row
from tunekeeper.workspace import Workspace

Write = Callable[[str, Any], Path]
BARE = {"name": "find", "description": "Finds", "parameters": {"type": "object"}}
TOOL = {"type": "function", "function": BARE}


def inferred(output: Any, **more: Any) -> dict[str, Any]:
    asked = {"messages": [{"role": "user", "content": more.pop("asked", [{"type": "text", "text": "Where?"}])}]}
    return {"id": "i-1", "function_name": "f", "variant_name": "v", "input": asked, "output": output, **more}


def text(said: str) -> list[dict[str, str]]:
    return [{"type": "text", "text": said}]


@pytest.mark.parametrize(
    "more",
    [
        {"dynamic_tools": [json.dumps({"type": "function", **BARE})]},
        {"additional_tools": [{"type": "function", **BARE}]},
        {"tool_params": json.dumps({"tools_available": [BARE]})},
    ],
)
def test_the_tools_of_a_request_come_along_from_every_version_of_its_tables(more: dict[str, Any]) -> None:
    assert parse_row(inferred(text("Here."), **more), {}).tools == (TOOL,)


@pytest.mark.parametrize(
    ("file", "url"),
    [
        ({"source_url": "https://x.org/a.png", "mime_type": "image/png"}, "https://x.org/a.png"),
        ({"file": {"url": "https://x.org/a.png", "mime_type": "image/png"}}, "https://x.org/a.png"),
        ({"data": "aGk=", "mime_type": "image/jpeg"}, "data:image/jpeg;base64,aGk="),
    ],
)
def test_a_picture_is_part_of_what_is_asked(file: dict[str, Any], url: str) -> None:
    made = parse_row(inferred(text("A cat."), asked=[*text("What is it?"), {"type": "file", **file}]), {})
    picture = {"type": "image_url", "image_url": {"url": url}}
    assert made.messages[0]["content"] == [{"type": "text", "text": "What is it?"}, picture]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (inferred({"raw": "no json", "parsed": None}), "did not fit its schema"),
        (inferred(text("x"), is_deleted=True), "a deleted datapoint"),
        (inferred(text("x"), staled_at="2026-05-01T10:00:00Z"), "a stale datapoint"),
        (inferred(text("x"), asked=[{"type": "file", "mime_type": "application/pdf", "storage_path": {"path": "a/b"}}]), "a/b"),
        ({"id": "f", "target_id": "i-1", "metric_name": "ok", "value": True}, "a metric of TensorZero"),
        ({"id": "f", "inference_id": "i-1", "value": "[]"}, "whose inference is in none of the files"),
    ],
)
def test_what_is_no_answer_to_learn_from_says_why(row: dict[str, Any], reason: str) -> None:
    with pytest.raises(Unreadable, match=reason):
        parse_row(row, {})


def test_every_answer_that_was_not_preferred_is_kept_also_of_a_json_function() -> None:
    others = [{"raw": '{"a":2}', "parsed": {"a": 2}}, {"raw": '{"a":3}', "parsed": {"a": 3}}]
    made = parse_row(inferred({"raw": '{"a":1}', "parsed": {"a": 1}}, dispreferred_outputs=others), {})
    assert made.messages[-1]["content"] == '{"a":1}'
    assert (made.metadata["rejected"], made.metadata["rejected_more"]) == ('{"a":2}', [{"answer": '{"a":3}'}])


def test_a_page_of_the_api_is_taken_apart_also_where_it_is_a_line() -> None:
    rows = [inferred(text("Here.")), inferred(text("There."))]
    assert rows_in_line({"inferences": rows}) == rows
    assert rows_in_line({"datapoints": rows}) == rows


def test_demonstrations_in_a_file_of_their_own_find_their_inferences(ws: Workspace, task: Model, write: Write) -> None:
    second = inferred(text("We."), asked=text("Who?")) | {"id": "i-2"}
    shown = {"id": "f", "inference_id": "i-1", "value": json.dumps(text("At the depot.")), "tags": {}, "timestamp": "2026-05-02"}
    files = [write("ChatInference.jsonl", [inferred(text("Gone.")), second]), write("DemonstrationFeedback.jsonl", [shown])]
    assert data.import_files(ws, task, Config(), files, dry_run=True).added == 2
    assert data.import_files(ws, task, Config(), files).added == 2
    first, other = drafts.load_draft(ws, "desk")
    assert first.messages[-1]["content"] == "At the depot."
    assert {key: first.metadata[key] for key in ("rejected", "said_as", "said_at")} == {
        "rejected": "Gone.",
        "said_as": "demonstration",
        "said_at": "2026-05-02",
    }
    assert other.messages[-1]["content"] == "We."
    assert data.import_files(ws, task, Config(), files).added == 0
