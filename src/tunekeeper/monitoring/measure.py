"""From requests, feedback and reviews of one window to numbers with intervals. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tunekeeper.core.nouns.data import ReviewItem
from tunekeeper.core.nouns.serving import Feedback, Inference
from tunekeeper.scoring.formats import check
from tunekeeper.stats.drift import js_distance, split_threshold
from tunekeeper.stats.intervals import wilson
from tunekeeper.text.vocabulary import words

LENGTH_EDGES = (0, 5, 10, 15, 20, 30, 40, 60, 80, 120, 200, 400, 10**9)
VOCABULARY_SIZE = 5_000
LEARNED_SIZE = 50_000
SAMPLES_KEPT = 20
RECURS = 3
"""Requests of one window that must share an unknown word before it is a new term."""
COMPLAINTS = ("thumb", "escalation", "outcome", "score", "edit", "cap", "tag", "incident")
"""Why an item is in the review queue, where somebody pointed at it rather than chance."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Number:
    """One measured number."""

    name: str
    """Signal name."""
    value: float | None
    """The number; None when nothing was measured."""
    low: float | None = None
    """Lower end of its 95 % interval."""
    high: float | None = None
    """Upper end."""
    n: int = 0
    """Samples behind it."""
    detail: dict[str, Any] = field(default_factory=dict)
    """New words, request ids behind the number."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """What happened between two moments."""

    inferences: Sequence[Inference]
    """Requests of users."""
    feedback: Sequence[Feedback]
    """What was said about them."""
    reviews: Sequence[ReviewItem]
    """Judged review items of these requests."""


def numbers(window: Window, format_spec: Mapping[str, Any], features: Mapping[str, Any] | None) -> tuple[Number, ...]:
    """Every number of a window. `features`: the baseline's distributions; without them drift is not measured."""
    served = [each for each in window.inferences if each.status not in ("cancelled", "interrupted")]
    edited = {each.request_id for each in window.feedback if each.kind in ("edit", "correction")}
    down = {each.request_id for each in window.feedback if each.kind == "thumb" and each.value == "down"}
    failed = [each for each in served if each.status != "ok"]
    ill_formed = [each for each in served if each.status == "ok" and not _well_formed(each, format_spec)]
    answered = [each for each in served if each.status == "ok"]
    result = [
        Number(name="requests", value=float(len(served)), n=len(served)),
        _share("error_rate", failed, len(served)),
        _share("edit_rate", [each for each in answered if each.request_id in edited], len(answered)),
        _share("thumbs_down_rate", [each for each in answered if each.request_id in down], len(answered)),
        _compliance(ill_formed, len(answered)),
        accuracy(window.reviews),
        _p95([each.latency_ms for each in answered if each.latency_ms is not None]),
        confidence(answered),
    ]
    if features is not None:
        texts = [each.question for each in served]
        result += [vocabulary_drift(texts, features), input_drift(texts, features)]
    return tuple(result)


def accuracy(reviews: Sequence[ReviewItem]) -> Number:
    """Share of answers that were good as they were, by those that were reviewed, each counting for as many as it stands for.

    Those that were reviewed because somebody complained tell nothing about the others and do not count.
    """
    drawn = [each for each in reviews if each.why not in COMPLAINTS]
    judged = [each for each in drawn if each.state == "done" and each.verdict in ("good", "bad", "edited")]
    good = [each for each in judged if each.verdict == "good"]
    if not judged:
        return Number(name="accuracy", value=None)
    total = math.fsum(each.weight for each in judged)
    share = math.fsum(each.weight for each in good) / total
    worth = total**2 / math.fsum(each.weight**2 for each in judged)  # unequal weights say as much as fewer equal ones (Kish)
    low, high = wilson(share * worth, worth)
    bad = [each.request_id for each in judged if each.verdict != "good"][:SAMPLES_KEPT]
    return Number(name="accuracy", value=share, low=low, high=high, n=len(judged), detail={"requests": bad})


def confidence(answered: Sequence[Inference]) -> Number:
    """Mean token probability, 0 to 1, of the answers whose model server gave it, with the interval of a mean (MON-04)."""
    known = sorted((each.confidence, each.request_id) for each in answered if each.confidence is not None)
    if not known:
        return Number(name="confidence", value=None)
    values = [value for value, _ in known]
    mean = math.fsum(values) / len(values)
    spread = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / max(1, len(values) - 1))
    half = 1.96 * spread / math.sqrt(len(values))
    detail = {"requests": [id for _, id in known[:SAMPLES_KEPT]]}
    low, high = (max(0.0, mean - half), min(1.0, mean + half)) if len(values) > 1 else (None, None)
    return Number(name="confidence", value=mean, low=low, high=high, n=len(values), detail=detail)


