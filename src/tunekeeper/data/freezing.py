"""Freezing: the draft, or rows that are not the draft, become a dataset version."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from tunekeeper.core.errors import DataError
from tunekeeper.core.nouns.data import DatasetVersion, Example
from tunekeeper.core.nouns.retraining import Model
from tunekeeper.data import balance, drafts, leaking, lines, looking, sides, tallies, versions
from tunekeeper.data.ages import AGES, ages_of
from tunekeeper.data.examples import decode
from tunekeeper.data.lines import Line
from tunekeeper.data.tallies import SIDES, Tally
from tunekeeper.store.ledgers.datasets import find_datasets, save_dataset
from tunekeeper.store.rowreader import Reader
from tunekeeper.store.rows import Kept
from tunekeeper.text.fingerprints import fingerprint
from tunekeeper.workspace import Workspace

if TYPE_CHECKING:
    from pathlib import Path

    from tunekeeper.data.config import Config

LOOKED_AT = 1_500
"""Rows of a side of many by which the sides are compared when a version is frozen, some more at most, evenly spread."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Content:
    """The stored rows of a version before it has a number."""

    kept: Kept
    """Where they are."""
    tally: Tally
    """What is counted of them."""


def freeze(
    ws: Workspace,
    task: Model,
    section: Config,
    *,
    note: str = "",
    by: str = "data",
    report: dict[str, Any] | None = None,
    force: bool = False,
    suite: Path | None = None,
    looker: looking.Looker | None = None,
) -> DatasetVersion:
    """Freeze the draft of `task` as its next version; an unchanged draft gives the newest version back.

    `report`: more to keep with the version. `suite`: cases that no row should give away. `looker`: who looks at it already.
    Raises DataError when the draft is empty or one side of it is, and, unless `force`, when no row of it is real.
    """
    with (
        drafts.locked(ws, task.name),
        looker or looking.Looker(versions.draft_path(ws, task.name), ws.rows.runs_of(task.name)) as looks,
    ):
        looks.ask_quality(section, task.format)
        content = _content(ws.rows.keep_draft(looks.looked, task.name, _known(ws, task.name)))
        rows = content.tally.rows
        if not rows:
            raise DataError(f"{task.name} has no draft", fix=f"tunekeeper data import FILE --model {task.name}")
        if not force:
            balance.refuse_made_up(task.name, content.tally)
        sides.refuse_one_sided(ws, task.name, content.kept.counts, section.eval_share)
        full = _report(ws, task.name, content, section, report or {})
        if "quality" not in full:
            full["quality"] = _quality(ws, task, section, rows, looks)
        full["warnings"] += leaking.warnings(task.name, versions.draft_path(ws, task.name), section, full["quality"], suite)
        return _save(ws, task.name, content, full, note=note, by=by)


def _quality(ws: Workspace, task: Model, section: Config, rows: int, looks: looking.Looker) -> dict[str, Any] | None:
    """How good the `rows` rows of a draft are, by who looked at it already where it said so."""
    said = looks.quality()
    if said is not None:
        return {**said, "of": rows}
    from tunekeeper.data import judged  # here: half of what a freeze would import

    return judged.of_draft(versions.draft_path(ws, task.name), rows, section, task.format)


def freeze_examples(
    ws: Workspace, model: str, examples: Sequence[Example], *, parent: str | None = None, note: str = "", by: str = "data"
) -> DatasetVersion:
    """Freeze rows that are not the draft, e.g. for an experiment. Such a version is *detached*: it is trained on by its id,
    but it is never `latest` and nothing grows from it. Raises DataError when one side is empty."""
    rows = (replace(e, fingerprint=fingerprint(e.messages, e.tools)) for e in examples)
    content = _store(ws, model, lines.of_examples(rows))
    return _save(ws, model, content, {"topics": content.tally.topics, "detached": True}, note=note, by=by, parent=parent)


