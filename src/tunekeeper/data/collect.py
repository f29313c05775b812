"""The data stage of a cycle: corrections since the parent dataset become the next version."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from tunekeeper.core.errors import Busy, DataError, NotFound
from tunekeeper.core.nouns.data import DatasetVersion, Example
from tunekeeper.core.nouns.retraining import Answer, Cycle, Done, Model, Stop, Wait
from tunekeeper.core.nouns.serving import Inference
from tunekeeper.data import balance, drafts, versions
from tunekeeper.data.admission import presentable
from tunekeeper.data.collection import history
from tunekeeper.data.config import Config
from tunekeeper.data.differences import compare, counted
from tunekeeper.data.merge import Merge, Recent, merge
from tunekeeper.data.redacting import redactor_of
from tunekeeper.data.reviewed import preferences
from tunekeeper.data.sources import CORRECTING, Correction, asked_messages, corrections, served_answer
from tunekeeper.store.ledgers.reviews import find_reviews
from tunekeeper.store.ledgers.versions import find_versions
from tunekeeper.text.fingerprints import prompt_of
from tunekeeper.workspace import Workspace

MOST = 20_000
"""Newest inferences since the parent that are looked at."""
MOST_OLDER = 1000
"""Corrected inferences from before the parent that are looked up one by one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Collected:
    """What people said since a moment."""

    corrections: tuple[Correction, ...]
    """Right answers, oldest first; some confirm what was served."""
    recent: tuple[Recent, ...]
    """Every answered request, corrected or not."""
    left_out: int = 0
    """Corrections that a check refuses, that were dropped before, or that are beyond what one user may give."""

    @property
    def changed(self) -> int:
        """How many right answers differ from the served one."""
        return sum(c.changed for c in self.corrections)


def poke(ws: Workspace, task: Model, section: Config, cycle: Cycle) -> Answer:
    """Do the data stage of `cycle`, or say that it is done already.

    `Done(dataset id)`; `Stop` when no row is real, inconclusive when there is too little to learn from; `Wait` while somebody
    changes the draft.
    """
    fixed = cycle.options.get("dataset")
    try:
        if fixed:
            version = versions.resolve(ws, str(fixed), task.name)
            return Done(record=version.id, note=f"{version.id}, {version.examples} rows, as asked")
        done = next((v for v in versions.log(ws, task.name) if v.report.get("cycle") == cycle.id), None)
        if done is not None:
            return Done(record=done.id, note=str(done.report.get("sentence", "")))
        with drafts.locked(ws, task.name, seconds=0.3):
            return _collect_locked(ws, task, section, cycle)
    except Busy as error:
        return Wait(why=error.message)
    except (DataError, NotFound) as error:
        return Stop(why=str(error))


def _collect_locked(ws: Workspace, task: Model, section: Config, cycle: Cycle) -> Answer:
    parent = versions.latest(ws, task.name)
    old = drafts.load_draft(ws, task.name) or versions.newest_examples(ws, task.name)
    if not old:
        return Stop(why=f"{task.name} has no data yet (fix: tunekeeper data import FILE --model {task.name})")
    if parent is None:
        balance.refuse_synthetic_only(task.name, old)
        first = versions.freeze_locked(ws, task.name, old, section, note=cycle.why, by="data", report={"cycle": cycle.id})
        return Done(record=first.id, note=f"{first.id}, {first.examples} rows, the first version")
    before = list(versions.read_examples(ws, parent))
    collected = gather(ws, task, section, parent.created, draft=old)
    edited = _edited_by_hand(ws, task.name, before, old)
    if collected.changed < section.min_corrections and not edited:
        if not _learned(ws, parent):
            note = f"{parent.id}, {parent.examples} rows, which no version has learned yet"
            return Done(record=parent.id, note=note)
        why = f"{collected.changed} corrections since {parent.id}, {section.min_corrections} are needed"
        return Stop(why=why, outcome="inconclusive")
    merged = merge(old, collected.corrections, collected.recent, section, at=ws.clock.utc())
    fresh = {e.id for e in old} - {e.id for e in before}
    extra = {
        "collected before": sum(e.id in fresh and e.source.startswith("inference:") for e in old),
        "left out": collected.left_out,
    }
    version = _freeze_merged(ws, task, section, cycle, parent, before, old, merged, extra)
    if version.id == parent.id:
        return Stop(
            why=f"{len(collected.corrections)} corrections since {parent.id} change nothing in it", outcome="inconclusive"
        )
    return Done(record=version.id, note=str(version.report.get("sentence", "")))


