"""POST /v1/feedback: what was later said about an answer.

With our request id (its keyed check says that we made it) the statement is appended and accepted unseen, and joined later. With
the `id` of the answer's body the keeper is asked which request that was: one 202, several 409, none 404, keeper away 503. Where
models seal with different keys, or the caller's key is for some models only, it is asked as well whose the request is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

import msgspec

from tunekeeper.core.errors import OutsideError
from tunekeeper.core.ids import is_request_id, new_id
from tunekeeper.core.nouns.serving import FeedbackKind
from tunekeeper.gateway.lookup import KeeperAway, look_up
from tunekeeper.gateway.refusals import Refusal, RefusedError
from tunekeeper.gateway.server import Connection
from tunekeeper.gateway.wire import parse_fields
from tunekeeper.store.log.lookups import Answer, Question

if TYPE_CHECKING:
    from tunekeeper.gateway.worker import Gateway

KINDS: tuple[str, ...] = get_args(FeedbackKind)
KNOWN = frozenset(("request_id", "id", "kind", "value", "by", "model", "metadata"))
MAX_TEXT = 65_536
UNKNOWN = Refusal("request_not_found", "no answer of the last 30 days has this id", "id")


@dataclass(frozen=True, slots=True)
class Statement:
    """One parsed statement."""

    request_id: str | None
    """Our request id, or None where `body_id` names the answer."""
    body_id: str | None
    """The `id` of the answer's body."""
    fields: dict[str, Any]
    """kind, value and what else Feedback has, where given."""


def parse(body: bytes, key: bytes, depth: int) -> Statement:
    """A feedback body. `key`: the key of request ids. Raises RefusedError naming the field."""
    raw = parse_fields(body, depth)
    unknown = sorted(set(raw) - KNOWN)
    if unknown:
        raise _wrong(unknown[0][:64], f"is not known; known: {', '.join(sorted(KNOWN))}")
    try:
        given = {name: msgspec.json.decode(value) for name, value in raw.items()}
    except (msgspec.DecodeError, RecursionError) as error:
        raise RefusedError(Refusal("invalid_json", "the body is not JSON")) from error
    kind = given.get("kind")
    if kind not in KINDS:
        raise _wrong("kind", f"must be one of {', '.join(KINDS)}")
    fields: dict[str, Any] = {"kind": kind, "value": _value(kind, given.get("value"))}
    for name, field in (("by", "by"), ("model", "model_id")):
        if given.get(name) is not None:
            fields[field] = _text(name, given[name], 256)
    if given.get("metadata") is not None:
        if not isinstance(given["metadata"], dict):
            raise _wrong("metadata", "must be an object")
        fields["metadata"] = given["metadata"]
    return _addressed(given, fields, key)


def _addressed(given: dict[str, Any], fields: dict[str, Any], key: bytes) -> Statement:
    request_id, body_id = given.get("request_id"), given.get("id")
    if isinstance(body_id, str) and request_id is None and is_request_id(body_id, key):
        request_id, body_id = body_id, None
    if request_id is not None:
        if not isinstance(request_id, str) or not is_request_id(request_id, key):
            raise RefusedError(Refusal("request_not_found", "field request_id is not an id this gateway made", "request_id"))
        return Statement(request_id, None, fields)
    if body_id is None:
        raise _wrong("request_id", "must name the answer (or id, its body's id)")
    return Statement(None, _text("id", body_id, 256), fields)


def _value(kind: str, value: Any) -> Any:
    """The value as Feedback keeps it, checked against its kind."""
    if kind == "thumb":
        words = {"up": "up", "down": "down", True: "up", False: "down", -1: "down"}
        if isinstance(value, str | int) and value in words:
            return words[value]
        raise _wrong("value", "of a thumb must be up or down")
    if kind in ("edit", "correction", "label"):
        return _text("value", value, MAX_TEXT)
    if kind == "escalation":
        if value in (None, True):
            return True
        raise _wrong("value", "of an escalation must be true")
    if kind == "outcome":
        if value in ("success", "failure"):
            return value
        raise _wrong("value", "of an outcome must be success or failure")
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1:  # nan is not
        return value
    raise _wrong("value", "of a score must be a number from 0 to 1")


def _text(name: str, value: Any, most: int) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= most:
        raise _wrong(name, f"must be a text of 1 to {most} characters")
    return value


def _wrong(name: str, what: str) -> RefusedError:
    return RefusedError(Refusal("invalid_value", f"field {name} {what}", name))


