"""Every endpoint with its method and scope in one table; who may call is decided on the entry that is then dispatched."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote

import msgspec

from tunekeeper.core.ids import is_request_id
from tunekeeper.core.nouns.serving import Route
from tunekeeper.gateway import feedback
from tunekeeper.gateway.auth import ANYONE, Caller, judge, presented
from tunekeeper.gateway.exchange import Exchange
from tunekeeper.gateway.heads import Head
from tunekeeper.gateway.metrics import CONTENT_TYPE
from tunekeeper.gateway.planning import plan_of
from tunekeeper.gateway.record import Record, assigned, segments_of
from tunekeeper.gateway.refusals import Refusal, RefusedError
from tunekeeper.gateway.routing import Asked, Choice, Unit, asked_for, choose, pinned, shadowed, unit_of
from tunekeeper.gateway.server import Connection
from tunekeeper.gateway.tables import Obeyed
from tunekeeper.gateway.wire import Call, parse_call
from tunekeeper.store.published import RouteUnavailable

if TYPE_CHECKING:
    from tunekeeper.gateway.worker import Gateway

PURPOSES = ("exam", "probe", "drill", "replay")
CLIENT_ID = re.compile(r"[\x21-\x7e]{1,128}")
MODELS = b"/v1/models/"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One entry of the table."""

    method: bytes
    """The one method it answers."""
    scope: str | None
    """Scope a key needs; None: open."""
    call: Callable[[Gateway, Connection, Head, bytes, Caller, Obeyed], None]
    """What it does. May raise RefusedError."""


def handle(gateway: Gateway, conn: Connection, head: Head, body: bytes) -> None:
    """Answer one whole request."""
    endpoint = ENDPOINTS.get(head.path) or (MODEL if head.path.startswith(MODELS) else None)
    if endpoint is None:
        conn.refuse(Refusal("not_found", "there is nothing at this path"))
        return
    if head.method != endpoint.method:
        conn.refuse(Refusal("method_not_allowed", "this path does not take that method", allow=endpoint.method.decode()))
        return
    if endpoint.scope is None:
        endpoint.call(gateway, conn, head, body, ANYONE, NOTHING)
        return
    try:
        obeyed = gateway.obeyed()
    except RouteUnavailable:
        conn.refuse(
            Refusal("route_unavailable", "the routes cannot be read; they are tried again with each request", retry_after="1")
        )
        return
    options = gateway.options
    required = options.require_key or options.static_key is not None or obeyed.asks_key
    caller = judge(
        presented(head.text(b"authorization")),
        endpoint.scope,
        keys=obeyed.keys,
        static=options.static_key,
        required=required,
        pepper=gateway.pepper,
        now=gateway.clock.utc,
    )
    if isinstance(caller, Refusal):
        conn.refuse(caller, _echoed(head))
        return
    if caller.key_id in gateway.meter.keys and endpoint.method == b"POST":  # only keys with limits cost anything here
        stopped = gateway.meter.admit(caller.key_id, infers=endpoint.scope == "infer")
        if stopped is not None:
            conn.refuse(stopped[0], stopped[1] + _echoed(head))
            return
    try:
        endpoint.call(gateway, conn, head, body, caller, obeyed)
    except RefusedError as refused:
        conn.refuse(refused.refusal, _echoed(head))


def _client_id(head: Head) -> str | None:
    found = head.text(b"x-request-id")
    return found if found is not None and CLIENT_ID.fullmatch(found) else None


def _echoed(head: Head) -> bytes:
    """The client's own id beside a refusal, which has no record and so none of ours."""
    found = _client_id(head)
    return f"x-request-id: {found}\r\n".encode("latin-1") if found is not None else b""


# ---- inference ----


def _infer(endpoint: str) -> Callable[[Gateway, Connection, Head, bytes, Caller, Obeyed], None]:
    def run(gateway: Gateway, conn: Connection, head: Head, body: bytes, caller: Caller, obeyed: Obeyed) -> None:
        started = gateway.now()
        call = parse_call(body, endpoint, gateway.options.limits)
        asked = asked_for(call.model)
        route = obeyed.table.routes.get(asked.model)
        if route is None:
            raise RefusedError(Refusal("model_not_found", f"no model is called {call.model[:128]!r} here", "model"))
        if not caller.may_call(asked.model):
            raise RefusedError(Refusal("model_forbidden", "the key may not call this model", "model"))
        record = _record(gateway, head, caller, call, route)
        choice, unit = _choice(obeyed, route, asked, head, call, caller, record)
        assigned(record, choice, unit)
        plan = plan_of(obeyed, route, choice, gateway.options.durability, pinned=asked.pin is not None)
        first = plan.candidates[0][0]
        if first.version is not None:
            record["version"] = first.version
        gateway.meter.begun(record)
        Exchange(gateway, conn, call, body, record, plan, started).begin()
        if asked.pin is None and record["purpose"] == "user" and shadowed(route, record["request_id"]):
            target = obeyed.targets.get(route.shadow or "")
            if target is not None:
                gateway.mirror.offer(call, body, record, target, route.timeouts)

    return run


