"""What a key with limits may do now. Pure: its limits, what is counted of it and the time in; a refusal, or None, out.

Rates are a sliding minute of two buckets: what was counted this clock minute, and the last one's count times the share of it that
the sliding minute still covers. That needs two numbers per key and worker, adds up over workers, and lets nobody spend twice the
limit around the turn of a minute. Tokens and cost are known only when an answer ends; until then what it may use is held: the
prompt by its bytes, the answer by the request's own bound (`max_tokens`), else by what the key's answers were like. Requests
with a bound together never overshoot a limit; those without one may, by as much as their answers are longer than the key's
others, and so may a single one whose bound is larger than the limit.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Literal

import msgspec

from tunekeeper.core.nouns.serving import ApiKey
from tunekeeper.gateway.refusals import Refusal

MINUTE = 60.0
ROUNDING = 1e-9
NANO = 1_000_000_000
"""Costs are counted in whole thousand-millionths of a USD."""
NANO_A_MILLION = NANO / 1e6
"""And so many of these is a token that costs one USD a million."""


class Moment(msgspec.Struct, frozen=True, gc=False):
    """One moment, as counters are kept."""

    minute: int
    """Number of the clock minute, counted in real seconds."""
    share: float
    """How much of that minute has passed, 0 to 1."""
    utc: datetime
    """The workspace's own time: budgets follow its calendar."""
    day: int
    """Number of its day, which no month has."""
    month: int
    """Number of its month."""

    def period(self, kind: Literal["day", "month"]) -> int:
        """Number of the calendar period; a day never has a month's number."""
        return self.day if kind == "day" else self.month


class Used(msgspec.Struct, frozen=True, gc=False):
    """What all workers together counted of one key."""

    last_requests: int = 0
    """Requests admitted in the clock minute before."""
    requests: int = 0
    """Requests admitted in this one."""
    last_tokens: int = 0
    """Tokens of answers that ended in the clock minute before."""
    tokens: int = 0
    """Tokens of answers that ended in this one."""
    spent: int = 0
    """Cost of the key's budget period so far, thousand-millionths of a USD."""
    running: int = 0
    """Requests under way."""
    held_tokens: int = 0
    """Tokens that these may use."""
    held_spent: int = 0
    """What these may cost, in the unit of `spent`."""


class Held(msgspec.Struct, frozen=True, gc=False):
    """What one request may use."""

    tokens: int = 0
    """Tokens in and out, at most the limit."""
    spent: int = 0
    """Thousand-millionths of a USD, at most the budget."""
    bounded: bool = False
    """Whether that is a bound, not a guess."""


NOTHING = Held()


def limited(key: ApiKey) -> bool:
    """Whether anything bounds what `key` may use."""
    bounds = (key.requests_per_minute, key.tokens_per_minute, key.concurrent, key.budget_usd)
    return any(bound is not None for bound in bounds)


def moment(real: float, utc: datetime) -> Moment:
    """`real`: real seconds, the same for every worker of a machine. `utc`: the workspace's time."""
    minute, within = divmod(real, MINUTE)
    utc = utc if utc.tzinfo is UTC else utc.astimezone(UTC)
    return Moment(int(minute), within / MINUTE, utc, utc.toordinal(), utc.year * 12 + utc.month)


def starts(kind: Literal["day", "month"], utc: datetime) -> tuple[datetime, datetime]:
    """Where the budget period around `utc` begins, and where the next one does."""
    first = utc.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if kind == "day":
        return first, first + timedelta(days=1)
    first = first.replace(day=1)
    return first, (first + timedelta(days=32)).replace(day=1)


def held_for(key: ApiKey, prompt: int, answer: int, *, bounded: bool, price_in: float, price_out: float) -> Held:
    """What to hold for a request of `prompt` and `answer` tokens at these prices, USD per million tokens. `bounded`: whether they
    are bounds. What is larger than a whole limit is no bound: it would never be let through."""
    tokens, spent = prompt + answer, int((prompt * price_in + answer * price_out) * NANO_A_MILLION) + 1
    limit = key.tokens_per_minute
    if limit is not None and tokens > limit:
        tokens, bounded = limit, False
    if key.budget_usd is not None and spent > key.budget_usd * NANO:
        spent, bounded = round(key.budget_usd * NANO), False
    return Held(tokens, spent, bounded)


