"""The verbs: train, collect what a job left, the stage `train` of a cycle, the prompted base as a version."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tunekeeper import jobs
from tunekeeper.core.errors import NotFound, OutsideError, UserError
from tunekeeper.core.ids import digest_json
from tunekeeper.core.nouns.data import DatasetVersion
from tunekeeper.core.nouns.retraining import Answer, Cycle, Done, Model, Stop, Wait
from tunekeeper.core.nouns.training import TrainingRun, Version
from tunekeeper.store.ledgers.datasets import load_dataset
from tunekeeper.store.ledgers.runs import find_runs, load_run, save_run
from tunekeeper.store.ledgers.versions import find_versions, load_version, save_version
from tunekeeper.training import harvest
from tunekeeper.training.backends import HERE, HOSTED, Ask, trainer_of
from tunekeeper.training.base import Base, read_base
from tunekeeper.training.config import Config
from tunekeeper.training.hosted import job as hosted_job
from tunekeeper.training.orders import base_folder, learned_by
from tunekeeper.training.pace import expected, outlier
from tunekeeper.training.recipe import Recipe, resolve
from tunekeeper.training.selection import rose, said_of
from tunekeeper.training.versions import champion, find_version, name_of, next_number
from tunekeeper.workspace import Workspace


def train(
    ws: Workspace,
    task: Model,
    section: Config,
    dataset: DatasetVersion,
    *,
    parent: Version | None = None,
    recipe: dict[str, Any] | None = None,
) -> TrainingRun:
    """Begin to train `dataset`, or find the run that already does or did; returns at once, `collect` brings it home.

    `parent`: version that is continued. `recipe`: values that differ from the section's. The same dataset, recipe, base (weights,
    tokenizer and chat template) and parent are the same run, unless that one failed; its warnings say where another sample than
    today's chose among its epochs. Raises ConfigError, ArtifactError (a parent of another base), MissingExtra.
    """
    chosen = resolve(section, recipe, continued=parent is not None)
    ask = trainer_of(section).ask(ws, task, section, dataset, parent, chosen)
    for known in _runs_of(ws, task.name, dataset, ask, parent):
        # One that a cut-off command left running may have ended since.
        run = collect(ws, known, rate_usd_per_hour=section.rate_usd_per_hour)
        if run.state in ("running", "done"):
            said = _chosen_otherwise(ws, run, section, ask)
            return dataclasses.replace(run, warnings=(*run.warnings, said)) if said else run
    # Two models that learn the same rows have a job each: to cancel one, or to clear up after it, must not touch the other.
    work = ask.input | {"task": task.name}
    job = jobs.ensure(ws, ask.kind, work, model=task.name, timeout=ask.timeout, env=ask.env, again=True)
    with ws.state.write(by="training") as tx:
        for run in find_runs(tx, model=task.name, newest_first=True):
            if run.job == job.id and run.state == "running":
                return run
        begun = TrainingRun(
            id=ws.new_id("run"),
            model=task.name,
            dataset=dataset.id,
            dataset_digest=dataset.digest,
            recipe=ask.recipe,
            recipe_digest=digest_json(ask.recipe),
            base=ask.base,
            **ask.digests,
            parent=None if parent is None else parent.id,
            warnings=ask.warnings,
            job=job.id,
        )
        return save_run(tx, begun)


def collect(ws: Workspace, run: TrainingRun, *, rate_usd_per_hour: float | None = None) -> TrainingRun:
    """The run as its jobs stand now. What a finished job's best epoch learned, and its transcript, go into blobs and become a
    version, once; of a cancelled job the best epoch it had finished, where there is one.

    `rate_usd_per_hour`: for the run's cost. A run that has ended is returned as it is.
    """
    if run.state != "running" or run.job is None:
        return run
    job = jobs.look(ws, run.job)
    if job.state in ("queued", "running"):
        return run
    try:
        return _brought_home(ws, run, job, rate_usd_per_hour)
    except (OSError, NotFound):
        with ws.state.read() as tx:
            fresh = load_run(tx, run.id)
        if fresh.state == "running":
            raise
        return fresh  # another command was faster, and cleared away what it had taken


def _brought_home(ws: Workspace, run: TrainingRun, job: jobs.Job, rate_usd_per_hour: float | None) -> TrainingRun:
    """`collect` of a run whose job has ended."""
    outcome = harvest.of(job)
    if outcome is None:
        return _close_failed(ws, run, job, rate_usd_per_hour)
    writing = harvest.transcribing(ws, job, outcome)
    if writing is not None and writing.state in ("queued", "running"):
        return run
    learned = ws.blobs.put_folder(outcome.learned) if outcome.learned else None
    written = outcome.transcript or harvest.transcribed(writing)
    transcript = ws.blobs.put_file(written) if written else None
    with ws.state.write(by="training") as tx:
        fresh = load_run(tx, run.id)
        if fresh.state != "running":
            return fresh
        version = save_version(tx, _version(ws, tx, fresh, learned, transcript, outcome.whereabouts))
        ended = _finished(fresh, job, outcome, version, rate_usd_per_hour)
        before = find_runs(tx, model=run.model, state="done", newest_first=True)
        ended = dataclasses.replace(ended, estimated_seconds=expected(ended, outcome.curve.get("tokens"), before))
        odd = outlier(ended, before)
        ended = save_run(tx, dataclasses.replace(ended, warnings=(*ended.warnings, odd)) if odd else ended)
    harvest.clear(job)
    return ended


def wait(
    ws: Workspace,
    run: TrainingRun,
    on_progress: Callable[[jobs.Job], None] | None = None,
    *,
    rate_usd_per_hour: float | None = None,
) -> TrainingRun:
    """Wait until a run has ended, and bring it home. `on_progress` is told of each look at its job."""
    if run.state == "running" and run.job is not None:
        job = jobs.wait(ws, run.job, on_progress)
        with contextlib.suppress(OSError):  # another command may bring it home meanwhile; `collect` finds out
            outcome = harvest.of(job)
            writing = None if outcome is None else harvest.transcribing(ws, job, outcome)
            if writing is not None:
                jobs.wait(ws, writing.id)
    return collect(ws, run, rate_usd_per_hour=rate_usd_per_hour)


def cancel(ws: Workspace, run: TrainingRun, *, rate_usd_per_hour: float | None = None) -> TrainingRun:
    """End a run now. The best of the epochs that it had finished becomes a version. A run that has ended is returned as it is."""
    if run.state != "running" or run.job is None:
        return run
    jobs.cancel(ws, run.job)
    return wait(ws, run, rate_usd_per_hour=rate_usd_per_hour)


def poke(ws: Workspace, task: Model, section: Config, cycle: Cycle) -> Answer:
    """Stage `train` of a cycle: begin, wait, collect. Done names the version; a failed run stops the cycle.

    Of `cycle.options`: `dataset` (else the record of stage data), `from` (a version, "champion" or "base"; else the section's
    `start`), `recipe` (values that differ).
    """
    try:
        run = _run_of_cycle(ws, task, section, cycle)
        run = collect(ws, run, rate_usd_per_hour=section.rate_usd_per_hour)
    except (UserError, OutsideError) as error:
        return Stop(why=str(error))
    if run.state == "running":
        return _waiting(ws, run)
    if run.state != "done" or run.version is None:
        return Stop(why=run.ended or "training ended without a reason", record=run.id)
    return Done(record=run.version, note=describe(run))


def declare_base(ws: Workspace, task: Model, section: Config) -> Version:
    """The untrained base with its system prompt and few-shot messages as a version `v0.N`: the baseline to beat.

    The same base and prompt are the same version. Raises ArtifactError when the base is missing or broken.
    """
    base = read_base(base_folder(ws, task))
    system = section.base_system if section.base_system is not None else task.system
    with ws.state.write(by="training") as tx:
        known = [version for version in find_versions(tx, model=task.name) if version.major == 0]
        for version in known:
            if (version.base_digest, version.system, version.messages) == (base.digest, system, section.few_shot):
                return version
        name = name_of((0, len(known)), ws.clock.utc().date(), 0)
        declared = Version(
            id=f"{task.name}@{name}",
            model=task.name,
            name=name,
            major=0,
            minor=len(known),
            base=task.base,
            base_digest=base.digest,
            tokenizer_digest=base.tokenizer_digest,
            template_digest=base.template_digest,
            system=system,
            messages=section.few_shot,
        )
        return save_version(tx, declared)


def describe(run: TrainingRun) -> str:
    """A finished run in one sentence with numbers."""
    rows = f"{run.rows} rows" if run.rows is not None else "rows"
    loss = f", loss {run.final_loss:.3f}" if run.final_loss is not None else ""
    cost = f", {run.cost_usd:.4f} USD" if run.cost_usd is not None else ""
    came = f", continued from {run.parent.split('@')[-1]}" if run.parent else ""
    return f"{run.version} from {rows} of {run.dataset} in {run.seconds or 0:.1f} s{loss}{cost}{came}"


def _runs_of(ws: Workspace, model: str, dataset: DatasetVersion, ask: Ask, parent: Version | None) -> list[TrainingRun]:
    wanted = (dataset.digest, digest_json(ask.recipe), ask.digests["base_digest"], parent.id if parent else None)
    with ws.state.read() as tx:
        found = find_runs(tx, model=model, newest_first=True)
    alike = [run for run in found if (run.dataset_digest, run.recipe_digest, run.base_digest, run.parent) == wanted]
    spoken = (ask.digests["tokenizer_digest"], ask.digests["template_digest"])
    return [run for run in alike if run.tokenizer_digest is None or (run.tokenizer_digest, run.template_digest) == spoken]


def _chosen_otherwise(ws: Workspace, run: TrainingRun, section: Config, ask: Ask) -> str | None:
    """What to say of a run that is found again, and whose epochs were asked something else than they would be today."""
    try:
        before = jobs.look(ws, run.job or "").input
    except NotFound:
        return None
    if _sample_of(before) == _sample_of(ask.input):
        return None
    now = f"{section.suite} gives today" if section.suite else "the held-out rows give today"
    why = f"{run.id} has learned this already, and its epochs were chosen among by another sample than {now}"
    return f"{why}: a suite is no part of a run; another `seed` in the recipe trains anew"


def _sample_of(input: dict[str, Any]) -> tuple[Any, ...]:
    """What decides which of a job's epochs is best: the digest of its questions, and the scorers."""
    asked = input.get("sample")
    return (Path(asked).name, input["scorers"]) if asked else (None, None)


