"""Every endpoint with its method and scope in one table; who may call is decided on the entry that is then dispatched."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING
from urllib.parse import unquote

import msgspec

from tunekeeper.core.ids import is_request_id
from tunekeeper.core.nouns.serving import Route, RouteTable
from tunekeeper.gateway import feedback
from tunekeeper.gateway.auth import ANYONE, Caller, judge, presented
from tunekeeper.gateway.exchange import Exchange
from tunekeeper.gateway.heads import Head
from tunekeeper.gateway.loading import loading, why_none_answers
from tunekeeper.gateway.pacing import Held
from tunekeeper.gateway.planning import plan_of
from tunekeeper.gateway.record import Record, assigned, segments_of
from tunekeeper.gateway.refusals import Refusal, RefusedError
from tunekeeper.gateway.routing import Asked, Choice, Unit, asked_for, choose, pinned, shadowed, unit_of
from tunekeeper.gateway.scrape import Scrape
from tunekeeper.gateway.server import Connection
from tunekeeper.gateway.tables import Obeyed
from tunekeeper.gateway.wire import Call, parse_call
from tunekeeper.store.published import RouteUnavailable
from tunekeeper.store.refusedfile import refused

if TYPE_CHECKING:
    from tunekeeper.gateway.worker import Gateway

PURPOSES = ("exam", "probe", "drill", "replay")
CLIENT_ID = re.compile(r"[\x21-\x7e]{1,128}")
MODELS = b"/v1/models/"
NOWHERE = Refusal(
    "not_found",
    "there is nothing at this path: models answer at /v1/chat/completions, /v1/completions and /v1/embeddings, "
    "and /v1/models names them",
)
"""Newer clients ask at /v1/responses unless they are told not to, and many leave out the /v1."""
CROSS_SITE = Refusal("cross_site", "a web page of another site may not call a gateway that asks for no key")
"""Any page that somebody looks at on this machine could: it would not see the answer, but the model would be asked."""


@dataclass(slots=True)
class Facts:
    """What a head says under one table; kept with heads that are known again, and then worked out once for many requests."""

    obeyed: Obeyed
    """The table that counts for it."""
    caller: Caller
    """Who calls."""
    echo: bytes = b""
    """Header line with the client's own id, for refusals, which have no record and so no id of ours."""
    client_id: str | None = None
    """The client's own id."""
    purpose: str = "user"
    """Why it calls; only a trusted caller is believed."""
    parent: str | None = None
    """Request that it belongs to, as a trusted caller says."""
    segments: dict[str, str] | None = None
    """Segments that headers name, without secrets; None: the body is asked too."""


Handler = Callable[["Gateway", Connection, Head, bytes, Facts, datetime], None]
"""Gateway, connection, head, body, what the head says, and the time at which it was asked."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One entry of the table."""

    method: bytes
    """The one method it answers."""
    scope: str | None
    """Scope a key needs; None: open."""
    call: Handler
    """What it does. May raise RefusedError."""


def handle(gateway: Gateway, conn: Connection, head: Head, body: bytes) -> None:
    """Answer one whole request."""
    endpoint = ENDPOINTS.get(head.path) or (MODEL if head.path.startswith(MODELS) else None)
    if endpoint is None:
        conn.refuse(NOWHERE)
        return
    if head.method != endpoint.method and (head.method, endpoint.method) != (b"HEAD", b"GET"):
        allow = "GET, HEAD" if endpoint.method == b"GET" else endpoint.method.decode()
        conn.refuse(Refusal("method_not_allowed", f"this path takes {allow} only", allow=allow))
        return
    if endpoint.scope is None:
        endpoint.call(gateway, conn, head, body, NOTHING, gateway.clock.utc())
        return
    try:
        obeyed = gateway.obeyed()
    except RouteUnavailable:
        conn.refuse(
            Refusal("route_unavailable", "the routes cannot be read; they are tried again with each request", retry_after="1")
        )
        return
    facts: Facts | None = head.facts
    now = gateway.clock.utc()
    if facts is None or facts.obeyed is not obeyed or (facts.caller.expires is not None and facts.caller.expires <= now):
        found = _facts(gateway, head, endpoint.scope, obeyed)
        if isinstance(found, Refusal):
            conn.refuse(found, _echo(_client_id(head)))
            return
        facts = head.facts = found
    key_id = facts.caller.key_id
    if (
        key_id is not None and key_id in gateway.meter.keys and endpoint.method == b"POST"
    ):  # only keys with limits cost anything here
        stopped = gateway.meter.admit(key_id, infers=endpoint.scope == "infer")
        if stopped is not None:
            _refuse_paced(gateway, conn, key_id, stopped[0], stopped[1] + facts.echo)
            return
    try:
        endpoint.call(gateway, conn, head, body, facts, now)
    except RefusedError as refused:
        conn.refuse(refused.refusal, facts.echo)
    finally:
        if key_id is not None:
            gateway.meter.settle()


