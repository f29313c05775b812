"""Spans of OpenTelemetry that hold what a model was asked and answered, in each convention they are written in.

* The GenAI conventions: `gen_ai.input.messages`, `gen_ai.output.messages`, `gen_ai.system_instructions` and
  `gen_ai.tool.definitions`, as attributes of a span or of its `gen_ai.client.inference.operation.details` event; before them an
  event for each message (`gen_ai.user.message`, …, `gen_ai.choice`); before those `gen_ai.prompt` and `gen_ai.completion`.
* OpenLLMetry's numbered attributes (`gen_ai.prompt.0.role`, `llm.request.functions.0.name`).
* OpenInference, as Phoenix writes it: `llm.input_messages.0.message.role`, flat or nested.
* The AI SDK of Vercel: `ai.prompt.messages` and `ai.response.text` of the spans that call the model.
* MLflow: `mlflow.spanInputs` and `mlflow.spanOutputs`, a request and its response.

A span stands for itself (attributes as an object, the way SDKs print it), in an OTLP document (`resourceSpans`, attributes as a
list of keys and values), or in a trace of MLflow (`data.spans`), which hold many.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from tunekeeper.data import providers
from tunekeeper.data.conversations import Conversation, Unreadable, as_tools, opened, unpacked
from tunekeeper.data.exchanges import asked_in, exchange, mapping_of

_DETAILS = ("gen_ai.client.inference.operation.details", "gen_ai.content.prompt", "gen_ai.content.completion")
"""Events whose attributes count as those of the span."""
_MESSAGES = ("gen_ai.system.message", "gen_ai.user.message", "gen_ai.assistant.message", "gen_ai.tool.message")
_CHOICE = "gen_ai.choice"
_JSON = ("gen_ai.input.messages", "gen_ai.output.messages", "gen_ai.system_instructions", "gen_ai.tool.definitions")
_VERCEL = "ai.prompt.messages"
_MLFLOW = "mlflow.spanInputs"
_MLFLOW_CHATS = ("CHAT_MODEL", "LLM")
_BEGUN = ("startTimeUnixNano", "start_time_unix_nano", "start_time_ns", "start_time", "startTime")
_SPAN_KEYS = ("attributes", "events", "context", "spanId", "span_id", "trace_id", "traceId")


def spans_in(document: Any) -> list[dict[str, Any]] | None:
    """The spans of an OTLP document, or of a trace of MLflow, that hold a conversation; None for anything else."""
    whole = mapping_of(document)
    if "info" in whole and isinstance(traced := opened(whole.get("data")), dict) and "spans" in traced:
        return [span for span in _objects(traced["spans"]) if holds(span)]
    listed = whole.get("resourceSpans", whole.get("resource_spans"))
    if not isinstance(listed, list):
        return None
    found = []
    for resource in _objects(listed):
        for scope in _objects(resource.get("scopeSpans", resource.get("scope_spans"))):
            found += [span for span in _objects(scope.get("spans")) if holds(span)]
    return found


def holds(row: Mapping[str, Any]) -> bool:
    """Whether a row is a span that holds what a model was asked."""
    if not any(key in row for key in _SPAN_KEYS):
        return False
    return _tells(_flat(row)) or any(name in (*_MESSAGES, _CHOICE) for name, _ in _events(row))


def is_one(row: Mapping[str, Any]) -> bool:
    """Whether a row is a span, whatever it holds."""
    return "attributes" in row and any(key in row for key in (*_SPAN_KEYS[3:], "context", "span_kind"))


def _tells(values: Mapping[str, Any]) -> bool:
    if _MLFLOW in values:
        return str(values.get("mlflow.spanType")).strip('"') in _MLFLOW_CHATS
    starts = ("gen_ai.input.messages", "gen_ai.prompt", "llm.input_messages", "gen_ai.output.messages", _VERCEL)
    return any(key.startswith(starts) for key in values)


def conversation_of(row: dict[str, Any]) -> Conversation:
    """The conversation of a span. Raises Unreadable for one that failed or holds no answer."""
    values = _flat(row)
    if _failed(row.get("status", row.get("status_code"))) or values.get("error.type"):
        raise Unreadable("the call that this span tells of failed")
    messages, tools, finish = _said(values, row)
    if not messages or messages[-1].get("role") != "assistant":
        raise Unreadable("the span holds no answer: was its content captured?")
    places = {**row, **mapping_of(row.get("context"))}
    metadata = {
        "id": _one_of(places, "spanId", "span_id", "context.span_id"),
        "request_id": _one_of(places, "traceId", "trace_id", "context.trace_id"),
        "created": _moment(_one_of(row, *_BEGUN)),
        "model": _one_of(values, "gen_ai.response.model", "gen_ai.request.model", "llm.model_name", "ai.model.id"),
        "conversation_id": _one_of(values, "gen_ai.conversation.id", "session.id"),
        "user_id": _one_of(values, "user.id", "enduser.id"),
        "name": row.get("name"),
        "finish_reason": _finish(values) or (finish if finish not in ("stop", "tool_calls") else None),
    }
    kept = {key: str(value) for key, value in metadata.items() if value not in (None, "", [])}
    return Conversation(messages=tuple(messages), metadata=kept, tools=as_tools(tools), shape="otel")


def _said(values: Mapping[str, Any], row: Mapping[str, Any]) -> tuple[list[dict[str, Any]], Any, Any]:
    """Messages, tools and, where the answer itself says it, why that ended; by the newest convention that the span follows."""
    if "gen_ai.input.messages" in values or "gen_ai.output.messages" in values:
        return _by_attributes(values)
    events = [(name, held) for name, held in _events(row) if name in (*_MESSAGES, _CHOICE)]
    if events:
        return (
            [_of_event(name, held) for name, held in events if name != _CHOICE or held.get("index") in (None, 0, "0")],
            (),
            None,
        )
    if any(key.startswith("llm.input_messages") for key in values):
        tools = [mapping_of(each).get("json_schema", each) for each in _list(values, "llm.tools", "tool")]
        tools = [opened(each) for each in tools]
        asked = [*_list(values, "llm.input_messages", "message"), *_list(values, "llm.output_messages", "message")[:1]]
        return [_inferred(each) for each in asked], [tool for tool in tools if isinstance(tool, dict)], None
    if any(key.startswith("gen_ai.prompt.") for key in values):
        asked = [*_list(values, "gen_ai.prompt"), *_list(values, "gen_ai.completion")[:1]]
        return [_traced(each) for each in asked], _list(values, "llm.request.functions"), None
    if _VERCEL in values:
        return _by_vercel(values)
    if _MLFLOW in values:
        return _by_mlflow(values)
    asked, said = opened(values.get("gen_ai.prompt")), opened(values.get("gen_ai.completion"))
    return [*_plain(asked, "user"), *_plain(said, "assistant")[:1]], (), None


def _by_attributes(values: Mapping[str, Any]) -> tuple[list[dict[str, Any]], Any, Any]:
    """The attributes of the GenAI conventions that hold all messages."""
    told = unpacked({key: values[key] for key in _JSON if key in values}, _JSON)
    for key in ("gen_ai.input.messages", "gen_ai.output.messages"):
        if not isinstance(told.get(key) or [], list):
            raise Unreadable(f"`{key}` is no list of messages: was it cut off?")
    system = providers.instruction_text(_contents(told.get("gen_ai.system_instructions")))
    answers = (told.get("gen_ai.output.messages") or [])[:1]
    asked = [*(told.get("gen_ai.input.messages") or ()), *answers]
    talk = providers.messages_of([_without_finish(turn) for turn in asked])
    finish = providers.finish_of(mapping_of(answers[0]).get("finish_reason")) if answers else None
    tools = told.get("gen_ai.tool.definitions") or ()
    return [*([{"role": "system", "content": system}] if system else []), *talk], tools, finish


def _by_vercel(values: Mapping[str, Any]) -> tuple[list[dict[str, Any]], Any, Any]:
    told = unpacked(values, (_VERCEL, "ai.response.toolCalls", "ai.prompt.tools"))
    text = told.get("ai.response.text") or told.get("ai.response.object")
    calls = [{"type": "tool-call", **call} for call in _objects(told.get("ai.response.toolCalls"))]
    answer = {"role": "assistant", "content": [*([{"type": "text", "text": text}] if text else []), *calls]}
    listed = told.get("ai.prompt.tools")
    tools = [opened(each) for each in listed] if isinstance(listed, list) else []
    talk = providers.messages_of(told[_VERCEL])
    return (
        [*talk, *providers.messages_of([answer] if text or calls else [])],
        tools,
        providers.finish_of(told.get("ai.response.finishReason")),
    )


def _by_mlflow(values: Mapping[str, Any]) -> tuple[list[dict[str, Any]], Any, Any]:
    asked, said = opened(values[_MLFLOW]), opened(values.get("mlflow.spanOutputs"))
    tools = opened(values.get("mlflow.chat.tools")) or mapping_of(asked).get("tools")
    made = exchange("", asked_in(asked), said, metadata={}, tools=tools)
    return list(made.messages), made.tools, made.metadata.get("finish_reason")


def _without_finish(turn: Any) -> Any:
    return {key: value for key, value in turn.items() if key != "finish_reason"} if isinstance(turn, dict) else turn


def _contents(parts: Any) -> Any:
    """Parts of instructions, their text under `text` as other dialects have it."""
    if not isinstance(parts, list):
        return parts
    return [{"text": part.get("content", part.get("text"))} if isinstance(part, dict) else part for part in parts]


def _of_event(name: str, held: Mapping[str, Any]) -> dict[str, Any]:
    """A message of the convention with an event for each."""
    said = opened(held.get("message")) if name == _CHOICE else held
    body = {**held, **said} if isinstance(said, dict) else {**held, "content": said}
    role = "assistant" if name == _CHOICE else str(body.get("role") or name.split(".")[1])
    calls = opened(body.get("tool_calls"))
    made: dict[str, Any] = {"role": role, "content": body.get("content")}
    made |= {"tool_calls": [_call(each) for each in _objects(calls)]} if calls else {}
    return made | ({"tool_call_id": body["id"]} if role == "tool" and body.get("id") else {})


def _inferred(message: Any) -> dict[str, Any]:
    """A message of OpenInference."""
    held = mapping_of(message)
    calls = [_call(mapping_of(mapping_of(each).get("tool_call", each))) for each in _in_order(held.get("tool_calls"))]
    parts = [mapping_of(mapping_of(each).get("message_content", each)) for each in _in_order(held.get("contents"))]
    content: Any = held.get("content")
    if parts:
        content = [_part(part) for part in parts]
        if all(part.get("type") == "text" for part in content):
            content = "\n".join(str(part.get("text", "")) for part in content)
    made: dict[str, Any] = {"role": str(held.get("role") or "user"), "content": content}
    made |= {"tool_calls": calls} if calls else {}
    return made | {key: held[key] for key in ("name", "tool_call_id") if held.get(key)}


def _part(part: Mapping[str, Any]) -> dict[str, Any]:
    image = mapping_of(mapping_of(part.get("image")).get("image", part.get("image")))
    return {"type": "image_url", "image_url": {"url": image["url"]}} if image.get("url") else dict(part)


def _traced(message: Any) -> dict[str, Any]:
    """A message of OpenLLMetry."""
    held = mapping_of(message)
    calls = [_call(mapping_of(each)) for each in _in_order(held.get("tool_calls"))]
    content = opened(held.get("content")) if str(held.get("content", "")).startswith('[{"type"') else None
    made: dict[str, Any] = {"role": str(held.get("role") or "user"), "content": content or held.get("content")}
    made |= {"tool_calls": calls} if calls else {}
    return made | ({"tool_call_id": held["tool_call_id"]} if held.get("tool_call_id") else {})


def _call(call: Mapping[str, Any]) -> dict[str, Any]:
    function = mapping_of(call.get("function")) or dict(call)
    arguments = function.get("arguments", {})
    text = arguments if isinstance(arguments, str) else providers.text_of_value(arguments)
    return {"id": call.get("id"), "type": "function", "function": {"name": function.get("name"), "arguments": text}}


def _plain(value: Any, role: str) -> list[dict[str, Any]]:
    if isinstance(value, list) and all(isinstance(each, dict) and "role" in each for each in value):
        return providers.messages_of(value)
    return [{"role": role, "content": value}] if isinstance(value, str) and value else []


# ---- attributes and events, whoever wrote them ----


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes of a span and of the events that count as its own, names with dots; lists stay."""
    made = _attributes(row.get("attributes"))
    made |= {key.removeprefix("attributes."): value for key, value in row.items() if key.startswith("attributes.")}
    for name, held in _events(row):
        made |= held if name in _DETAILS else {}
    return made


