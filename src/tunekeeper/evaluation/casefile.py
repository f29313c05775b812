"""Suite files that a person asks for: a first suite out of held-out rows, and the cases that incidents left."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from tunekeeper.core.errors import NotFound, UserError
from tunekeeper.core.nouns.evaluation import Case
from tunekeeper.core.nouns.retraining import Model
from tunekeeper.evaluation.assemble import born_cases, held_out
from tunekeeper.evaluation.config import Config
from tunekeeper.scoring import load_suite
from tunekeeper.store.ledgers.datasets import find_datasets
from tunekeeper.store.ledgers.exams import load_exam
from tunekeeper.store.ledgers.suite_locks import load_suite_lock
from tunekeeper.store.place import file_at, whole
from tunekeeper.workspace import Workspace

TEMPLATE = """\
# What an answer of {model} must do. Criteria are locked, with a time stamp, before the first answer is judged by them.
suite: {name}
model: {model}
scorers: [{scorer}]
criteria:
  - {{metric: accuracy, at_least: {accuracy}}}       # share of fully right answers
{format}  - {{metric: accuracy, margin: {margin}}}         # at most this much worse than what is live, on the same cases
cases: {cases}
"""


def init_suite(ws: Workspace, task: Model, section: Config, path: Path, most: int = 200) -> int:
    """Write a suite at `path` (.yaml) with its cases beside, out of the newest dataset's held-out rows; returns how many cases.

    Raises UserError when a file is there already, NotFound without a frozen dataset.
    """
    cases_path = path.with_suffix(".jsonl")
    for each in (path, cases_path):
        if each.exists():
            raise UserError(f"{each} exists already", fix=f"edit it, or name another: --suite suites/{task.name}.yaml")
    with ws.state.read() as tx:
        found = find_datasets(tx, model=task.name, newest_first=True)
    versions = [version for version in found if not version.report.get("detached")]
    if not versions:
        raise NotFound(
            f"model {task.name} has no frozen dataset to take cases from", fix=f"tunekeeper data freeze --model {task.name}"
        )
    cases = list(held_out(ws, versions[0].id))[:most]
    text = TEMPLATE.format(
        model=task.name,
        name=f"{task.name}-{path.stem}",
        scorer="json_fields" if task.format.get("kind") == "json" else "exact",
        accuracy=section.accuracy,
        format=f"  - {{metric: format, at_least: {section.format}}}\n" if task.format else "",
        margin=section.margin,
        cases=cases_path.name,
    )
    return _write_suite(path, text, cases_path, cases)


def checkout_suite(ws: Workspace, exam: str, path: Path, *, dry_run: bool = False) -> int:
    """Write the suite of an exam as it was locked: `path` (.yaml) and its cases beside; returns how many cases.

    Raises NotFound for an exam that is not there, UserError when a file is there already.
    """
    with ws.state.read() as tx:
        found = load_exam(tx, exam)
        suite = load_suite_lock(tx, found.suite, found.suite_digest)
    cases_path = path.with_suffix(".jsonl")
    for each in (path, cases_path):
        if each.exists():
            raise UserError(f"{each} exists already", fix="name another file with --out")
    if dry_run:
        return len(suite.cases)
    criteria = [{k: v for k, v in asdict(criterion).items() if v is not None} for criterion in suite.criteria]
    scorers = {name: suite.scorer_options.get(name, {}) for name in suite.scorers}
    value = {"suite": suite.id, "model": suite.model, "scorers": scorers, "criteria": criteria, "cases": cases_path.name}
    return _write_suite(path, yaml.safe_dump(value, sort_keys=False, allow_unicode=True), cases_path, suite.cases)


def _write_suite(path: Path, text: str, cases_path: Path, cases: Sequence[Case]) -> int:
    with whole(path) as suite, whole(cases_path) as rows:
        rows.write_bytes(_rows(cases))
        suite.write_text(text, "utf-8")
    return len(load_suite(path).cases)


def export_cases(ws: Workspace, model: str, path: Path) -> int:
    """Append the model's incident cases that `path` (JSONL) lacks; returns how many were added. The file appears whole."""
    path = file_at(path)
    known = {case.id for case in load_suite(path).cases} if path.exists() else set()
    fresh = [case for case in born_cases(ws, model) if case.id not in known]
    if not fresh:
        return 0
    before = path.read_bytes() if path.exists() else b""
    with whole(path) as part:
        part.write_bytes(before + (b"" if before.endswith(b"\n") or not before else b"\n") + _rows(fresh))
    return len(fresh)


def _rows(cases: Sequence[Case]) -> bytes:
    return b"".join(json.dumps(_row(case), ensure_ascii=False).encode() + b"\n" for case in cases)


def _row(case: Case) -> dict[str, Any]:
    row = {
        "id": case.id,
        "messages": list(case.messages),
        "expected": case.expected,
        "category": case.category,
        "tags": list(case.tags),
    }
    return {**{k: v for k, v in row.items() if v not in (None, "", [])}, "source": case.source}
