"""Records of annotation tools as flat rows: what was shown and what somebody made of it, a column for each field.

* Label Studio's tasks: the columns of `data`, and what the annotation that counts says under each `from_name`, as its own
  export *JSON-MIN* has them.
* Argilla's records: their `fields`, and the first response to each question.
* Prodigy's tasks that were accepted: the option that was chosen, else the task as it stands.
* Doccano's rows, whose `label` is a list also where there is one.

What nobody annotated is no answer: suggestions and predictions of models are not taken.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tunekeeper.data.conversations import Unreadable
from tunekeeper.data.exchanges import mapping_of
from tunekeeper.data.providers import text_of_value

_SAID = ("text", "choices", "rating", "number", "datetime", "taxonomy", "messages")
"""Under what the value of a result of Label Studio stands."""
_DOCCANO = frozenset(("id", "text", "data", "label", "Comments", "meta"))
"""All that a row of doccano may hold."""


def tool_of(row: Mapping[str, Any]) -> str | None:
    """The tool that wrote a row; None for a row of none of them."""
    if isinstance(row.get("data"), dict) and isinstance(row.get("annotations"), list):
        return "label-studio"
    if isinstance(row.get("fields"), dict) and ("responses" in row or "suggestions" in row):
        return "argilla"
    if "_task_hash" in row and row.get("answer") in ("accept", "reject", "ignore"):
        return "prodigy"
    labels = row.get("label")
    if isinstance(labels, list) and "id" in row and row.keys() <= _DOCCANO and all(isinstance(each, str) for each in labels):
        return "doccano"
    return None


def flattened(row: Mapping[str, Any]) -> dict[str, Any]:
    """The flat row of a record. Raises Unreadable for one that nobody annotated."""
    return _READERS[str(tool_of(row))](row)


def _task(row: Mapping[str, Any]) -> dict[str, Any]:
    made = [
        each for each in row["annotations"] if isinstance(each, dict) and not each.get("was_cancelled") and each.get("result")
    ]
    if not made:
        raise Unreadable("a task of Label Studio that nobody annotated")
    chosen = next((each for each in made if each.get("ground_truth")), made[-1])
    said: dict[str, list[Any]] = {}
    for result in chosen["result"] if isinstance(chosen["result"], list) else ():
        value = mapping_of(mapping_of(result).get("value"))
        found = next((value[key] for key in _SAID if value.get(key) is not None), None)
        if found is not None:
            said.setdefault(str(mapping_of(result).get("from_name")), []).extend(found if isinstance(found, list) else [found])
    by = chosen.get("completed_by")
    by = mapping_of(by).get("email") or mapping_of(by).get("id") if isinstance(by, dict) else by
    told = {"id": row.get("id"), "said_by": by, "said_at": chosen.get("updated_at") or chosen.get("created_at")}
    return {**_named(told), **row["data"], **{name: _joined(values) for name, values in said.items()}}


def _record(row: Mapping[str, Any]) -> dict[str, Any]:
    if row.get("status") == "discarded":
        raise Unreadable("a record of Argilla that was discarded")
    said, by = {}, None
    for question, responses in mapping_of(row.get("responses")).items():
        first = next((each for each in responses if isinstance(each, dict)), {}) if isinstance(responses, list) else {}
        if first.get("value") is not None:
            said[str(question)], by = first["value"], by or first.get("user_id")
    if not said:
        raise Unreadable("a record of Argilla that nobody responded to: suggestions are not taken")
    told = {"id": row.get("external_id") or row.get("id"), "said_by": by, "said_at": row.get("updated_at")}
    return {**_named(told), **mapping_of(row.get("metadata")), **row["fields"], **said}


def _prodigy(row: Mapping[str, Any]) -> dict[str, Any]:
    if row["answer"] != "accept":
        raise Unreadable(f"a task of Prodigy whose answer was {row['answer']!r}")
    kept = {key: value for key, value in row.items() if key not in ("answer", "options", "accept") and not key.startswith("_")}
    options = row.get("options")
    if not isinstance(options, list):
        return kept
    texts = {each.get("id"): each.get("text", each.get("id")) for each in options if isinstance(each, dict)}
    chosen = row["accept"] if isinstance(row.get("accept"), list) else []
    if not chosen:
        raise Unreadable("a task of Prodigy of whose options none was chosen")
    return {**kept, "answer": _joined([texts.get(each, each) for each in chosen])}


def _doccano(row: Mapping[str, Any]) -> dict[str, Any]:
    if not row["label"]:
        raise Unreadable("a row of doccano that nobody labelled")
    text = {"text": row["data"]} if "data" in row else {}
    return {key: value for key, value in row.items() if key != "data"} | text | {"label": _joined(row["label"])}


def _named(told: Mapping[str, Any]) -> dict[str, str]:
    return {key: str(value) for key, value in told.items() if value not in (None, "")}


def _joined(values: list[Any]) -> Any:
    """Several texts as one; several of anything else as a list."""
    if len(values) == 1:
        return values[0]
    return "\n".join(values) if all(isinstance(value, str) for value in values) else [text_of_value(value) for value in values]


_READERS = {"label-studio": _task, "argilla": _record, "prodigy": _prodigy, "doccano": _doccano}
