"""Why an answer was what it was: request → version → artifact → exam → run → dataset → examples → who reviewed them.

Reads ledgers and blobs, writes nothing. A link that is missing ends its branch with one line that says so, never with an error:
an answer of an outside endpoint has no training run.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tunekeeper.core.errors import NotFound
from tunekeeper.core.nouns.data import DatasetVersion
from tunekeeper.core.nouns.deployment import Artifact
from tunekeeper.core.nouns.serving import Inference
from tunekeeper.core.nouns.training import TrainingRun, Version
from tunekeeper.monitoring.flags import Flags
from tunekeeper.store.ledgers.artifacts import find_artifacts, load_artifact
from tunekeeper.store.ledgers.cycles import load_cycle
from tunekeeper.store.ledgers.datasets import load_dataset
from tunekeeper.store.ledgers.exams import find_exams, load_exam
from tunekeeper.store.ledgers.incidents import load_incident
from tunekeeper.store.ledgers.reviews import find_reviews
from tunekeeper.store.ledgers.rollouts import find_rollouts, load_rollout
from tunekeeper.store.ledgers.runs import load_run
from tunekeeper.store.ledgers.versions import find_versions, load_version
from tunekeeper.store.transactions import Read
from tunekeeper.text.vocabulary import words
from tunekeeper.training.versions import find_version
from tunekeeper.workspace import Workspace

NEAREST = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Link:
    """One record of the chain."""

    kind: str
    """request, feedback, version, artifact, exam, rollout, run, dataset, example, reviewers, cycle, incident."""
    id: str
    """Its id; empty where there is none."""
    summary: str
    """One line with what matters."""
    record: Any = None
    """The record itself."""


def trace(ws: Workspace, id: str) -> list[Link]:
    """The chain that begins at `id`: a request (`req_…`), version, artifact, exam, run, dataset, rollout, cycle or incident.

    Raises NotFound for an id that no ledger knows.
    """
    if id.startswith("req_"):
        return list(_request(ws, id))
    if id.startswith(("rol_", "inc_")):
        with ws.control.read() as tx:
            record = load_rollout(tx, id) if id.startswith("rol_") else load_incident(tx, id)
        why = record.reason if id.startswith("inc_") else f"{record.strategy}, {record.state}"  # type: ignore[union-attr]
        first = Link(kind="incident" if id.startswith("inc_") else "rollout", id=id, summary=why, record=record)
        return [first, *_version_links(ws, record.model, record.version, None)]
    with ws.state.read() as tx:
        return list(_from_state(ws, tx, id))


def _from_state(ws: Workspace, tx: Read, id: str) -> Iterator[Link]:
    prefix = id.partition("_")[0]
    if "@" in id or re.match(r"v\d", id):
        version = find_version(tx, None, id)
        yield from _version_links(ws, version.model, version.id, None)
    elif "/d" in id:
        yield from _dataset(ws, load_dataset(tx, id), None)
    elif prefix == "run":
        yield from _run(ws, tx, load_run(tx, id), None)
    elif prefix == "art":
        artifact = load_artifact(tx, id)
        yield from _version_links(ws, artifact.model, artifact.version, None)
    elif prefix in ("exm", "exam"):
        exam = load_exam(tx, id)
        verdict = exam.verdict.outcome if exam.verdict else exam.state
        yield Link(kind="exam", id=id, summary=f"{exam.suite}: {verdict}, {exam.cases} cases", record=exam)
        yield from _version_links(ws, exam.model, exam.version, None)
    elif prefix == "cyc":
        cycle = load_cycle(tx, id)
        yield Link(kind="cycle", id=id, summary=f"{cycle.why}: {cycle.state} at {cycle.stage}", record=cycle)
        if "train" in cycle.records:
            yield from _version_links(ws, cycle.model, cycle.records["train"], None)
    elif ws.log.known([id]):  # a record that was imported keeps the id that another system gave it
        yield from _request(ws, id)
    else:
        raise NotFound(
            f"nothing is called {id!r}", fix="give the id of a request (req_…), version, run, dataset, exam, rollout or cycle"
        )


def _request(ws: Workspace, id: str) -> Iterator[Link]:
    inference = Flags(ws).on(ws.log.load(id))
    ms = f", {inference.latency_ms:.0f} ms" if inference.latency_ms is not None else ""
    drift = f", {' and '.join(inference.drift_flags)}" if inference.drift_flags else ""
    said = f": {answer_of(inference)!r}" if answer_of(inference) else ""
    summary = f"{inference.timestamp:%Y-%m-%d %H:%M:%S} {inference.model_id}, {inference.status}{ms}{drift}{said}"
    yield Link(kind="request", id=id, summary=summary, record=inference)
    for each in ws.log.feedback(request_ids=[id]):
        yield Link(kind="feedback", id=each.id, summary=f"{each.kind} {each.value!r} by {each.by or 'unknown'}", record=each)
    if inference.version is None:
        yield Link(kind="version", id="", summary="nothing answered")
        return
    route = "" if inference.route_version is None else f", route {inference.route_version}"
    where = "" if inference.slot is None else f" in slot {inference.slot}"
    role = f"{inference.variant or inference.purpose}{where}{route}"
    yield from _version_links(ws, inference.model_id, inference.version, question_of(inference), role)


def _version_links(ws: Workspace, model: str, name: str, question: str | None, role: str = "") -> Iterator[Link]:
    with ws.state.read() as tx:
        version = _find_version(tx, model, name)
        if version is None:
            yield Link(kind="version", id=name, summary=f"{role}: not made here" if role else "not made here")
            return
        base = f"base {version.base} ({version.base_digest[:15]})"
        whole = f"tuned whole {version.checkpoint[:15]}" if version.checkpoint else "no adapter"
        adapter = f"adapter {version.adapter[:15]}" if version.adapter else whole
        summary = ", ".join(part for part in (role, base, adapter) if part)
        yield Link(kind="version", id=version.id, summary=summary, record=version)
        for artifact in find_artifacts(tx, model=model):
            if artifact.version == version.id:
                parity = artifact.parity.verdict if artifact.parity else "not compared"
                what = f"{artifact.engine} {artifact.quantization or artifact.hosted or ''}"
                shown = f"{what}, parity {parity}{_at_endpoint(artifact)}, {(artifact.digest or '')[:15]}"
                yield Link(kind="artifact", id=artifact.id, summary=shown, record=artifact)
        for exam in find_exams(tx, model=model):
            if exam.version == version.id:
                verdict = exam.verdict.outcome if exam.verdict else exam.state
                yield Link(kind="exam", id=exam.id, summary=f"{exam.suite}: {verdict}, {exam.cases} cases", record=exam)
        yield from _rollouts(ws, version)
        if version.run is None:
            yield Link(kind="run", id="", summary="no training run: a prompted base, a hosted model or an imported adapter")
            return
        yield from _run(ws, tx, load_run(tx, version.run), question)


def _at_endpoint(artifact: Artifact) -> str:
    live = artifact.metadata.get("live")
    return f", at its endpoint {live['verdict']}" if live else ""


def _rollouts(ws: Workspace, version: Version) -> Iterator[Link]:
    with ws.control.read() as tx:
        found = [each for each in find_rollouts(tx, model=version.model) if each.version == version.id]
    for rollout in found:
        override = f", override: {rollout.override}" if rollout.override else ""
        yield Link(kind="rollout", id=rollout.id, summary=f"{rollout.strategy}, {rollout.state}{override}", record=rollout)


def _run(ws: Workspace, tx: Read, run: TrainingRun, question: str | None) -> Iterator[Link]:
    loss = f", loss {run.final_loss:.3f}" if run.final_loss is not None else ""
    seconds = f", {run.seconds:.0f} s" if run.seconds is not None else ""
    parent = f", continued from {run.parent}" if run.parent else ""
    yield Link(kind="run", id=run.id, summary=f"{run.state}{loss}{seconds}{parent}", record=run)
    yield from _dataset(ws, load_dataset(tx, run.dataset), question)


def _dataset(ws: Workspace, dataset: DatasetVersion, question: str | None) -> Iterator[Link]:
    made = f"{dataset.created:%Y-%m-%d}" if dataset.created else "no date"
    parent = f", from {dataset.parent}" if dataset.parent else ""
    counts = f"{dataset.train} to learn from, {dataset.eval} held out"
    yield Link(kind="dataset", id=dataset.id, summary=f"{counts}, {made}, {dataset.digest[:15]}{parent}", record=dataset)
    rows = _rows(ws, dataset)
    if question:
        for likeness, row in nearest(question, rows):
            shown = f"{likeness:.0%} of its words shared, from {row.get('source') or 'unknown'}"
            yield Link(kind="example", id=str(row.get("id", "")), summary=shown, record=row)
    yield _reviewers(ws, dataset, rows)


def _reviewers(ws: Workspace, dataset: DatasetVersion, rows: list[dict[str, Any]]) -> Link:
    """Who answered for the examples: reviewers named in the rows, and the people behind reviewed requests that became rows."""
    names = Counter(str(row["metadata"]["reviewer"]) for row in rows if (row.get("metadata") or {}).get("reviewer"))
    requests = {
        str(row.get("source", "")).removeprefix("inference:")
        for row in rows
        if str(row.get("source", "")).startswith("inference:")
    }
    with ws.state.read() as tx:
        for review in find_reviews(tx, model=dataset.model):
            if review.request_id in requests and review.by and review.state == "done":
                names[review.by] += 1
    shown = ", ".join(f"{name} ({count})" for name, count in names.most_common(5)) or "nobody is named in the rows"
    return Link(kind="reviewers", id="", summary=shown, record=dict(names))


def nearest(question: str, rows: list[dict[str, Any]], count: int = NEAREST) -> list[tuple[float, dict[str, Any]]]:
    """The rows whose prompts share most words with `question` (Jaccard, 0 to 1), best first."""
    asked = set(words(question))
    found = []
    for row in rows:
        own = set(words(" ".join(_text(each) for each in row.get("messages", ()) if each.get("role") == "user")))
        if asked | own:
            found.append((len(asked & own) / len(asked | own), row))
    return sorted(found, key=lambda pair: -pair[0])[:count]


def question_of(inference: Inference) -> str | None:
    """What the user said last, where bodies are kept."""
    messages = (inference.request or {}).get("messages") if isinstance(inference.request, dict) else None
    asked = [each for each in messages or () if isinstance(each, dict) and each.get("role") == "user"]
    return _text(asked[-1]) if asked else None


def answer_of(inference: Inference) -> str | None:
    """What was answered, where bodies are kept."""
    body = inference.response if isinstance(inference.response, dict) else {}
    choices = body.get("choices") or [{}]
    content = (choices[0].get("message") or {}).get("content")
    return content if isinstance(content, str) else None


def _find_version(tx: Read, model: str, name: str) -> Version | None:
    """A version by id (`model@name`) or by its name within the model."""
    try:
        return load_version(tx, name if "@" in name else f"{model}@{name}")
    except NotFound:
        return next((each for each in find_versions(tx, model=model) if each.name == name), None)


def _rows(ws: Workspace, dataset: DatasetVersion) -> list[dict[str, Any]]:
    if dataset.manifest is None or not ws.rows.has(dataset.manifest):
        return []
    return [json.loads(line) for line in ws.rows.lines(dataset.manifest, "train")]


def _text(message: dict[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, list):
        return " ".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""
