"""The cases of one exam: the suite's file, the model's incidents, new held-out rows; and the criteria that count."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from tunekeeper.core.errors import ConfigError, NotFound
from tunekeeper.core.ids import digest_json
from tunekeeper.core.nouns.evaluation import Case, Criterion, Suite
from tunekeeper.core.nouns.retraining import Model
from tunekeeper.evaluation.config import Config
from tunekeeper.evaluation.results import REGRESSION
from tunekeeper.scoring.suites import case_of, load_suite, with_digest
from tunekeeper.store.ledgers.datasets import load_dataset
from tunekeeper.store.ledgers.incidents import find_incidents
from tunekeeper.workspace import Workspace

NEW = "new"


def assemble(ws: Workspace, task: Model, section: Config, path: Path, dataset: str | None = None) -> Suite:
    """The suite in `path` with everything that an exam of `task` adds, digested. `dataset`: id of the version that the candidate
    learned; its held-out rows join as new cases (EVAL-42). Raises NotFound without that file, ConfigError when the suite is
    another model's, and what `load_suite` does."""
    if not path.exists():
        raise NotFound(f"no suite file {path}", fix=f"tunekeeper eval init --model {task.name}")
    suite = load_suite(path)
    if suite.model and suite.model != task.name:
        own = f"evaluation: {{suite: suites/{task.name}.yaml}}"
        raise ConfigError(
            f"{path}: the suite is for model {suite.model!r}, not {task.name!r}",
            fix=f"name the model's own, for good in models/{task.name}.yaml: {own}",
        )
    cases = _with_born(suite.cases, born_cases(ws, task.name))
    if dataset is not None and section.dataset_cases > 0:
        cases += _unknown(_as_new(dataset, held_out(ws, dataset)), cases, section.dataset_cases)
    return with_digest(
        replace(
            suite,
            model=task.name,
            cases=tuple(_with_system(case, task.system) for case in cases),
            criteria=criteria(suite, section, bool(task.format)),
        )
    )


def _with_born(own: Sequence[Case], born: Sequence[Case]) -> list[Case]:
    """The cases of a file and those that incidents left. One that was written to the file is asked once, as the file says, and
    stays a regression case."""
    named, there = {case.id for case in born}, {case.id for case in own}
    return [*(_regression(case) if case.id in named else case for case in own), *(case for case in born if case.id not in there)]


def _regression(case: Case) -> Case:
    return case if REGRESSION in case.tags else replace(case, tags=(*case.tags, REGRESSION))


def criteria(suite: Suite, section: Config, has_format: bool) -> tuple[Criterion, ...]:
    """The suite's own, else the configured targets; and the paired comparison with what is live, which no suite can leave out."""
    stated = suite.criteria or (
        Criterion(metric="accuracy", at_least=section.accuracy),
        *((Criterion(metric="format", at_least=section.format),) if has_format else ()),
    )
    if any(c.margin is not None for c in stated):
        return stated
    return (*stated, Criterion(metric="accuracy", margin=section.margin))


def born_cases(ws: Workspace, model: str) -> list[Case]:
    """Cases born from incidents, open or closed: whatever went wrong once must not again (EVAL-32)."""
    with ws.control.read() as tx:
        incidents = find_incidents(tx, model=model)
    cases = [case for incident in incidents for case in incident.cases]
    return [_regression(case) for case in cases]


def held_out(ws: Workspace, dataset: str) -> Iterable[Case]:
    """The held-out rows of a frozen dataset as cases. Raises NotFound."""
    with ws.state.read() as tx:
        version = load_dataset(tx, dataset)
    if version.manifest is None:
        return
    for number, line in enumerate(ws.rows.lines(version.manifest, "eval"), 1):
        if not line.strip():
            continue
        row = json.loads(line)
        yield case_of({k: row[k] for k in ("id", "messages", "metadata") if k in row}, f"{dataset}:{number}")


def _as_new(dataset: str, rows: Iterable[Case]) -> Iterable[Case]:
    return (replace(case, id=f"{dataset}:{case.id}", tags=(NEW,)) for case in rows)


def _unknown(rows: Iterable[Case], known: list[Case], most: int) -> list[Case]:
    """At most `most` rows whose question is not asked already; chosen by the questions alone: twice gives the same."""
    asked = {_question(case) for case in known}
    fresh = {_question(case): case for case in rows}
    chosen = sorted(key for key in fresh if key not in asked)[:most]
    return [fresh[key] for key in chosen]


def _question(case: Case) -> str:
    return digest_json([m for m in case.messages if m.get("role") != "system"])


def _with_system(case: Case, system: str | None) -> Case:
    if system is None or any(m.get("role") == "system" for m in case.messages):
        return case
    return replace(case, messages=({"role": "system", "content": system}, *case.messages))
