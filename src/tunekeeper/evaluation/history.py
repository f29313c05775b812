"""The history of a suite: which edition of its own cases each version was asked, and what stays comparable over all of them.

A suite grows with its model. An *edition* is what the suite's file held, by content: cases of incidents and held-out rows join it
exam by exam and count apart. Two exams are compared on the cases that both were asked in the same words with the same
expectation; the *core* are those that every exam of the history was asked so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tunekeeper.core.errors import NotFound
from tunekeeper.core.ids import digest_json
from tunekeeper.core.nouns.evaluation import Estimate, Exam, Suite
from tunekeeper.evaluation.assemble import NEW
from tunekeeper.evaluation.compare import content_of
from tunekeeper.evaluation.exam import locked_suite, results_of
from tunekeeper.evaluation.results import REGRESSION, Result, estimate, primary, values
from tunekeeper.stats.paired import difference_of_scores
from tunekeeper.store.ledgers.exams import find_exams
from tunekeeper.workspace import Workspace

STALE_VERSIONS = 3
"""Versions in a row with the same edition from which it is said that the suite does not grow with its model."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sitting:
    """One exam in the history."""

    exam: str
    """Exam id."""
    version: str
    """Version that was examined."""
    at: datetime | None
    """When."""
    outcome: str | None
    """What its gate said; None while it was not judged."""
    edition: int
    """Which edition of the suite's own cases it was asked, from 1."""
    suite_digest: str
    """Digest of all that was locked for it."""
    own: int
    """Cases of the suite's file."""
    joined: int
    """Cases that joined for this exam: incidents and held-out rows."""
    added: tuple[str, ...]
    """Own cases that the exam before did not have."""
    removed: tuple[str, ...]
    """Own cases of the exam before that are gone."""
    changed: tuple[str, ...]
    """Own cases that ask or expect something else than in the exam before."""
    demands_changed: bool
    """Whether criteria or scorers differ from those of the exam before."""
    accuracy: Estimate
    """Accuracy on all its cases but regression cases."""
    core: Estimate
    """Accuracy on the core; without a value where answers are scored otherwise than in the newest exam."""
    change: Estimate | None
    """Accuracy less that of the exam before, on the cases that both were asked alike; None for the first, and where the scoring
    differs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class History:
    """The exams of one suite, oldest first."""

    model: str
    """The model."""
    suite: str
    """Suite id."""
    core: int
    """Cases that every exam scored like the newest one was asked alike."""
    editions: int
    """Editions of the suite's own cases."""
    sittings: tuple[Sitting, ...]
    """The exams."""
    stale: str | None
    """Said when the last STALE_VERSIONS versions were asked the same edition; None otherwise."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Paper:
    """What one exam asked and what came of it."""

    exam: Exam
    suite: Suite
    results: Sequence[Result]
    asked: Mapping[str, str]
    own: Mapping[str, str]
    scored: Mapping[str, float]

    @property
    def scoring(self) -> str:
        """What makes an answer right: two exams with the same can be compared."""
        name = primary(self.suite)
        return digest_json([name, self.suite.scorer_options.get(name, {})])


def history(ws: Workspace, model: str, *, suite: str | None = None, limit: int = 50) -> History:
    """The newest `limit` finished exams of one suite of `model` (default: the one that was used last), oldest first.

    Raises NotFound when there is none.
    """
    with ws.state.read() as tx:
        done = [each for each in find_exams(tx, model=model, state="done", newest_first=True) if each.answers is not None]
    name = suite or (done[0].suite if done else None)
    exams = [each for each in done if each.suite == name][:limit][::-1]
    if not exams or name is None:
        raise NotFound(
            f"no finished exam of {model}{f' by suite {suite}' if suite else ''}",
            fix=f"tunekeeper eval run --model {model} --version @champion",
        )
    papers = [_paper(ws, exam) for exam in exams]
    core = _core([paper for paper in papers if paper.scoring == papers[-1].scoring])
    editions: dict[str, int] = {}
    for paper in papers:
        editions.setdefault(_edition(paper), len(editions) + 1)
    sittings = tuple(
        _sitting(paper, papers[place - 1] if place else None, editions[_edition(paper)], core, papers[-1].scoring)
        for place, paper in enumerate(papers)
    )
    return History(
        model=model, suite=name, core=len(core), editions=len(editions), sittings=sittings, stale=_stale(sittings, editions)
    )


def _paper(ws: Workspace, exam: Exam) -> _Paper:
    suite, results = locked_suite(ws, exam), results_of(ws, exam)
    asked = {case.id: content_of(case) for case in suite.cases}
    joined = {case.id for case in suite.cases if NEW in case.tags or case.source.startswith("inc_")}
    plain = [result for result in results if REGRESSION not in result.tags]
    scored = {case: value for case, value in values(plain, "accuracy", primary(suite)).items() if value is not None}
    own = {id: content for id, content in asked.items() if id not in joined}
    return _Paper(exam=exam, suite=suite, results=results, asked=asked, own=own, scored=scored)


def _edition(paper: _Paper) -> str:
    return digest_json(sorted(paper.own.items()))


def _core(papers: Sequence[_Paper]) -> set[str]:
    """Ids of the cases that all of them were asked alike and that were judged each time."""
    first, *others = papers
    return {
        id
        for id, content in first.asked.items()
        if id in first.scored and all(paper.asked.get(id) == content and id in paper.scored for paper in others)
    }


def _sitting(paper: _Paper, before: _Paper | None, edition: int, core: set[str], scoring: str) -> Sitting:
    old = paper.own if before is None else before.own
    alike = paper.scoring == scoring
    return Sitting(
        exam=paper.exam.id,
        version=paper.exam.version,
        at=paper.exam.created,
        outcome=None if paper.exam.verdict is None else paper.exam.verdict.outcome,
        edition=edition,
        suite_digest=paper.exam.suite_digest,
        own=len(paper.own),
        joined=len(paper.asked) - len(paper.own),
        added=tuple(sorted(paper.own.keys() - old.keys())),
        removed=tuple(sorted(old.keys() - paper.own.keys())),
        changed=tuple(sorted(id for id, content in paper.own.items() if old.get(id, content) != content)),
        demands_changed=before is not None and _demands(before.suite) != _demands(paper.suite),
        accuracy=estimate(list(paper.scored.values())),
        core=estimate([value for id, value in paper.scored.items() if id in core]) if alike else Estimate(value=None),
        change=None if before is None or before.scoring != paper.scoring else _change(paper, before),
    )


def _change(paper: _Paper, before: _Paper) -> Estimate:
    both = [id for id in paper.scored if id in before.scored and before.asked[id] == paper.asked[id]]
    if not both:
        return Estimate(value=None)
    new, old = [paper.scored[id] for id in both], [before.scored[id] for id in both]
    low, high = difference_of_scores(new, old)
    return Estimate(value=(sum(new) - sum(old)) / len(both), low=low, high=high, n=len(both))


def _demands(suite: Suite) -> Any:
    return suite.criteria, suite.scorers, suite.scorer_options


def _stale(sittings: Sequence[Sitting], editions: Mapping[str, int]) -> str | None:
    newest = sittings[-1].edition
    versions: list[str] = []
    for sitting in reversed(sittings):
        if sitting.edition != newest:
            break
        versions += [sitting.version] if sitting.version not in versions else []
    if len(versions) < STALE_VERSIONS:
        return None
    return (
        f"the last {len(versions)} versions were asked edition {newest} of the suite: update it together with the model,"
        " with cases of what is new since"
    )


def as_text(found: History) -> list[str]:
    """What changed from exam to exam beside the table."""
    lines = [f"{found.suite}: {len(found.sittings)} exams, {found.editions} editions of its own cases"]
    lines += [f"comparable over all of them: the {found.core} cases that each was asked alike"]
    for sitting in found.sittings:
        told = [f"{len(ids)} {what}" for what in ("added", "removed", "changed") if (ids := getattr(sitting, what))]
        told += ["criteria or scorers changed"] if sitting.demands_changed else []
        lines += [f"{sitting.version}, edition {sitting.edition}: {', '.join(told)}"] if told else []
    return [*lines, *([found.stale] if found.stale else [])]
