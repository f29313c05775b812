"""Exports of TensorZero: its inferences and datapoints, from ClickHouse or its API, and what people demonstrated.

`input` is a `system` and `messages` of content blocks; `output` a list of blocks (chat functions) or `raw` and `parsed` (JSON
functions); either as JSON or as the text ClickHouse stores. A demonstration, which stands in a table of its own, is what the
answer should have been (data/apart.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tunekeeper.data import providers
from tunekeeper.data.conversations import Conversation, Unreadable, as_tools, opened, unpacked
from tunekeeper.data.exchanges import mapping_of, present, renamed
from tunekeeper.data.preferences import MORE

_OF_INFERENCE = ("variant_name", "episode_id", "dataset_name")
_TEXTS = ("text", "raw_text", "template")
_FILES = ("file", "image")
_TOOLS = ("dynamic_tools", "additional_tools")
DEMONSTRATED = "tunekeeper_demonstration"
"""Where an inference carries the row of its demonstration."""


def recognise(row: Mapping[str, Any]) -> tuple[str, Callable[[dict[str, Any]], Conversation]] | None:
    """The reader of a row of TensorZero, by its keys; None for any other row."""
    if {"input", "output", "function_name"} <= row.keys() and any(key in row for key in _OF_INFERENCE):
        return "tensorzero", _inference
    if demonstrates(row) or ({"target_id", "value"} <= row.keys() and ("metric_name" in row or "target_type" in row)):
        return "tensorzero", _feedback
    return None


def demonstrates(row: Mapping[str, Any]) -> tuple[str, ...]:
    """The id of the inference that a demonstration speaks of; empty for any other row."""
    held = {"id", "inference_id", "value"} <= row.keys() and "metric_name" not in row and isinstance(row["inference_id"], str)
    return (row["inference_id"],) if held and isinstance(row["value"], str | list | dict) else ()


def named_by(row: Mapping[str, Any]) -> tuple[str, ...]:
    """The id under which a demonstration may speak of a row."""
    id = row.get("inference_id") or row.get("source_inference_id") or row.get("id")
    return (id,) if "function_name" in row and "input" in row and isinstance(id, str) else ()


def _feedback(row: dict[str, Any]) -> Conversation:
    if demonstrates(row):
        raise Unreadable("a demonstration of TensorZero whose inference is in none of the files: import both together")
    raise Unreadable("a metric of TensorZero, no conversation: choose by it where the inferences are exported")


def _inference(row: dict[str, Any]) -> Conversation:
    row = unpacked(row, ("input", "output", "tool_params", "tags", DEMONSTRATED))
    if row.get("is_deleted") in (True, "true", 1, "1"):
        raise Unreadable("a deleted datapoint of TensorZero")
    if row.get("staled_at"):
        raise Unreadable("a stale datapoint of TensorZero, which was edited or deleted since")
    given, shown = mapping_of(row["input"]), mapping_of(row.get(DEMONSTRATED))
    said = opened(shown["value"]) if shown else row["output"]
    if said in (None, "", [], {}):
        raise Unreadable("a TensorZero row without an output")
    messages: list[dict[str, Any]] = []
    if given.get("system"):
        messages.append({"role": "system", "content": providers.text_of_value(given["system"])})
    for message in _list_of_objects(given.get("messages"), "`input.messages`"):
        messages += _from_blocks(str(message.get("role")), message.get("content"))
    metadata = mapping_of(row.get("tags")) | renamed(
        row,
        id=("inference_id", "id"),
        request_id=("inference_id", "source_inference_id", "id"),
        created=("timestamp", "created_at"),
        conversation_id=("episode_id",),
        function=("function_name",),
        variant=("variant_name",),
    )
    if shown:
        metadata |= {"said_as": "demonstration", "said_at": shown.get("timestamp")}
    metadata |= _rejected(row, shown, said)
    return Conversation(messages=(*messages, *_answer(said)), metadata=present(metadata), tools=_tools(row), shape="tensorzero")


def _answer(said: Any) -> list[dict[str, Any]]:
    if not isinstance(said, dict):
        return _from_blocks("assistant", said)
    raw = said.get("raw")
    if isinstance(raw, str) and "parsed" in said and said["parsed"] is None:
        raise Unreadable("the output of a JSON function that did not fit its schema (`parsed` is null)")
    held = said.get("parsed") if "parsed" in said else said
    return [{"role": "assistant", "content": raw if isinstance(raw, str) else providers.text_of_value(held)}]


def _rejected(row: Mapping[str, Any], shown: Mapping[str, Any], said: Any) -> dict[str, Any]:
    """What was answered in place of the demonstrated answer; nothing where that is not known."""
    listed = opened(row.get("dispreferred_outputs"))
    others = [opened(each) for each in listed] if isinstance(listed, list) else []
    others += [row["output"]] if shown and row["output"] not in (None, "", [], {}, said) else []
    texts: list[str] = []
    for other in others:
        raw = other.get("raw") if isinstance(other, dict) else None
        text = raw if isinstance(raw, str) else _answer(other)[-1].get("content")
        texts += [text] if isinstance(text, str) and text else []
    return {} if not texts else {"rejected": texts[0]} | ({MORE: [{"answer": text} for text in texts[1:]]} if texts[1:] else {})


def _tools(row: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
    """The tools of the request: of those that the function's configuration names, none are stored."""
    params = mapping_of(row.get("tool_params"))
    found = params.get("tools_available") or params.get("additional_tools")
    found = found or next((row[key] for key in _TOOLS if row.get(key)), ())
    listed = opened(found)
    return as_tools([opened(tool) for tool in listed] if isinstance(listed, list) else listed)