def overrun(key: ApiKey, used: Used, held: Held, now: Moment) -> Refusal | None:
    """Why `key` may not use what is to be `held` for a request besides all that is `used` and held by others. What has no bound
    is let through where nobody else is under way."""
    left = math.inf if key.budget_usd is None else round(key.budget_usd * NANO) - used.spent
    if used.held_spent + held.spent > left and (used.held_spent or held.bounded):
        seconds = 1.0 if held.spent <= left else (starts(key.budget_period, now.utc)[1] - now.utc).total_seconds()
        told = f"the key's budget of {key.budget_usd:g} USD a {key.budget_period} has too little left for this request"
        return Refusal("budget_exceeded", told, retry_after=_whole(seconds))
    limit = key.tokens_per_minute
    if limit is None or used.last_tokens * (1.0 - now.share) + used.tokens + used.held_tokens + held.tokens <= limit + ROUNDING:
        return None
    if not used.held_tokens and not held.bounded:
        return None
    seconds = wait(used.last_tokens, used.tokens + held.tokens - 1, now.share, limit)
    told = f"the key may use {limit} tokens a minute, and too few are left for this request"
    return Refusal("rate_limited", told, retry_after=_whole(seconds))


def wait(last: int, current: int, share: float, limit: int) -> float:
    """Seconds until one more fits under `limit` in a sliding minute, if nothing else comes; 0: now."""
    if last * (1.0 - share) + current + 1 <= limit + ROUNDING:
        return 0.0
    room = limit - 1 - current
    if room >= 0:
        return (1.0 - room / last - share) * MINUTE  # last > 0: else the first line had let it pass
    return (1.0 - share + 1.0 - (limit - 1) / current) * MINUTE


def refusal_of(key: ApiKey, used: Used, now: Moment, *, infers: bool) -> Refusal | None:
    """Why `key` may not ask now, or None. `infers`: whether an answer is asked of a model; feedback only counts as a request."""
    if infers and key.budget_usd is not None and used.spent >= round(key.budget_usd * NANO):
        seconds = (starts(key.budget_period, now.utc)[1] - now.utc).total_seconds()
        told = f"the key's budget of {key.budget_usd:g} USD a {key.budget_period} is spent"
        return Refusal("budget_exceeded", told, retry_after=_whole(seconds))
    longest, told = 0.0, ""
    if key.requests_per_minute is not None:
        seconds = wait(used.last_requests, used.requests, now.share, key.requests_per_minute)
        if seconds > longest:
            longest, told = seconds, f"the key may make {key.requests_per_minute} requests a minute"
    if infers and key.tokens_per_minute is not None:
        seconds = wait(used.last_tokens, used.tokens, now.share, key.tokens_per_minute)
        if seconds > longest:
            longest, told = seconds, f"the key may use {key.tokens_per_minute} tokens a minute"
    if infers and key.concurrent is not None and used.running >= key.concurrent and longest < 1.0:
        longest, told = 1.0, f"the key may have {key.concurrent} requests under way at once"
    return Refusal("rate_limited", told, retry_after=_whole(longest)) if told else None


def headers_of(key: ApiKey, used: Used, now: Moment) -> bytes:
    """The lines that OpenAI's API sends beside an answer: what the limits are, what is left, when all of it is back."""
    lines = ""
    if key.requests_per_minute is not None:
        lines = _lines("requests", key.requests_per_minute, used.last_requests, used.requests, now.share)
    if key.tokens_per_minute is not None:
        lines += _lines("tokens", key.tokens_per_minute, used.last_tokens, used.tokens, now.share)
    return lines.encode("ascii")


def _lines(what: str, limit: int, last: int, current: int, share: float) -> str:
    left = math.floor(limit - last * (1.0 - share) - current)
    until = (2.0 if current else 1.0 if last else share) - share
    return (
        f"x-ratelimit-limit-{what}: {limit}\r\nx-ratelimit-remaining-{what}: {left if left > 0 else 0}\r\n"
        f"x-ratelimit-reset-{what}: {math.ceil(until * MINUTE)}s\r\n"
    )


def _whole(seconds: float) -> str:
    """A Retry-After after which the same request is let through: whole seconds, at least one."""
    return str(max(1, math.ceil(seconds)))
