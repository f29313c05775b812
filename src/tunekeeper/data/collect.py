"""The data stage of a cycle: corrections since the parent dataset become the next version."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from tunekeeper.core.errors import Busy, DataError, NotFound
from tunekeeper.core.nouns.data import DatasetVersion, Example, Split
from tunekeeper.core.nouns.retraining import Answer, Cycle, Done, Model, Stop, Wait
from tunekeeper.core.nouns.serving import Inference
from tunekeeper.data import balance, drafts, freezing, tallies, versions
from tunekeeper.data.admission import presentable, standing
from tunekeeper.data.collection import history
from tunekeeper.data.config import Config
from tunekeeper.data.differences import changes, paired
from tunekeeper.data.difftext import counted
from tunekeeper.data.examples import decode, encode
from tunekeeper.data.findings import Finding, as_row, row_of
from tunekeeper.data.heard import Heard, fallen
from tunekeeper.data.merge import Merge, Recent
from tunekeeper.data.nextdraft import Came, NextDraft, Put, next_draft, working
from tunekeeper.data.opinions import taken_back
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
    taken_back: Mapping[str, str] = field(default_factory=dict)
    """Review item → why a row that was made of it holds no longer."""
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
    with working(ws, task.name) as old:
        if next(old(), None) is None:
            return Stop(why=f"{task.name} has no data yet (fix: tunekeeper data import FILE --model {task.name})")
        if parent is None:
            balance.refuse_made_up(task.name, tallies.of_examples(map(decode, old())))
            first = freezing.freeze_locked(ws, task.name, section, note=cycle.why, by="data", report={"cycle": cycle.id})
            return Done(record=first.id, note=f"{first.id}, {first.examples} rows, the first version")
        collected = gather(ws, task, section, versions.frozen_at(ws, parent), draft=map(decode, old()))
        since = _since(ws, parent, map(decode, old()))
        if collected.changed < section.min_corrections and not since.by_hand:
            if not _learned(ws, parent):
                note = f"{parent.id}, {parent.examples} rows, which no version has learned yet"
                return Done(record=parent.id, note=note)
            why = f"{collected.changed} corrections since {parent.id}, {section.min_corrections} are needed"
            return Stop(why=why, outcome="inconclusive")
        merged = Merge(collected.corrections, collected.recent, section, at=ws.clock.utc())
        extra = {"collected before": since.collected, "left out": collected.left_out}
        with next_draft(ws, task.name, _merged(old(), merged, collected.taken_back), section) as draft:
            # First the rows that leave: a kill between the two files leaves a row in both, never in none.
            if merged.left:
                drafts.add_dropped(ws, task.name, lambda: _left(merged.left, old()))
            version = _freeze_merged(ws, task, section, cycle, parent, draft, merged, extra)
    if version.id == parent.id:
        return Stop(
            why=f"{len(collected.corrections)} corrections since {parent.id} change nothing in it", outcome="inconclusive"
        )
    return Done(record=version.id, note=str(version.report.get("sentence", "")))


def _learned(ws: Workspace, dataset: DatasetVersion) -> bool:
    """Whether a version of the model was trained on `dataset`: one that was frozen by hand, or whose training failed, waits."""
    with ws.state.read() as tx:
        return any(version.dataset == dataset.id for version in find_versions(tx, model=dataset.model))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Since:
    """How the draft differs from its parent."""

    by_hand: bool
    """By more than what `data collect` did to it: corrections are counted apart."""
    collected: int
    """Rows that came out of the log since."""


def _since(ws: Workspace, parent: DatasetVersion, old: Iterable[Example]) -> _Since:
    if not versions.has_draft(ws, parent.model):
        return _Since(by_hand=False, collected=0)
    runs = history(ws, parent.model)
    came, went = ({id for run in runs for id in run[key]} for key in ("added", "removed"))
    found = changes(ws, parent, None)
    told, names = found.difference, {row.id for row in found.new}
    crossed = {*told.moved} - names - {edit.id for edit in told.edited}  # what only changed its side is no other row
    before = [row for row in found.old if row.id not in crossed]
    fresh = {row.id for row in found.new} - {row.id for row in before}
    theirs = [row for row in before if row.id not in went]
    ours = [row for row in found.new if not (row.id in came and (row.id in went or row.id in fresh))]
    counts = paired(theirs, ours).counts
    same = counts["unchanged"] + counts["metadata"] == max(len(theirs), len(ours))
    # What `data collect` took out and somebody brought back, just as it was.
    back = went - came - names - {row.id for row in before}
    brought = bool(back) and any(row.id in back for row in old)
    return _Since(
        by_hand=not same or brought,
        collected=sum(isinstance(row, Example) and row.id in fresh and row.source.startswith("inference:") for row in found.new),
    )


def _merged(old: Iterable[bytes], merged: Merge, taken_back: Mapping[str, str]) -> Iterator[Put]:
    """The lines of the next draft. `taken_back`: as `Collected` says; such rows leave as what was answered anew does."""
    sides: dict[str, Split] = {}
    for line in old:
        was = decode(line)
        why = fallen(was, taken_back)
        if why:
            merged.take_back(was, why)
        now = None if why else merged.next(was)
        if now is not None:
            yield (line, Came.STAYED) if now is was else (encode(now, with_split=True), Came.CHANGED)
        elif merged.may_return(was):
            sides[was.id] = was.split
    for row in merged.added():
        side = sides.get(row.id)
        yield encode(replace(row, split=side or "train"), with_split=True), Came.NEW if side is None else Came.CHANGED


def _left(left: Mapping[str, Finding], old: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """The report lines of the rows that leave. `old`: the lines of the draft."""
    gone = (row for row in map(decode, old) if row.id in left)
    return (as_row(left[row.id], action="dropped", row=row_of(row, of_draft=True)) for row in gone)


def _freeze_merged(
    ws: Workspace,
    task: Model,
    section: Config,
    cycle: Cycle,
    parent: DatasetVersion,
    draft: NextDraft,
    merged: Merge,
    extra: dict[str, int],
) -> DatasetVersion:
    parts = _remembered(ws, task.name, cycle.id, merged, extra)
    drafts.save_lines(ws, task.name, draft.lines())
    changed = changes(ws, parent, None).difference.counts
    told = ", ".join(f"{n} {name}" for name, n in parts.items() if n)
    sentence = f"{len(draft.rows)} rows: {told or 'no corrections'}; against {parent.id}: {counted(changed)}"
    report = {"cycle": cycle.id, "merge": parts, "diff": changed, "sentence": sentence}
    return freezing.freeze_locked(ws, task.name, section, note=cycle.why, by="data", report=report)


def _remembered(ws: Workspace, model: str, cycle: str, merged: Merge, extra: dict[str, int]) -> dict[str, int]:
    """What the merge did, by kind. Noted before the draft is replaced: after a kill, the merge of the new draft does nothing."""
    parts = {
        "corrections": len(merged.added()),
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


def gather(ws: Workspace, task: Model, section: Config, since: datetime | None, *, draft: Iterable[Example] = ()) -> Collected:
    """What people said about answers of `task` since a moment: feedback, reviews, and the traffic they said nothing about.

    `draft`: the rows it would join, read once, which count where one user may give so many.
    """
    traffic = ws.log.find(model=task.name, since=since, limit=MOST, newest_first=True)
    feedback = ws.log.feedback(model=task.name, since=since, kind=CORRECTING)
    with ws.state.read() as tx:
        items = find_reviews(tx, model=task.name)
    done = [item for item in items if item.state in ("done", "gold")]
    reviews = [item for item in done if since is None or item.done_at is None or item.done_at >= since]
    said = {f.request_id for f in feedback} | {item.request_id for item in reviews}
    traffic += _older(ws, task.name, said - {i.request_id for i in traffic})
    found = corrections(traffic, feedback, reviews, system=task.system, redactor=redactor_of(section))
    found += preferences(reviews, task, section)
    examples = [c.example for c in found]
    stands, dropped = standing(draft, examples, Heard()), drafts.read_findings(ws, task.name)
    fit = presentable(stands, examples, dropped, section, format=task.format)
    taken = [c for c in found if c.example.id in fit]
    changed = {c.example.id for c in taken if c.changed}
    recent = [seen for inference in traffic if (seen := _recent(inference, inference.request_id in changed)) is not None]
    return Collected(
        corrections=tuple(taken), recent=tuple(recent), taken_back=taken_back(items), left_out=len(found) - len(taken)
    )


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
