"""Exports of Langfuse: observations and traces from its screen, its API or its export to storage, and items of its datasets.

The screen and the API write `traceId`, the export to storage `trace_id`; `input` and `output` are objects, or the text that was
stored. LangChain's handler lists the tools that were offered among the messages. What somebody wrote in place of an answer is a
score of the type `CORRECTION`, beside the observations of a trace that was saved, or in a file of its own (data/apart.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tunekeeper.data import providers
from tunekeeper.data.conversations import Conversation, Unreadable, opened, unpacked
from tunekeeper.data.exchanges import answer_in, asked_in, exchange, inner, mapping_of, renamed

CORRECTED = "tunekeeper_correction"
"""Where an observation carries the score that corrects it."""
_TRACE_KEYS = ("sessionId", "htmlPath", "bookmarked", "projectId", "project_id")
_SILENT = ("SPAN", "EVENT", "EMBEDDING", "RETRIEVER", "TOOL", "EVALUATOR", "GUARDRAIL")
"""Types of observations that are no answer of a model."""
OF_SCORE = ("dataType", "data_type")
"""Keys of which each score has one."""
_RIGHT = ("longStringValue", "long_string_value", "stringValue", "string_value")
"""Under what a correction says what the answer should have been."""


def recognise(row: Mapping[str, Any]) -> tuple[str, Callable[[dict[str, Any]], Conversation]] | None:
    """The reader of a row of Langfuse, by its keys; None for any other row."""
    if "input" in row and "expectedOutput" in row and "datasetId" in row:
        return "langfuse", _item
    if "input" in row and "output" in row and ("traceId" in row or "trace_id" in row or any(k in row for k in _TRACE_KEYS)):
        return "langfuse", _observed
    if is_score(row):
        return "langfuse", _score
    return None


def is_score(row: Mapping[str, Any]) -> bool:
    """Whether a row is a score, of whatever kind."""
    return any(key in row for key in OF_SCORE) and "name" in row and ("traceId" in row or "trace_id" in row)


def corrects(row: Mapping[str, Any]) -> tuple[str, ...]:
    """The ids of the observation, or else of the trace, that a score corrects; empty for any other row."""
    if not is_score(row) or str(next((row[k] for k in OF_SCORE if row.get(k)), "")).upper() != "CORRECTION" or not _right(row):
        return ()
    found = next((row[k] for k in ("observationId", "observation_id", "traceId", "trace_id") if row.get(k)), None)
    return (found,) if isinstance(found, str) else ()


def named_by(row: Mapping[str, Any]) -> tuple[str, ...]:
    """The ids under which a correction may speak of a row: its own, and for one that is no part of another that of its trace."""
    if "output" not in row or not ("traceId" in row or "trace_id" in row or any(key in row for key in _TRACE_KEYS)):
        return ()
    root = not (row.get("parentObservationId") or row.get("parent_observation_id"))
    ids = (row.get("id"), *((row.get("traceId"), row.get("trace_id")) if root else ()))
    return tuple(id for id in ids if isinstance(id, str) and id)


def rows_of(document: Mapping[str, Any]) -> list[Any] | None:
    """The answers of a trace that was saved, each with what corrects it; None for any other document."""
    trace = document.get("trace", document)
    observed, scores = document.get("observations"), document.get("scores")
    saved = isinstance(trace, dict) and ("input" in trace or trace is not document or isinstance(scores, list))
    if not isinstance(observed, list) or not saved:
        return None
    context = {key: trace[key] for key in ("sessionId", "userId", "tags") if trace.get(key)}
    seen = [o for o in observed if isinstance(o, dict) and str(o.get("type")).upper() not in _SILENT]
    rows = [o | {key: value for key, value in context.items() if not o.get(key)} for o in seen]
    told = {id: s for s in scores or () if isinstance(s, dict) for id in corrects(s)}
    rows = rows or ([dict(trace)] if "input" in trace else [])
    only = tuple(id for id in told if len(rows) == 1)  # what is said of the trace is said of its only answer
    return [_with_correction(row, told, (*named_by(row), *only)) for row in rows]


def _with_correction(row: dict[str, Any], told: Mapping[str, Any], ids: Sequence[str]) -> dict[str, Any]:
    score = next((told[id] for id in ids if id in told), None)
    return row if score is None else {**row, CORRECTED: score}


def _observed(row: dict[str, Any]) -> Conversation:
    kind = str(row.get("type") or "").upper()
    if kind in _SILENT:
        raise Unreadable(f"a {kind} of Langfuse, not a generation")
    if str(row.get("level") or "").upper() == "ERROR":
        raise Unreadable("the call that this row of Langfuse tells of failed")
    row = unpacked(row, ("metadata", "tags", "toolDefinitions", "tool_definitions"))
    said, score = row["output"], mapping_of(row.get(CORRECTED))
    if opened(said) in (None, "", [], {}) and not score:
        raise Unreadable("a Langfuse row without an output")
    metadata = mapping_of(row.get("metadata")) | renamed(
        row,
        id=("id",),
        request_id=("traceId", "trace_id"),
        created=("startTime", "start_time", "timestamp"),
        model=("model", "providedModelName", "provided_model_name"),
        session_id=("sessionId", "session_id"),
        user_id=("userId", "user_id"),
        name=("name",),
        tags=("tags",),
    )
    if score:
        metadata |= _judged(score, said)
        said = _right(score)
    metadata = {key: value for key, value in metadata.items() if value != []}
    asked, offered = _without_tools(opened(row["input"]))
    tools = _asked_with(asked) or offered or _defined(row)
    return exchange("langfuse", asked_in(asked if offered else row["input"]), said, metadata=metadata, tools=tools)


def _right(score: Mapping[str, Any]) -> Any:
    """What a correction says the answer should have been."""
    return next((score[key] for key in _RIGHT if score.get(key)), None)


def _judged(score: Mapping[str, Any], said: Any) -> dict[str, Any]:
    """Who corrected an answer and when, and what had been answered."""
    told = {"said_as": "correction"} | renamed(
        score,
        said_by=("authorUserName", "authorUserId", "author_user_id"),
        said_at=("updatedAt", "updated_at", "timestamp", "createdAt"),
    )
    if opened(said) in (None, "", [], {}):
        return told
    was, right = (answer_in(value)[0].get("content") for value in (said, _right(score)))
    return told | ({"rejected": was} if was and was != right else {})


def _without_tools(asked: Any) -> tuple[Any, list[Any]]:
    """The messages of a prompt, and the tools that LangChain's handler lists among them; a prompt of another form as it is."""
    if not isinstance(asked, list):
        return asked, []
    offers = [m for m in asked if inner(m, "role") == "tool" and _offers(m.get("content"))]
    return [m for m in asked if m not in offers], [m["content"] for m in offers]


