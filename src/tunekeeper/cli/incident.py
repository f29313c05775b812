"""`tunekeeper incident`: rollbacks and what they taught."""

from __future__ import annotations

from typing import Annotated

import typer

from tunekeeper.cli import frame
from tunekeeper.core.errors import UserError

app = frame.group("Rollbacks and what they taught.")
Id = Annotated[str, typer.Argument(help="Id of the incident.")]


@app.command("ls")
def list_(
    model: Annotated[str | None, typer.Option("--model", help="Only this model.")] = None,
    dir: frame.Dir = None,
    json: frame.Json = False,
) -> int:
    """List incidents, newest first.

    Example: tunekeeper incident ls --model support-desk
    """
    from tunekeeper.store.ledgers.incidents import find_incidents

    with frame.workspace(dir).control.read() as tx:
        found = find_incidents(tx, model=model, newest_first=True)
    if not found:
        frame.refuse_unknown(model, dir)
    rows = [[each.id, each.state, each.version, len(each.cases), each.reason[:80]] for each in found]
    lines = frame.table(rows, ["id", "state", "version", "cases", "reason"]) if rows else ["no incident"]
    return frame.emit(found, json, lines)


@app.command()
def cases(id: Id, dir: frame.Dir = None, json: frame.Json = False) -> int:
    """Show the regression cases an incident gave.

    Example: tunekeeper incident cases inc_01J…
    """
    from tunekeeper.store.ledgers.incidents import load_incident

    with frame.workspace(dir).control.read() as tx:
        incident = load_incident(tx, id)
    lines = [
        f"{case.id} [{case.category}] {case.messages[-1].get('content', '')!s:.90} → {case.expected}" for case in incident.cases
    ]
    return frame.emit(incident.cases, json, lines or ["no cases"])


@app.command()
def close(
    id: Id,
    why_missed: Annotated[str, typer.Option("--why-missed", help="Why the evaluation missed it.")],
    what_changes: Annotated[str, typer.Option("--what-changes", help="What changes: data, training or evaluation.")],
    retry_on: Annotated[str, typer.Option("--retry-on", help="Date of the next try, e.g. 2026-02-01.")],
    dry_run: frame.DryRun = False,
    dir: frame.Dir = None,
    json: frame.Json = False,
) -> int:
    """Close an incident with its 24-hour analysis.

    Example: tunekeeper incident close inc_01J… --why-missed "no such tickets" --what-changes "suite" --retry-on 2026-02-01
    """
    from tunekeeper.rollout.incidents import close as shut

    ws = frame.workspace(dir)
    retry = frame.moment(retry_on, ws.clock)
    if retry is None:
        raise UserError("an incident needs the date of the next try", fix="--retry-on 2026-02-01")
    if dry_run:
        from tunekeeper.store.ledgers.incidents import load_incident

        with ws.control.read() as tx:
            found = load_incident(tx, id)
        return frame.emit({"incident": found.id, "state": found.state, "dry_run": True}, json, [f"would close {found.id}"])
    incident = shut(ws, id, why_missed=why_missed, what_changes=what_changes, retry_on=retry, by=frame.user())
    return frame.emit(incident, json, [f"closed {incident.id}; next try {incident.retry_on:%Y-%m-%d}"])