def _run_of_cycle(ws: Workspace, task: Model, section: Config, cycle: Cycle) -> TrainingRun:
    """The run this cycle began, else one begun now. The champion may change meanwhile: a begun run keeps its parent."""
    changes = cycle.options.get("recipe")
    trainer = trainer_of(section)
    asked = {
        digest_json(trainer.recorded(section, resolve(section, changes, continued=continued))) for continued in (True, False)
    }
    with ws.state.read() as tx:
        dataset = load_dataset(tx, cycle.options.get("dataset") or cycle.records["data"])
        for run in find_runs(tx, model=task.name, newest_first=True):
            begun = cycle.created is None or (run.created is not None and run.created >= cycle.created)
            if begun and run.dataset == dataset.id and run.recipe_digest in asked:
                return run
    # An adapter is continued here; whoever trains elsewhere begins with the base.
    wanted = cycle.options.get("from") or (section.start if section.backend in HERE else "base")
    parent = _parent(ws, task, wanted, resolve(section, changes, continued=True))
    if parent is None and task.base:
        declare_base(ws, task, section)  # the baseline to beat, exported and examined beside the first version
    return train(ws, task, section, dataset, parent=parent, recipe=changes)


def _parent(ws: Workspace, task: Model, wanted: str, recipe: Recipe) -> Version | None:
    """The version to continue. A `champion` that holds nothing of the recipe's method, or is of another base, tokenizer or chat
    template, means the bare base."""
    if wanted == "base":
        return None
    if wanted != "champion":
        with ws.state.read() as tx:
            return find_version(tx, task.name, wanted)
    live = champion(ws, task.name)
    if live is None or learned_by(live, recipe) is None:
        return None
    here = read_base(base_folder(ws, task)).digests
    return live if all(getattr(live, name) in (None, digest) for name, digest in here.items()) else None