def _asked_with(request: Any) -> Any:
    """The tools of a request, also as OpenAI's were called before."""
    asks = isinstance(request, dict) and providers.asks(request)
    return (request.get("tools") or request.get("functions")) if asks else None


def _offers(content: Any) -> bool:
    return isinstance(content, dict) and ("function" in content or {"name", "input_schema"} <= content.keys())


def _defined(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The tools that Langfuse found in what was asked: a name, and as text what is known of it."""
    found = mapping_of(row.get("toolDefinitions") or row.get("tool_definitions"))
    return [{**mapping_of(opened(told)), "name": name} for name, told in found.items()]


def _score(row: dict[str, Any]) -> Conversation:
    of = "correction whose observation is in none of the files" if corrects(row) else "score"
    raise Unreadable(f"a {of} of Langfuse, no conversation: import it together with the observations")


def _item(row: dict[str, Any]) -> Conversation:
    if row.get("status") == "ARCHIVED":
        raise Unreadable("an archived item of a Langfuse dataset")
    row = unpacked(row, ("metadata",))
    metadata = mapping_of(row.get("metadata")) | renamed(row, id=("id",), request_id=("sourceTraceId",), created=("createdAt",))
    asked, offered = _without_tools(opened(row["input"]))
    tools = _asked_with(asked) or offered
    return exchange(
        "langfuse", asked_in(asked if offered else row["input"]), row["expectedOutput"], metadata=metadata, tools=tools
    )