def vocabulary_drift(texts: Sequence[str], features: Mapping[str, Any]) -> Number:
    """Share of requests that hold a new term, and which terms (DRIFT-06).

    A new term is a word that neither the training data nor day one knew and that at least `RECURS` requests of the window share:
    names and typing errors come once, a renamed product comes again. Words with digits are left out.
    """
    known = {*features.get("vocabulary", {}), *features.get("learned", ())}
    if not texts or not known:
        return Number(name="vocabulary_drift", value=None)
    unknown = [{word for word in words(text) if word.isalpha() and word not in known} for text in texts]
    counts = Counter(word for found in unknown for word in found)
    terms = {word for word, n in counts.items() if n >= RECURS}
    holding = sum(bool(found & terms) for found in unknown)
    low, high = wilson(holding, len(texts))
    top = [word for word, _ in counts.most_common(SAMPLES_KEPT) if word in terms]
    return Number(
        name="vocabulary_drift", value=holding / len(texts), low=low, high=high, n=len(texts), detail={"new_words": top}
    )


def input_drift(texts: Sequence[str], features: Mapping[str, Any]) -> Number:
    """Jensen-Shannon distance (0 to 1) between the window's words and day one's, over the baseline's most frequent words."""
    reference: Mapping[str, int] = features.get("vocabulary", {})
    if not texts or not reference:
        return Number(name="input_drift", value=None)
    frequent = sorted(reference, key=lambda word: (-reference[word], word))[:200]
    counts = Counter(word for text in texts for word in words(text) if word.isalpha())
    return Number(name="input_drift", value=js_distance(_table(reference, frequent), _table(counts, frequent)), n=len(texts))


def features_of(inferences: Sequence[Inference], learned: Iterable[str] = ()) -> dict[str, Any]:
    """Day one's distributions: words with their counts, question lengths in words, the words of the training data."""
    texts = [each.question for each in inferences]
    vocabulary = Counter(word for text in texts for word in words(text) if word.isalpha())
    lengths = Counter(_length_bin(len(words(text))) for text in texts)
    return {
        "vocabulary": dict(vocabulary.most_common(VOCABULARY_SIZE)),
        "lengths": {str(edge): n for edge, n in sorted(lengths.items())},
        "learned": sorted({word for text in learned for word in words(text) if word.isalpha()})[:LEARNED_SIZE],
    }


def noise_of(inferences: Sequence[Inference], features: Mapping[str, Any]) -> dict[str, float]:
    """How far apart two halves of the same traffic lie: the 99th percentile of each drift when nothing changed.

    Drift signal → percentile; a signal is left out when there are too few requests to tell.
    """
    texts = [each.question for each in inferences]
    units = [each.unit or each.request_id for each in inferences]
    learned = features.get("learned", ())

    def parted(measure: Callable[[Sequence[str], Mapping[str, Any]], Number]) -> float | None:
        def apart(first: list[str], second: list[str]) -> float | None:
            reference = Counter(word for text in first for word in words(text) if word.isalpha())
            return measure(second, {"vocabulary": reference, "learned": learned}).value

        return split_threshold(texts, units, len(texts) // 2, apart, seed=0, splits=60)

    found = {"vocabulary_drift": parted(vocabulary_drift), "input_drift": parted(input_drift)}
    return {name: value for name, value in found.items() if value is not None}


def _table(counts: Mapping[str, int], frequent: Sequence[str]) -> dict[str, float]:
    inside = {word: float(counts.get(word, 0)) for word in frequent}
    return {**inside, "": float(sum(counts.values())) - sum(inside.values())}


def _well_formed(inference: Inference, spec: Mapping[str, Any]) -> bool:
    text = inference.answer
    return inference.response is None or (text is not None and check(text, dict(spec))[0])


def _share(name: str, hits: Sequence[Inference], n: int) -> Number:
    if not n:
        return Number(name=name, value=None)
    low, high = wilson(len(hits), n)
    return Number(
        name=name,
        value=len(hits) / n,
        low=low,
        high=high,
        n=n,
        detail={"requests": [each.request_id for each in hits[:SAMPLES_KEPT]]},
    )


def _compliance(ill_formed: Sequence[Inference], n: int) -> Number:
    if not n:
        return Number(name="format", value=None)
    low, high = wilson(n - len(ill_formed), n)
    detail = {"requests": [each.request_id for each in ill_formed[:SAMPLES_KEPT]]}
    return Number(name="format", value=1 - len(ill_formed) / n, low=low, high=high, n=n, detail=detail)


def _p95(values: list[float]) -> Number:
    if not values:
        return Number(name="latency_p95", value=None)
    ordered = sorted(values)
    return Number(name="latency_p95", value=ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))], n=len(ordered))


def _length_bin(length: int) -> int:
    return max(edge for edge in LENGTH_EDGES if edge <= length)
