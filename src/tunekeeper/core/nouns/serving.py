"""Nouns of the request path: what was asked and answered, by whom, and where traffic goes now."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

Variant = Literal["champion", "challenger", "previous", "shadow", "fallback"]
Purpose = Literal["user", "exam", "shadow", "replay", "probe", "drill"]
Ending = Literal["ok", "error", "truncated", "cancelled", "interrupted"]
FeedbackKind = Literal["thumb", "edit", "correction", "label", "escalation", "outcome", "score"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempt:
    """One try of one upstream for a request."""

    slot: str
    """Name of the slot that was asked."""
    error: str | None = None
    """Stable code of what went wrong; None when this attempt answered."""
    ms: float = 0.0
    """Milliseconds until it answered or failed, at least 0."""
    confidence: float | None = None
    """With `low_confidence`: mean token probability, 0 to 1, that was under the floor."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Inference:
    """One answered request: what was asked and said, by which version and variant, tokens, latency, cost, ending, segments."""

    request_id: str
    """Our id, made by the gateway; the key of the record."""
    timestamp: datetime
    """When the request was accepted, UTC, in workspace time."""
    model_id: str
    """The model (task) that was asked for, e.g. `support-desk`."""
    version: str | None = None
    """Name of the version that answered; None when nothing answered."""
    variant: Variant | None = None
    """The role that version played at that moment."""
    endpoint: str = "chat.completions"
    """`chat.completions`, `completions` or `embeddings`."""
    slot_assigned: str | None = None
    """The slot that the route chose."""
    slot: str | None = None
    """The slot that answered."""
    attempts: tuple[Attempt, ...] = ()
    """Every try, in order, with its error."""
    route_version: int | None = None
    """Generation of the route table that chose."""
    unit_kind: str | None = None
    """What the assignment was keyed on: unit, user, session, tenant, key or request."""
    unit: str | None = None
    """Hex digest (xxh3-64) of the unit, so that one outcome per unit can be counted without storing who it was."""
    bucket: int | None = None
    """Assignment bucket, 0 to 9999."""
    weight: int | None = None
    """Ten-thousandths of traffic that the assigned slot had at that moment."""
    rollout: str | None = None
    """Id of the rollout or experiment that was active, if any."""
    purpose: Purpose = "user"
    """Why the request was made; only `user` counts as traffic."""
    parent_id: str | None = None
    """Request id of the user's request that this one copies (shadow, replay)."""
    client_request_id: str | None = None
    """The client's own `x-request-id`, echoed and never used as a key."""
    key_id: str | None = None
    """Id of the API key that was used."""
    stream: bool = False
    """Whether the client asked for server-sent events."""
    status: Ending = "ok"
    """How it ended."""
    http_status: int | None = None
    """Status the client was given."""
    error: str | None = None
    """Stable error code when status is not ok."""
    finish_reason: str | None = None
    """What upstream said; never invented."""
    body_id: str | None = None
    """`id` field of the response body."""
    prompt_tokens: int | None = None
    """The server's count, else filled in later with the model's own tokenizer."""
    completion_tokens: int | None = None
    """As `prompt_tokens`, of the answer."""
    latency_ms: float | None = None
    """Real milliseconds from accept to last byte."""
    ttft_ms: float | None = None
    """Real milliseconds from accept to the first byte of the answer."""
    cost_usd: float | None = None
    """Tokens times the slot's price; None when no price is set."""
    confidence: float | None = None
    """Mean token probability, 0 to 1, where upstream gives log-probabilities."""
    quality_score: float | None = None
    """Joined from scores at query time, 0 to 1."""
    drift_flags: tuple[str, ...] = ()
    """Names of drift signals that hold on this request's window, joined at query time."""
    segments: dict[str, str] = field(default_factory=dict)
    """Segment name → value, from headers `x-tunekeeper-segment-*` and body metadata."""
    metadata: dict[str, Any] = field(default_factory=dict)
    """The body's own `metadata`, as sent."""
    request: Any = None
    """The request body in full OpenAI shape, redacted by the configured rules; None when bodies are off."""
    response: Any = None
    """The response body in full OpenAI shape (a stream is folded into one), redacted as well."""
    bodies_off: str | None = None
    """Why bodies that would have been kept are not here: `disk` while the data directory was short of room."""

    @property
    def question(self) -> str:
        """The text of the user's messages, in order, one per line."""
        messages = self.request.get("messages") if isinstance(self.request, dict) else None
        found = [_text(m.get("content")) for m in messages or () if isinstance(m, dict) and m.get("role") == "user"]
        return "\n".join(text for text in found if text is not None)

    @property
    def answer(self) -> str | None:
        """The text of the first choice; None when there is none."""
        choices = self.response.get("choices") if isinstance(self.response, dict) else None
        first = choices[0] if choices and isinstance(choices[0], dict) else {}
        return _text(first["message"].get("content") if isinstance(first.get("message"), dict) else first.get("text"))


