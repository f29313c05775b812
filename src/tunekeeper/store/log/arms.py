"""Every number of a window that the log has, by group: what `windows` counts and more, for setting arms side by side (AB-02).

Asked in the same two steps as a window; sums of squares come along, so that means get intervals.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from tunekeeper.store.log.windows import Question, group_values

if TYPE_CHECKING:
    import pyarrow as pa

_NUMBERS = (
    ", count(*) AS requests"
    ", count(*) FILTER (status = 'ok') AS ok"
    ", count(*) FILTER (status = 'error') AS errors"
    ", count(*) FILTER (status = 'truncated') AS truncated"
    ", count(*) FILTER (status = 'cancelled') AS cancelled"
    ", count(*) FILTER (status = 'interrupted') AS interrupted"
    ", count(*) FILTER (slot IS NOT NULL AND slot <> slot_assigned) AS rescued"
    ", histogram(error) FILTER (error IS NOT NULL) AS codes"
    ", quantile_cont(latency_ms, [0.5, 0.95, 0.99]) AS latency_ms"
    ", quantile_cont(ttft_ms, [0.5, 0.95, 0.99]) AS ttft_ms"
    ", CAST(sum(prompt_tokens) AS BIGINT) AS prompt_tokens, CAST(sum(completion_tokens) AS BIGINT) AS completion_tokens"
    ", count(completion_tokens) AS counted, sum(latency_ms) FILTER (completion_tokens IS NOT NULL) AS counted_ms"
    ", sum(cost_usd) AS cost_usd, count(cost_usd) AS priced"
    ", count(confidence) AS confident, sum(confidence) AS confidence, sum(confidence * confidence) AS confidence2"
    ", count(quality_score) AS scored, sum(quality_score) AS score, sum(quality_score * quality_score) AS score2"
)
_SAID = (
    "SELECT request_id, bool_or(kind = 'edit') AS edited, bool_or(kind = 'correction') AS corrected, "
    "bool_or(kind = 'escalation') AS escalated, arg_max(value, timestamp) FILTER (kind = 'thumb') AS thumb, "
    "arg_max(value, timestamp) FILTER (kind = 'outcome') AS outcome, "
    "TRY_CAST(arg_max(value, timestamp) FILTER (kind = 'score') AS DOUBLE) AS given FROM statements GROUP BY request_id"
)
_ADDED = (
    ", count(*) FILTER (edited) AS edits, count(*) FILTER (corrected) AS corrections"
    ", count(*) FILTER (escalated) AS escalations"
    ", count(*) FILTER (thumb = '\"up\"') AS thumbs_up, count(*) FILTER (thumb = '\"down\"') AS thumbs_down"
    ", count(*) FILTER (outcome = '\"success\"') AS successes, count(*) FILTER (outcome = '\"failure\"') AS failures"
    ", CAST(sum(c.prompt_tokens) FILTER (told.prompt_tokens IS NULL) AS BIGINT) AS prompt_tokens"
    ", CAST(sum(c.completion_tokens) FILTER (told.completion_tokens IS NULL) AS BIGINT) AS completion_tokens"
    ", count(c.completion_tokens) FILTER (told.completion_tokens IS NULL) AS counted"
    ", sum(told.latency_ms) FILTER (told.completion_tokens IS NULL AND c.completion_tokens IS NOT NULL) AS counted_ms"
    ", sum(c.cost_usd) FILTER (told.cost_usd IS NULL) AS cost_usd"
    ", count(c.cost_usd) FILTER (told.cost_usd IS NULL) AS priced"
    ", count(given) FILTER (told.quality_score IS NULL) AS scored"
    ", sum(given) FILTER (told.quality_score IS NULL) AS score"
    ", sum(given * given) FILTER (told.quality_score IS NULL) AS score2"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class ArmRow:
    """What happened in one group of a window."""

    key: dict[str, str | None] = field(default_factory=dict)
    """What was grouped by → this group's value."""
    requests: int = 0
    """Requests accepted in the window; all counts below are of them."""
    ok: int = 0
    """Ended well."""
    errors: int = 0
    """Ended as error."""
    truncated: int = 0
    """Cut off by their model server."""
    cancelled: int = 0
    """Ended by the client."""
    interrupted: int = 0
    """Ended by the death of their gateway."""
    rescued: int = 0
    """Answered by another slot than the one they were assigned to."""
    codes: dict[str, int] = field(default_factory=dict)
    """Error code → requests."""
    latency_ms: tuple[float, float, float] | None = None
    """50th, 95th and 99th percentile; None where nothing was measured."""
    ttft_ms: tuple[float, float, float] | None = None
    """As `latency_ms`, to the first byte of the answer."""
    prompt_tokens: int = 0
    """Sum over those that have a count."""
    completion_tokens: int = 0
    """As `prompt_tokens`, of the answers."""
    counted: int = 0
    """With a count of the answer's tokens."""
    counted_ms: float = 0.0
    """Sum of their latencies."""
    cost_usd: float = 0.0
    """Sum over those that have a cost."""
    priced: int = 0
    """With a cost."""
    confident: int = 0
    """With a mean token probability."""
    confidence: float = 0.0
    """Sum of these."""
    confidence2: float = 0.0
    """Sum of their squares."""
    scored: int = 0
    """With a score from 0 to 1, the last one said."""
    score: float = 0.0
    """Sum of these."""
    score2: float = 0.0
    """Sum of their squares."""
    edits: int = 0
    """Edited by the user at least once."""
    corrections: int = 0
    """Corrected by a reviewer at least once."""
    escalations: int = 0
    """Handed to a person at least once."""
    thumbs_up: int = 0
    """Whose last thumb is up."""
    thumbs_down: int = 0
    """Whose last thumb is down."""
    successes: int = 0
    """Whose last outcome is a success."""
    failures: int = 0
    """Whose last outcome is a failure."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ArmQuestion(Question):
    """One window to ask for, with every number."""

    def all(self) -> str:
        """As of `Question`."""
        return "SELECT 0 AS nothing" + self.keys() + _NUMBERS + " FROM rows" + self.where + self.grouped()

    def later(self) -> str:
        """As of `Question`."""
        kept = "request_id, prompt_tokens, completion_tokens, cost_usd, quality_score, latency_ms"
        chosen = "SELECT " + kept + self.keys() + " FROM told" + self.where
        names = "".join(", key" + str(place) for place in range(len(self.by)))
        return (
            "SELECT 0 AS nothing" + names + _ADDED + " FROM (" + chosen + ") AS told LEFT JOIN (" + _SAID + ") AS said "
            "USING (request_id) LEFT JOIN counts AS c USING (request_id)" + self.grouped()
        )


def arm_rows(counted: pa.Table, later: pa.Table | None, by: Sequence[str]) -> list[ArmRow]:
    """The answers of both steps as one; `later` None when nothing was said or counted."""
    found = {group_values(row, by): _row(row, by) for row in counted.to_pylist() if row["requests"]}
    for added in [] if later is None else later.to_pylist():
        key = group_values(added, by)
        if key in found:
            sums = {name: getattr(found[key], name) + (added[name] or 0) for name in added if name in ArmRow.__dataclass_fields__}
            found[key] = replace(found[key], **sums)
    return list(found.values())


def _row(row: Mapping[str, Any], by: Sequence[str]) -> ArmRow:
    known = {name: value for name, value in row.items() if name in ArmRow.__dataclass_fields__ and value is not None}
    known["codes"] = dict(known.get("codes", ()))
    for name in ("latency_ms", "ttft_ms"):
        if name in known:
            known[name] = tuple(known[name])
    return ArmRow(key=dict(zip(by, group_values(row, by), strict=True)), **known)
