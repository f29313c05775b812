"""The limits of keys, kept in one worker: asked before a request is read, told when its answer ends.

Only keys with limits come here. Where their counters cannot be kept they are refused: a limit that nobody counts is none.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunekeeper.core.clock import Clock
from tunekeeper.core.errors import OurFault
from tunekeeper.core.nouns.serving import ApiKey
from tunekeeper.gateway.counters import Counters
from tunekeeper.gateway.quotas import (
    NANO,
    NOTHING,
    Held,
    Moment,
    Used,
    headers_of,
    held_for,
    limited,
    moment,
    overrun,
    refusal_of,
)
from tunekeeper.gateway.refusals import Refusal
from tunekeeper.store import published

if TYPE_CHECKING:
    from tunekeeper.gateway.streaming import Stream
    from tunekeeper.gateway.tables import Target
    from tunekeeper.gateway.wire import Call, Fields

SAME = 0.005
"""Seconds for which a moment is taken to be the same."""
BYTES_A_TOKEN = 3
"""Bytes of a body for each token of its prompt: text has four or more, and the JSON around it."""
USUAL_ANSWER = 256.0
"""Tokens of an answer whose bound is not known, before a key has had any."""
MOST_ANSWER = 1_000_000
NOT_USED = Used()
DEAD_LOOK = 1.0
"""Real seconds between two looks for dead workers' unfinished requests."""