def _attributes(value: Any) -> dict[str, Any]:
    if isinstance(value, list):  # OTLP: a list of keys and typed values
        return {str(each.get("key")): _typed(each.get("value")) for each in _objects(value)}
    return dict(_leaves(value, "")) if isinstance(value, dict) else {}


def _leaves(value: Mapping[str, Any], before: str) -> Iterator[tuple[str, Any]]:
    for key, inner in value.items():
        name = f"{before}{key}"
        if isinstance(inner, dict) and name.startswith(("llm", "gen_ai")) and name not in _JSON:
            yield from _leaves(inner, f"{name}.")
        else:
            yield name, inner


def _typed(value: Any) -> Any:
    """The value of OTLP's `AnyValue`."""
    if not isinstance(value, dict) or not value:
        return None
    kind, inner = next(iter(value.items()))
    if kind in ("arrayValue", "array_value"):
        return [_typed(each) for each in _objects(mapping_of(inner).get("values"))]
    if kind in ("kvlistValue", "kvlist_value"):
        return _attributes(mapping_of(inner).get("values") or [])
    return inner


def _events(row: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Names and fields of a span's events."""
    for event in _objects(row.get("events")):
        held = _attributes(event.get("attributes"))
        body = event.get("body")
        held |= body if isinstance(body, dict) else {}
        yield str(event.get("name") or held.get("event.name") or ""), held


def _list(values: Mapping[str, Any], prefix: str, wrapped: str = "") -> list[Any]:
    """What stands under numbered names, in order: `prefix.0.role`, or a list that is there as one."""
    given = values.get(prefix)
    if given is None:
        tree: dict[str, Any] = {}
        for name, value in values.items():
            if name.startswith(f"{prefix}."):
                _plant(tree, name[len(prefix) + 1 :].split("."), value)
        given = tree
    found = [_unwrapped(each, wrapped) for each in _in_order(given)]
    return [each for each in found if each]


def _unwrapped(value: Any, wrapped: str) -> Any:
    """The object under `wrapped`, also where its names carry it before a dot (`message.role`)."""
    held = mapping_of(value)
    if any(key.startswith(f"{wrapped}.") for key in held if wrapped):
        tree: dict[str, Any] = {}
        for key, inner in held.items():
            _plant(tree, str(key).split("."), inner)
        held = tree
    return held.get(wrapped, held) if wrapped else held


def _plant(tree: dict[str, Any], path: list[str], value: Any) -> None:
    for key in path[:-1]:
        inner = tree.setdefault(key, {})
        if not isinstance(inner, dict):
            return
        tree = inner
    tree[path[-1]] = value


def _in_order(value: Any) -> list[Any]:
    """The items of a list, or of an object whose names are numbers."""
    if isinstance(value, list):
        return value
    held = mapping_of(value)
    numbers = [key for key in held if key.isascii() and key.isdecimal()]
    return [held[key] for key in sorted(numbers, key=lambda key: (len(key.lstrip("0")), key))]  # however many digits they have


def _objects(value: Any) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _one_of(held: Mapping[str, Any], *names: str) -> Any:
    """The first of these fields that holds something."""
    return next((held[name] for name in names if held.get(name)), None)


def _failed(status: Any) -> bool:
    code = mapping_of(status).get("code", mapping_of(status).get("status_code", status))
    return str(code).upper() in ("2", "ERROR", "STATUS_CODE_ERROR", "STATUSCODE.ERROR")


def _finish(values: Mapping[str, Any]) -> Any:
    """Why the answer ended, where that is no stop."""
    reasons = opened(values.get("gen_ai.response.finish_reasons"))
    first = reasons[0] if isinstance(reasons, list) and reasons else values.get("gen_ai.completion.0.finish_reason")
    found = providers.finish_of(first)
    return None if found in ("stop", "tool_calls") else found


def _moment(value: Any) -> str | None:
    """A moment in ISO 8601: OTLP counts nanoseconds since 1970, Node's SDK seconds and nanoseconds."""
    if isinstance(value, list) and len(value) == 2 and all(isinstance(each, int) for each in value):
        value = value[0] * 10**9 + value[1]
    if value is None or not str(value).isdecimal():
        return None if value is None else str(value)
    try:
        return datetime.fromtimestamp(int(value) / 1e9, UTC).isoformat()
    except (ValueError, OverflowError, OSError):
        return None
