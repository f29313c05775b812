"""What monitoring and exams found last, as gauges for `/metrics` (DASH-07): ledgers are read here, not on the request path."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from tunekeeper.core.nouns.data import ReviewItem
from tunekeeper.core.nouns.evaluation import Exam
from tunekeeper.core.nouns.serving import Inference
from tunekeeper.monitoring.measure import accuracy
from tunekeeper.store.gauges import Family, save_gauges
from tunekeeper.store.ledgers.exams import find_exams
from tunekeeper.store.ledgers.reviews import find_reviews
from tunekeeper.store.ledgers.signals import find_signals
from tunekeeper.store.ledgers.versions import find_versions
from tunekeeper.store.log.statements import SCORE
from tunekeeper.store.transactions import Read
from tunekeeper.workspace import Workspace

DRIFT = {"input": "input_drift", "vocabulary": "vocabulary_drift"}
"""Feature as the gauge names it → signal."""
NEWEST = 200
"""Signals of one name that are looked through for the newest one of all requests: those of segments lie between."""
EXAMS = 20
"""Newest exams of a model that are told of."""
ALL = "all"
"""A window's numbers are of every variant together."""
VERSIONS = 50
"""Newest versions of a model that are told of."""
RECENT = timedelta(days=7)
"""Whose quality by variant is told: requests of this time."""
REVIEWS = 2_000
"""Newest reviews that are looked at for it, and statements of how good an answer was."""


def tell(ws: Workspace, models: Iterable[str]) -> tuple[Family, ...]:
    """Save the gauges of `models` for the gateways, and return them. Raises OSError when they cannot be written."""
    quality, drift, exams, last, bases = [], [], [], [], []
    since = ws.clock.utc() - RECENT
    with ws.state.read() as tx:
        for model in models:
            value = _newest(tx, model, "accuracy")
            quality += [((model, ALL), value)] if value is not None else []
            reviews = find_reviews(tx, model=model, state="done", newest_first=True, limit=REVIEWS)
            quality += [((model, variant), value) for variant, value in _by_variant(ws, model, since, reviews).items()]
            bases += [((model, each.name, each.base), 1.0) for each in find_versions(tx, model=model)[-VERSIONS:]]
            for feature, name in DRIFT.items():
                value = _newest(tx, model, name)
                drift += [((model, feature), value)] if value is not None else []
            done = find_exams(tx, model=model, state="done", newest_first=True, limit=EXAMS)
            exams += _scores(model, done)
            last += [((model,), _seconds(each.created)) for each in done[:1] if each.created is not None]
    families = (
        Family(
            "model_quality_score",
            "Share of reviewed answers that were good, else the mean of what was scored.",
            ("model_id", "variant"),
            tuple(quality),
        ),
        Family("model_drift_score", "How far requests are from day one, 0 to 1.", ("model_id", "feature"), tuple(drift)),
        Family("model_eval_score", "What exams measured.", ("model_id", "version", "suite", "metric"), tuple(exams)),
        Family("model_last_evaluated_timestamp_seconds", "When the newest exam began.", ("model_id",), tuple(last)),
        Family(
            "model_watchdog_timestamp_seconds",
            "When the worker looked last: old means that nobody watches.",
            series=(((), _seconds(ws.clock.utc())),),
        ),
        Family("model_version_info", "What each version was made from.", ("model_id", "version", "base"), tuple(bases)),
    )
    save_gauges(ws.root, families)
    return families


def _newest(tx: Read, model: str, name: str) -> float | None:
    """The signal's newest value over all requests; None when it was never measured."""
    found = find_signals(tx, model=model, name=name, newest_first=True, limit=NEWEST)
    return next((each.value for each in found if not each.segment and each.value is not None), None)


def _by_variant(ws: Workspace, model: str, since: datetime, reviews: Sequence[ReviewItem]) -> dict[str, float]:
    """Variant → the share of its reviewed answers that were good, or, where none was reviewed, the mean of its scores."""
    scored = [each.request_id for each in ws.log.feedback(since=since, kind=(SCORE,))[-REVIEWS:]]
    about = {*scored, *(each.request_id for each in reviews)}
    if not about:
        return {}
    found = ws.log.find(model=model, since=since, request_ids=sorted(about), bodies=False)
    arms: dict[str, list[Inference]] = defaultdict(list)
    for each in found:
        arms[each.variant or "none"].append(each)
    values = {variant: _quality(asked, reviews) for variant, asked in arms.items()}
    return {variant: value for variant, value in sorted(values.items()) if value is not None}


def _quality(asked: Sequence[Inference], reviews: Sequence[ReviewItem]) -> float | None:
    ids = {each.request_id for each in asked}
    reviewed = accuracy([each for each in reviews if each.request_id in ids]).value
    scores = [each.quality_score for each in asked if each.quality_score is not None]
    return reviewed if reviewed is not None else sum(scores) / len(scores) if scores else None


def _scores(model: str, done: list[Exam]) -> list[tuple[tuple[str, ...], float]]:
    """Every metric of the newest exam of each version and suite."""
    scores: dict[tuple[str, ...], float] = {}
    for exam in reversed(done):
        for metric, estimate in (exam.verdict.measured if exam.verdict is not None else {}).items():
            if estimate.value is not None:
                scores[model, exam.version, exam.suite, metric] = estimate.value
    return list(scores.items())


def _seconds(moment: datetime) -> float:
    return round(moment.timestamp(), 3)
