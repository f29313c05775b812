"""Import: rows of files, redacted, checked and put into the draft, with a reason for every row that is left out.

One pass reads the files and puts redacted rows aside on disk, with digests of what is compared in memory; decisions are made on
the digests; a second pass writes the draft. So a million rows need no more memory than their digests, and an import that dies on
the way leaves nothing but the draft as it was.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from tunekeeper.core.errors import DataError
from tunekeeper.core.nouns.data import Example, Split
from tunekeeper.core.nouns.retraining import Model
from tunekeeper.data import archives, dealing, drafts, lines, quality, settling, split, versions, worklog
from tunekeeper.data.batches import Requests, first_asked
from tunekeeper.data.brought import Brought
from tunekeeper.data.columns import check_mapping
from tunekeeper.data.config import Config
from tunekeeper.data.examples import read_file
from tunekeeper.data.findings import Finding, finding, personal, place_of, row_of
from tunekeeper.data.formats import STDIN, RawRow, names_of, read_rows, read_stdin
from tunekeeper.data.importreport import ImportReport, Notes, Tally, refuse_all_broken, refuse_unfit, unread_sheets
from tunekeeper.data.redacting import redactor_of
from tunekeeper.data.reimport import Left, renewed, teach
from tunekeeper.data.shelf import Shelf, print_of
from tunekeeper.data.sources import redacted_example
from tunekeeper.data.terms import fingerprints_of
from tunekeeper.text.redaction import Redactor
from tunekeeper.workspace import Workspace

SHOW_EVERY = 500
"""Rows between two words about the progress."""
Progress = Callable[[str, int], None]
"""Told the stage and how many rows it has done."""
Places = npt.NDArray[np.int64]


@dataclass(slots=True)
class _Import:
    """An import under way."""

    task: Model
    section: Config
    redactor: Redactor
    shelf: Shelf
    notes: Notes
    requests: Requests
    brought: Brought
    left: Left
    show: Progress
    mapping: Mapping[str, str]
    rows: int = 0
    renewed: int = 0
    old: list[int] = field(default_factory=list)
    fresh: list[int] = field(default_factory=list)
    present: list[int] = field(default_factory=list)
    replaced: set[int] = field(default_factory=set)
    replacing: set[int] = field(default_factory=set)
    known: dict[int, int] = field(default_factory=dict)
    repeats: Counter[int] = field(default_factory=Counter)
    redacted: Counter[str] = field(default_factory=Counter)
    tallies: dict[str, Tally] = field(default_factory=dict)

    def is_old(self, place: int) -> bool:
        return place < len(self.old)

    def votes(self, place: int) -> int:
        """How often the files of this import say what a row says."""
        said = self.shelf.prints[place]
        again = self.repeats[said]
        return again + 1 if not self.is_old(self.known.get(said, 0)) else max(1, again)


def import_files(
    ws: Workspace,
    task: Model,
    section: Config,
    paths: Sequence[Path],
    *,
    mapping: Mapping[str, str] | None = None,
    by_file: Mapping[Path, Mapping[str, str]] | None = None,
    assistants: Sequence[str] = (),
    replace: bool = False,
    keep_splits: bool = False,
    dry_run: bool = False,
    stdin: BinaryIO | None = None,
    progress: Progress | None = None,
) -> ImportReport:
    """Read `paths` into the draft of `task`. Importing the same file again adds nothing.

    `mapping`: role → column for flat rows, over the configured ones; `by_file`: for one of the paths, over both. `assistants`:
    what those are called who answer, where people speak by name. `replace`: the files become the whole draft. `keep_splits`: rows
    stand where they or their files say, but for those of a version. `dry_run`: report only, write nothing. `stdin`: what the path
    `-` reads. `progress`: told the stage and its rows. Raises UserError for a field or a split that no row has, DataError for a
    file that cannot be read and when every row is broken, DiskFull; the draft is as before.
    """
    split.check_share(task.name, section.eval_share)
    columns = {**section.columns, **(mapping or {})}
    for each in (columns, *(by_file or {}).values()):
        check_mapping(each)
    with ExitStack() as stack:
        if not dry_run:
            stack.enter_context(drafts.locked(ws, task.name))
        aside, noted, asked = (stack.enter_context(archives.nameless(ws.root)) for _ in range(3))
        answering = frozenset(name.strip().lstrip("@").casefold() for name in assistants)
        work = _Import(
            task=task,
            section=section,
            redactor=redactor_of(section, ws),
            shelf=Shelf(file=aside[0]),
            notes=Notes(file=noted[0]),
            requests=Requests(asked[0]),
            brought=Brought(keep=keep_splits),
            left=Left(() if replace else drafts.read_findings(ws, task.name)),
            show=progress or (lambda stage, rows: None),
            mapping=mapping or {},
        )
        rows = _rows(paths, columns, by_file or {}, stdin, work.requests, answering)
        return _run(ws, work, aside[1], paths, rows, replace=replace, dry_run=dry_run)


def _rows(
    paths: Sequence[Path],
    columns: Mapping[str, str],
    by_file: Mapping[Path, Mapping[str, str]],
    stdin: BinaryIO | None,
    requests: Requests,
    answering: frozenset[str],
) -> Iterator[RawRow]:
    names = names_of(paths)
    for path in first_asked(paths):
        told = {**columns, **by_file.get(path, {})}
        if path != STDIN:
            yield from read_rows(path, told, names[path], requests, answering)
        elif stdin is None:
            raise DataError("-: there is no standard input here", fix="give a file")
        else:
            yield from read_stdin(stdin, told, answering)
    requests.refuse_unanswered()


def _run(
    ws: Workspace, work: _Import, aside: Path, paths: Sequence[Path], rows: Iterator[RawRow], *, replace: bool, dry_run: bool
) -> ImportReport:
    placed: dict[str, Split] = {}
    for example in read_file(versions.draft_path(ws, work.task.name)):
        placed[example.id] = example.split
        if not replace:
            _take_old(work, example)
    work.shelf.file.flush()
    for raw in rows:
        _take(work, raw)
        if work.rows % SHOW_EVERY == 0:
            work.show("reading", work.rows)
    refuse_unfit(work.mapping, work.tallies)
    refuse_all_broken(work.rows, work.notes, paths, work.tallies)
    work.brought.refuse_none()
    work.shelf.file.flush()
    merged = _merge(work)
    with ExitStack() as stack:
        path = aside if work.shelf.is_just(merged) else _write_aside(ws, work, merged, stack)
        _flag_near(work, merged, np.isin(merged, np.array(work.fresh, dtype=np.int64)), path)
        sides = _sides(ws, work, merged, placed, path)
        if replace and placed and len(set(sides.tolist())) == 1:  # of one side nothing can be frozen
            sides = _sides(ws, work, merged, {}, path)
    report = None if dry_run else work.notes.save(ws, work.task.name, replace=replace)
    if not dry_run:
        drafts.save_lines(ws, work.task.name, _draft_lines(work, merged, sides))
        worklog.save_command(ws, work.task.name, "import")
    return _report(work, merged, sides, report, paths)


def _report(
    work: _Import, merged: Places, sides: npt.NDArray[np.int8], report: Path | None, paths: Sequence[Path]
) -> ImportReport:
    added = Counter(place_of(work.shelf.sources[place])[0] for place in work.fresh if place not in work.replacing)
    dropped = Counter(work.notes.dropped) + Counter(already_there=len(work.present))
    return ImportReport(
        rows=work.rows,
        added=added.total(),
        dropped=dict(dropped.most_common()),
        replaced=len(work.replaced) + work.renewed,
        flagged=dict(work.notes.flagged.most_common()),
        redacted=dict(work.redacted),
        examples=len(merged),
        **work.brought.counts(merged, sides, np.isin(merged, np.array(work.fresh, dtype=np.int64))),
        broken=tuple(work.notes.broken),
        files=tuple(work.notes.of_file(name, tally, added[name]) for name, tally in work.tallies.items()),
        left_out=tuple(work.notes.left_out),
        unread=(*unread_sheets(paths, set(work.tallies)), *work.requests.words.unheard()),
        report=None if report is None else str(report),
    )


# ---- the first pass ----


def _take_old(work: _Import, example: Example) -> None:
    place = work.shelf.add(example)
    work.left.stands(example)
    work.old.append(place)
    work.known.update((print_of(known), place) for known in fingerprints_of(example))
    if place % SHOW_EVERY == 0:
        work.show("reading the draft", place)


def _take(work: _Import, raw: RawRow) -> None:
    """Put one row aside, or note why not."""
    work.rows += 1
    tally = work.tallies.setdefault(raw.file, Tally())
    tally.take(raw)
    if raw.conversation is None:
        work.notes.drop(Finding(kind="broken", file=raw.file, line=raw.line, detail=work.redactor.redact(raw.broken)[0]), None)
        return
    example, found = redacted_example(raw.conversation, f"file:{raw.file}:{raw.line}", work.task.system, work.redactor)
    work.redacted.update(found)
    troubles = quality.examine(example, work.section, format=work.task.format)
    troubles += [personal(example, found)] if found else []
    known = work.known.get(print_of(example.fingerprint))
    # A row that stands in the draft in spite of its trouble was brought back there.
    fatal = [t for t in troubles if known is None and quality.dropped_for(t, work.section, example)]
    if fatal:
        work.notes.drop(fatal[0], row_of(example))
    elif known is not None:
        _take_again(work, tally, example, known)
        work.brought.note(known, raw.file, raw.conversation)
    elif work.left.holds(example):
        work.notes.pass_over(example)
    else:
        place = work.shelf.add(example)
        work.known[print_of(example.fingerprint)] = place
        work.fresh.append(place)
        work.brought.note(place, raw.file, raw.conversation)
        for trouble in troubles:
            work.notes.flag(trouble)


def _take_again(work: _Import, tally: Tally, example: Example, known: int) -> None:
    work.repeats[print_of(example.fingerprint)] += 1
    source, id = work.shelf.sources[known], work.shelf.ids[known]
    came_from, taught = teach(work.shelf, known, example)
    if example.source in (source, *came_from) or (work.is_old(known) and id == example.id and not id.startswith("ex_")):
        now = renewed(work.shelf.example(known), example) if work.is_old(known) and known not in work.shelf.amended else None
        if now is None:
            tally.present += 1
            # The draft's row says the same: a second one of each would take as much memory again.
            work.present.append(known if work.is_old(known) else work.shelf.add(example))
        else:
            work.shelf.amend(known, now)
            work.renewed += 1
    else:
        detail = "the same conversation" + (", which keeps the answer that was rejected here" if taught else "")
        work.notes.drop(finding("exact_duplicate", example, detail, of=id), None)


# ---- decisions ----


def _merge(work: _Import) -> Places:
    """Old rows and fresh ones together: contradictions settled, a newer row with the same id in the old one's place."""
    work.show("looking for contradictions", work.rows)
    drops = work.section.contradictions == "drop"
    if drops:
        _settle_within(work)
    work.shelf.tell_apart(work.fresh)
    merged = _joined(work)
    if drops:
        while beaten := _beaten_edits(work, merged):
            work.fresh = [place for place in work.fresh if place not in beaten]
            merged = _joined(work)
        return _settle_with_draft(work, merged)
    for group in settling.contradicting(work.shelf, merged):
        for _, found in settling.described(work.shelf, [place for place in group if not work.is_old(place)], group):
            work.notes.flag(found)
    return np.array(merged, dtype=np.int64)


