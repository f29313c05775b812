"""Preferences: rows that say which of two answers is the better one, read in every usual form, and kept by the row they speak of.

OpenAI's (`input`, `preferred_output`, `non_preferred_output`) and that of TRL and most published sets: `chosen` and `rejected`,
each a text, a message, a list of messages that may begin with the prompt, or one text of marked turns (hh-rlhf); the prompt else
under `prompt`, `messages`, `conversations`, `question` or `instruction`. Some sets call them `chosen_messages`, `chosen_response`
or (Stack Exchange) `response_j`, and the other one accordingly.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from tunekeeper.core.nouns.data import Example
from tunekeeper.data import providers
from tunekeeper.data.calls import modern
from tunekeeper.data.conversations import Conversation, Unreadable, conversation_from, opened, unpacked
from tunekeeper.data.sharegpt import role_of
from tunekeeper.data.transcripts import turns_of
from tunekeeper.text.answers import written_message

FROM = "rejected_from"
"""Metadata that names the row a rejected answer came from, where another row brought the conversation."""
MORE = "rejected_more"
"""Metadata that lists further rejected answers: `answer`, and where it is `from`."""
REJECTED = ("rejected", FROM, MORE)
"""Metadata that says what was rejected."""
_ASKED = ("prompt", "messages", "conversations", "question", "instruction", "input")
_PAIRS = (
    ("chosen", "rejected"),
    ("chosen_messages", "rejected_messages"),
    ("chosen_response", "rejected_response"),
    ("response_j", "response_k"),
)
"""Under what the better answer stands and the worse one."""
_NESTED = ("input", "preferred_output", "non_preferred_output", "tools", "metadata")


def holds(keys: Collection[str]) -> bool:
    """Whether a row with these keys is a preference."""
    return "preferred_output" in keys or any(good in keys and bad in keys for good, bad in _PAIRS)


def conversation_of(row: dict[str, Any]) -> Conversation:
    """The conversation with the preferred answer; the other one under `metadata.rejected`. Raises Unreadable."""
    row = unpacked(row, _NESTED)
    return _openai(row) if "preferred_output" in row else _chosen(row)


def is_completion(row: Mapping[str, Any]) -> bool:
    """Whether a row is a prompt and its completion in messages, or one that somebody judged: TRL's unpaired preferences."""
    if "prompt" not in row or "completion" not in row:
        return False
    judged = str(row.get("label")).strip().casefold() in ("true", "false", "0", "1")
    return judged or isinstance(row["prompt"], list) or isinstance(row["completion"], list)


def completion_of(row: dict[str, Any]) -> Conversation:
    """The conversation of a prompt and its completion. Raises Unreadable, also for one that was judged to be bad."""
    if str(row.get("label")).strip() == "0":
        raise Unreadable("the answer was marked as a bad one (`label` is 0)")
    prompt = _whole_talk(_opened(row["prompt"]))
    asked = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else _turns("prompt", prompt)
    return conversation_from(row, [*asked, *_turns("completion", row["completion"])], ("prompt", "completion"), "completion")


def with_rejected(row: Example, said: Example) -> Example | None:
    """`row` with the rejected answers of `said`, which holds the same conversation, besides its own; None when they are nothing
    new."""
    metadata, known = dict(row.metadata), {_own(row), *rejected_of(row)}
    for answer in rejected_of(said):
        if answer in known:
            continue
        known.add(answer)
        if isinstance(metadata.get("rejected"), str):
            metadata[MORE] = [*_more(metadata), {"answer": answer, "from": said.source}]
        else:
            metadata |= {"rejected": answer, FROM: said.source}
    return None if metadata == row.metadata else replace(row, metadata=metadata)


def rejected_of(row: Example) -> list[str]:
    """The rejected answers of a row, each once, the first one first; what equals its good answer is none."""
    told = [row.metadata.get("rejected"), *(each["answer"] for each in _more(row.metadata))]
    return list(dict.fromkeys(answer for answer in told if isinstance(answer, str) and answer != _own(row)))


def taught_by(row: Example) -> set[str]:
    """Sources of the rows that brought rejected answers to a row that has the conversation from elsewhere."""
    return {source for source in (row.metadata.get(FROM), *(each.get("from") for each in _more(row.metadata))) if source}


