from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from tunekeeper import data
from tunekeeper.core.nouns.data import Example
from tunekeeper.core.nouns.retraining import Model
from tunekeeper.data import drafts, import_files, versions
from tunekeeper.data.config import Config
from tunekeeper.data.exports import export
from tunekeeper.workspace import Workspace

Write = Callable[[str, Iterable[Any]], Path]
SECTION = Config(redact=(), contradictions="flag")
TOOLS = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {"q": {}}}}}]


def call(id: str, arguments: str) -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": "look", "arguments": arguments}}


def user(content: Any, **more: Any) -> dict[str, Any]:
    return {"role": "user", "content": content, **more}


def said(content: Any, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, **more}


def tool(id: str, content: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": id, "content": content}


def picture(url: str, **more: Any) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url, **more}}


TALKS: dict[str, list[dict[str, Any]]] = {
    "plain": [user("Where is parcel seven?"), said("It is in Oslo.")],
    "unicode": [
        {"role": "system", "content": "Sé breve — ünïcødé 日本語 😀."},
        user("¿Dónde está mi pedido?\u2028日本"),
        said("En camino 😀.\n\nSí."),
    ],
    "longer": [user("One thing"), said("Two things."), user("Three then?"), said("Four it is.")],
    "blanks": [user("  leading and trailing  "), said("=SUM(A1) so they stay.\r\n'quoted', \"double\"\ttab \n")],
    "named": [user("Is the name kept?", name="ana"), said("Yes, it is kept.", name="bot")],
    "developer": [{"role": "developer", "content": "Talk as a pirate."}, user("Who are you there?"), said("Arr, a captain.")],
    "instructed twice": [
        {"role": "system", "content": "One"},
        {"role": "system", "content": "Two"},
        user("How many?"),
        said("Two of them."),
    ],
    "parts": [user([{"type": "text", "text": "Parts alone,"}, {"type": "text", "text": " no picture?"}]), said("None at all.")],
    "thought": [user("Think about it first"), said("That is the answer.", reasoning_content="I think so")],
    "words of the format": [user("What are <image> and <tool_call>?"), said("Just <tool_call> words.")],
}
CALLS: dict[str, list[dict[str, Any]]] = {
    "two calls": [
        user("Weather in Oslo and Rome?"),
        said(None, tool_calls=[call("call_abc9", '{"q": "Oslo"}'), call("call_xyz", '{"q":"Rome"}')]),
        tool("call_xyz", "Rome: sun"),
        tool("call_abc9", "Oslo: rain"),
        said("Rain in Oslo, sun in Rome."),
    ],
    "said and called": [
        user("Check the stock of lamps"),
        said("Let me look.", tool_calls=[call("toolu_01", '{"q":"lamps","n":1.50}')]),
        tool("toolu_01", '[{"lamp": 3}]'),
        said("There are three."),
        user("And tables?"),
        said(None, tool_calls=[call("toolu_02", "{}")]),
        tool("toolu_02", "none"),
        said("No tables left."),
    ],
    "ends with a call": [user("Call it now"), said(None, tool_calls=[call("call_end", "not JSON")])],
    "older calls": [
        user("Look for it"),
        said(None, function_call={"name": "look", "arguments": '{"q":1}'}),
        {"role": "function", "name": "look", "content": "found"},
        said("It was found."),
    ],
    "not to be learned": [user("First wrong"), said("Wrong.", weight=0), user("Try again"), said("Right this time.")],
    "picture": [user([{"type": "text", "text": "What is this?"}, picture("https://x.test/a.png", detail="low")]), said("A cat.")],
    "pictures": [
        user([picture("data:image/png;base64,iVBORw0K"), {"type": "text", "text": "and"}, picture("https://x.test/b.png")]),
        said("Two dogs in a park."),
    ],
}