def _joined(work: _Import) -> list[int]:
    """Old rows, a newer row with the same id in the old one's place, then the other fresh ones."""
    ids = work.shelf.ids
    newer = {ids[place]: place for place in work.fresh}
    by_id = {ids[place] for place in work.old}
    work.replacing = {place for place in work.fresh if ids[place] in by_id}
    work.replaced = {place for place in work.old if ids[place] in newer}
    return [newer.get(ids[place], place) for place in work.old] + [p for p in work.fresh if ids[p] not in by_id]


def _beaten_edits(work: _Import, merged: Sequence[int]) -> set[int]:
    """Drop rows that another row of the draft beats before they take the place of the one with their id, which then stays."""
    beaten = set[int]()
    for group in settling.contradicting(work.shelf, merged) if work.replacing else ():
        new, old = ([place for place in group if work.is_old(place) is held] for held in (False, True))
        if settling.is_later(work.shelf, old, new):
            beaten |= _drop(work, [place for place in new if place in work.replacing], group)
    return beaten


def _settle_within(work: _Import) -> None:
    """Of rows that contradict each other inside this import, keep the believed answer, or none."""
    present, gone = set(work.present), set()
    for group in settling.contradicting(work.shelf, [*work.fresh, *work.present]):
        answer = settling.believed(work.shelf, group, work.votes)
        losers = [place for place in group if place not in present and work.shelf.answers[place] != answer]
        gone |= _drop(work, losers, group)
    work.fresh = [place for place in work.fresh if place not in gone]