def _more(metadata: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The further rejected answers; somebody who wrote them beside a row wrote bare texts."""
    found = metadata.get(MORE)
    listed = [{"answer": each} if isinstance(each, str) else each for each in found] if isinstance(found, list) else []
    return [each for each in listed if isinstance(each, dict) and "answer" in each]


def rejected_in(message: dict[str, Any]) -> Any:
    """What a rejected message says, as its row keeps it: a text, calls of tools beneath it as JSON."""
    [said] = modern([message])
    return written_message(said) if said.get("content") or said.get("tool_calls") else said.get("content")


def _own(row: Example) -> str:
    """The answer that a row teaches, written as a rejected one is."""
    return written_message(row.messages[-1]) if row.messages and row.messages[-1].get("role") == "assistant" else ""


def _openai(row: dict[str, Any]) -> Conversation:
    given, good, bad = row.get("input"), row["preferred_output"], row.get("non_preferred_output")
    asked = given.get("messages") if isinstance(given, dict) else given
    if not (isinstance(asked, list) and isinstance(good, list) and good and all(isinstance(m, dict) for m in (*asked, *good))):
        raise Unreadable("`input.messages` and `preferred_output` must be lists of messages")
    kept = dict(row)
    if isinstance(given, dict) and given.get("tools"):
        kept["tools"] = given["tools"]
    made = conversation_from(kept, [*asked, *good], ("input", "preferred_output", "non_preferred_output"), "preference")
    if isinstance(bad, list) and bad and isinstance(bad[-1], dict):
        made.metadata["rejected"] = rejected_in(bad[-1])
    return made


def _chosen(row: dict[str, Any]) -> Conversation:
    pair = next(pair for pair in _PAIRS if set(pair) <= row.keys())
    row = {dict(zip(pair, _PAIRS[0], strict=True)).get(key, key): value for key, value in row.items()}
    prompted = any(row.get(key) for key in _ASKED)
    good, bad = (_turns(key, row[key] if prompted else _whole_talk(row[key])) for key in ("chosen", "rejected"))
    used = ["chosen", "rejected", "system"]
    asked: list[dict[str, Any]] = []
    for key in _ASKED:
        if row.get(key):
            asked, used = _asked(key, row), [*used, key, *(["input"] if key == "instruction" else [])]
            break
    if good[0]["role"] != "assistant":  # the whole conversation, its prompt included
        asked = []
    elif not asked:
        raise Unreadable(f"a preference without its prompt: give {', '.join(f'`{key}`' for key in _ASKED)}")
    messages = [*asked, *good]
    if isinstance(row.get("system"), str) and row["system"] and messages[0]["role"] != "system":
        messages = [{"role": "system", "content": row["system"]}, *messages]
    made = conversation_from(row, messages, used, "preference")
    made.metadata["rejected"] = rejected_in(bad[-1])
    return made


def _whole_talk(value: Any) -> Any:
    """The turns of a text that holds the whole conversation, each turn marked; anything else as it is."""
    return (turns_of(value) or value) if isinstance(value, str) else value


def _asked(key: str, row: dict[str, Any]) -> list[dict[str, Any]]:
    value = row[key]
    if key == "instruction" and isinstance(value, str) and isinstance(row.get("input"), str):
        value = "\n".join(part for part in (value, row["input"]) if part)
    value = _whole_talk(_opened(value))
    asked = [{"role": "user", "content": value}] if isinstance(value, str) else _turns(key, value)
    if len(asked) > 1 and asked[-1]["role"] == "assistant":  # a set that gives the chosen conversation once more
        return asked[:-1]
    return asked


def _turns(key: str, value: Any) -> list[dict[str, Any]]:
    """A text as an answer; a message or messages, with `role` and `content` or `from` and `value`."""
    value = _opened(value)
    if isinstance(value, str):
        return [{"role": "assistant", "content": value}]
    turns = [value] if isinstance(value, dict) else value
    if not isinstance(turns, list) or not turns or not all(isinstance(turn, dict) for turn in turns):
        raise Unreadable(f"`{key}` must be a text or a list of messages")
    if all("role" in turn for turn in turns) and providers.is_foreign(turns):
        return providers.messages_of(turns)
    return [_message(key, turn) for turn in turns]


def _opened(value: Any) -> Any:
    """What a cell of a table holds as JSON text, where that is messages: an answer may be JSON of its own."""
    made = opened(value)
    turns = made if isinstance(made, list) else [made]
    said = turns and all(isinstance(turn, dict) and ("role" in turn or "from" in turn) for turn in turns)
    return made if said else value


def _message(key: str, turn: dict[str, Any]) -> dict[str, Any]:
    if "role" in turn:
        return turn
    try:
        return {"role": role_of(turn), "content": turn.get("value")}
    except Unreadable as error:
        raise Unreadable(f"`{key}`: {error.message}") from None