class Reply:
    """One statement under way: looked up where that is needed, appended, then accepted."""

    __slots__ = ("_conn", "_gateway", "_gone", "_id", "_models", "_statement")

    def __init__(self, gateway: Gateway, conn: Connection, statement: Statement, models: tuple[str, ...] = ()) -> None:
        """`models`: those of which the caller may speak; none: all."""
        self._gateway = gateway
        self._models = models
        self._conn = conn
        self._statement = statement
        self._gone = False
        self._id = ""

    def begin(self) -> None:
        """Append it, or ask the keeper first."""
        self._conn.running = self
        if self._statement.request_id is not None:
            self._append(self._statement.request_id)
            return
        asked = Question(body_id=self._statement.body_id)
        look_up(self._gateway.root, asked, self._gateway.loop, self._found)

    def _found(self, answer: Answer | KeeperAway) -> None:
        if self._gone:
            return
        if isinstance(answer, KeeperAway):
            self._conn.refuse(
                Refusal("keeper_unavailable", "ids of answers cannot be looked up now: send request_id", retry_after="5")
            )
            return
        if not answer.request_ids:
            self._conn.refuse(UNKNOWN)
            return
        if len(answer.request_ids) > 1:
            self._conn.refuse(Refusal("ambiguous_id", "several answers have this id: send request_id", "id"))
            return
        self._append(answer.request_ids[0])

    def _append(self, request_id: str) -> None:
        gateway = self._gateway
        self._statement = Statement(request_id, None, self._statement.fields)
        if self._models or _keys_differ(gateway):
            look_up(gateway.root, Question(request_id=request_id), gateway.loop, self._owned)
            return
        self._write(None)

    def _owned(self, answer: Answer | KeeperAway) -> None:
        model = answer.model_id if isinstance(answer, Answer) else None
        if model is not None and self._models and model not in self._models:
            if not self._gone:
                self._conn.refuse(UNKNOWN)  # another customer's: for this caller it does not exist
            return
        self._write(model)

    def _write(self, model: str | None) -> None:
        gateway, statement = self._gateway, self._statement
        at = gateway.clock.utc()
        self._id = new_id("fb", at)
        kept = _kept(gateway, statement.fields, model)
        fields = {"id": self._id, "request_id": statement.request_id, "timestamp": at, **kept}
        gateway.recorder.feedback(fields, self, power=gateway.options.durability == "power")

    def logged(self, error: OutsideError | None) -> None:
        """Accepted, or the disk is full."""
        if error is None:
            self._gateway.metrics.count_feedback(self._statement.fields["kind"])
        if self._gone:
            return
        if error is not None:
            self._conn.refuse(Refusal("log_unavailable", "the gateway cannot write its log", retry_after="1"))
            return
        self._conn.reply(
            202, msgspec.json.encode({"id": self._id, "request_id": self._statement.request_id, "status": "accepted"})
        )

    def client_gone(self) -> None:
        """The client did not wait; what it said counts all the same once appended."""
        self._gone = True

    def client_slow(self, slow: bool) -> None:
        """The answer is small: nothing to hold back."""


def _keys_differ(gateway: Gateway) -> bool:
    """Whether it depends on the model what seals a statement: some seal and others do not, or with another key."""
    seals = gateway.options.seals
    return bool(seals) and len({seals.get(name) for name in gateway.obeyed().table.routes}) > 1


def _kept(gateway: Gateway, fields: dict[str, Any], model: str | None) -> dict[str, Any]:
    """What may be written of a statement: without personal data, and with a box of it where its model seals.

    `model`: the one that was asked, where the log says so. Else it belongs to the one that it names, or to any where all of them
    seal with one key. Else no key is sure to be its owner's: what is taken out is not kept at all.
    """
    if gateway.options.seals:
        alike = "" if _keys_differ(gateway) else next(iter(gateway.obeyed().table.routes), "")
        sealed = gateway.bodies.sealed_fields(fields, model or fields.get("model_id") or alike)
        if sealed is not None:
            return sealed
    return gateway.clean(fields)


def accept(gateway: Gateway, conn: Connection, body: bytes, models: tuple[str, ...]) -> None:
    """Take one statement of a caller who may speak of `models`; none: of all. Raises RefusedError."""
    statement = parse(body, gateway.request_key, gateway.options.limits.depth)
    if models and statement.fields.get("model_id", models[0]) not in models:
        raise RefusedError(Refusal("model_forbidden", "the key may not speak of this model", "model"))
    Reply(gateway, conn, statement, models).begin()
