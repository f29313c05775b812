"""The evaluate stage of a cycle: the candidate's artifact and what is live, on the same cases, judged by locked criteria."""

from __future__ import annotations

from tunekeeper import jobs
from tunekeeper.core.errors import NotFound, UserError
from tunekeeper.core.nouns.evaluation import Exam
from tunekeeper.core.nouns.retraining import Answer, Cycle, Done, Model, Stop, Wait
from tunekeeper.evaluation.assemble import assemble
from tunekeeper.evaluation.config import Config
from tunekeeper.evaluation.entrants import Entrant, artifact_of, candidate, rival
from tunekeeper.evaluation.exam import BY, collect, exam_id, find_exam, judge_exam, locked_suite, start_exam
from tunekeeper.evaluation.lock import lock
from tunekeeper.workspace import Workspace


def poke(ws: Workspace, task: Model, section: Config, cycle: Cycle) -> Answer:
    """Take the next small step: begin the exams, look at them, judge. Done carries the exam's id; a failed gate stops the cycle
    as blocked unless a named person's override goes with it."""
    if "export" not in cycle.records or cycle.created is None:
        return Stop(why="no artifact was exported, so there is nothing to examine")
    artifact = artifact_of(ws, cycle.records["export"])
    entrant = candidate(ws, artifact, section)
    id = exam_id(cycle.created, cycle.id, "candidate", artifact.id)
    exam = _begin(ws, task, section, cycle, entrant, id)
    exam, job = collect(ws, exam)
    if exam.state != "done":
        return _pending(exam, job, "candidate")
    if exam.verdict is not None:
        return _conclude(exam, cycle)
    other, answer = _rival(ws, task, section, cycle, exam)
    if answer is not None:
        return answer
    return _conclude(judge_exam(ws, section, exam, other), cycle)


def _begin(ws: Workspace, task: Model, section: Config, cycle: Cycle, entrant: Entrant, id: str) -> Exam:
    try:
        return find_exam(ws, id)
    except NotFound:
        pass
    if ws.project is None:
        raise UserError("an exam needs the project's suite file", fix="name the project with --dir")
    suite = assemble(ws, task, section, ws.project / section.suite, cycle.records.get("data"))
    relock = cycle.options.get("relock")
    locked = lock(ws, suite, entrant.version, by=BY, relock=str(relock) if relock else None)
    return start_exam(ws, task, section, locked, entrant, id)


def _rival(ws: Workspace, task: Model, section: Config, cycle: Cycle, exam: Exam) -> tuple[Exam | None, Answer | None]:
    """The finished exam of what is live on the same cases, or the answer to give until it is."""
    against = rival(ws, task.name, exam.version, section)
    if against is None or cycle.created is None:
        return None, None
    id = exam_id(cycle.created, cycle.id, "rival", against.digest or against.slot.id)
    other, job = collect(ws, start_exam(ws, task, section, locked_suite(ws, exam), against, id))
    if other.state != "done":
        return None, _pending(other, job, "champion")
    return other, None


def _pending(exam: Exam, job: jobs.Job | None, who: str) -> Answer:
    if exam.state == "failed":
        return Stop(why=f"exam of the {who} {exam.version}: {job.error if job else 'its job failed'}", record=exam.id)
    detail = (job.detail if job else None) or {}
    said = f"{detail['answered']} of {detail['cases']} cases" if "cases" in detail else "starting"
    return Wait(why=f"exam of the {who} {exam.version}: {said}", progress=job.progress if job else None)


def _conclude(exam: Exam, cycle: Cycle) -> Answer:
    verdict = exam.verdict
    assert verdict is not None
    note = f"{verdict.outcome}: {'; '.join(verdict.reasons[:3])}"
    if verdict.outcome == "pass":
        return Done(record=exam.id, note=note)
    override = cycle.options.get("override")
    if override:
        return Done(record=exam.id, note=f"{note}; let through by {override}")
    return Stop(why=note, record=exam.id, outcome="blocked" if verdict.outcome == "fail" else "inconclusive")