def _record(gateway: Gateway, head: Head, caller: Caller, call: Call, route: Route) -> Record:
    record: Record = {
        "request_id": gateway.new_request_id(),
        "timestamp": gateway.clock.utc(),
        "model_id": route.model,
        "endpoint": call.endpoint,
        "route_version": route.generation,
        "purpose": _purpose(head, caller),
        "stream": call.stream,
    }
    client_id = _client_id(head)
    if client_id is not None:
        record["client_request_id"] = client_id
    if route.rollout is not None:
        record["rollout"] = route.rollout
    if caller.key_id is not None:
        record["key_id"] = caller.key_id
    parent = head.text(b"x-tunekeeper-parent")
    if parent is not None and caller.trusted and is_request_id(parent, gateway.request_key):
        record["parent_id"] = parent
    segments = segments_of(head.headers, call.metadata)
    if segments:
        record["segments"] = gateway.bodies.value(segments)
    if call.metadata:
        record["metadata"] = gateway.bodies.value(call.metadata)
    return record


def _purpose(head: Head, caller: Caller) -> str:
    """Why a trusted caller says it calls; anybody else is a user, whatever they say."""
    purpose = head.text(b"x-tunekeeper-purpose")
    return purpose if purpose in PURPOSES and caller.trusted else "user"


def _choice(
    obeyed: Obeyed, route: Route, asked: Asked, head: Head, call: Call, caller: Caller, record: Record
) -> tuple[Choice, Unit | None]:
    if asked.pin is not None:
        held = pinned(obeyed.table, route, asked.pin)
        if held is None or held.slot not in obeyed.targets:
            raise RefusedError(Refusal("model_not_found", f"nothing holds {call.model[:128]!r} now", "model"))
        return held, None
    unit = unit_of(
        head.headers, {"user": call.user, "metadata": call.metadata}, route.assign_by, caller.key_id, record["request_id"]
    )
    choice = choose(route, unit)
    if choice is None or choice.slot not in obeyed.targets:
        raise RefusedError(
            Refusal("route_unavailable", "the route of this model names a slot that does not exist", retry_after="1")
        )
    return choice, unit


# ---- the rest ----


def _models(gateway: Gateway, conn: Connection, head: Head, body: bytes, caller: Caller, obeyed: Obeyed) -> None:
    names = [name for name in sorted(obeyed.table.routes) if caller.may_call(name)]
    conn.reply(200, msgspec.json.encode({"object": "list", "data": [_model(obeyed, name) for name in names]}))


def _one_model(gateway: Gateway, conn: Connection, head: Head, body: bytes, caller: Caller, obeyed: Obeyed) -> None:
    name = unquote(head.path[len(MODELS) :].decode("latin-1"))
    asked = asked_for(name)
    route = obeyed.table.routes.get(asked.model)
    if (
        route is None
        or not caller.may_call(asked.model)
        or (asked.pin is not None and pinned(obeyed.table, route, asked.pin) is None)
    ):
        raise RefusedError(Refusal("model_not_found", f"no model is called {name[:128]!r} here", "model"))
    conn.reply(200, msgspec.json.encode(_model(obeyed, name)))


def _model(obeyed: Obeyed, name: str) -> dict[str, object]:
    created = obeyed.table.routes[asked_for(name).model].created
    return {"id": name, "object": "model", "created": int(created.timestamp()) if created else 0, "owned_by": "tunekeeper"}


def _feedback(gateway: Gateway, conn: Connection, head: Head, body: bytes, caller: Caller, obeyed: Obeyed) -> None:
    feedback.accept(gateway, conn, head, body)


def _metrics(gateway: Gateway, conn: Connection, head: Head, body: bytes, caller: Caller, obeyed: Obeyed) -> None:
    conn.reply(200, gateway.metrics.text(obeyed.table), content_type=CONTENT_TYPE)


def _live(gateway: Gateway, conn: Connection, head: Head, body: bytes, caller: Caller, obeyed: Obeyed) -> None:
    conn.reply(200, b'{"live":true}')


def _ready(gateway: Gateway, conn: Connection, head: Head, body: bytes, caller: Caller, obeyed: Obeyed) -> None:
    why = gateway.ready
    said: dict[str, object] = {"ready": why is None}
    if why is not None:
        said["why"] = why
    if gateway.recorder.level:
        said["disk"] = gateway.recorder.level.word
    conn.reply(200 if why is None else 503, msgspec.json.encode(said))


def _nothing() -> Obeyed:
    from tunekeeper.core.nouns.serving import RouteTable

    return Obeyed(RouteTable(generation=0), {})


NOTHING = _nothing()
MODEL = Endpoint(b"GET", "infer", _one_model)
ENDPOINTS = {
    b"/v1/chat/completions": Endpoint(b"POST", "infer", _infer("chat.completions")),
    b"/v1/completions": Endpoint(b"POST", "infer", _infer("completions")),
    b"/v1/embeddings": Endpoint(b"POST", "infer", _infer("embeddings")),
    b"/v1/models": Endpoint(b"GET", "infer", _models),
    b"/v1/feedback": Endpoint(b"POST", "feedback", _feedback),
    b"/metrics": Endpoint(b"GET", "metrics", _metrics),
    b"/livez": Endpoint(b"GET", None, _live),
    b"/readyz": Endpoint(b"GET", None, _ready),
}
"""Path → endpoint: the whole surface of the gateway."""
