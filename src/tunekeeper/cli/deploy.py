"""`tunekeeper deploy`: start, checklist, rollouts, drill, what a model server can do."""

from __future__ import annotations

from typing import Annotated

import typer

from tunekeeper.cli import frame

app = frame.group("Stage 4: start, checklist, rollouts, drill, probe.")
Name = Annotated[str, typer.Argument(help="Name of the model.")]


@app.command()
def start(
    model: Name,
    version: Annotated[str, typer.Argument(help="Version that is there already: trained by hand, or imported.")],
    strategy: Annotated[str | None, typer.Option("--strategy", help="canary or blue-green (default: the model's).")] = None,
    override: Annotated[str | None, typer.Option("--override", help="Name and reason for letting a failed gate pass.")] = None,
    why: Annotated[str, typer.Option("--why", help="Reason, for the record.")] = "deployed by hand",
    dry_run: frame.DryRun = False,
    dir: frame.Dir = None,
    json: frame.Json = False,
) -> int:
    """Bring a version that is there already to users: export, parity, exam, gate, checklist, consent, rollout.

    Example: tunekeeper deploy start support-desk v1.1
    """
    from tunekeeper.cli.retrain import opened, strategy_of
    from tunekeeper.core.errors import UserError
    from tunekeeper.training.versions import champion, find_version

    ws, config = frame.project(dir)
    told = config.model(model)
    options = {"strategy": strategy_of(strategy), "override": override}
    with ws.state.read() as tx:
        found = find_version(tx, model, version)
    live = champion(ws, model)
    if live is not None and live.id == found.id:
        raise UserError(f"{found.id} answers users already", fix="tunekeeper status")
    records = {"train": found.id} if found.dataset is None else {"data": found.dataset, "train": found.id}
    return opened(ws, told, why=why, options=options, records=records, dry_run=dry_run, json=json)


@app.command()
def status(model: Name, dir: frame.Dir = None, json: frame.Json = False) -> int:
    """Show the newest rollout: phase, every look at the evidence, verdict.

    Example: tunekeeper deploy status support-desk
    """
    from tunekeeper.rollout.stage import latest

    rollout = latest(frame.workspace(dir), model)
    state, phases = rollout.state.upper().replace("_", " "), len(rollout.phases) or 1
    where = f", phase {rollout.phase + 1} of {phases}" if rollout.strategy == "canary" else ""  # else all traffic moves at once
    head = f"{state}: {rollout.version}, {rollout.strategy}{where}"
    looks = [f"  {check.at:%Y-%m-%d %H:%M} {check.action:<8} {check.reason}" for check in rollout.checks[-20:]]
    return frame.emit(rollout, json, [head, *looks])


@app.command()
def check(model: Name, dir: frame.Dir = None, json: frame.Json = False) -> int:
    """Go through the pre-deployment checklist of the open cycle, and say what is left of the time set aside.

    Example: tunekeeper deploy check support-desk
    """
    from tunekeeper.core.errors import NotFound
    from tunekeeper.deployment.schedule import times
    from tunekeeper.rollout.checklist import judge
    from tunekeeper.rollout.stage import checklist_of
    from tunekeeper.store.ledgers.cycles import find_cycles

    ws, config = frame.project(dir)
    section = config.model(model).sections["rollout"]
    with ws.state.read() as tx:
        open_ones = [each for each in find_cycles(tx, model=model, state="open") if "load" in each.records]
    if not open_ones:
        raise NotFound(f"{model} has nothing loaded that waits for its deployment", fix=f"tunekeeper retrain run --model {model}")
    items = checklist_of(ws, section, open_ones[0])
    verdict = judge(items)
    marks = {True: "ok", False: "NO", None: "n/a"}
    lines = [f"  {item.id} {'waived' if item.waived else marks[item.ok]:<6} {item.detail}" for item in items]
    took = times(open_ones[0].timings)
    lines += [f"time: {said}"] if (said := took.says()) else []
    found = {"verdict": verdict, "items": items, "times": took}
    return frame.emit(found, json, [verdict.outcome.upper(), *lines], code=0 if verdict.outcome == "pass" else 1)


@app.command()
def halt(
    model: Name,
    reason: Annotated[str, typer.Option("--reason", help="Why.")] = "halted by hand",
    dry_run: frame.DryRun = False,
    dir: frame.Dir = None,
    json: frame.Json = False,
) -> int:
    """End the active rollout: all traffic to the champion.

    Example: tunekeeper deploy halt support-desk --reason "complaints"
    """
    from tunekeeper.cli.route import _line
    from tunekeeper.rollout.moves import halt as end
    from tunekeeper.rollout.moves import would_halt

    ws = frame.workspace(dir)
    if dry_run:
        champion, rollout = would_halt(ws, model)
        lines = [f"would end the rollout of {rollout.version}: everything to {champion}"]
        return frame.emit({"rollout": rollout.id, "champion": champion, "dry_run": True}, json, lines)
    move = end(ws, model, by=frame.user(), reason=reason)
    return frame.emit(move.as_json(), json, [_line(move.as_json())])


@app.command()
def drill(
    model: Name,
    hold: Annotated[float, typer.Option("--hold", help="Seconds on the previous version.")] = 0.5,
    dir: frame.Dir = None,
    json: frame.Json = False,
) -> int:
    """Exercise the way back and forth, with measured milliseconds.

    Example: tunekeeper deploy drill support-desk
    """
    from tunekeeper.rollout.drill import drill as run

    done = run(frame.workspace(dir), model, by=frame.user(), hold_seconds=hold)
    line = f"{model}: {done.version} → {done.went_to} in {done.back_ms:.1f} ms, and back in {done.forth_ms:.1f} ms"
    return frame.emit(done, json, [line])


@app.command()
def probe(
    endpoint: Annotated[str, typer.Argument(help="Address of a model server, with or without /v1.")],
    engine: Annotated[str, typer.Option("--engine", help="openai, llamacpp, ollama, vllm or fake.")] = "openai",
    api_key_env: Annotated[str | None, typer.Option("--api-key-env", help="Variable that holds the server's key.")] = None,
    json: frame.Json = False,
) -> int:
    """Ask a model server what it can do: its models, log-probabilities, adapters. One that is openai answers one token for it.

    Example: tunekeeper deploy probe http://127.0.0.1:11434 --engine ollama
    """
    from tunekeeper.core.errors import UpstreamUnavailable
    from tunekeeper.engines import ENGINES
    from tunekeeper.engines.engine import key_of

    try:
        found = ENGINES.load(engine)().probe(endpoint, key_of(api_key_env))
    except UpstreamUnavailable as error:
        fix = error.fix or f"start the {engine} server there, or name where it listens and what it is (--engine)"
        raise UpstreamUnavailable(error.message, fix=fix) from error
    lines = [f"{endpoint} ({engine})", *(f"  model {name}" for name in found.models)]
    lines += [f"  {what}: {'yes' if can else 'no'}" for what, can in (("logprobs", found.logprobs), ("adapters", found.adapters))]
    return frame.emit(found, json, lines)