def _settle_with_draft(work: _Import, merged: Sequence[int]) -> Places:
    """A fresh row takes the place of an older answer in the draft, unless the draft's is dated later."""
    gone: set[int] = set()
    for group in settling.contradicting(work.shelf, merged):
        new, old = ([place for place in group if work.is_old(place) is held] for held in (False, True))
        if new and old:
            losers = new if settling.is_later(work.shelf, old, new) else old
            gone |= _drop(work, losers, group)
            work.replaced.update(old if losers is old else ())
            work.replacing.update(new if losers is old else ())
    work.fresh = [place for place in work.fresh if place not in gone]
    return np.array([place for place in merged if place not in gone], dtype=np.int64)


def _drop(work: _Import, losers: Sequence[int], group: Sequence[int]) -> set[int]:
    gone = set(losers)
    stay = [place for place in group if place not in gone]  # first: beside the row that stays each is told
    for place, found in settling.described(work.shelf, losers, [*stay, *losers]):
        work.notes.drop(found, row_of(work.shelf.example(place)))
    return gone


# ---- the set as a whole ----


def _write_aside(ws: Workspace, work: _Import, merged: Places, stack: ExitStack) -> Path:
    """The rows that come in as a file of their own, where there are many."""
    file, path = stack.enter_context(archives.nameless(ws.root))
    if len(merged) > dealing.SMALL:
        file.writelines(work.shelf.lines(merged.tolist()))
        file.flush()
    return path