class Meter:
    """One worker's hand on the counters that all workers share."""

    def __init__(self, root: Path, name: str, clock: Clock) -> None:
        """`name`: the worker's, whose lock it holds already. The file is opened when the first key with limits is used."""
        self.keys: dict[str, ApiKey] = {}
        self.rate_limited = 0
        self.budget_exceeded = 0
        self._root = root
        self._name = name
        self._clock = clock
        self._counters: Counters | None = None
        self._under_way: dict[str, tuple[ApiKey, Held]] = {}
        self._answers: dict[str, float] = {}
        """Key → tokens of its answers, a running mean."""
        self._taken: ApiKey | None = None
        self._used = NOT_USED
        self._looked = self._real = float("-inf")
        self._moment = moment(0.0, clock.utc())

    def obey(self, keys: Iterable[ApiKey]) -> None:
        """These are the published keys now."""
        self.keys = {key.id: key for key in keys if limited(key)}

    def admit(self, key_id: str, *, infers: bool) -> tuple[Refusal, bytes] | None:
        """Count one request of a key with limits, or say why it may not be made, with the header lines that tell more.

        `infers`: an answer is asked of a model. It counts as under way until `settle` or, once it has `begun`, until `ended`.
        """
        key, now = self.keys[key_id], self._now()
        try:
            refusal, used = self._take(self._open(), key, now, infers=infers)
            if refusal is None:
                self._taken, self._used = (key, used) if infers else (None, NOT_USED)
                return None
        except (OSError, OurFault) as error:
            why = error.message if isinstance(error, OurFault) else str(error.strerror)
            return _uncounted(why), b""
        if refusal.code == "budget_exceeded":
            self.budget_exceeded += 1
        else:
            self.rate_limited += 1
        return refusal, headers_of(key, used, now)

    def _take(self, counters: Counters, key: ApiKey, now: Moment, *, infers: bool) -> tuple[Refusal | None, Used]:
        def judge(used: Used) -> Refusal | None:
            return refusal_of(key, used, now, infers=infers)

        period = now.period(key.budget_period)
        refusal, used = counters.take(key.id, period, now, judge, runs=infers)
        full = refusal is not None and key.concurrent is not None and used.running >= key.concurrent
        if full and self._clock.real() - self._looked >= DEAD_LOOK:
            self._looked = self._clock.real()
            counters.forget_dead(key.id, now)
            return counters.take(key.id, period, now, judge, runs=infers)
        return refusal, used

    def begun(self, record: dict[str, Any], call: Call, size: int, target: Target) -> tuple[Refusal, bytes] | None:
        """The admitted request is on its way, and `ended` follows; or why not, with the header lines that tell more: it may use
        more than is left. `size`: bytes of its body; `target`: whose prompt and prices count."""
        key = self._taken
        if key is None or self._counters is None:
            return None
        held = NOTHING
        if key.tokens_per_minute is not None or key.budget_usd is not None:
            held, now = self._held(key, call, size, target), self._moment  # that of `admit`, a moment ago
            period = now.period(key.budget_period)
            try:
                refusal, used = self._counters.hold(
                    key.id, period, now, held, self._used, lambda used: overrun(key, used, held, now)
                )
            except OurFault as error:
                return _uncounted(error.message), b""
            if refusal is not None:
                self._counters.refused(key.id, now)
                self.budget_exceeded += refusal.code == "budget_exceeded"
                self.rate_limited += refusal.code == "rate_limited"
                return refusal, headers_of(key, used, now)
        self._taken = None
        self._under_way[record["request_id"]] = key, held
        return None

    def _held(self, key: ApiKey, call: Call, size: int, target: Target) -> Held:
        prompt = (size + sum(map(len, target.splice.own))) // BYTES_A_TOKEN + 1
        asked = 0 if call.endpoint == "embeddings" else bound_of(call.fields)
        answer = round(self._answers.get(key.id, USUAL_ANSWER)) if asked is None else asked
        price_in, price_out = target.price_in or 0.0, target.price_out or 0.0
        return held_for(key, prompt, answer, bounded=asked is not None, price_in=price_in, price_out=price_out)

    def settle(self) -> None:
        """Whatever `admit` let through and never began is not under way."""
        key, self._taken = self._taken, None
        if key is not None and self._counters is not None:
            self._counters.stopped(key.id, self._moment)  # that of `admit`, a moment ago

    def ended(self, record: dict[str, Any], stream: Stream | None, target: Target) -> None:
        """A request's record is complete: charge what it used, once however often this is called.

        Of a stream that ended before its model server counted, the pieces that went by are charged (one token each is the least
        it can be), so that leaving early is not free. `target`: whose price counts for those.
        """
        if not self._under_way:
            return
        key, held = self._under_way.pop(record["request_id"], (None, NOTHING))
        if key is None or self._counters is None:
            return
        tokens = record.get("prompt_tokens", 0) + record.get("completion_tokens", 0)
        spent = record.get("cost_usd")
        if "completion_tokens" not in record and stream is not None:
            pieces = sum(len(c.parts) + len(c.reasoning) + len(c.thoughts) for c in stream.fold.choices.values())
            tokens += pieces
            spent = pieces * (target.price_out or 0.0) / 1e6 if spent is None else spent
        if held is not NOTHING and record["status"] == "ok":
            mean = self._answers.get(key.id, USUAL_ANSWER)
            self._answers[key.id] = mean + (record.get("completion_tokens", mean) - mean) / 8
        now = self._now()
        nano = max(0, round((spent or 0.0) * NANO))
        self._counters.ended(key.id, now.period(key.budget_period), now, tokens=max(0, tokens), spent=nano, held=held)

    def headers(self, key_id: str | None) -> bytes:
        """What an answer says of its key's limits; nothing of a key without."""
        key = self.keys.get(key_id or "")
        if key is None or self._counters is None:
            return b""
        now = self._now()
        return headers_of(key, self._counters.used(key.id, now.period(key.budget_period), now), now)

    def close(self) -> None:
        """Unmap the counters; they stay."""
        if self._counters is not None:
            self._counters.close()
            self._counters = None

    def _now(self) -> Moment:
        """This moment, to a few milliseconds: a request asks for it four times."""
        real = self._clock.real()
        if not 0.0 <= real - self._real < SAME:
            self._real, self._moment = real, moment(real, self._clock.utc())
        return self._moment

    def _open(self) -> Counters:
        if self._counters is None:
            self._counters = Counters(self._root, self._name, lambda: published.barrier(self._root, 0, 0.0)[0])
        return self._counters


def _uncounted(why: str) -> Refusal:
    return Refusal("limits_unavailable", f"the limits of this key cannot be kept: {why}", retry_after="1")


def bound_of(fields: Fields) -> int | None:
    """Most tokens of all answers that a request asks for; None where it sets no bound."""
    found = fields.get("max_completion_tokens") or fields.get("max_tokens")
    text = bytes(found) if found is not None else b""
    if not text.isdigit() or len(text) > 9:
        return None
    count = bytes(fields.get("n") or b"1")
    return min(MOST_ANSWER, int(text) * (int(count) if count.isdigit() and len(count) < 4 else 1))
