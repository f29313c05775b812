"""Exports of other tools, recognised by the keys of a row and turned into conversations.

* OpenAI stored completions: `chat.completion` objects of `GET /v1/chat/completions`, with what
  `GET /v1/chat/completions/{id}/messages` returns under `messages`, or in files of their own (data/apart.py).
* OpenPipe request logs: `input` is the chat request, `output` the chat completion, `tags`.
* Inferences and datapoints of TensorZero (data/tensorzero.py); observations, traces and dataset items of Langfuse
  (data/langfuse.py).
* A request with its response, as gateways and proxies log them: `request` and `response`, each in the dialect of OpenAI or of
  another provider (data/providers.py), themselves or under `body`; OpenPipe's older `reqPayload` and `respPayload`; Bedrock's
  batches (`modelInput`, `modelOutput`). Answers of other batches come with the file of their requests (data/batches.py).
* Runs and examples of LangSmith (data/langsmith.py); spans of OpenTelemetry (data/spans.py); logs of Braintrust, Helicone,
  LiteLLM and Weave (data/tracers.py).
* Talks of help desks and chat programs (data/helpdesks.py); sets that teach calls of tools (data/toolsets.py).
* Rows to tune Gemini with (`contents`), responses of OpenAI's Responses API with their `input`, Cohere's chats (`chat_history`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tunekeeper.data import batches, helpdesks, langfuse, langsmith, providers, spans, tensorzero, threads, toolsets, tracers
from tunekeeper.data.conversations import Conversation, Unreadable, conversation_from, opened, unpacked
from tunekeeper.data.exchanges import asked_in, exchange, inner, mapping_of

SIDES = ("input", "output", "expectedOutput")
"""Columns by which exports are known also where their cells are empty."""
_PAGES = ("data", "events", "calls", "traces", "inferences", "datapoints")
"""Under what the answer of a list API has its rows."""
_MANY = (*_PAGES, "observations")
_ENVELOPE = frozenset(
    (
        *_PAGES,
        "meta",
        "object",
        "first_id",
        "last_id",
        "has_more",
        "cursor",
        "next_cursor",
        "next_page_token",
        "error",
        "total",
        "count",
    )
)
"""All else that such an answer may hold."""


def recognise(row: Mapping[str, Any]) -> tuple[str, Callable[[dict[str, Any]], Conversation]] | None:
    """The export's name and its reader, by the row's keys; None for a row of no known tool."""
    if langsmith.holds(row):
        return "langsmith", langsmith.conversation_of
    if spans.holds(row):
        return "otel", spans.conversation_of
    if (found := tracers.recognise(row) or helpdesks.recognise(row) or toolsets.recognise(row)) is not None:
        return found
    if row.get("object") == "chat.completion" and "choices" in row:
        return "openai-stored", _stored
    if "request" in row and "response" in row:
        return "request-log", _request_log
    if row.get("schemaType") == "ModelInvocationLog" and "input" in row and "output" in row:
        return "request-log", _bedrock_log
    if "modelInput" in row and "modelOutput" in row:
        return "request-log", _bedrock_batch
    if batches.is_answer(row):
        return "request-log", batches.alone
    if "reqPayload" in row and "respPayload" in row:
        return "openpipe-log", _older_openpipe
    if row.get("object") == "response" and "output" in row:
        return "openai-responses", _responses
    if "contents" in row:
        return "gemini", _gemini
    if "chat_history" in row and "message" in row:
        return "cohere", _cohere
    if (found := tensorzero.recognise(row) or langfuse.recognise(row)) is not None:
        return found
    if "output" in row and "messages" in mapping_of(opened(row.get("input"))):
        return "openpipe-log", _openpipe
    return None


def rows_of(document: Any) -> list[Any] | None:
    """The rows of a `.json` document: a list, the page of a list API, the generations of a Langfuse trace, itself; else None."""
    if isinstance(document, list):
        return document
    if not isinstance(document, dict):
        return None
    if (found := threads.exported(document)) is not None:
        return found
    if str(document.get("type")) == "conversation.list" and isinstance(document.get("conversations"), list):  # Intercom
        return list(document["conversations"])
    found = rows_in_line(document)
    return [document] if found is None else found


def rows_in_line(row: Any) -> list[Any] | None:
    """The rows of a line that holds many: spans, the page of a list API, a Langfuse trace; None for any other."""
    if (found := spans.spans_in(row)) is not None or not isinstance(row, dict):
        return found
    if (found := toolsets.instances_in(row)) is not None:
        return found
    if row.keys().isdisjoint(_MANY):
        return None
    listed: list[Any] | None = next((row[key] for key in _PAGES if isinstance(row.get(key), list)), None)
    if listed is None:
        return langfuse.rows_of(row)
    pages = "meta" in row or row.get("object") == "list" or _ENVELOPE.issuperset(row)
    return listed if pages and all(isinstance(each, dict) for each in listed) else None


def _stored(row: dict[str, Any]) -> Conversation:
    asked = row.get("messages") or row.get("input") or inner(row.get("request"), "messages")
    if isinstance(asked, dict):
        asked = asked.get("data")
    if not asked:
        raise Unreadable(
            f"stored completion {row.get('id')} comes without its messages: "
            "import what GET /v1/chat/completions/{id}/messages returns together with it, or add that as `messages`"
        )
    metadata = {**mapping_of(row.get("metadata")), "model": row.get("model"), "request_id": row.get("request_id")}
    return exchange(
        "openai-stored",
        asked_in(asked),
        row,
        metadata=metadata | {"id": row.get("id"), "created": row.get("created")},
        tools=row.get("tools"),
    )


def _request_log(row: dict[str, Any]) -> Conversation:
    row = unpacked(row, ("request", "response"))
    request, response = mapping_of(_body(row["request"])), mapping_of(_body(row["response"]))
    if not providers.asks(request):
        raise Unreadable("`request` holds no messages")
    metadata = {"id": row.get("request_id") or row.get("id") or response.get("id"), "model": response.get("model")}
    metadata |= {"request_id": row.get("request_id"), "created": row.get("timestamp") or response.get("created")}
    metadata |= {"custom_id": row.get("custom_id")}
    return exchange("request-log", asked_in(request), response, metadata=metadata, tools=_tools_of(request))


def _bedrock_batch(row: dict[str, Any]) -> Conversation:
    row = unpacked(row, ("modelInput", "modelOutput"))
    return _request_log({"custom_id": row.get("recordId"), "request": row["modelInput"], "response": row["modelOutput"]})


def _bedrock_log(row: dict[str, Any]) -> Conversation:
    row = unpacked(row, ("input", "output"))
    request, response = inner(row["input"], "inputBodyJson"), inner(row["output"], "outputBodyJson")
    if request is None or response is None:
        raise Unreadable("a call of Bedrock whose text lies elsewhere: its log has no `inputBodyJson` or `outputBodyJson`")
    told = {"request_id": row.get("requestId"), "timestamp": row.get("timestamp")}
    return _request_log({**told, "request": request, "response": response})


def _body(value: Any) -> Any:
    """A request or response without what it was sent in: `{"url": …, "body": {…}}`, the body as an object or as JSON text."""
    if not isinstance(value, dict) or not isinstance(value.get("body"), dict | str):
        return value
    body = unpacked(value, ("body",))["body"]
    return body if isinstance(body, dict) else value


def _tools_of(request: Mapping[str, Any]) -> Any:
    return request.get("tools") or inner(request.get("toolConfig"), "tools") or request.get("functions")


def _older_openpipe(row: dict[str, Any]) -> Conversation:
    row = unpacked(row, ("reqPayload", "respPayload", "tags"))
    return _openpipe({**row, "input": mapping_of(row["reqPayload"]), "output": row["respPayload"]})


def _responses(row: dict[str, Any]) -> Conversation:
    if not row.get("input"):
        raise Unreadable(
            f"response {row.get('id')} comes without what was asked: "
            "add what GET /v1/responses/{id}/input_items returns as `input`, the oldest first"
        )
    metadata = {
        **mapping_of(row.get("metadata")),
        "model": row.get("model"),
        "id": row.get("id"),
        "created": row.get("created_at"),
    }
    return exchange("openai-responses", providers.asked(row), row, metadata=metadata, tools=row.get("tools"))


def _gemini(row: dict[str, Any]) -> Conversation:
    row = unpacked(row, ("contents", "systemInstruction", "system_instruction", "tools"))
    return conversation_from(row, providers.asked(row), ("contents", str(providers.told_under(row))), "gemini")


def _cohere(row: dict[str, Any]) -> Conversation:
    row = unpacked(row, ("chat_history", "tools"))
    said = next((row[key] for key in ("text", "response", "answer") if row.get(key)), "")
    now = [{"role": "user", "content": row["message"]}, {"role": "assistant", "content": said}]
    messages = [*providers.instructions_of(row), *providers.messages_of(row["chat_history"] or []), *now]
    used = ("chat_history", "message", "text", "response", "answer", str(providers.told_under(row)))
    return conversation_from(row, messages, used, "cohere")


def _openpipe(row: dict[str, Any]) -> Conversation:
    row = unpacked(row, ("input", "output", "tags"))
    response = mapping_of(row["output"])
    metadata = {**mapping_of(row.get("tags")), "id": row.get("id") or response.get("id"), "request_id": response.get("id")}
    metadata |= {"model": response.get("model") or row["input"].get("model")}
    metadata |= {"created": row.get("requestedAt") or response.get("created")}
    return exchange("openpipe-log", asked_in(row["input"]), response, metadata=metadata, tools=_tools_of(row["input"]))
