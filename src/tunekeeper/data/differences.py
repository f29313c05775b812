"""What changed between two versions: rows added, removed, edited, moved to the other side; topics that grew or shrank."""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from unicodedata import normalize

import msgspec
import numpy as np
from msgspec.structs import replace

from tunekeeper.core.errors import DataError, NotFound, UserError
from tunekeeper.core.nouns.data import DatasetVersion, Example
from tunekeeper.data import ages, drafts, lines, tallies
from tunekeeper.data.examples import (
    Messages,
    Row,
    asks_alike,
    compared,
    decode,
    is_origin,
    question_in,
    same_beside,
    same_rest,
    same_tools,
    written,
)
from tunekeeper.data.tallies import SIDES
from tunekeeper.data.versions import resolve
from tunekeeper.store.garbage import uncollected
from tunekeeper.store.manifests import Numbers
from tunekeeper.store.marks import digest_of
from tunekeeper.store.packs import lines_of
from tunekeeper.store.rowreader import Reader, apart
from tunekeeper.text.fingerprints import prompt_of
from tunekeeper.workspace import Workspace

LOOKED_AT = 50_000
"""Rows that two versions share in which a word is looked for before it counts as new."""


class Edit(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A row whose content changed under the same name."""

    id: str
    """The row."""
    was: msgspec.Raw = msgspec.field(name="before")
    """Its messages in A, as JSON."""
    now: msgspec.Raw = msgspec.field(name="after")
    """Its messages in B, as JSON."""
    beside: dict[str, tuple[Any, Any]] = {}
    """What else of it changed → before and after: `tools`, `weight`, keys of its metadata; None for what was not there."""

    @property
    def before(self) -> Messages:
        """Its messages in A."""
        return Messages(self.was)

    @property
    def after(self) -> Messages:
        """Its messages in B."""
        return Messages(self.now)


class Relabel(msgspec.Struct, frozen=True, kw_only=True):
    """A row that says the same as before and has other metadata, e.g. another category."""

    id: str
    """The row."""
    before: dict[str, Any]
    """Those of its metadata that changed, as they were in A; what A had not is not there."""
    after: dict[str, Any]
    """The same of B."""


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """B compared with A."""

    added: tuple[str, ...]
    """Rows only in B."""
    removed: tuple[str, ...]
    """Rows only in A."""
    edited: tuple[Edit, ...]
    """Rows in both, with other content."""
    moved: tuple[str, ...]
    """Rows that changed side."""
    counts: dict[str, int]
    """added, removed, edited, moved, metadata (rows of `metadata`), unchanged (what both say alike, moved ones included)."""
    topics: dict[str, tuple[int, int]] = {}
    """Topic → rows in A, rows in B, where they differ."""
    new_words: tuple[str, ...] = ()
    """Words of at least 1 % of B's prompts that none of A's uses, most frequent first."""
    metadata: tuple[Relabel, ...] = ()
    """Rows in both that say the same and have other metadata."""
    recency: tuple[ages.Ages, ages.Ages] | None = None
    """How recent the rows of A and of B are."""


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """The difference of two versions with the rows that differ."""

    difference: Difference
    """What changed."""
    old: tuple[Row, ...]
    """Rows of A that B does not hold just so, or holds on the other side."""
    new: tuple[Row, ...]
    """Rows of B that A does not hold just so."""


def diff(ws: Workspace, a: str, b: str, *, model: str | None = None) -> Difference:
    """Compare version `a` with version `b` (ids; with `model` also `d3` or `latest`), or with the `draft`. Raises NotFound,
    UserError, DataError."""
    return changes(ws, *pair_of(ws, a, b, model=model)).difference


def pair_of(ws: Workspace, a: str, b: str, *, model: str | None = None) -> tuple[DatasetVersion, DatasetVersion | None]:
    """The two versions that are meant; None for the draft, which is that of A's model. Raises NotFound, UserError."""
    if _is_draft(a):
        raise UserError("the draft is what a version is compared with", fix=f"tunekeeper data diff {b} {a}")
    first = resolve(ws, a, model)
    if b not in ("draft", f"{first.model}/draft"):
        return first, resolve(ws, b, model)
    return first, None


def _is_draft(name: str) -> bool:
    return name.rpartition("/")[2] == "draft"


def changes(ws: Workspace, a: DatasetVersion, b: DatasetVersion | None) -> Changes:
    """What changed from `a` to `b`, or to the draft where that is None. Which rows differ is decided by their digests; only those
    rows are read. Raises NotFound, ArtifactError, DataError."""
    for each in (a, b):
        if each is not None and each.manifest is None:
            raise NotFound(f"{each.id} holds no rows")
    with uncollected():
        old = ws.rows.open(a.manifest or "")
        return _to_draft(ws, a.model, old) if b is None else _to_version(ws, a, old, b)


def _to_version(ws: Workspace, a: DatasetVersion, old: Reader, b: DatasetVersion) -> Changes:
    new = ws.rows.open(b.manifest or "", beside=old)
    parts = apart(old, new)
    before, after = _rows(old, parts.only_a), _rows(new, parts.only_b)
    found = _told(old, before, after, _rows(old, parts.moved), parts.shared, lambda: parts.kept, b.examples)
    topics = _shifts(_topics(a, old), _topics(b, new))
    recency = ages.of_version(a, old), ages.of_version(b, new)
    return replace(found, difference=replace(found.difference, topics=topics, recency=recency))


def _topics(version: DatasetVersion, reader: Reader) -> Mapping[str, int]:
    """Topic → rows: what was counted when it was frozen, or anew where nothing was or a row was erased since."""
    counted = version.report.get("topics")
    return tallies.topics_of(reader) if counted is None or not reader.whole else counted


def _to_draft(ws: Workspace, model: str, old: Reader) -> Changes:
    path = drafts.folder(ws, model) / "draft.jsonl"
    if not path.exists():
        raise DataError(f"{model} has no draft", fix=f"tunekeeper data import FILE --model {model}")
    numbers = {side: old.present(side) for side in SIDES}
    named = ((side, zip(old.digests(each).tolist(), each.tolist(), strict=True)) for side, each in numbers.items())
    known = {digest: (side, n) for side, each in named for digest, n in each}
    kept, crossed, after = array("I"), list[Example](), list[Example]()
    for line, side in lines.of_draft(path):
        was = known.get(digest_of(line))
        if was is None:
            after.append(decode(line, side))
            continue
        kept.append(was[1])
        crossed += [decode(line, was[0])] if was[0] != side else []
    there = np.frombuffer(kept, np.uint32)
    gone = {side: each[~np.isin(each, there)] for side, each in numbers.items()}
    before = [decode(line, side) for side, rows in gone.items() for line in old.pick(rows)]
    found = _told(old, before, after, crossed, len(kept), lambda: there, len(kept) + len(after))
    from tunekeeper.data.balance import topics

    was_there = tallies.topics_of(old)
    now = Counter(was_there)
    now.subtract(topics(before))
    now.update(topics(after))
    dates = ages.dates_of(old, numbers.values()), np.concatenate([ages.dates_of(old, [there]), ages.told_by(after)])
    recency = ages.ages_of(dates[0]), ages.ages_of(dates[1])
    return replace(found, difference=replace(found.difference, topics=_shifts(was_there, now), recency=recency))


def _told(
    old: Reader,
    before: Sequence[Row],
    after: Sequence[Row],
    crossed: Sequence[Row],
    shared: int,
    kept: Callable[[], Numbers],
    rows: int,
) -> Changes:
    """The changes, topics aside, by the rows that are on one side alone and those that changed side. `shared`: how many rows of A
    B has too. `kept`: which ones. `rows`: how many B has."""
    known = {e.id: e for e in before}
    found = paired(before, after)
    moved = (*found.moved, *(example.id for example in crossed))
    difference = replace(
        found,
        moved=moved,
        counts=found.counts | {"moved": len(moved), "unchanged": found.counts["unchanged"] + shared},
        new_words=_coming_words(old, kept, known, after, rows),
    )
    return Changes(difference=difference, old=(*before, *crossed), new=tuple(after))


def _rows(reader: Reader, sides: Mapping[Any, Numbers]) -> list[Row]:
    """The rows of these numbers, to be compared, side by side."""
    numbers = np.concatenate([np.empty(0, np.uint32), *sides.values()])
    order = np.argsort(numbers, kind="stable")
    told = [side for side, each in sides.items() for _ in range(len(each))]
    by_number = map(told.__getitem__, order.tolist())
    rows = [row for text in reader.texts(numbers[order]) for row in compared(text, by_number)]
    return [rows[i] for i in np.argsort(order).tolist()]


def _coming_words(
    old: Reader, kept: Callable[[], Numbers], known: Mapping[str, Row], after: Sequence[Row], rows: int
) -> tuple[str, ...]:
    """The new words, from the rows that differ: what is frequent in B and in none of A's rows is frequent in those. Of the rows
    that both hold, `LOOKED_AT` spread evenly are looked at, all where there are no more."""
    least = max(2, rows // 100)
    if not _many_ask_otherwise(known, after, least):
        return ()
    from tunekeeper.text.vocabulary import content_words, document_frequency  # here: of most differences nobody needs it

    asked = {prompt_of(example.messages) for example in known.values()}
    counts = document_frequency(prompt for example in after if (prompt := prompt_of(example.messages)) not in asked)
    open_words = {word for word, n in counts.items() if n >= least}
    for prompt in asked if open_words else ():
        open_words.difference_update(content_words(prompt))
    for piece in old.sample(kept(), LOOKED_AT) if open_words else ():
        text = normalize("NFKC", piece.decode("utf-8", "replace")).casefold()
        seen = {word for word in open_words if word in text}
        if seen:
            open_words.difference_update(*(content_words(prompt_of(decode(line).messages)) for line in lines_of(piece)))
    return most_frequent({word: counts[word] for word in open_words})


def most_frequent(words: Mapping[str, int]) -> tuple[str, ...]:
    """The words that are named as new, of those with their counts."""
    return tuple(sorted(words, key=lambda word: (-words[word], word))[:20])


def _many_ask_otherwise(known: Mapping[str, Row], after: Sequence[Row], least: int) -> bool:
    """Whether so many rows ask something else than before; those behind the place that decides it are not looked at."""
    otherwise, left = 0, len(after)
    for example in after:
        if left + otherwise < least or otherwise >= least:
            break
        left -= 1
        otherwise += not asks_alike(known.get(example.id), example)
    return otherwise >= least


def paired(a: Sequence[Row], b: Sequence[Row]) -> Difference:
    """What became of each row of A, topics and words aside. Rows without a name of their own are the same row when they ask the
    same."""
    old = {e.id: e for e in a}
    new = {e.id: e for e in b}
    pairs = [(before, after) for id, after in new.items() if (before := old.get(id)) is not None]
    removed, added = list[Row](), list[Row]()
    if len(pairs) < len(old):
        removed = [e for id, e in old.items() if id not in new]
    if len(pairs) < len(new):
        added = [e for id, e in new.items() if id not in old]
    renamed = _same_question(removed, added)
    pairs += renamed
    gone, come = {before.id for before, _ in renamed}, {after.id for _, after in renamed}
    edited, relabelled, moved = list[Edit](), list[Relabel](), list[str]()
    for before, after in pairs:
        if not same_content(before, after):
            edited.append(Edit(id=before.id, was=written(before), now=written(after), beside=_beside(before, after)))
        elif not same_beside(before, after):
            change = relabel(before, after)
            relabelled += [change] if change.before or change.after else []
        if before.split != after.split:
            moved.append(before.id)
    added_ids = tuple(e.id for e in added if e.id not in come)
    removed_ids = tuple(e.id for e in removed if e.id not in gone)
    counts = {"added": len(added_ids), "removed": len(removed_ids), "edited": len(edited), "moved": len(moved)}
    counts |= {"metadata": len(relabelled), "unchanged": len(pairs) - len(edited) - len(relabelled)}
    return Difference(
        added=added_ids,
        removed=removed_ids,
        edited=tuple(edited),
        moved=tuple(moved),
        counts=counts,
        metadata=tuple(relabelled),
    )


def relabel(a: Row, b: Row) -> Relabel:
    """What of a row's metadata changed from `a` to `b`; where an export wrote down a row's own source, nothing did."""
    both = {**a.metadata, **b.metadata}
    keys = [key for key, value in both.items() if _has(a, key) != _has(b, key) and not is_origin(key, value)]
    before, after = ({key: row.metadata[key] for key in keys if key in row.metadata} for row in (a, b))
    return Relabel(id=b.id, before=before, after=after)


def _beside(a: Row, b: Row) -> dict[str, tuple[Any, Any]]:
    """What changed of a row besides its messages."""
    if same_rest(a, b):
        return {}
    found: dict[str, tuple[Any, Any]] = {} if same_tools(a, b) else {"tools": (a.tools, b.tools)}
    found |= {} if a.weight == b.weight else {"weight": (a.weight, b.weight)}
    if same_beside(a, b):
        return found
    change = relabel(a, b)
    return found | {key: (change.before.get(key), change.after.get(key)) for key in {**change.before, **change.after}}


def _has(row: Row, key: str) -> tuple[bool, Any]:
    return key in row.metadata, row.metadata.get(key)


def same_content(a: Row, b: Row) -> bool:
    """Whether two rows say the same, with the same tools and weight; side, source and metadata do not count."""
    return a.fingerprint == b.fingerprint and a.weight == b.weight and same_tools(a, b)


def _same_question(removed: Sequence[Row], added: Sequence[Row]) -> list[tuple[Row, Row]]:
    """A row named by its content gets another name when its answer is edited: pair it by its question."""
    waiting: dict[str, list[Row]] = defaultdict(list)
    for example in removed:
        if example.id.startswith("ex_"):
            waiting[question_in(example.messages, example.tools)].append(example)
    unnamed = [e for e in added if e.id.startswith("ex_")]
    return [(waiting[key].pop(0), e) for e in unnamed if waiting.get(key := question_in(e.messages, e.tools))]


def _shifts(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, tuple[int, int]]:
    return {t: (before.get(t, 0), after.get(t, 0)) for t in {**before, **after} if before.get(t, 0) != after.get(t, 0)}
