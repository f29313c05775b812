"""`tunekeeper data plan`: the hours that a collection of examples takes."""

from __future__ import annotations

from typing import Annotated

import typer

from tunekeeper.cli import frame

app = frame.group("Plan a collection.")


@app.command("plan")
def plan(
    model: frame.Model,
    examples: Annotated[
        list[int] | None, typer.Option("--examples", min=1, help="Examples wanted; repeatable (default: 500 and 1000).")
    ] = None,
    hours_a_week: Annotated[
        float | None, typer.Option("--hours-a-week", help="Hours a week of all who do it: also says how many weeks.")
    ] = None,
    spent: Annotated[float | None, typer.Option("--spent", help="Note hours of collecting that no command shows.")] = None,
    note: Annotated[str, typer.Option("--note", help="What those hours went into.")] = "",
    by: Annotated[str | None, typer.Option("--by", help="Whose hours (default: the user of this machine).")] = None,
    dry_run: frame.DryRun = False,
    dir: frame.Dir = None,
    json: frame.Json = False,
) -> int:
    """Say how many hours the examples of a first dataset, or of an update, take: meant, spent, still ahead, at which pace.

    Example: tunekeeper data plan --model support-desk --examples 500 --hours-a-week 8
    """
    from tunekeeper.core.errors import UserError
    from tunekeeper.data import worklog
    from tunekeeper.data.plan import as_text
    from tunekeeper.data.plan import plan as planned

    ws, project = frame.project(dir)
    project.model(model)
    lines = []
    if spent is None and (note or by):
        raise UserError("--note and --by go with hours that --spent notes", fix="add --spent HOURS")
    if spent is not None:
        worklog.save_hours(ws, model, spent, by=by or frame.user(), what=note, dry_run=dry_run)
        lines = [f"{'would note' if dry_run else 'noted'} {spent:g} h of collecting"]
    found = planned(ws, model, examples=examples or (), hours_a_week=hours_a_week)
    return frame.emit(found, json, lambda: [*lines, *as_text(found)])