def _waiting(ws: Workspace, run: TrainingRun) -> Wait:
    job = jobs.look(ws, run.job or "")
    told = job.detail or {}
    if "step" not in told:
        return Wait(why=f"training {run.dataset}: {told.get('note', 'the child starts')}", progress=job.progress)
    speed = f", {told['tokens_per_second']:,.0f} tokens/s" if told.get("tokens_per_second") else ""
    step = f"step {told['step']} of {told['steps']}, loss {told['loss']}{speed}"
    return Wait(why=f"training {run.dataset}: {step}, {told['eta_seconds']:.0f} s left", progress=job.progress)


def _close_failed(ws: Workspace, run: TrainingRun, job: jobs.Job, rate: float | None) -> TrainingRun:
    lacking = "ended without an adapter" if job.state == "done" else job.state
    reason = (job.error or lacking) + (f" (fix: {job.fix})" if job.fix else "")
    if job.state == "cancelled" and job.kind == HOSTED:
        reason = f"{reason}; {hosted_job.end(job.input, job.work)}"
    with ws.state.write(by="training") as tx:
        fresh = load_run(tx, run.id)
        if fresh.state != "running":
            return fresh
        ended = dataclasses.replace(
            fresh,
            state="cancelled" if job.state == "cancelled" else "failed",
            ended=reason,
            seconds=job.seconds,
            cpu_seconds=job.cpu_seconds,
            cost_usd=None if job.kind == HOSTED else _hours_cost(job.seconds, rate),  # what came to nothing was paid as well
        )
        return save_run(tx, ended)


