"""From requests, feedback and reviews of one window to numbers with intervals. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tunekeeper.core.nouns.data import ReviewItem
from tunekeeper.core.nouns.serving import Feedback, Inference
from tunekeeper.monitoring.tally import Share, Spread, Words
from tunekeeper.scoring.formats import check
from tunekeeper.stats.drift import split_threshold
from tunekeeper.stats.intervals import wilson
from tunekeeper.text.vocabulary import words

LENGTH_EDGES = (0, 5, 10, 15, 20, 30, 40, 60, 80, 120, 200, 400, 10**9)
VOCABULARY_SIZE = 5_000
LEARNED_SIZE = 50_000
SAMPLES_KEPT = 20
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
class Said:
    """What was said about requests, by their ids."""

    edited: frozenset[str]
    """Those whose answer somebody put right."""
    down: frozenset[str]
    """Those with a thumb down."""
    reviews: Mapping[str, Sequence[ReviewItem]]
    """Request → its judged review items."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """What happened between two moments."""

    inferences: Sequence[Inference]
    """Requests of users."""
    feedback: Sequence[Feedback]
    """What was said about them."""
    reviews: Sequence[ReviewItem]
    """Judged review items of these requests."""


class Tally:
    """The numbers of requests that are added one by one; the requests themselves are not kept."""

    def __init__(self, features: Mapping[str, Any] | None = None) -> None:
        """`features`: the baseline's distributions; without them drift is not measured."""
        self._served = self._answered = 0
        self._failed, self._edited, self._down, self._ill_formed = (Share(SAMPLES_KEPT) for _ in range(4))
        self._latency, self._confidence = Spread(SAMPLES_KEPT), Spread(SAMPLES_KEPT)
        self._words = Words(features) if features is not None else None
        self._reviews: list[ReviewItem] = []

    def add(self, inference: Inference, said: Said, *, well_formed: bool) -> None:
        """One request. `well_formed`: of its answer, where it has one (`is_well_formed`)."""
        self._reviews += said.reviews.get(inference.request_id, ())
        if inference.status in ("cancelled", "interrupted"):
            return
        self._served += 1
        if self._words is not None:
            self._words.add(inference.question)
        if inference.status != "ok":
            self._failed.add(inference.request_id)
            return
        self._answered += 1
        if inference.request_id in said.edited:
            self._edited.add(inference.request_id)
        if inference.request_id in said.down:
            self._down.add(inference.request_id)
        if not well_formed:
            self._ill_formed.add(inference.request_id)
        if inference.latency_ms is not None:
            self._latency.add(inference.latency_ms, inference.request_id)
        if inference.confidence is not None:
            self._confidence.add(inference.confidence, inference.request_id)

    def numbers(self) -> tuple[Number, ...]:
        """Every number of what was added."""
        result = [
            Number(name="requests", value=float(self._served), n=self._served),
            _share("error_rate", self._failed, self._served),
            _share("edit_rate", self._edited, self._answered),
            _share("thumbs_down_rate", self._down, self._answered),
            _compliance(self._ill_formed, self._answered),
            accuracy(self._reviews),
            Number(name="latency_p95", value=self._latency.at(0.95), n=len(self._latency.values)),
            _confidence(self._confidence),
        ]
        if self._words is not None:
            result += [_vocabulary(self._words), _input(self._words)]
        return tuple(result)


def numbers(window: Window, format_spec: Mapping[str, Any], features: Mapping[str, Any] | None) -> tuple[Number, ...]:
    """Every number of a window. `features`: as of `Tally`."""
    tally, said = Tally(features), said_of(window.feedback, window.reviews)
    for each in window.inferences:
        tally.add(each, said, well_formed=is_well_formed(each, format_spec))
    return tally.numbers()


def said_of(feedback: Iterable[Feedback], reviews: Iterable[ReviewItem]) -> Said:
    """Statements and judged review items, by request."""
    edited, down = set(), set()
    for each in feedback:
        if each.kind in ("edit", "correction"):
            edited.add(each.request_id)
        elif each.kind == "thumb" and each.value == "down":
            down.add(each.request_id)
    by_request: dict[str, list[ReviewItem]] = {}
    for item in reviews:
        by_request.setdefault(item.request_id, []).append(item)
    return Said(edited=frozenset(edited), down=frozenset(down), reviews=by_request)


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


def _confidence(known: Spread) -> Number:
    """Mean token probability, 0 to 1, of the answers whose model server gave it, with the interval of a mean (MON-04)."""
    n = len(known.values)
    if not n:
        return Number(name="confidence", value=None)
    mean, half = known.mean()
    low, high = (max(0.0, mean - half), min(1.0, mean + half)) if n > 1 else (None, None)
    return Number(name="confidence", value=mean, low=low, high=high, n=n, detail={"requests": known.lowest})


def vocabulary_drift(texts: Iterable[str], features: Mapping[str, Any]) -> Number:
    """Share of requests that hold a new term, and which terms (DRIFT-06).

    A new term is a word that neither the training data nor day one knew and that at least `RECURS` requests of the window share:
    names and typing errors come once, a renamed product comes again. Words with digits are left out.
    """
    return _vocabulary(_words_of(texts, features))


def input_drift(texts: Iterable[str], features: Mapping[str, Any]) -> Number:
    """Jensen-Shannon distance (0 to 1) between the window's words and day one's, over the baseline's most frequent words."""
    return _input(_words_of(texts, features))


def _words_of(texts: Iterable[str], features: Mapping[str, Any]) -> Words:
    made = Words(features)
    for text in texts:
        made.add(text)
    return made


def _vocabulary(seen: Words) -> Number:
    if not seen.requests or not seen.known:
        return Number(name="vocabulary_drift", value=None)
    holding, new = seen.terms(SAMPLES_KEPT)
    low, high = wilson(holding, seen.requests)
    value = holding / seen.requests
    return Number(name="vocabulary_drift", value=value, low=low, high=high, n=seen.requests, detail={"new_words": new})


def _input(seen: Words) -> Number:
    distance = seen.distance()
    return Number(name="input_drift", value=distance, n=0 if distance is None else seen.requests)


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


def is_well_formed(inference: Inference, spec: Mapping[str, Any]) -> bool:
    """Whether the answer has the model's format; True where none was kept, or where it was not answered."""
    if inference.status != "ok" or inference.response is None:
        return True
    text = inference.answer
    return text is not None and check(text, dict(spec))[0]


def _share(name: str, share: Share, n: int) -> Number:
    if not n:
        return Number(name=name, value=None)
    low, high = wilson(share.hits, n)
    return Number(name=name, value=share.hits / n, low=low, high=high, n=n, detail={"requests": share.samples})


def _compliance(ill_formed: Share, n: int) -> Number:
    if not n:
        return Number(name="format", value=None)
    low, high = wilson(n - ill_formed.hits, n)
    return Number(name="format", value=1 - ill_formed.hits / n, low=low, high=high, n=n, detail={"requests": ill_formed.samples})


def _length_bin(length: int) -> int:
    return max(edge for edge in LENGTH_EDGES if edge <= length)
