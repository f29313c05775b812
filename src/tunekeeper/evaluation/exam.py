"""Exams: begun as a job, collected when it is done, judged by the criteria that were locked before."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from tunekeeper import jobs
from tunekeeper.core.errors import NotFound, OurFault, UserError
from tunekeeper.core.ids import new_id
from tunekeeper.core.nouns.evaluation import Exam, Score, Suite
from tunekeeper.core.nouns.retraining import Model
from tunekeeper.evaluation import gate
from tunekeeper.evaluation.answers import Answered, answers
from tunekeeper.evaluation.assemble import assemble
from tunekeeper.evaluation.compare import Comparison, exams
from tunekeeper.evaluation.config import Config
from tunekeeper.evaluation.entrants import Entrant, entrant_of, rival
from tunekeeper.evaluation.job import ANSWERS, write_cases
from tunekeeper.evaluation.lock import lock
from tunekeeper.evaluation.results import Result, decode, encode
from tunekeeper.store.ledgers.datasets import find_datasets
from tunekeeper.store.ledgers.exams import load_exam, save_exam
from tunekeeper.store.ledgers.scores import append_scores
from tunekeeper.store.ledgers.suite_locks import load_suite_lock
from tunekeeper.store.ledgers.versions import find_versions
from tunekeeper.workspace import Workspace

BY = "evaluation"


def exam_id(at: datetime, *parts: str) -> str:
    """The one exam id of these parts, sorted by `at`: whoever asks again finds the same exam."""
    seed = hashlib.sha256("\0".join(parts).encode()).digest()
    return new_id("exam", at, lambda n: seed[:n])


def start_exam(ws: Workspace, task: Model, section: Config, suite: Suite, entrant: Entrant, id: str) -> Exam:
    """Begin the exam `id`, or find it begun. `suite`: as locked. Idempotent: the job is found again by its input."""
    try:
        return find_exam(ws, id)
    except NotFound:
        pass
    cases = ws.blobs.put_bytes(write_cases(suite.cases))
    scorers: dict[str, dict[str, Any]] = {name: suite.scorer_options.get(name, {}) for name in suite.scorers}
    if task.format:
        scorers["format"] = {"spec": task.format}
    asked = {
        "exam": id,
        "slot": msgspec.to_builtins(entrant.slot),
        "cases": cases,
        "learned": _learned(ws, task.name, entrant.version),
        "scorers": scorers,
        "max_tokens": section.max_tokens,
        "concurrency": section.concurrency,
        "timeout": section.timeout,
        "threads": section.threads,
    }
    names = (entrant.slot.api_key_env,) if entrant.slot.api_key_env else ()
    job = jobs.ensure(ws, "exam", asked, model=task.name, env=names)
    exam = Exam(
        id=id,
        model=task.name,
        version=entrant.version,
        artifact=entrant.artifact,
        artifact_digest=entrant.digest,
        suite=suite.id,
        suite_digest=suite.digest,
        job=job.id,
    )
    with ws.state.write(by=BY) as tx:
        return save_exam(tx, exam)


def _learned(ws: Workspace, model: str, version: str) -> str | None:
    """Manifest of the rows that a version learned; None for one that learned none of ours, or whose rows are gone."""
    with ws.state.read() as tx:
        dataset = next((each.dataset for each in find_versions(tx, model=model) if each.id == version), None)
        found = next((each for each in find_datasets(tx, model=model) if each.id == dataset), None)
    return found.manifest if found is not None and found.manifest is not None and ws.rows.has(found.manifest) else None


def find_exam(ws: Workspace, id: str) -> Exam:
    """The exam with this id. Raises NotFound."""
    with ws.state.read() as tx:
        return load_exam(tx, id)


def collect(ws: Workspace, exam: Exam) -> tuple[Exam, jobs.Job | None]:
    """Look at a running exam: once its job is done, keep the answers and scores and close it. Returns it with its job."""
    if exam.state != "running" or exam.job is None:
        return exam, None
    job = jobs.look(ws, exam.job)
    if job.state in ("failed", "cancelled"):
        with ws.state.write(by=BY) as tx:
            return save_exam(tx, replace(exam, state="failed")), job
    if job.state != "done":
        return exam, job
    results = decode((job.work / ANSWERS).read_bytes())
    suite = locked_suite(ws, exam)
    order = {case.id: place for place, case in enumerate(suite.cases)}
    if len(results) != len(order) or any(r.case not in order for r in results):
        raise OurFault(
            f"exam {exam.id}: {len(results)} answers for {len(order)} cases",
            fix=f"tunekeeper eval run --model {exam.model} --version {exam.version}",
        )
    results.sort(key=lambda r: order[r.case])
    done = replace(exam, state="done", cases=len(results), answers=ws.blobs.put_bytes(encode(results)), seconds=job.seconds)
    with ws.state.write(by=BY) as tx:
        append_scores(tx, scores_of(exam.id, results))
        return save_exam(tx, done), job


def scores_of(exam: str, results: list[Result]) -> list[Score]:
    """The ledger's rows of an exam."""
    return [
        Score(
            id=f"{exam}/{result.case}/{name}",
            subject=exam,
            case=result.case,
            scorer=name,
            value=value,
            reason=reason,
            answer=result.answer or "",
            category=result.category,
        )
        for result in results
        for name, (value, reason) in result.scores.items()
    ]