def _learned(ws: Workspace, dataset: DatasetVersion) -> bool:
    """Whether a version of the model was trained on `dataset`: one that was frozen by hand, or whose training failed, waits."""
    with ws.state.read() as tx:
        return any(version.dataset == dataset.id for version in find_versions(tx, model=dataset.model))


def _edited_by_hand(ws: Workspace, model: str, before: Sequence[Example], old: Sequence[Example]) -> bool:
    """Whether the draft differs from its parent by more than what `data collect` did to it: corrections are counted apart."""
    runs = history(ws, model)
    came, went = ({id for run in runs for id in run[key]} for key in ("added", "removed"))
    new = came - {e.id for e in before}
    theirs = [e for e in before if e.id not in went]
    ours = [e for e in old if e.id not in new and e.id not in came & went]
    counts = compare(theirs, ours).counts
    return counts["unchanged"] + counts["metadata"] != max(len(theirs), len(ours))


def _freeze_merged(
    ws: Workspace,
    task: Model,
    section: Config,
    cycle: Cycle,
    parent: DatasetVersion,
    before: Sequence[Example],
    old: Sequence[Example],
    merged: Merge,
    extra: dict[str, int],
) -> DatasetVersion:
    examples = versions.reassigned(ws, task.name, merged.examples, old, section)
    parts = _remembered(ws, task.name, cycle.id, merged, extra)
    drafts.save_draft(ws, task.name, examples)
    changes = compare(before, examples).counts
    told = ", ".join(f"{n} {name}" for name, n in parts.items() if n)
    sentence = f"{len(examples)} rows: {told or 'no corrections'}; against {parent.id}: {counted(changes)}"
    report = {"cycle": cycle.id, "merge": parts, "diff": changes, "sentence": sentence}
    return versions.freeze_locked(ws, task.name, examples, section, note=cycle.why, by="data", report=report)


def _remembered(ws: Workspace, model: str, cycle: str, merged: Merge, extra: dict[str, int]) -> dict[str, int]:
    """What the merge did, by kind. Noted before the draft is replaced: after a kill, the merge of the new draft does nothing."""
    parts = {
        "corrections": len(merged.added),
        "superseded": len(merged.superseded),
        "outdated": len(merged.outdated),
        "rewritten": len(merged.rewritten),
        "rested": len(merged.rested),
    }
    path = drafts.folder(ws, model) / "merge.jsonl"
    known = drafts.read_mappings(path)
    if not any(parts.values()) and known and known[0]["cycle"] == cycle:
        return dict(known[0]["parts"])
    parts |= extra
    drafts.write_rows(path, [{"cycle": cycle, "parts": parts}])
    return parts


def gather(ws: Workspace, task: Model, section: Config, since: datetime | None, *, draft: Sequence[Example] = ()) -> Collected:
    """What people said about answers of `task` since a moment: feedback, reviews, and the traffic they said nothing about.

    `draft`: the rows it would join, which count where one user may give so many.
    """
    traffic = ws.log.find(model=task.name, since=since, limit=MOST, newest_first=True)
    feedback = ws.log.feedback(model=task.name, since=since, kind=CORRECTING)
    with ws.state.read() as tx:
        done = find_reviews(tx, model=task.name, state=("done", "gold"))
    reviews = [item for item in done if since is None or item.done_at is None or item.done_at >= since]
    said = {f.request_id for f in feedback} | {item.request_id for item in reviews}
    traffic += _older(ws, task.name, said - {i.request_id for i in traffic})
    found = corrections(traffic, feedback, reviews, system=task.system, redactor=redactor_of(section))
    found += preferences(reviews, task, section)
    dropped = drafts.load_findings(ws, task.name)
    fit = presentable(draft, [c.example for c in found], dropped, section, format=task.format)
    taken = [c for c in found if c.example.id in fit]
    changed = {c.example.id for c in taken if c.changed}
    recent = [seen for inference in traffic if (seen := _recent(inference, inference.request_id in changed)) is not None]
    return Collected(corrections=tuple(taken), recent=tuple(recent), left_out=len(found) - len(taken))


def _older(ws: Workspace, model: str, ids: set[str]) -> list[Inference]:
    found = []
    for id in sorted(ids)[-MOST_OLDER:]:
        try:
            inference = ws.log.load(id)
        except NotFound:
            continue
        if inference.model_id == model and inference.purpose == "user":
            found.append(inference)
    return found


def _recent(inference: Inference, corrected: bool) -> Recent | None:
    asked, served = asked_messages(inference), served_answer(inference)
    if asked is None or served is None:
        return None
    return Recent(prompt=prompt_of(asked), served=served, corrected=corrected, at=inference.timestamp)