def _version(
    ws: Workspace, tx: Any, run: TrainingRun, learned: str | None, transcript: str | None, whereabouts: dict[str, Any]
) -> Version:
    dataset, whole = load_dataset(tx, run.dataset), run.recipe.get("method") == "full"
    spoken: TrainingRun | Base = run
    if learned and run.tokenizer_digest is None:  # begun before runs said so
        spoken = read_base((ws.project or ws.root) / run.base)
    number = next_number(find_versions(tx, model=run.model), run.base_digest)
    name = name_of(number, ws.clock.utc().date(), dataset.train)
    return Version(
        id=f"{run.model}@{name}",
        model=run.model,
        name=name,
        major=number[0],
        minor=number[1],
        base=run.base,
        base_digest=run.base_digest,
        tokenizer_digest=spoken.tokenizer_digest,
        template_digest=spoken.template_digest,
        adapter=None if whole else learned,
        checkpoint=learned if whole else None,
        dataset=run.dataset,
        run=run.id,
        transcript=transcript,
        metadata=whereabouts,
    )


def _finished(run: TrainingRun, job: jobs.Job, outcome: harvest.Harvest, version: Version, rate: float | None) -> TrainingRun:
    curve = outcome.curve
    held = tuple(curve["eval_loss"])
    curved = rose(curve["loss"]) or said_of(held)
    notes = (*([curved] if curved else ()), *_left_out(outcome.left_out, run.recipe.get("max_tokens")), *outcome.notes)
    return dataclasses.replace(
        run,
        state=outcome.state,
        ended=outcome.ended,
        loss=tuple(curve["loss"]),
        final_loss=curve["loss"][-1] if curve["loss"] else None,
        eval_loss=held,
        task=outcome.task,
        epoch=outcome.kept.epoch if outcome.kept else None,
        kept=outcome.kept.why if outcome.kept else None,
        warnings=(*run.warnings, *notes),
        rows=outcome.rows,
        adapter=version.adapter,
        transcript=version.transcript,
        seconds=curve["seconds"],
        whole_seconds=_whole_seconds(job, outcome),
        cpu_seconds=curve["cpu_seconds"] if job.cpu_seconds is None else job.cpu_seconds,
        tokens_per_second=outcome.tokens_per_second,
        cost_usd=_cost(job, outcome, rate),
        memory=outcome.memory,
        machine=outcome.machine,
        version=version.id,
    )


def _left_out(count: int, most: int | None) -> tuple[str, ...]:
    """What is to be told of rows that were too long. `most`: max_tokens, None for a trainer that has no such bound."""
    return (f"{count} conversations are longer than max_tokens ({most}) and were not learned",) if count else ()


def _cost(job: jobs.Job, outcome: harvest.Harvest, rate: float | None) -> float | None:
    """What a run cost: the provider's own word, else the hours of this machine."""
    if job.kind == HOSTED:
        return outcome.cost_usd
    return _hours_cost(_whole_seconds(job, outcome), rate)


def _whole_seconds(job: jobs.Job, outcome: harvest.Harvest) -> float:
    """Seconds that were paid for. Of several attempts the job knows the last one's, and the curve those of learning in all."""
    return max(job.seconds or 0.0, float(outcome.curve["seconds"]))


def _hours_cost(seconds: float | None, rate: float | None) -> float | None:
    """USD of so many seconds; None where either is not known."""
    return None if seconds is None or rate is None else seconds / 3600 * rate


def version_of(ws: Workspace, run: TrainingRun) -> Version | None:
    """The version a finished run made, None before."""
    if run.version is None:
        return None
    with ws.state.read() as tx:
        return load_version(tx, run.version)