def _text(content: Any) -> str | None:
    """A text as it is, of parts those that are text, one per line; None where there is none."""
    parts = [part.get("text") for part in content if isinstance(part, dict)] if isinstance(content, list) else [content]
    return "\n".join(part for part in parts if isinstance(part, str)) if any(isinstance(part, str) for part in parts) else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Feedback:
    """What was later said about an inference: thumb, edit, correction, label, escalation, task outcome, score; by whom."""

    id: str
    """Our id of the feedback, `fb_…`."""
    request_id: str
    """The inference it speaks of."""
    timestamp: datetime
    """When it arrived, UTC, in workspace time."""
    kind: FeedbackKind
    """What sort of statement it is."""
    value: Any = None
    """thumb: "up", "down"; edit, correction: better text; label; escalation: true; outcome: "success", "failure"; score: 0–1."""
    by: str | None = None
    """Who said it."""
    model_id: str | None = None
    """The model, where the sender named it."""
    metadata: dict[str, Any] = field(default_factory=dict)
    """Anything else the sender gave."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Slot:
    """A loaded artifact that can answer. Self-sufficient: a gateway needs nothing else to call it."""

    id: str
    """Name of the slot, unique in the workspace, e.g. `support-desk-blue`."""
    model: str
    """The model it serves."""
    version: str | None = None
    """Name of the version that is loaded."""
    engine: str = "openai"
    """Name of the engine: llamacpp, ollama, vllm, openai, fake."""
    endpoint: str | None = None
    """Base address up to and with `/v1`; None while a supervised server has not reported its port."""
    upstream_model: str | None = None
    """Model name to send upstream; None sends the version name."""
    artifact: str | None = None
    """Id of the artifact."""
    digest: str | None = None
    """Digest of the file that is loaded, checked before it is."""
    files: dict[str, str] = field(default_factory=dict)
    """What a supervised engine loads, by paths in the workspace: `model` (GGUF) and, where adapters are apart, `lora`."""
    adapter: int | None = None
    """Index of the adapter to choose per request (llama.cpp), None for a merged file."""
    system: str | None = None
    """System prompt that takes the place of the request's own (prompted baselines)."""
    messages: tuple[dict[str, Any], ...] = ()
    """Few-shot messages put after the system prompt."""
    api_key_env: str | None = None
    """Name of the environment variable that holds the upstream's key."""
    price_in: float | None = None
    """USD per million prompt tokens."""
    price_out: float | None = None
    """USD per million completion tokens."""
    price_hour: float | None = None
    """USD an hour of the server, shared among the `parallel` answers that it gives at once."""
    options: dict[str, Any] = field(default_factory=dict)
    """Engine options: `parallel` slots, `context` tokens, `threads`."""
    wanted: Literal["loaded", "unloaded"] = "loaded"
    """What rollout and deployment ask for."""
    observed: Literal["absent", "starting", "ready", "failed", "stopped"] = "absent"
    """What the supervisor saw last."""
    reason: str | None = None
    """Why it failed, in one line."""
    pid: int | None = None
    """Process id of a supervised server."""
    gated: bool = False
    """Whether the version passed its gate (or an override names why not)."""
    created: datetime | None = None
    """When the slot was first saved."""
    rev: int = 0
    """Number of saves."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """One slot's part of a model's traffic: the buckets it answers."""

    slot: str
    """Slot name."""
    variant: Variant
    """Role of that slot on this route."""
    ranges: tuple[tuple[int, int], ...] = ()
    """Half-open ranges of buckets out of 10,000, in ascending order."""

    @property
    def weight(self) -> int:
        """Ten-thousandths of traffic."""
        return sum(high - low for low, high in self.ranges)


@dataclass(frozen=True, kw_only=True, slots=True)
class FallbackEntry:
    """Where a request goes when the chosen upstream fails before its first byte."""

    slot: str
    """Slot name."""
    system: str | None = None
    """System prompt of this entry, in place of the slot's own and of the request's."""
    messages: tuple[dict[str, Any], ...] = ()
    """Few-shot messages of this entry."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Timeouts:
    """Deadlines of one request, in real seconds."""

    connect: float = 2.0
    """To open the upstream connection."""
    first_token: float = 30.0
    """To the first byte of the answer's body."""
    between_tokens: float = 30.0
    """Between two pieces of a stream."""
    total: float = 600.0
    """The whole request."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Route:
    """How a model's traffic is shared among slots now. Every change is a new row; the newest one counts."""

    model: str
    """The model."""
    generation: int = 0
    """Workspace-wide sequence number of route and key changes; 0 before the first commit."""
    salt: str = ""
    """Salt of the assignment hash: an experiment's id, else new per rollout; changed only while one slot has everything."""
    shares: tuple[Share, ...] = ()
    """Who answers which buckets; together exactly 10,000."""
    champion: str | None = None
    """Slot that answers users by default."""
    previous: str | None = None
    """Slot to go back to."""
    challenger: str | None = None
    """Slot under rollout."""
    shadow: str | None = None
    """Slot that gets copies."""
    shadow_share: int = 0
    """Ten-thousandths of requests that are copied."""
    fallback: tuple[FallbackEntry, ...] = ()
    """Ordered fallbacks."""
    assign_by: str = "user"
    """user, session, tenant, key or request."""
    timeouts: Timeouts = Timeouts()
    """Deadlines."""
    confidence_floor: float | None = None
    """Mean token probability, above 0 to 1, under which an answer is asked for at the next fallback; None: never."""
    durability: Literal["process", "power"] | None = None
    """Durability for this model; None takes the gateway's."""
    seed: str | None = None
    """Digest of the configuration file's `route` block that was applied last; carried along, so that the block counts once."""
    static: str | None = None
    """Path of the routing file that alone decides this route; None for a committed one."""
    withdrawn: bool = False
    """Whether the file of `serve` that declared the model names it no more: nobody is answered by it until a file does again."""
    rollout: str | None = None
    """Rollout or experiment that set it."""
    by: str = ""
    """Who changed it."""
    reason: str = ""
    """Why."""
    created: datetime | None = None
    """When."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Promotion:
    """One line of the append-only history of what was live when."""

    id: str
    """`prm_…`."""
    model: str
    """The model."""
    generation: int
    """Generation of the route that made it so."""
    champion: str
    """Slot that became champion."""
    version: str | None
    """Version it held."""
    previous: str | None
    """Slot that was champion before."""
    kind: Literal["promotion", "rollback"] = "promotion"
    """A rollback marks the slot it left as gone back from."""
    left: str | None = None
    """For a rollback: the slot that was left."""
    created: datetime | None = None
    """When."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ApiKey:
    """Who may call the gateway, for what, how much; stored hashed."""

    id: str
    """`key_…`."""
    hash: str
    """HMAC-SHA-256 of the key under the workspace's pepper, hex."""
    name: str = ""
    """What a person calls it."""
    scopes: tuple[str, ...] = ("infer",)
    """infer, feedback, metrics, admin."""
    models: tuple[str, ...] = ()
    """Models it may call; empty: all."""
    expires: datetime | None = None
    """When it ends; None: never."""
    revoked: bool = False
    """Whether it was withdrawn."""
    requests_per_minute: int | None = None
    """Most requests in a sliding minute; None: any number."""
    tokens_per_minute: int | None = None
    """Most tokens, in and out, in a sliding minute."""
    concurrent: int | None = None
    """Most requests under way at once."""
    budget_usd: float | None = None
    """Most USD of answers in one `budget_period`."""
    budget_period: Literal["day", "month"] = "month"
    """Calendar day or month, UTC."""
    created: datetime | None = None
    """When."""
    rev: int = 0
    """Number of saves."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RouteTable:
    """What is published to gateway workers: every route, slot and key of one generation."""

    generation: int
    """Sequence number; grows by one with each change."""
    routes: dict[str, Route] = field(default_factory=dict)
    """Model → route."""
    slots: dict[str, Slot] = field(default_factory=dict)
    """Slot name → slot."""
    keys: tuple[ApiKey, ...] = ()
    """Live keys."""
    asks_key: bool = False
    """Whether a key was ever made, live or not: from then on every request needs one."""