def _refuse_paced(gateway: Gateway, conn: Connection, key_id: str, refusal: Refusal, extra: bytes) -> None:
    seconds = gateway.pacer.wait(key_id, gateway.now())
    if seconds > 0:
        Held(gateway.loop, conn, refusal, extra, seconds)
    else:
        conn.refuse(refusal, extra)


def _facts(gateway: Gateway, head: Head, scope: str, obeyed: Obeyed) -> Facts | Refusal:
    options = gateway.options
    caller = judge(
        presented(head.text(b"authorization")),
        scope,
        keys=obeyed.keys,
        static=options.static_key,
        required=options.require_key or options.static_key is not None or obeyed.asks_key,
        pepper=gateway.pepper,
        now=gateway.clock.utc,
    )
    if isinstance(caller, Refusal):
        return caller
    if caller is ANYONE and head.text(b"sec-fetch-site") == "cross-site":
        return CROSS_SITE
    facts = Facts(obeyed, caller, client_id=_client_id(head))
    facts.echo = _echo(facts.client_id)
    if caller.trusted:
        purpose = head.text(b"x-tunekeeper-purpose")
        facts.purpose = purpose if purpose in PURPOSES else "user"
        parent = head.text(b"x-tunekeeper-parent")
        facts.parent = parent if parent is not None and is_request_id(parent, gateway.request_key) else None
    segments = segments_of(head.headers, None)
    facts.segments = gateway.bodies.value(segments) if segments else segments
    return facts


def _client_id(head: Head) -> str | None:
    found = head.text(b"x-request-id")
    return found if found is not None and CLIENT_ID.fullmatch(found) else None


def _echo(client_id: str | None) -> bytes:
    return f"x-request-id: {client_id}\r\n".encode("latin-1") if client_id is not None else b""


# ---- inference ----


def _infer(endpoint: str) -> Handler:
    def run(gateway: Gateway, conn: Connection, head: Head, body: bytes, facts: Facts, now: datetime) -> None:
        started, obeyed, caller = gateway.now(), facts.obeyed, facts.caller
        call = parse_call(body, endpoint, gateway.limits)
        asked = _asked(obeyed, call.model)
        route = obeyed.table.routes.get(asked.model)
        if route is None:
            raise RefusedError(Refusal("model_not_found", f"no model is called {call.model[:128]!r} here", "model"))
        if caller.models and asked.model not in caller.models:
            raise RefusedError(Refusal("model_forbidden", "the key may not call this model", "model"))
        record = _record(gateway, head, facts, call, route, now)
        choice, unit = _choice(obeyed, route, asked, head, call, caller, record)
        assigned(record, choice, unit)
        plan = plan_of(obeyed, route, choice, gateway.options.durability, pinned=asked.pin is not None)
        first = plan.candidates[0][0]
        if first.version is not None:
            record["version"] = first.version
        if caller.key_id is not None:
            stopped = gateway.meter.begun(record, call, len(body), first)
            if stopped is not None:
                _refuse_paced(gateway, conn, caller.key_id, stopped[0], stopped[1] + facts.echo)
                return
        if gateway.options.seals:
            gateway.bodies.hold(record, segments_of(head.headers, call.metadata), call.metadata or {})
        Exchange(gateway, conn, call, body, record, plan, started).begin()
        if route.shadow is not None and asked.pin is None and facts.purpose == "user" and shadowed(route, record["request_id"]):
            target = obeyed.targets.get(route.shadow)
            if target is not None:
                gateway.mirror.offer(call, body, record, target, route.timeouts)

    return run