def rows_of(talks: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for name, messages in talks.items():
        tools = {"tools": TOOLS} if any("tool_calls" in m or "function_call" in m for m in messages) else {}
        metadata = {"id": name, "category": "post", "created": "2026-01-05T09:00:00Z", "deep": {"x": [1, None]}, "n": len(rows)}
        rows.append({"messages": messages, **tools, "metadata": metadata})
    rows[0]["weight"] = 0.25
    return [*rows, {"messages": [user("One without an id?"), said("It is named by its content.")]}]


def kept(rows: Iterable[Example]) -> dict[str, Any]:
    """All that an example says; where it came from is another file each time."""
    return {e.id: (e.messages, e.tools, e.weight, e.split, {k: v for k, v in e.metadata.items() if k != "source"}) for e in rows}


@pytest.mark.parametrize(
    ("format", "name"),
    [
        *(("openai", "o.jsonl"), ("openai", "o.json"), ("sharegpt", "o.jsonl"), ("sharegpt", "o.json"), ("alpaca", "o.jsonl")),
        *(("csv", "o.csv"), ("csv-excel", "o.csv"), ("parquet", "o.parquet"), ("hf", "o")),
    ],
)
def test_what_is_exported_and_imported_again_is_the_same_in_every_format(
    ws: Workspace, task: Model, write: Write, tmp_path: Path, format: str, name: str
) -> None:
    import_files(ws, task, SECTION, [write("in.jsonl", rows_of(TALKS if format == "alpaca" else {**TALKS, **CALLS}))])
    first = data.freeze(ws, task, SECTION)
    export(ws, first.id, format, "all", tmp_path / name)
    assert import_files(ws, task, SECTION, [tmp_path / name], replace=True).dropped == {}
    second = data.freeze(ws, task, SECTION)
    assert kept(versions.read_examples(ws, second)) == kept(versions.read_examples(ws, first))
    counts = data.diff(ws, first.id, second.id).counts
    assert counts == {**dict.fromkeys(counts, 0), "unchanged": first.examples}


def test_preferences_come_back_with_all_that_their_rows_hold(ws: Workspace, task: Model, write: Write, tmp_path: Path) -> None:
    rows = [row for row in rows_of({**TALKS, **CALLS}) if row["messages"][-1]["content"]]
    for row in rows:
        row.setdefault("metadata", {})["rejected"] = "A worse answer."
    import_files(ws, task, SECTION, [write("in.jsonl", rows)])
    first = data.freeze(ws, task, SECTION)
    assert export(ws, first.id, "dpo", "all", tmp_path / "o.jsonl") == len(rows)
    import_files(ws, task, SECTION, [tmp_path / "o.jsonl"], replace=True)
    assert kept(versions.read_examples(ws, data.freeze(ws, task, SECTION))) == kept(versions.read_examples(ws, first))


@pytest.mark.parametrize("format", ["sharegpt", "alpaca"])
def test_what_somebody_changed_in_an_exported_row_is_what_comes_in(
    ws: Workspace, task: Model, write: Write, tmp_path: Path, format: str
) -> None:
    import_files(ws, task, SECTION, [write("in.jsonl", rows_of(TALKS))])
    first, out = data.freeze(ws, task, SECTION), tmp_path / "o.jsonl"
    export(ws, first.id, format, "all", out)
    text = out.read_text("utf-8")
    assert "original" in json.loads(next(line for line in text.splitlines() if "captain" in line))
    # The line keeps its original messages, of which it no longer says the same.
    changed = [line.replace("Arr, a captain.", "Aye, a captain.", 1) for line in text.splitlines()]
    import_files(ws, task, SECTION, [write("changed.jsonl", changed)], replace=True)
    [edit] = data.diff(ws, first.id, data.freeze(ws, task, SECTION).id).edited
    assert (edit.id, edit.after[-1]["content"]) == ("developer", "Aye, a captain.")


def test_a_column_called_original_that_is_not_ours_is_metadata_or_nothing(ws: Workspace, task: Model, write: Write) -> None:
    row = {"instruction": "Say it", "input": "", "output": "Said.", "original": "a book of 1890"}
    odd = {"instruction": "Say more", "input": "", "output": "Said more.", "original": [{"role": 3, "content": {"a": 1}}]}
    import_files(ws, task, SECTION, [write("in.jsonl", [row, odd])])
    data_of = {e.messages[-1]["content"]: e for e in drafts.load_draft(ws, "desk")}
    assert data_of["Said."].metadata["original"] == "a book of 1890"
    assert data_of["Said more."].messages[-2] == {"role": "user", "content": "Say more"}