def results_of(ws: Workspace, exam: Exam) -> list[Result]:
    """The answers of a finished exam, in the suite's order. Raises NotFound when it has none yet."""
    if exam.answers is None:
        raise NotFound(
            f"exam {exam.id} has no answers: it is {exam.state}",
            fix=f"tunekeeper eval run --model {exam.model} --version {exam.version}",
        )
    return decode(ws.blobs.read(exam.answers))


def answers_of(ws: Workspace, exam: Exam) -> list[Answered]:
    """Every answer of a finished exam beside what was asked and wanted, in the suite's order. Raises NotFound as `results_of`."""
    return answers(locked_suite(ws, exam), results_of(ws, exam))


def locked_suite(ws: Workspace, exam: Exam) -> Suite:
    """The cases and criteria that were locked for an exam."""
    with ws.state.read() as tx:
        return load_suite_lock(tx, exam.suite, exam.suite_digest)


def judge_exam(ws: Workspace, section: Config, exam: Exam, other: Exam | None) -> Exam:
    """Judge a finished exam, paired with `other` (finished, same suite) where there is one; judged once, it stays as it is."""
    if exam.verdict is not None:
        return exam
    if other is not None:
        # What is live is judged by the same criteria, alone: that is the answer to "is the live one still good enough".
        other = judge_exam(ws, section, other, None)
    theirs = results_of(ws, other) if other is not None else None
    verdict = gate.judge(
        locked_suite(ws, exam), results_of(ws, exam), theirs, section, subject=exam.artifact_digest or exam.version
    )
    judged = replace(exam, verdict=verdict, champion_exam=other.id if other is not None else None)
    with ws.state.write(by=BY) as tx:
        return save_exam(tx, judged)


def run_exam(
    ws: Workspace,
    task: Model,
    section: Config,
    version: str,
    suite_path: Path,
    *,
    relock: str | None = None,
    on_progress: Callable[[jobs.Job], None] | None = None,
) -> dict[str, Any]:
    """Examine a version now and wait; `{verdict, metrics, cases, inconclusive_because, …}`. Compared with the champion if any.

    `version`: id, name, or @champion. Raises what made the exam fail (UpstreamUnavailable, ArtifactError …).
    """
    entrant = entrant_of(ws, task.name, version, section)
    suite = lock(ws, assemble(ws, task, section, suite_path), entrant.version, by=BY, relock=relock)
    own = _finish(ws, start_exam(ws, task, section, suite, entrant, ws.new_id("exam")), on_progress)
    against = rival(ws, task.name, entrant.version, section)
    other = None
    if against is not None:
        other = _finish(ws, start_exam(ws, task, section, suite, against, ws.new_id("exam")), on_progress)
    return report(judge_exam(ws, section, own, other), other)


def _finish(ws: Workspace, exam: Exam, on_progress: Callable[[jobs.Job], None] | None) -> Exam:
    if exam.job is not None:
        jobs.wait(ws, exam.job, on_progress)
    done, job = collect(ws, exam)
    if done.state == "failed" and job is not None:
        jobs.reraise(job)
    return done


def compare_exams(ws: Workspace, new: str, old: str) -> Comparison:
    """The paired comparison of two finished exams of one suite, by id. Raises NotFound, UserError for two suites."""
    mine, theirs = find_exam(ws, new), find_exam(ws, old)
    if mine.suite != theirs.suite:
        raise UserError(f"exams {new} and {old} are of two suites, {mine.suite} and {theirs.suite}", fix="tunekeeper eval ls")
    return exams(locked_suite(ws, mine), results_of(ws, mine), results_of(ws, theirs), locked_suite(ws, theirs))


def report(exam: Exam, other: Exam | None = None) -> dict[str, Any]:
    """What `eval run` prints of a judged exam. `inconclusive_because`: the first reason, None for any other verdict. Raises
    NotFound for one that has no verdict yet."""
    verdict = exam.verdict
    if verdict is None:
        raise NotFound(f"exam {exam.id} has no verdict yet: it is {exam.state}", fix="tunekeeper eval ls")
    return {
        "verdict": verdict.outcome,
        "metrics": {name: {"value": e.value, "low": e.low, "high": e.high, "n": e.n} for name, e in verdict.measured.items()},
        "cases": exam.cases,
        "inconclusive_because": verdict.reasons[0] if verdict.outcome == "inconclusive" and verdict.reasons else None,
        "reasons": list(verdict.reasons),
        "rules": list(verdict.rules),
        "exam": exam.id,
        "version": exam.version,
        "suite": exam.suite,
        "suite_digest": exam.suite_digest,
        "compared_with": other.version if other is not None else None,
    }
