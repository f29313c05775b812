from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tunekeeper import data
from tunekeeper.core.errors import DataError
from tunekeeper.core.nouns.retraining import Model
from tunekeeper.data import drafts
from tunekeeper.data.config import Config
from tunekeeper.workspace import Workspace

Write = Callable[[str, Any], Path]


def completion(number: int) -> dict[str, Any]:
    said = {"role": "assistant", "content": f"Parcel {number} is on its way.", "tool_calls": None}
    choice = {"index": 0, "message": said, "finish_reason": "stop"}
    return {"object": "chat.completion", "id": f"chatcmpl-{number}", "created": 1738960610 + number, "choices": [choice]}


def messages(number: int) -> list[dict[str, Any]]:
    """As the API gives them, the later ones first."""
    texts = [f"and today {number}?", "It left.", f"Where is parcel {number}?"]
    roles = ("user", "assistant", "user")
    parts = {"name": None, "content_parts": None}
    return [
        {"id": f"chatcmpl-{number}-{2 - at}", "role": role, "content": text, **parts}
        for at, (role, text) in enumerate(zip(roles, texts, strict=True))
    ]


def page(rows: list[Any]) -> dict[str, Any]:
    return {"object": "list", "data": rows, "first_id": "a", "last_id": "b", "has_more": False}


def asked(ws: Workspace) -> list[list[str]]:
    return [[message["content"] for message in row.messages[1:]] for row in drafts.load_draft(ws, "desk")]


WANTED = [[f"Where is parcel {n}?", "It left.", f"and today {n}?", f"Parcel {n} is on its way."] for n in (1, 2)]


def test_messages_that_were_fetched_apart_find_their_stored_completions(ws: Workspace, task: Model, tmp_path: Path) -> None:
    (tmp_path / "messages").mkdir()
    for number in (1, 2):
        text = json.dumps(page(messages(number)), indent=1)
        (tmp_path / "messages" / f"{number}.json").write_text(text, "utf-8")
    listed = tmp_path / "list.json"
    listed.write_text(json.dumps(page([completion(1), completion(2)]), indent=1), "utf-8")
    files = [listed, tmp_path / "messages"]
    done = data.import_files(ws, task, Config(), files)
    assert (done.rows, done.added, asked(ws)) == (2, 2, WANTED)
    assert data.import_files(ws, task, Config(), files[::-1]).added == 0


def test_lines_of_messages_and_of_pages_do_as_well(ws: Workspace, task: Model, write: Write) -> None:
    said = write("messages.jsonl", [*messages(1), *messages(2)])
    pages = write("pages.jsonl", [page([completion(1)]), page([completion(2)])])
    assert data.import_files(ws, task, Config(), [pages, said]).added == 2
    assert asked(ws) == WANTED


def test_messages_alone_are_refused_and_a_completion_alone_says_what_it_lacks(ws: Workspace, task: Model, write: Write) -> None:
    with pytest.raises(DataError, match="of 1 of 1 rows, which are in none of the files") as refused:
        data.import_files(ws, task, Config(), [write("messages.jsonl", messages(1))])
    assert "data import ROWS" in refused.value.fix
    with pytest.raises(DataError, match="returns together with it, or add that as"):
        data.import_files(ws, task, Config(), [write("list.jsonl", [completion(1)])])
    assert not drafts.load_draft(ws, "desk")