def _asked(obeyed: Obeyed, name: str) -> Asked:
    """A model name taken apart; the bare name of a version that one model alone holds is as good as with the model before it."""
    asked = asked_for(name)
    model = None if asked.model in obeyed.table.routes else obeyed.versions.get(name)
    return asked if model is None else Asked(model, name)


def _record(gateway: Gateway, head: Head, facts: Facts, call: Call, route: Route, now: datetime) -> Record:
    record: Record = {
        "request_id": gateway.ids.new(int(now.timestamp() * 1000)),
        "timestamp": now,
        "model_id": route.model,
        "endpoint": call.endpoint,
        "route_version": route.generation,
        "purpose": facts.purpose,
        "stream": call.stream,
    }
    if facts.client_id is not None:
        record["client_request_id"] = gateway.bodies.value(facts.client_id)
    if route.rollout is not None:
        record["rollout"] = route.rollout
    if facts.caller.key_id is not None:
        record["key_id"] = facts.caller.key_id
    if facts.parent is not None:
        record["parent_id"] = facts.parent
    if call.metadata:
        segments = segments_of(head.headers, call.metadata)
        if segments:
            record["segments"] = gateway.bodies.value(segments)
        record["metadata"] = gateway.bodies.value(call.metadata)
    elif facts.segments:
        record["segments"] = facts.segments
    return record


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


def _models(gateway: Gateway, conn: Connection, head: Head, body: bytes, facts: Facts, now: datetime) -> None:
    caller, obeyed = facts.caller, facts.obeyed
    names = [name for name in sorted(obeyed.table.routes) if caller.may_call(name)]
    conn.reply(200, msgspec.json.encode({"object": "list", "data": [_model(obeyed, name) for name in names]}))


def _one_model(gateway: Gateway, conn: Connection, head: Head, body: bytes, facts: Facts, now: datetime) -> None:
    caller, obeyed = facts.caller, facts.obeyed
    name = unquote(head.path[len(MODELS) :].decode("latin-1"))
    asked = _asked(obeyed, name)
    route = obeyed.table.routes.get(asked.model)
    if (
        route is None
        or not caller.may_call(asked.model)
        or (asked.pin is not None and pinned(obeyed.table, route, asked.pin) is None)
    ):
        raise RefusedError(Refusal("model_not_found", f"no model is called {name[:128]!r} here", "model"))
    conn.reply(200, msgspec.json.encode(_model(obeyed, name)))


def _model(obeyed: Obeyed, name: str) -> dict[str, object]:
    created = obeyed.table.routes[_asked(obeyed, name).model].created
    return {"id": name, "object": "model", "created": int(created.timestamp()) if created else 0, "owned_by": "tunekeeper"}


def _feedback(gateway: Gateway, conn: Connection, head: Head, body: bytes, facts: Facts, now: datetime) -> None:
    feedback.accept(gateway, conn, body, facts.caller.models)


def _metrics(gateway: Gateway, conn: Connection, head: Head, body: bytes, facts: Facts, now: datetime) -> None:
    Scrape(gateway, conn, facts.obeyed.table)


def _live(gateway: Gateway, conn: Connection, head: Head, body: bytes, facts: Facts, now: datetime) -> None:
    conn.reply(200, b'{"live":true}')


def _ready(gateway: Gateway, conn: Connection, head: Head, body: bytes, facts: Facts, now: datetime) -> None:
    why, waiting = gateway.ready, list[str]()
    try:
        table = gateway.obeyed().table
        waiting = loading(table)
        why = why or why_none_answers(table)
    except RouteUnavailable:
        why = "route_unavailable"
    said: dict[str, object] = {"ready": why is None}
    if why is not None:
        said["why"] = why
    if waiting:
        said["loading"] = waiting
    if gateway.recorder.level:
        said["disk"] = gateway.recorder.level.word
    note = refused(gateway.root)
    if note is not None:
        said["routing"] = note.why  # the routes of before stay in force: it is ready all the same
    conn.reply(200 if why is None else 503, msgspec.json.encode(said), b"" if why is None else b"retry-after: 1\r\n")


NOTHING = Facts(Obeyed(RouteTable(generation=0), {}), ANYONE)
"""For what is open to everybody."""
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