def _from_blocks(role: str, content: Any) -> list[dict[str, Any]]:
    """The chat messages of content blocks: texts, files, calls of tools, results of tools (a message of their own)."""
    if isinstance(content, str):
        return [{"role": role, "content": content}]
    parts, calls, results = [], [], []
    for block in _list_of_objects(content, "a message's content"):
        kind = block.get("type")
        if kind == "tool_call":
            function = {"name": block.get("name") or block.get("raw_name")}
            function["arguments"] = providers.text_of_value(block.get("raw_arguments") or block.get("arguments") or {})
            calls.append({"id": block.get("id"), "type": "function", "function": function})
        elif kind == "tool_result":
            said = providers.text_of_value(block.get("result"))
            results.append({"role": "tool", "tool_call_id": block.get("id"), "content": said})
        elif kind in _TEXTS:
            text = providers.text_of_value(next((block[key] for key in ("text", "value", "arguments") if key in block), ""))
            parts.append({"type": "text", "text": text})
        elif kind in _FILES:
            parts.append(_picture(block))
        elif kind not in ("thought", "unknown"):
            raise Unreadable(f"a content block of type {kind!r} has no place in a chat message")
    if not parts and not calls and results:
        return results
    told: Any = "\n".join(part["text"] for part in parts) if all("text" in part for part in parts) else parts
    message: dict[str, Any] = {"role": role, "content": told if parts or not calls else None}
    return [*results, message | ({"tool_calls": calls} if calls else {})]


def _picture(block: Mapping[str, Any]) -> dict[str, Any]:
    """A picture in OpenAI's form. Raises Unreadable for a file of another kind, and for one that is stored elsewhere."""
    told = {**block, **mapping_of(block.get("file")), **mapping_of(block.get("image"))}
    kind = str(told.get("mime_type") or "image/png")
    url = told.get("source_url") or told.get("url")
    if not url and isinstance(told.get("data"), str) and told["data"]:
        url = f"data:{kind};base64,{told['data']}"
    if not isinstance(url, str) or not kind.startswith("image/"):
        where = mapping_of(told.get("storage_path")).get("path")
        raise Unreadable(f"a file of the kind {kind}, stored elsewhere{f' ({where})' if where else ''}: the row does not hold it")
    return {"type": "image_url", "image_url": {"url": url}}


def _list_of_objects(value: Any, name: str) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise Unreadable(f"{name} must be a list of objects")
    return value
