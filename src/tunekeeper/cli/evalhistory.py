"""The commands of `tunekeeper eval` about a suite over time: its history, and the suite of an exam as it was locked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tunekeeper.cli import frame

if TYPE_CHECKING:
    from tunekeeper.core.nouns.evaluation import Estimate
    from tunekeeper.evaluation.history import History

app = frame.group("A suite over time.")


@app.command("history")
def history(
    model: frame.Model,
    suite: Annotated[str | None, typer.Option("--suite", help="Name of the suite (default: the one that was used last).")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Exams at most, the newest.")] = 50,
    dir: frame.Dir = None,
    json: frame.Json = False,
) -> int:
    """Say which edition of the suite each version was asked, what changed in it, and how they did on what never changed.

    Example: tunekeeper eval history --model support-desk
    """
    from tunekeeper.evaluation import history as verbs

    found = verbs.history(frame.workspace(dir), model, suite=suite, limit=limit)
    return frame.emit(found, json, lambda: [*_table(found), *verbs.as_text(found)])


def _table(found: History) -> list[str]:
    rows = [
        (
            s.version,
            f"{s.at:%Y-%m-%d %H:%M}" if s.at else None,
            s.outcome,
            s.edition,
            s.own,
            s.joined,
            _share(s.accuracy),
            _share(s.core),
            None if s.change is None or s.change.value is None else f"{s.change.value:+.1%}",
            s.exam,
        )
        for s in found.sittings
    ]
    names = ("version", "at", "verdict", "edition", "own", "joined", "accuracy", "on the core", "change", "exam")
    return frame.table(rows, names)


def _share(estimate: Estimate) -> str | None:
    return None if estimate.value is None else f"{estimate.value:.1%}"


@app.command("checkout")
def checkout(
    exam: Annotated[str, typer.Argument(help="Exam id, from `eval ls` or `eval history`.")],
    out: Annotated[Path, typer.Option("--out", help="Suite file to write (.yaml), its cases beside it.")],
    dry_run: frame.DryRun = False,
    dir: frame.Dir = None,
    json: frame.Json = False,
) -> int:
    """Write the suite of an exam as it was locked, so that another version can be asked just the same.

    Example: tunekeeper eval checkout exam_01KE6P4YM0TC925B58TB6FRQKH --out suites/of-v1.yaml
    """
    from tunekeeper.evaluation import casefile

    ws = frame.workspace(dir)
    cases = casefile.checkout_suite(ws, exam, out, dry_run=dry_run)
    verb = "would write" if dry_run else "wrote"
    answer = {"exam": exam, "suite": str(out), "cases": cases, "dry_run": dry_run}
    return frame.emit(answer, json, [f"{verb} {out} with the {cases} cases of {exam}"])
