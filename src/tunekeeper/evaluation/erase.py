"""Erasing a person's text from exams: locked suites, the cases and answers of exams, and scores. What was judged stays judged.

A case keeps its id and its place, and an answer its scores; only their text goes, so that verdicts and comparisons hold.
"""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import replace
from pathlib import Path

import msgspec

from tunekeeper.core.nouns.evaluation import Case, Score, Suite
from tunekeeper.evaluation.job import ANSWERS
from tunekeeper.evaluation.results import Result
from tunekeeper.store.ledgers.exams import find_exams
from tunekeeper.store.ledgers.jobs import find_jobs
from tunekeeper.store.ledgers.scores import find_scores, save_erased_scores
from tunekeeper.store.ledgers.suite_locks import find_suite_locks, save_erased_suite_locks
from tunekeeper.workspace import Workspace

ERASED = "[erased]"
Change = Callable[[bytes], tuple[str, bytes | None] | None]


def erase_exams(ws: Workspace, requests: Set[str], names: Set[str], *, dry_run: bool = False) -> dict[str, int]:
    """Erase the text of cases that came from one of `requests` or are called one of `names` (case ids). Returns how many
    `suite_cases`, `exam_cases`, `exam_answers` and `scores`; `dry_run` only counts. Repeating it after a kill finishes it."""
    with ws.state.read() as tx:
        locks, exams, jobs = find_suite_locks(tx), find_exams(tx), find_jobs(tx, kind="exam")
    known = set(names) | {case.id for suite in locks for case in suite.cases if _belongs(case, requests, names)}
    inputs = sorted({str(job.input["cases"]) for job in jobs if "cases" in job.input})
    answers = sorted({exam.answers for exam in exams if exam.answers is not None})
    blank_case, blank_answer = _cases(requests, known), _answers(requests, known)
    counts = {
        "suite_cases": 0,
        "exam_cases": sum(ws.blobs.erase_lines(digest, blank_case, dry_run=dry_run) for digest in inputs),
        "exam_answers": sum(ws.blobs.erase_lines(digest, blank_answer, dry_run=dry_run) for digest in answers),
    }
    if not dry_run:
        for job in jobs:
            _sift(ws.path("work", job.id, "files", ANSWERS), blank_answer)
    subjects = {exam.id for exam in exams}
    counts["scores"] = _scores(ws, requests, known, subjects, dry_run=dry_run)
    hit = [suite for suite in locks if any(_due(case, requests, names) for case in suite.cases)]
    counts["suite_cases"] = sum(_due(case, requests, names) for suite in hit for case in suite.cases)
    if hit and not dry_run:
        # Last: the cases' sources say which answers and scores are theirs.
        with ws.state.write(by="erasure") as write:
            save_erased_suite_locks(write, [_blank(suite, requests, names) for suite in hit])
    return counts


def erased_cases(ws: Workspace) -> set[str]:
    """Ids of the cases of locked suites whose text was erased, now or before: files may still hold them."""
    with ws.state.read() as tx:
        return {case.id for suite in find_suite_locks(tx) for case in suite.cases if case == _tombstone(case)}


def _belongs(case: Case, requests: Set[str], names: Set[str]) -> bool:
    return case.id in names or case.id in requests or case.source.rpartition(":")[2] in requests


def _due(case: Case, requests: Set[str], names: Set[str]) -> bool:
    return _belongs(case, requests, names) and case != _tombstone(case)


def _tombstone(case: Case) -> Case:
    """The case without its text; a question must be there, for suites are read as suites again."""
    return replace(case, messages=({"role": "user", "content": ERASED},), expected=None if case.expected is None else ERASED)


def _blank(suite: Suite, requests: Set[str], names: Set[str]) -> Suite:
    cases = tuple(_tombstone(case) if _belongs(case, requests, names) else case for case in suite.cases)
    return replace(suite, cases=cases)


def _cases(requests: Set[str], names: Set[str]) -> Change:
    def change(line: bytes) -> tuple[str, bytes | None] | None:
        try:
            case = msgspec.json.decode(line, type=Case)
        except msgspec.DecodeError:
            return None
        return (case.id, msgspec.json.encode(_tombstone(case))) if _due(case, requests, names) else None

    return change


def _answers(requests: Set[str], names: Set[str]) -> Change:
    def change(line: bytes) -> tuple[str, bytes | None] | None:
        try:
            result = msgspec.json.decode(line, type=Result)
        except msgspec.DecodeError:
            return None
        if result.case not in names and result.case not in requests:
            return None
        scores = {name: (value, ERASED) for name, (value, _) in result.scores.items()}
        # An answer that never came stays None: it counts as wrong.
        blank = replace(result, answer=None if result.answer is None else ERASED, scores=scores)
        return None if blank == result else (result.case, msgspec.json.encode(blank))

    return change


def _sift(path: Path, change: Change) -> None:
    """Rewrite what an exam's job left, whole or not at all. A job that still appends to it is swept by the next erasure."""
    if not path.exists():
        return
    lines = [(line, change(line.rstrip(b"\n"))) for line in path.read_bytes().splitlines(keepends=True)]
    if any(changed is not None for _, changed in lines):
        part = path.with_suffix(".erasing")
        part.write_bytes(b"".join(line if changed is None else (changed[1] or b"") + b"\n" for line, changed in lines))
        part.replace(path)


def _scores(ws: Workspace, requests: Set[str], names: Set[str], exams: Set[str], *, dry_run: bool) -> int:
    """Scores of the exams' cases, and of the requests themselves."""
    subjects = sorted(exams | requests)
    due: list[Score] = []
    with ws.state.read() as tx:
        for subject in subjects:
            for score in find_scores(tx, subject=subject):
                blank = replace(score, answer=ERASED, reason=ERASED)
                if (subject in requests or score.case in names or score.case in requests) and blank != score:
                    due.append(blank)
    if due and not dry_run:
        with ws.state.write(by="erasure") as write:
            save_erased_scores(write, due)
    return len(due)