def keep_rows(ws: Workspace, model: str, rows: Iterable[Line], *, note: str = "what the draft held", by: str) -> DatasetVersion:
    """Freeze the rows of a draft that is about to hold others: a detached version, of which one side may be empty."""
    newest, content = versions.latest(ws, model), _store(ws, model, rows)
    report = {"topics": content.tally.topics, "detached": True, "kept": True, **versions.load_origin(ws, model)}
    return _save(ws, model, content, report, note=note, by=by, parent=None if newest is None else newest.id)


def freeze_locked(
    ws: Workspace, model: str, section: Config, *, note: str, by: str, report: dict[str, Any] | None = None
) -> DatasetVersion:
    """`freeze` for a caller that holds the draft's lock and wrote the draft."""
    from tunekeeper.data import judged

    path = versions.draft_path(ws, model)
    content = _store(ws, model, lines.of_draft(path))
    quality = judged.of_draft(path, content.tally.rows, section)
    full = _report(ws, model, content, section, {"quality": quality, **(report or {})})
    full["warnings"] += leaking.warnings(model, path, section, quality, None)
    return _save(ws, model, content, full, note=note, by=by)


def _store(ws: Workspace, model: str, rows: Iterable[Line]) -> _Content:
    """Put rows where versions have theirs; those that a version of the model holds already are shared."""
    return _content(ws.rows.keep(rows, lines.look, _known(ws, model)))


def _known(ws: Workspace, model: str) -> list[str]:
    """Manifests of the model's versions, newest first, the detached ones last."""
    return [each.manifest for each in sorted(versions.log(ws, model), key=versions.is_detached) if each.manifest is not None]


def _content(kept: Kept) -> _Content:
    return _Content(kept=kept, tally=tallies.of_reader(kept.reader))


def _save(
    ws: Workspace, model: str, content: _Content, report: dict[str, Any], *, note: str, by: str, parent: str | None = None
) -> DatasetVersion:
    kept, detached = content.kept, bool(report.get("detached"))
    rows = sum(kept.counts.values())
    if not report.get("kept"):
        sides.refuse_one_sided(ws, model, kept.counts)
    with ws.state.write(by=by) as tx:
        newest = next(iter(find_datasets(tx, model=model, limit=1, newest_first=True)), None)
        grown = versions.attached(tx, model)
        if not detached and grown is not None and grown.digest == kept.digest and not ws.rows.erased(grown.manifest or ""):
            return grown
        number = 1 if newest is None else newest.number + 1
        version = DatasetVersion(
            id=f"{model}/d{number}",
            model=model,
            number=number,
            digest=kept.digest,
            examples=rows,
            train=kept.counts["train"],
            eval=kept.counts["eval"],
            manifest=kept.manifest,
            parent=parent if detached else grown.id if grown is not None else None,
            report={**report, AGES: msgspec.to_builtins(ages_of(np.asarray(content.tally.dates)))},
            note=_said(note),
        )
        return save_dataset(tx, version)


def _said(note: str) -> str:
    """A note as it may be kept."""
    if not note:
        return note
    from tunekeeper.text.redaction import said  # most versions have no note, and its patterns take their time

    return said(note)


def _report(ws: Workspace, model: str, content: _Content, section: Config, more: Mapping[str, Any]) -> dict[str, Any]:
    warnings = tallies.warnings(content.tally, section, sides.side_bias(_some(content.kept.reader)))
    counted = {"topics": content.tally.topics, "warnings": warnings}
    return {**counted, "imports": versions.import_counts(ws, model), **versions.load_origin(ws, model), **more}


def _some(reader: Reader) -> Iterator[sides.Traits]:
    """Rows by which the sides of a version are compared: all of a small one, else evenly spread ones."""
    for side in SIDES:
        numbers = reader.present(side)
        chosen = numbers[:: len(numbers) // LOOKED_AT + 1]
        yield from (sides.traits_of(decode(line, side)) for line in reader.pick(chosen))
