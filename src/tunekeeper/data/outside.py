"""Exports of other tools, recognised by the keys of a row and turned into conversations.

* OpenAI stored completions: `chat.completion` objects of `GET /v1/chat/completions`, with what
  `GET /v1/chat/completions/{id}/messages` returns under `messages` (the list itself holds no prompts).
* OpenPipe request logs: `input` is the chat request, `output` the chat completion, `tags`.
* TensorZero inferences and datapoints: `input` of `system` and `messages` made of content blocks, `output` a list of blocks
  (chat functions) or `raw` and `parsed` (JSON functions), either as JSON or as the text ClickHouse stores.
* Langfuse observations and traces: `input`, `output`, `traceId` or (blob export) `trace_id`; items of its datasets:
  `datasetId`, `input`, `expectedOutput`.
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

from tunekeeper.data import batches, helpdesks, langsmith, providers, spans, threads, toolsets, tracers
from tunekeeper.data.conversations import Conversation, Unreadable, as_tools, conversation_from, opened, unpacked
from tunekeeper.data.exchanges import asked_in, exchange, inner, mapping_of, present, renamed

_TRACE_KEYS = ("sessionId", "htmlPath", "bookmarked", "projectId", "project_id")
_SILENT = ("SPAN", "EVENT", "EMBEDDING", "RETRIEVER", "TOOL", "EVALUATOR", "GUARDRAIL")
"""Types of Langfuse observations that are no answer of a model."""
_PAGES = ("data", "events", "calls", "traces")
"""Under what the answer of a list API has its rows."""
_ENVELOPE = frozenset(
    (*_PAGES, "meta", "object", "has_more", "cursor", "next_cursor", "next_page_token", "error", "total", "count")
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
    if "input" in row and "expectedOutput" in row and "datasetId" in row:
        return "langfuse", _langfuse_item
    if "input" not in row or "output" not in row:
        return None
    if "function_name" in row and any(key in row for key in ("variant_name", "episode_id", "dataset_name")):
        return "tensorzero", _tensorzero
    if "traceId" in row or "trace_id" in row or any(key in row for key in _TRACE_KEYS):
        return "langfuse", _langfuse
    if isinstance(row["input"], dict) and "messages" in row["input"]:
        return "openpipe-log", _openpipe
    return None


def rows_of(document: Any) -> list[Any] | None:
    """The rows of a `.json` document: a list, the page of a list API, the generations of a Langfuse trace, itself; else None."""
    if isinstance(document, list):
        return document
    if not isinstance(document, dict):
        return None
    if (found := spans.spans_in(document)) is not None or (found := threads.exported(document)) is not None:
        return found
    if str(document.get("type")) == "conversation.list" and isinstance(document.get("conversations"), list):  # Intercom
        return list(document["conversations"])
    listed: list[Any] | None = next((document[key] for key in _PAGES if isinstance(document.get(key), list)), None)
    if listed is not None and ("meta" in document or document.get("object") == "list" or _ENVELOPE.issuperset(document)):
        return listed
    trace = document.get("trace", document)
    if isinstance(document.get("observations"), list) and isinstance(trace, dict) and ("input" in trace or trace is not document):
        context = {key: trace[key] for key in ("sessionId", "userId", "tags") if trace.get(key)}
        seen = [o for o in document["observations"] if isinstance(o, dict) and str(o.get("type")).upper() not in _SILENT]
        return [o | {key: value for key, value in context.items() if not o.get(key)} for o in seen] or [trace]
    return [document]


def _stored(row: dict[str, Any]) -> Conversation:
    asked = row.get("messages") or row.get("input") or inner(row.get("request"), "messages")
    if isinstance(asked, dict):
        asked = asked.get("data")
    if not asked:
        raise Unreadable(
            f"stored completion {row.get('id')} comes without its messages: "
            "add what GET /v1/chat/completions/{id}/messages returns as `messages`"
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
    return request.get("tools") or inner(request.get("toolConfig"), "tools")


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
    response = mapping_of(row["output"])
    metadata = {**mapping_of(row.get("tags")), "id": row.get("id") or response.get("id"), "request_id": response.get("id")}
    metadata |= {"model": response.get("model") or row["input"].get("model")}
    metadata |= {"created": row.get("requestedAt") or response.get("created")}
    return exchange("openpipe-log", asked_in(row["input"]), response, metadata=metadata, tools=row["input"].get("tools"))


def _langfuse(row: dict[str, Any]) -> Conversation:
    kind = str(row.get("type") or "").upper()
    if kind in _SILENT:
        raise Unreadable(f"a {kind} of Langfuse, not a generation")
    row = unpacked(row, ("input", "output", "metadata"))
    if row["output"] in (None, "", [], {}):
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
    metadata = {key: value for key, value in metadata.items() if value != []}
    given = row["input"]
    tools = given.get("tools") if isinstance(given, dict) else None
    return exchange("langfuse", asked_in(given), row["output"], metadata=metadata, tools=tools)


def _langfuse_item(row: dict[str, Any]) -> Conversation:
    if row.get("status") == "ARCHIVED":
        raise Unreadable("an archived item of a Langfuse dataset")
    row = unpacked(row, ("input", "expectedOutput", "metadata"))
    metadata = mapping_of(row.get("metadata")) | renamed(row, id=("id",), request_id=("sourceTraceId",), created=("createdAt",))
    return exchange(
        "langfuse", asked_in(row["input"]), row["expectedOutput"], metadata=metadata, tools=inner(row["input"], "tools")
    )


def _tensorzero(row: dict[str, Any]) -> Conversation:
    row = unpacked(row, ("input", "output", "tool_params", "tags"))
    given, said = mapping_of(row["input"]), row["output"]
    if said in (None, "", [], {}):
        raise Unreadable("a TensorZero row without an output")
    messages: list[dict[str, Any]] = []
    if given.get("system"):
        messages.append({"role": "system", "content": providers.text_of_value(given["system"])})
    for message in _list_of_objects(given.get("messages"), "`input.messages`"):
        messages += _from_blocks(str(message.get("role")), message.get("content"))
    if isinstance(said, dict):
        raw = said.get("raw")
        answer = [{"role": "assistant", "content": raw if isinstance(raw, str) else providers.text_of_value(said.get("parsed"))}]
    else:
        answer = _from_blocks("assistant", said)
    metadata = mapping_of(row.get("tags")) | renamed(
        row,
        id=("inference_id", "id"),
        request_id=("inference_id", "source_inference_id", "id"),
        created=("timestamp", "created_at"),
        conversation_id=("episode_id",),
        function=("function_name",),
        variant=("variant_name",),
    )
    rejected = row.get("dispreferred_outputs")
    if isinstance(rejected, list) and rejected:
        [other, *_] = _from_blocks("assistant", opened(rejected[0]))
        metadata["rejected"] = other.get("content")
    params = mapping_of(row.get("tool_params"))
    tools = params.get("tools_available") or params.get("additional_tools")
    return Conversation(
        messages=(*messages, *answer), metadata=present(metadata), tools=as_tools(tools or ()), shape="tensorzero"
    )


def _from_blocks(role: str, content: Any) -> list[dict[str, Any]]:
    """The chat messages of TensorZero's content blocks: texts, calls of tools, results of tools (a message of their own)."""
    if isinstance(content, str):
        return [{"role": role, "content": content}]
    texts, calls, results = [], [], []
    for block in _list_of_objects(content, "a message's content"):
        kind = block.get("type")
        if kind == "tool_call":
            function = {"name": block.get("name") or block.get("raw_name")}
            function["arguments"] = providers.text_of_value(block.get("raw_arguments") or block.get("arguments") or {})
            calls.append({"id": block.get("id"), "type": "function", "function": function})
        elif kind == "tool_result":
            results.append(
                {"role": "tool", "tool_call_id": block.get("id"), "content": providers.text_of_value(block.get("result"))}
            )
        elif kind in ("text", "raw_text", "template"):
            texts.append(
                providers.text_of_value(next((block[key] for key in ("text", "value", "arguments") if key in block), ""))
            )
        elif kind not in ("thought", "unknown"):
            raise Unreadable(f"a content block of type {kind!r} has no place in a text conversation")
    made = results
    if texts or calls or not results:
        message: dict[str, Any] = {"role": role, "content": "\n".join(texts) if texts or not calls else None}
        made = [*results, message | ({"tool_calls": calls} if calls else {})]
    return made


def _list_of_objects(value: Any, name: str) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise Unreadable(f"{name} must be a list of objects")
    return value