def _flag_near(work: _Import, merged: Places, fresh: npt.NDArray[np.bool_], path: Path) -> None:
    """Flag fresh rows that are nearly an earlier one, each beside the one it resembles most."""
    work.show("looking for near duplicates", len(merged))
    best, near = dict[int, tuple[float, int]](), work.section.near_duplicate
    for i, j, similarity in dealing.pairs_of(work.shelf, merged, path, "conversation", near):
        if fresh[j] and similarity > best.get(j, (0.0, 0))[0]:
            best[j] = (similarity, i)
    for j, (similarity, i) in sorted(best.items()):
        detail = f"{similarity:.0%} of the word 3-grams are the same"
        _flag(work, "near_duplicate", int(merged[j]), detail, of=work.shelf.ids[merged[i]])


def _flag(work: _Import, kind: Any, place: int, detail: str, of: str) -> None:
    work.notes.flag(finding(kind, work.shelf.example(place), detail, of=of))


def _sides(ws: Workspace, work: _Import, merged: Places, placed: dict[str, Split], path: Path) -> npt.NDArray[np.int8]:
    """The side of each row; new ones that belong to rows on both sides are flagged."""
    work.show("dealing out sides", len(merged))
    brought = work.brought.kept_at(merged)
    dealt = dealing.dealt(ws, work.task.name, work.section, work.shelf, merged, placed, brought, path)
    for at, other in dealt.torn:
        where = "to learn from" if dealt.sides[at] == split.TRAIN else "held out"
        detail = f"it belongs to rows on both sides, which stay where they are; it is {where}"
        _flag(work, "leak", int(merged[at]), detail, of=work.shelf.ids[merged[other]])
    return dealt.sides


def _draft_lines(work: _Import, merged: Places, sides: npt.NDArray[np.int8]) -> Iterator[bytes]:
    for done, (place, side) in enumerate(zip(merged.tolist(), sides.tolist(), strict=True), 1):
        if done % SHOW_EVERY == 0:
            work.show("writing the draft", done)
        yield lines.for_draft(work.shelf.line(place), split.SIDE[side])
