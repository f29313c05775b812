"""One request and its shadow copy: what both said, and whether the copy was worse (SHD-03). Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from tunekeeper.core.nouns.evaluation import Case
from tunekeeper.core.nouns.serving import Feedback, Inference
from tunekeeper.scoring.formats import check
from tunekeeper.scoring.scorers import Scorer, judged

OURS = frozenset(("draining", "overloaded", "log_unavailable", "internal_error"))
"""Codes of copies that ended because of us."""
TRUTHS = ("label", "correction")
"""Feedback that gives the true answer. An edit does not count: it is there only where the user's answer was bad."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Regression:
    """A request that the shadow failed and users were served well (SHD-03)."""

    parent: str
    """Id of the user's request."""
    copy: str
    """Id of its copy."""
    kind: Literal["error", "format", "score"]
    """What went wrong."""
    why: str
    """Error code, what is wrong with the format, or the two scores."""
    segments: dict[str, str]
    """Of the request."""


@dataclass(frozen=True, slots=True)
class Pair:
    """What is kept of one pair."""

    segments: dict[str, str]
    """Of the request."""
    failed: tuple[bool, bool]
    """Whether the slot of the request failed, and the shadow: in this order in every pair of values here."""
    same: bool | None
    """Whether both say the same; None without two answers."""
    formats: tuple[bool, bool] | None
    """Whether both are well formed; None without two texts."""
    scores: tuple[float, float] | None
    """How good both are, 0 to 1; None where nobody said and no true answer is known."""
    sizes: dict[str, tuple[float, float]]
    """Measure → both values."""


def tells(parent: Inference, copy: Inference) -> bool:
    """Whether the two say something about the models that were asked."""
    left = ("cancelled", "interrupted")
    return parent.status not in left and copy.status not in left and copy.error not in OURS and parent.error not in OURS


class Judge:
    """What judges pairs: the true answers, the format, the scorer."""

    def __init__(self, feedback: Iterable[Feedback], format_spec: Mapping[str, Any], scorer: Scorer) -> None:
        """`feedback`: of the kinds TRUTHS, oldest first. `format_spec`: the model's `format`. `scorer`: judges by a truth."""
        self._truths = {each.request_id: each.value for each in feedback}  # oldest first: the last one stays
        self._format = dict(format_spec)
        self._scorer = scorer

    def pair(self, parent: Inference, copy: Inference) -> tuple[Pair, Regression | None]:
        """A pair, and what the shadow did worse where it did."""
        failed = (_failed(parent), copy.status != "ok")
        both = not any(failed)
        old, new = (_answer(parent), _answer(copy)) if both else (None, None)
        texts = (parent.answer, copy.answer) if both else (None, None)
        checked = [check(text, self._format) for text in texts if text is not None]
        formats = (checked[0][0], checked[1][0]) if len(checked) == 2 else None
        scores = self._scores(parent, copy) if both else None
        pair = Pair(
            segments=parent.segments,
            failed=failed,
            same=None if old is None or new is None else old == new,
            formats=formats,
            scores=scores,
            sizes=_sizes(parent, copy) if both else {},
        )
        kind, why = _worse(failed, formats, scores, copy, checked[1][1] if formats else "")
        if kind is None:
            return pair, None
        return pair, Regression(parent=parent.request_id, copy=copy.request_id, kind=kind, why=why, segments=parent.segments)

    def _scores(self, parent: Inference, copy: Inference) -> tuple[float, float] | None:
        """What was said about both answers, else what the true answer says of them; None where the scorer fails to judge one."""
        if parent.quality_score is not None and copy.quality_score is not None:
            return parent.quality_score, copy.quality_score
        truth = self._truths.get(parent.request_id)
        if truth is None or parent.answer is None or copy.answer is None:
            return None
        case = Case(id=parent.request_id, messages=(), expected=truth)
        old, new = (judged(self._scorer, text, case) for text in (parent.answer, copy.answer))
        if old is None or new is None or old[0] is None or new[0] is None:
            return None
        return old[0], new[0]


def _worse(
    failed: tuple[bool, bool],
    formats: tuple[bool, bool] | None,
    scores: tuple[float, float] | None,
    copy: Inference,
    malformed: str,
) -> tuple[Literal["error", "format", "score"] | None, str]:
    if failed == (False, True):
        return "error", copy.error or copy.status
    if formats == (True, False):
        return "format", malformed
    if scores is not None and scores[1] < scores[0]:
        return "score", f"{scores[1]:g} where users got {scores[0]:g}"
    return None, ""


def _failed(parent: Inference) -> bool:
    """Whether the slot that a request was assigned to failed it."""
    first = parent.attempts[0] if parent.attempts else None
    return parent.status != "ok" or (first is not None and first.error is not None)


def _answer(inference: Inference) -> object:
    """What an answer says, comparable: its text as JSON where it is some, else without doubled white space, and its tool calls.
    None where it holds neither."""
    choices = inference.response.get("choices") if isinstance(inference.response, dict) else None
    message = choices[0].get("message") if choices and isinstance(choices[0], dict) else None
    calls = message.get("tool_calls") if isinstance(message, dict) else None
    called = [_called(call.get("function")) for call in calls or () if isinstance(call, dict)]
    text = inference.answer
    return None if text is None and not called else (_value(text or ""), called)


def _called(function: Any) -> tuple[object, object]:
    function = function if isinstance(function, dict) else {}
    arguments = function.get("arguments")
    return function.get("name"), _value(arguments) if isinstance(arguments, str) else arguments


def _value(text: str) -> object:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return " ".join(text.split())


def _sizes(parent: Inference, copy: Inference) -> dict[str, tuple[float, float]]:
    def words(each: Inference) -> int | None:
        return None if each.answer is None else len(each.answer.split())

    values = {
        "latency_ms": (parent.latency_ms, copy.latency_ms),
        "words": (words(parent), words(copy)),
        "completion_tokens": (parent.completion_tokens, copy.completion_tokens),
        "cost_usd": (parent.cost_usd, copy.cost_usd),
    }
    return {name: (old, new) for name, (old, new) in values.items() if old is not None and new is not None}
