"""`tunekeeper retrain`: why a cycle would open, open one, approve its version."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from tunekeeper.cli import frame
from tunekeeper.core.errors import NotFound, TunekeeperError, UserError

if TYPE_CHECKING:
    from tunekeeper.config import ModelConfig
    from tunekeeper.workspace import Workspace

app = frame.group("Stage 6: why, run, approve, look at a cycle.")


@app.command()
def why(model: frame.Model, dir: frame.Dir = None, json: frame.Json = False) -> int:
    """Say whether a cycle would open now, and why or why not.

    Example: tunekeeper retrain why --model support-desk
    """
    from tunekeeper.retraining.policy import choose
    from tunekeeper.retraining.worker import facts_of

    ws, config = frame.project(dir)
    facts = facts_of(ws, config.model(model))
    if facts is None:
        return frame.emit(
            {"open": False, "why": "no reason to retrain was noticed"}, json, ["no: no reason to retrain was noticed"], code=0
        )
    choice = choose(facts, config.model(model).sections["retraining"])
    return frame.emit({**_plain(choice), "trigger": facts.trigger}, json, [f"{'yes' if choice.open else 'no'}: {choice.why}"])


@app.command()
def run(
    model: frame.Model,
    why: Annotated[str, typer.Option("--why", help="Reason, for the record.")] = "opened by hand",
    dataset: Annotated[str | None, typer.Option("--dataset", help="Dataset version to learn (default: corrections).")] = None,
    from_: Annotated[str | None, typer.Option("--from", help="Version to continue from (default: the live one).")] = None,
    override: Annotated[str | None, typer.Option("--override", help="Name and reason for letting a failed gate pass.")] = None,
    strategy: Annotated[str | None, typer.Option("--strategy", help="canary or blue-green.")] = None,
    dir: frame.Dir = None,
    json: frame.Json = False,
    dry_run: frame.DryRun = False,
) -> int:
    """Open a cycle; the worker of `tunekeeper up` takes it round the loop.

    Example: tunekeeper retrain run --model support-desk --why "new product line"
    """
    ws, config = frame.project(dir)
    found = config.model(model)
    options = {"dataset": dataset, "from": from_, "override": override, "strategy": strategy_of(strategy)}
    return opened(ws, found, why=why, options=options, records={}, dry_run=dry_run, json=json)


@app.command()
def approve(
    model: frame.Model,
    by: Annotated[str, typer.Option("--by", help="Your name.")],
    reason: Annotated[str, typer.Option("--reason", help="Why, in your words.")] = "",
    dir: frame.Dir = None,
    json: frame.Json = False,
    dry_run: frame.DryRun = False,
) -> int:
    """Consent to the version that the open cycle wants to deploy.

    Example: tunekeeper retrain approve --model support-desk --by Ana
    """
    from tunekeeper.rollout.approvals import approve as consent
    from tunekeeper.store.ledgers.artifacts import load_artifact
    from tunekeeper.store.ledgers.cycles import find_cycles
    from tunekeeper.store.ledgers.exams import load_exam

    ws, config = frame.project(dir)
    with ws.state.read() as tx:
        waiting = [each for each in find_cycles(tx, model=model, state="open") if "evaluate" in each.records]
        if not waiting:
            raise NotFound(f"no cycle of {model} waits for approval", fix="tunekeeper status")
        artifact, exam = load_artifact(tx, waiting[0].records["export"]), load_exam(tx, waiting[0].records["evaluate"])
    if dry_run:
        return frame.emit(
            {"version": artifact.version, "artifact_digest": artifact.digest}, json, [f"would approve {artifact.version}"]
        )
    hours = config.model(model).sections["rollout"].approval_hours
    approval = consent(
        ws,
        model=model,
        version=artifact.version,
        artifact_digest=artifact.digest or "",
        suite_digest=exam.suite_digest,
        by=by,
        reason=reason,
        hours=hours,
    )
    return frame.emit(approval, json, [f"{by} approved {approval.version} until {approval.expires:%Y-%m-%d %H:%M} UTC"])


@app.command()
def show(
    model: frame.Model,
    number: Annotated[int | None, typer.Option("--cycle", help="Number of the cycle (default: the newest).")] = None,
    dir: frame.Dir = None,
    json: frame.Json = False,
) -> int:
    """Show a cycle: why it opened, what each stage left, how it closed.

    Example: tunekeeper retrain show --model support-desk
    """
    from tunekeeper.retraining.report import summary
    from tunekeeper.store.ledgers.cycles import find_cycles
    from tunekeeper.store.ledgers.triggers import load_trigger

    with frame.workspace(dir).state.read() as tx:
        cycles = [each for each in find_cycles(tx, model=model) if number in (None, each.number)]
        if not cycles:
            raise NotFound(f"{model} has no such cycle", fix=f"tunekeeper retrain run --model {model}")
        trigger = load_trigger(tx, cycles[-1].trigger) if cycles[-1].trigger else None
    now = [f"now: {cycles[-1].stage}: {cycles[-1].waiting or 'the worker takes it up'}"] if cycles[-1].state == "open" else []
    return frame.emit(cycles[-1], json, [*now, *summary(cycles[-1], trigger).splitlines()])


def strategy_of(word: str | None) -> str | None:
    """What `--strategy` says. Raises UserError for a word that is none."""
    if word not in (None, "canary", "blue-green"):
        raise UserError(f"no strategy is called {word!r}", fix="write canary or blue-green")
    return word


def opened(
    ws: Workspace, config: ModelConfig, *, why: str, options: dict[str, Any], records: dict[str, str], dry_run: bool, json: bool
) -> int:
    """Open a cycle and say so; `options` that are None were not given, `records` as of `open_cycle`."""
    from tunekeeper.processes import ending
    from tunekeeper.retraining.cycle import open_cycle, refuse_second

    given = {name: value for name, value in options.items() if value is not None}
    if not str(given.get("override", "a reason")).strip():
        raise UserError("an override without a reason lets nothing pass", fix='--override "NAME: REASON"')
    model, ahead = config.task.name, _ahead(ws, config)
    if dry_run:
        with ws.state.read() as tx:
            refuse_second(tx, model)
        told = f": {given | records}" if given or records else ""
        return frame.emit({"model": model, "options": given}, json, [f"would open a cycle of {model}{told}", *ahead])
    cycle = open_cycle(ws, model, why=why, by=frame.user(), options=given, records=records)
    lines = [f"opened cycle {cycle.number} of {model}; follow it with tunekeeper retrain show --model {model}", *ahead]
    if "worker" not in ending.running(ws.root):
        lines.append("no worker is running to do it: tunekeeper up")
    return frame.emit(cycle, json, lines)


def _ahead(ws: Workspace, config: ModelConfig) -> list[str]:
    """What would stop the cycle at its exam, which begins when everything has been trained: there is time to mend it."""
    from tunekeeper.evaluation.assemble import assemble

    section = config.sections["evaluation"]
    try:
        if ws.project is not None:
            assemble(ws, config.task, section, ws.project / section.suite)
    except TunekeeperError as error:
        return [f"its exam would stop it: {error}"]
    return []


def _plain(choice: Any) -> dict[str, Any]:
    return {"open": choice.open, "why": choice.why}
