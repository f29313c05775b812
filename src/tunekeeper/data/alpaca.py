"""Alpaca: a question and its answer as `instruction`, `input`, `output`, with `system` and `history`; read and written."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from tunekeeper.core.errors import DataError
from tunekeeper.data.conversations import Conversation, Unreadable, cell_of, conversation_from, earlier, unpacked
from tunekeeper.data.originals import KEY, keys_of, original_of
from tunekeeper.data.pictures import pictured, shown
from tunekeeper.data.transcripts import rendered
from tunekeeper.text.fingerprints import attachments_of, text_of

FIELDS = ("instruction", "input", "output", "system", "history")


def holds(keys: Collection[str]) -> bool:
    """Whether a row with these keys is one of Alpaca; GPTeacher calls its answer `response`."""
    return "instruction" in keys and ("output" in keys or ("input" in keys and "response" in keys))


def conversation_of(row: dict[str, Any]) -> Conversation:
    """The conversation of a row. Raises Unreadable."""
    row = unpacked(row, ("tools", "metadata", KEY))
    row, rejected = _with_answer(row)
    messages = [{"role": "system", "content": row["system"]}] if row.get("system") else []
    messages += earlier(row.get("history") or ())
    question = "\n".join(cell_of(row, key) for key in ("instruction", "input") if row.get(key))
    plain = rendered(question, row["output"]) if isinstance(row["output"], str) else None
    asked, answer = plain or ([{"role": "user", "content": question}], row["output"])
    messages += [*asked, {"role": "assistant", "content": answer}]
    told = {key: row[key] for key in FIELDS if key in row}
    original = original_of(row, lambda known: written(known) == told)
    used = (*FIELDS, *shown(messages, row), *keys_of(row))
    made = conversation_from(row, original or pictured(messages, row), used, "alpaca")
    made.metadata.update(rejected)
    return made


def _with_answer(row: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """The row with its answer as `output`, and the rejected one where LLaMA-Factory lists both there. Raises Unreadable."""
    if "output" not in row:
        return {**{key: value for key, value in row.items() if key != "response"}, "output": row["response"]}, {}
    said = row["output"]
    if not isinstance(said, list):
        return row, {}
    if len(said) not in (1, 2) or not all(isinstance(each, str) for each in said):
        raise Unreadable("`output` must be a text, or a list of the better answer and the worse one")
    return {**row, "output": said[0]}, {"rejected": said[1]} if said[1:] else {}


def written(messages: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The fields of a conversation. Raises DataError for what Alpaca has no place for: calls of tools, pictures, an answer that
    is not to be learned, turns that do not alternate."""
    talk = [m for m in messages if m.get("role") not in ("system", "developer")]
    if any(m.get("role") not in ("user", "assistant") or m.get("tool_calls") for m in talk):
        raise DataError("Alpaca has no place for calls of tools", fix="export with --format openai or sharegpt")
    if any(map(attachments_of, talk)):
        raise DataError("Alpaca has no place for pictures", fix="export with --format openai or sharegpt")
    if any(m.get("weight") not in (None, 1) for m in talk):
        why = "Alpaca has no place for answers that are not to be learned, or only by a part"
        raise DataError(why, fix="export with --format openai or sharegpt")
    if [m["role"] for m in talk] != ["user", "assistant"] * (len(talk) // 2) or not talk:
        raise DataError("Alpaca needs questions and answers in turn", fix="export with --format openai")
    texts = [text_of(m.get("content")) for m in talk]
    row: dict[str, Any] = {"instruction": texts[-2], "input": "", "output": texts[-1]}
    system = "\n".join(text_of(m.get("content")) for m in messages if m.get("role") in ("system", "developer"))
    history = [[texts[i], texts[i + 1]] for i in range(0, len(texts) - 2, 2)]
    return row | ({"system": system} if system else {}) | ({"history": history} if history else {})
