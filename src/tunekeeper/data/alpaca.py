"""Alpaca: a question and its answer as `instruction`, `input`, `output`, with `system` and `history`; read and written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tunekeeper.core.errors import DataError
from tunekeeper.data.conversations import Conversation, cell_of, conversation_from, earlier, unpacked
from tunekeeper.data.originals import KEY, keys_of, original_of
from tunekeeper.data.transcripts import rendered
from tunekeeper.text.fingerprints import attachments_of, text_of

FIELDS = ("instruction", "input", "output", "system", "history")


def conversation_of(row: dict[str, Any]) -> Conversation:
    """The conversation of a row. Raises Unreadable."""
    row = unpacked(row, ("tools", "metadata", KEY))
    messages = [{"role": "system", "content": row["system"]}] if row.get("system") else []
    messages += earlier(row.get("history") or ())
    question = "\n".join(cell_of(row, key) for key in ("instruction", "input") if row.get(key))
    plain = rendered(question, row["output"]) if isinstance(row["output"], str) else None
    asked, answer = plain or ([{"role": "user", "content": question}], row["output"])
    messages += [*asked, {"role": "assistant", "content": answer}]
    told = {key: row[key] for key in FIELDS if key in row}
    original = original_of(row, lambda known: written(known) == told)
    return conversation_from(row, original or messages, (*FIELDS, *keys_of(row)), "alpaca")


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
