"""A person's text leaves locked suites, exams and scores; what was judged stays judged."""

from __future__ import annotations

from pathlib import Path

import pytest

from tunekeeper.core.clock import ManualClock
from tunekeeper.core.nouns.evaluation import Case, Exam, Suite
from tunekeeper.evaluation.erase import ERASED, erase_exams
from tunekeeper.evaluation.exam import scores_of
from tunekeeper.evaluation.job import read_cases, write_cases
from tunekeeper.evaluation.results import Result, decode, encode, values
from tunekeeper.store.ledgers.exams import save_exam
from tunekeeper.store.ledgers.jobs import JobRow, save_job
from tunekeeper.store.ledgers.scores import append_scores, find_scores
from tunekeeper.store.ledgers.suite_locks import load_suite_lock, save_suite_lock
from tunekeeper.workspace import Workspace, create_workspace

CASES = tuple(
    Case(id=id, messages=({"role": "user", "content": f"text of {id}"},), expected=f"truth of {id}", source=source)
    for id, source in (("c1", "core.jsonl:1"), ("inc_1-1", "inc_1:req_a"), ("desk/d1:r9", "desk/d1:9"))
)
RESULTS = [
    Result(case=case.id, answer=f"said to {case.id}", scores={"exact": (float(n != 1), f"because of {case.id}")})
    for n, case in enumerate(CASES)
]
NAMES = {"desk/d1:r9"}


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    made = create_workspace(tmp_path / "ws", clock=ManualClock())
    answers = made.blobs.put_bytes(encode(RESULTS))
    cases = made.blobs.put_bytes(write_cases(CASES))
    left = made.path("work", "job_1", "files", "answers.jsonl")
    left.parent.mkdir(parents=True)
    left.write_bytes(encode(RESULTS))
    with made.state.write(by="test") as tx:
        save_suite_lock(tx, Suite(id="core", model="desk", cases=CASES, criteria=(), digest="sha256:1"))
        save_job(tx, JobRow(id="job_1", kind="exam", model="desk", input={"cases": cases}, state="done"))
        append_scores(tx, scores_of("exam_1", RESULTS))
        exam = Exam(
            id="exam_1", model="desk", version="desk@v1", artifact=None, artifact_digest=None, suite="core",
            suite_digest="sha256:1", job="job_1", state="done", answers=answers,
        )  # fmt: skip
        save_exam(tx, exam)
    return made


def texts(ws: Workspace) -> str:
    """All that is kept, as one text."""
    with ws.state.read() as tx:
        suite, scores = load_suite_lock(tx, "core", "sha256:1"), find_scores(tx, subject="exam_1")
    files = [path for folder in ("blobs", "work") for path in ws.path(folder).rglob("*") if path.is_file()]
    return f"{suite}{scores}" + "".join(path.read_text() for path in files)


def test_the_text_goes_and_the_marks_stay(ws: Workspace) -> None:
    expected = {"suite_cases": 2, "exam_cases": 2, "exam_answers": 2, "scores": 2}
    assert erase_exams(ws, {"req_a"}, NAMES, dry_run=True) == expected
    assert erase_exams(ws, {"req_a"}, NAMES) == expected
    kept = texts(ws)
    for text in ("text of inc", "truth of inc", "said to inc", "because of inc", "text of desk", "said to desk"):
        assert text not in kept
    for text in ("text of c1", "truth of c1", "said to c1", "because of c1"):
        assert text in kept
    with ws.state.read() as tx:
        suite, scores = load_suite_lock(tx, "core", "sha256:1"), find_scores(tx, subject="exam_1")
        [exam] = _exams(ws)
    assert [(case.id, case.source) for case in suite.cases] == [(case.id, case.source) for case in CASES]
    assert suite.digest == "sha256:1"
    assert [(score.id, score.value) for score in scores] == [(s.id, s.value) for s in scores_of("exam_1", RESULTS)]
    assert exam.answers is not None
    after = decode(ws.blobs.read(exam.answers))
    assert values(after, "accuracy", "exact") == values(RESULTS, "accuracy", "exact")
    assert [result.answer for result in after] == ["said to c1", ERASED, ERASED]
    assert ws.blobs.damaged()[1] == []


def test_repeating_it_finds_nothing_more(ws: Workspace) -> None:
    erase_exams(ws, {"req_a"}, NAMES)
    before = texts(ws)
    assert set(erase_exams(ws, {"req_a"}, NAMES).values()) == {0}
    assert texts(ws) == before


def test_a_question_that_was_erased_is_still_a_case(ws: Workspace) -> None:
    erase_exams(ws, {"req_a"}, NAMES)
    with ws.state.read() as tx:
        suite = load_suite_lock(tx, "core", "sha256:1")
    assert read_cases(write_cases(suite.cases)) == list(suite.cases)


def _exams(ws: Workspace) -> list[Exam]:
    from tunekeeper.store.ledgers.exams import find_exams

    with ws.state.read() as tx:
        return find_exams(tx)
