"""Answers that their own model server doubts: token probabilities under the model's floor (off by default; costs nothing then).

Log-probabilities are asked for where the client did not, and taken out again. A plain answer is judged whole, a stream by its
first tokens, before the client sees any of it. What is under the floor is kept while a fallback is asked: better than an error.
A server that gives no log-probabilities cannot be judged; its answer goes on. One that refuses a request for their sake is
asked again without, and for a while without at once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import msgspec

from tunekeeper.gateway.sse import DONE, Events
from tunekeeper.gateway.streaming import Stream
from tunekeeper.gateway.tables import Target
from tunekeeper.gateway.upstream import Request
from tunekeeper.gateway.wire import TRUE, Answered, Call, asks_probabilities

FIRST_TOKENS = 8
"""Tokens by which a stream is judged."""
_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_CHOICES = msgspec.json.Decoder(list[dict[str, msgspec.Raw]]).decode
_ENCODE = msgspec.json.Encoder().encode


def doubtful(confidence: float | None, floor: float) -> bool:
    """Whether an answer is to be asked for elsewhere. `confidence`: mean token probability, None where it is not known."""
    return confidence is not None and confidence < floor


def probing(call: Call) -> tuple[Call, bool] | None:
    """The call that also asks for log-probabilities, and whether the client did not; None where an answer has none: embeddings,
    and streams with tools, for which llama.cpp refuses them."""
    if call.endpoint == "embeddings":
        return None
    if asks_probabilities(call):
        return call, False
    if call.stream and ("tools" in call.fields or "functions" in call.fields):
        return None
    # Completions take a number of alternatives; with 0 some servers give nothing at all.
    wanted = TRUE if call.endpoint == "chat.completions" else msgspec.Raw(b"1")
    return replace(call, fields={**call.fields, "logprobs": wanted}), True


def without_probabilities(data: bytes) -> bytes:
    """A plain answer or a chunk without its choices' `logprobs`; every other field keeps its own bytes."""
    if b'"logprobs"' not in data:
        return data
    try:
        fields = _FIELDS(data)
        choices = _CHOICES(fields["choices"])
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError):
        return data
    kept = [{name: value for name, value in choice.items() if name != "logprobs"} for choice in choices]
    return _ENCODE({**fields, "choices": msgspec.Raw(_ENCODE(kept))})


def _events_without(data: bytes) -> bytes:
    events = Events()
    out: list[bytes] = []
    for event in events.feed(data):
        clean = without_probabilities(event.data) if event.data is not None and event.data != DONE else event.data
        out.append(event.raw if clean is None or clean is event.data else b"data: " + clean + b"\n\n")
    return b"".join(out) + events.rest


class Watch:
    """One attempt that is judged before the client sees any of it."""

    __slots__ = ("_held", "_open", "confidence", "floor", "strips")

    def __init__(self, floor: float, *, strips: bool) -> None:
        """`floor`: as `Route.confidence_floor`. `strips`: the client did not ask for log-probabilities."""
        self.floor = floor
        self.strips = strips
        self.confidence: float | None = None
        self._held: list[bytes] = []
        self._open = False

    def clean(self, body: bytes) -> bytes:
        """A plain answer as the client asked for it."""
        return without_probabilities(body) if self.strips else body

    def clean_events(self, data: bytes) -> bytes:
        """Whole events of a stream as the client asked for them."""
        return _events_without(data) if self.strips else data

    def take(self, forward: bytes, stream: Stream) -> bytes | None:
        """What may go to the client now of whole events for it; None: the first tokens are in, and they are under the floor."""
        self.hold(forward)
        if not self._open:
            if not (stream.done or stream.fold.finished or stream.fold.weighable(FIRST_TOKENS)):
                return b""
            self.confidence = stream.fold.confidence(FIRST_TOKENS)
            if doubtful(self.confidence, self.floor):
                return None
        return self.release()

    def hold(self, forward: bytes) -> None:
        """Keep what is for the client until `release`."""
        if forward:
            self._held.append(self.clean_events(forward))

    def release(self) -> bytes:
        """What was held back; from now on nothing is judged any more."""
        self._open = True
        held, self._held = self._held, []
        return b"".join(held)


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """A plain answer under the floor, in case nobody answers better."""

    target: Target
    """Who gave it."""
    variant: str | None
    """As what."""
    confidence: float
    """Mean token probability, 0 to 1."""
    answer: Answered
    """Its few fields."""
    body: bytes
    """As the client asked for it."""

    def usable(self, *, in_time: bool) -> bool:
        """It is whole, so it can be given however late it is."""
        return True

    def drop(self) -> None:
        """Nothing runs."""


class KeptStream:
    """A stream under the floor that runs on in the background, in case nobody answers better; the sink of its own request."""

    __slots__ = ("_lost", "confidence", "request", "stream", "target", "variant", "watch")

    def __init__(self, target: Target, variant: str | None, request: Request | None, stream: Stream, watch: Watch) -> None:
        """`watch`: one that has judged already."""
        self.target = target
        self.variant = variant
        self.confidence = watch.confidence or 0.0
        self.request = request
        self.stream = stream
        self.watch = watch
        self._lost = False
        if request is not None:
            request.sink = self

    @property
    def whole(self) -> bool:
        """Whether the model server has said everything."""
        return self.stream.done or (self.request is None and self.stream.fold.finished)

    def usable(self, *, in_time: bool) -> bool:
        """Whether it can still be given; `in_time`: whether the request may go on, for a stream that is not whole yet."""
        return self.whole or (in_time and not self._lost)

    def drop(self) -> None:
        """Something better was said: the model server need not go on."""
        request, self.request = self.request, None
        if request is not None:
            request.abort()

    def upstream_sent(self) -> None:
        """It was sent long ago."""

    def upstream_head(self, status: int, headers: dict[bytes, bytes]) -> None:
        """Its head was read long ago."""

    def upstream_body(self, data: bytes) -> None:
        """A piece of the answer."""
        step = self.stream.feed(data)
        self.watch.hold(step.forward)
        if step.failed is not None:
            self._lost = True
            self.drop()

    def upstream_end(self) -> None:
        """The model server has said everything."""
        self.request = None
        self._lost = not self.whole

    def upstream_failed(self, code: str, message: str) -> None:
        """The rest will not come."""
        self.request = None
        self._lost = True


Kept = KeptAnswer | KeptStream


def better(old: Kept | None, new: Kept) -> Kept:
    """The one its server doubts less; the other is dropped."""
    if old is None:
        return new
    winner, loser = (old, new) if old.confidence >= new.confidence else (new, old)
    loser.drop()
    return winner
