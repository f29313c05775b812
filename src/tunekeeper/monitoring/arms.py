"""Every metric of a window by variant, or by whatever else the log can be grouped by, each with its n and interval (AB-02).

What the log counts comes from one question over all requests. Formats are checked on a sample, as bodies cost most to read;
accuracy comes from the reviews of answers that were drawn by chance.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tunekeeper.core.nouns.data import ReviewItem
from tunekeeper.core.nouns.serving import Inference
from tunekeeper.monitoring.measure import Number, accuracy, is_well_formed
from tunekeeper.stats.intervals import wilson
from tunekeeper.store.ledgers.reviews import find_reviews
from tunekeeper.store.log.arms import ArmRow
from tunekeeper.workspace import Workspace

SAMPLE = 2_000
"""Requests whose answers' format is checked."""
BATCH = 500
QUANTILES = ("p50", "p95", "p99")
Key = tuple[str | None, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Arm:
    """One group's metrics."""

    key: dict[str, str | None]
    """What was grouped by → this group's value."""
    requests: int
    """Requests of users in the window."""
    numbers: tuple[Number, ...]
    """Every metric that was measured: shares and means with 95 % intervals."""
    codes: dict[str, int]
    """Error code → requests."""

    def number(self, name: str) -> Number | None:
        """One metric; None where it was not measured."""
        return next((each for each in self.numbers if each.name == name), None)


def arms(
    ws: Workspace,
    model: str,
    format_spec: Mapping[str, Any],
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    by: tuple[str, ...] = ("variant",),
    sample: int = SAMPLE,
    seed: int = 0,
) -> list[Arm]:
    """The metrics of `model`'s users' requests accepted in `[since, until)`, one arm per group, in the order of the groups.

    `by`: as of `Log.window`, which also says what is raised; `variant` is the role of what answered, `slot_assigned` that of the
    route's choice, which a fallback does not hide. `sample`, `seed`: which answers' format is checked.
    """
    rows = ws.log.arms(model, since, until, by)
    drawn: dict[Key, list[bool]] = defaultdict(list)
    for each in ws.log.sample(model, since, until, sample, seed):
        if each.status == "ok" and each.response is not None and each.endpoint != "embeddings":
            drawn[_key(each, by)].append(is_well_formed(each, format_spec))
    judged = _reviews(ws, model, since, until, by)
    made = []
    for row in rows:
        key = tuple(row.key.values())
        numbers = [*_numbers(row), _share("format", sum(drawn[key]), len(drawn[key])), accuracy(judged[key])]
        known = tuple(each for each in numbers if each.value is not None)
        made.append(Arm(key=row.key, requests=row.requests, numbers=known, codes=row.codes))
    return made


def _reviews(
    ws: Workspace, model: str, since: datetime | None, until: datetime | None, by: tuple[str, ...]
) -> dict[Key, list[ReviewItem]]:
    """Judged review items of the window's requests, by group; a gateway alone has none."""
    found: dict[Key, list[ReviewItem]] = defaultdict(list)
    if not (ws.root / "state.db").exists():
        return found
    with ws.state.read() as tx:
        items = find_reviews(tx, model=model, state="done")
    for start in range(0, len(items), BATCH):
        batch = items[start : start + BATCH]
        wanted = {each.request_id for each in batch}
        asked = ws.log.find(model=model, since=since, until=until, request_ids=sorted(wanted), bodies=False)
        keys = {each.request_id: _key(each, by) for each in asked}
        for item in batch:
            if item.request_id in keys:
                found[keys[item.request_id]].append(item)
    return found


def _key(inference: Inference, by: Sequence[str]) -> Key:
    """The group of a request, as the log's own answers name it."""
    return tuple(_text(inference, name) for name in by)


def _text(inference: Inference, name: str) -> str | None:
    if name == "hour":
        return inference.timestamp.isoformat()[:13]
    if name.startswith("segment:"):
        return inference.segments.get(name.removeprefix("segment:"))
    value = getattr(inference, name)
    return None if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _numbers(row: ArmRow) -> list[Number]:
    n = row.requests
    return [
        _share("error_rate", row.errors + row.truncated, n),
        _share("truncated_rate", row.truncated, n),
        _share("cancelled_rate", row.cancelled, n),
        _share("interrupted_rate", row.interrupted, n),
        _share("fallback_rate", row.rescued, n),
        *_quantiles("latency_ms", row.latency_ms, n),
        *_quantiles("ttft_ms", row.ttft_ms, n),
        _total("prompt_tokens", row.prompt_tokens, row.counted),
        _total("completion_tokens", row.completion_tokens, row.counted),
        Number(
            name="tokens_per_second",
            value=row.completion_tokens / row.counted_ms * 1000 if row.counted_ms > 0 else None,
            n=row.counted,
        ),
        _total("cost_usd", row.cost_usd, row.priced),
        Number(name="cost_usd_per_request", value=row.cost_usd / row.priced if row.priced else None, n=row.priced),
        _mean("confidence", row.confident, row.confidence, row.confidence2),
        _mean("quality_score", row.scored, row.score, row.score2),
        _share("edit_rate", row.edits, n),
        _share("correction_rate", row.corrections, n),
        _share("escalation_rate", row.escalations, n),
        _share("thumbs_up_rate", row.thumbs_up, n),
        _share("thumbs_down_rate", row.thumbs_down, n),
        _share("success_rate", row.successes, row.successes + row.failures),
    ]


def _share(name: str, hits: int, n: int) -> Number:
    if not n:
        return Number(name=name, value=None)
    low, high = wilson(hits, n)
    return Number(name=name, value=hits / n, low=low, high=high, n=n)


def _total(name: str, value: float, n: int) -> Number:
    return Number(name=name, value=float(value) if n else None, n=n)


def _quantiles(name: str, values: tuple[float, float, float] | None, n: int) -> list[Number]:
    return [
        Number(name=f"{name}_{which}", value=value, n=n)
        for which, value in zip(QUANTILES, values or (None, None, None), strict=True)
    ]


def _mean(name: str, n: int, total: float, squares: float) -> Number:
    """The mean of values from 0 to 1, by their sum and the sum of their squares."""
    if not n:
        return Number(name=name, value=None)
    mean = total / n
    if n < 2:
        return Number(name=name, value=mean, n=n)
    half = 1.96 * math.sqrt(max(0.0, squares - n * mean * mean) / (n - 1) / n)
    return Number(name=name, value=mean, low=max(0.0, mean - half), high=min(1.0, mean + half), n=n)
