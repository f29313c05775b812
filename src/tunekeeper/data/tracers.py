"""Logs of tracers and gateways, each with a request and its answer under names of its own.

* Braintrust: spans of a project's logs, rows of its experiments and datasets (`input`, `output`, `expected`, `root_span_id`).
  What was expected is learned; what was answered instead stays beside it as `rejected`.
* Helicone: `request_body` and `response_body`, also of other gateways that log so.
* LiteLLM: its spend logs, and what its loggers write (`messages`, `response`, `call_type`).
* Weave: calls (`op_name`, `inputs`, `output`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tunekeeper.data import providers
from tunekeeper.data.conversations import Conversation, Unreadable, unpacked
from tunekeeper.data.exchanges import answer_in, asked_in, exchange, inner, mapping_of, renamed

_BRAINTRUST = ("root_span_id", "span_attributes", "span_parents", "_xact_id")
_ANSWERING = ("LLM", "TASK", "EVAL")
"""Types of Braintrust's spans that may hold a question with its answer."""
_LITELLM = ("call_type", "proxy_server_request", "custom_llm_provider", "spend")
_NO_CHAT = ("embedding", "image", "transcription", "speech", "rerank", "moderation", "ocr")
"""What the types of LiteLLM's calls that are no chat are called after."""


def recognise(row: Mapping[str, Any]) -> tuple[str, Callable[[dict[str, Any]], Conversation]] | None:
    """The tool's name and the reader of its rows, by the row's keys; None for a row of none of these."""
    if "input" in row and ("output" in row or "expected" in row) and any(key in row for key in _BRAINTRUST):
        return "braintrust", _braintrust
    if "request_body" in row and "response_body" in row:
        return "helicone", _helicone
    if "messages" in row and "response" in row and any(key in row for key in _LITELLM):
        return "litellm", _litellm
    if "op_name" in row and "inputs" in row and "output" in row:
        return "weave", _weave
    return None


def _braintrust(row: dict[str, Any]) -> Conversation:
    row = unpacked(row, ("input", "output", "expected", "metadata", "span_attributes", "scores", "tags"))
    span, told = mapping_of(row.get("span_attributes")), mapping_of(row.get("metadata"))
    kind = str(span.get("type") or "task").upper()
    if kind not in _ANSWERING:
        raise Unreadable(f"a {kind} span of Braintrust, no answer of a model")
    if row.get("error"):
        raise Unreadable("the call that this row of Braintrust tells of failed")
    given, said, expected = row["input"], row.get("output"), row.get("expected")
    metadata = {key: value for key, value in told.items() if key != "tools"} | renamed(
        row, id=("id",), request_id=("root_span_id",), created=("created",), tags=("tags",), scores=("scores",)
    )
    metadata |= {"name": span.get("name"), "split": None}
    if expected not in (None, "", [], {}):
        metadata["rejected"] = _otherwise(said, expected)
        said = expected
    tools = inner(given, "tools") or told.get("tools")
    return exchange("braintrust", asked_in(given), said, metadata=_filled(metadata), tools=tools)


def _otherwise(said: Any, expected: Any) -> Any:
    """What was answered where something else was expected; None where there was no answer, or the same one."""
    if said in (None, "", [], {}):
        return None
    was, right = (answer_in(value)[0].get("content") for value in (said, expected))
    return None if was == right else was


def _helicone(row: dict[str, Any]) -> Conversation:
    row = unpacked(row, ("request_body", "response_body", "request_properties", "properties"))
    request, response = mapping_of(row["request_body"]), row["response_body"]
    if not providers.asks(request):
        raise Unreadable("`request_body` holds no messages: was the log exported with its bodies?")
    if str(row.get("response_status") or 200)[:1] not in "2-":  # negative where the answer was cancelled, and then it is empty
        raise Unreadable(f"the request failed with {row['response_status']}")
    if str(row.get("feedback_rating")).casefold() in ("false", "0"):
        raise Unreadable("an answer that was rated as bad: nothing is to be learned from it")
    metadata = mapping_of(row.get("request_properties") or row.get("properties")) | renamed(
        row,
        id=("request_id", "id"),
        request_id=("request_id",),
        created=("request_created_at", "created_at", "timestamp"),
        model=("response_model", "request_model", "model"),
        user_id=("request_user_id",),
    )
    tools = request.get("tools") or inner(request.get("toolConfig"), "tools")
    return exchange("helicone", asked_in(request), response, metadata=metadata, tools=tools)


def _litellm(row: dict[str, Any]) -> Conversation:
    row = unpacked(row, ("messages", "response", "proxy_server_request", "request_tags", "model_parameters"))
    kind = str(row.get("call_type") or "")
    if any(other in kind for other in _NO_CHAT):
        raise Unreadable(f"a call of LiteLLM for {kind}, no chat")
    if str(row.get("status") or "success") != "success" or row.get("error_str"):
        raise Unreadable("the call that this row of LiteLLM tells of failed")
    sent = mapping_of(row.get("proxy_server_request"))
    sent = mapping_of(sent.get("body")) or sent
    asked, said = row["messages"] or sent, row["response"]
    if asked in (None, "", [], {}) or said in (None, "", [], {}):
        raise Unreadable("a row of LiteLLM without its content: set `store_prompts_in_spend_logs`")
    metadata = renamed(
        row,
        id=("request_id", "id"),
        request_id=("request_id", "trace_id"),
        created=("startTime",),
        model=("model",),
        session_id=("session_id",),
        user_id=("end_user",),
        tags=("request_tags",),
    )
    tools = sent.get("tools") or inner(row.get("model_parameters"), "tools")
    return exchange("litellm", asked_in(asked), said, metadata=_filled(metadata), tools=tools)


def _weave(row: dict[str, Any]) -> Conversation:
    row = unpacked(row, ("inputs", "output"))
    if row.get("exception"):
        raise Unreadable("the call that this row of Weave tells of failed")
    name = str(row["op_name"]).rpartition("/")[2].partition(":")[0]
    given = mapping_of(row["inputs"])
    texts = [value for key, value in given.items() if key != "self" and isinstance(value, str) and value]
    if not providers.asks(given) and (len(texts) != 1 or len(given.keys() - {"self"}) != 1):
        raise Unreadable(f"the inputs of {name} are no messages and no single text: their keys are {', '.join(given) or 'none'}")
    metadata = renamed(row, id=("id",), request_id=("trace_id",), created=("started_at",), session_id=("thread_id",))
    metadata |= {"name": name, "model": given.get("model") if isinstance(given.get("model"), str) else None}
    asked = asked_in(given) if providers.asks(given) else asked_in(texts[0])
    return exchange("weave", asked, row["output"], metadata=metadata, tools=given.get("tools"))


def _filled(metadata: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in metadata.items() if value not in ([], {})}
