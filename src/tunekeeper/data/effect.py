"""What a change of the draft does to the set: before and after side by side, before anything is frozen."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from tunekeeper.core.errors import DataError
from tunekeeper.core.nouns.data import Example
from tunekeeper.data import balance, filerows, sides, tallies, versions
from tunekeeper.data.config import Config
from tunekeeper.data.differences import changes, most_frequent
from tunekeeper.data.difftext import counted
from tunekeeper.data.examples import topic_in
from tunekeeper.text.fingerprints import prompt_of, text_of
from tunekeeper.text.vocabulary import document_frequency
from tunekeeper.workspace import Workspace

_NONE: Mapping[str, int] = MappingProxyType({})
SHOWN = 20
"""Topics and labels that a table shows, those that change most first; `--json` has them all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """How a set of rows is made up."""

    examples: int
    """Rows."""
    train: int
    """Rows to learn from."""
    eval: int
    """Rows held out."""
    labels: dict[str, int]
    """Label that the answers teach → rows; empty where the answers are no labels."""
    dated: int
    """Rows with a date."""
    oldest: datetime | None
    """The first of these dates."""
    newest: datetime | None
    """The last of them."""
    recent: int
    """Dated rows from the recent days before the newest."""
    synthetic: int
    """Rows that a machine made up."""
    length: int
    """Median characters of a conversation."""
    long: int
    """Characters that 95 of 100 conversations do not exceed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TopicChange:
    """What happens to one topic."""

    topic: str
    """The topic; `none` for rows without one."""
    before: int
    """Rows before."""
    after: int
    """Rows after."""
    added: int
    """Rows that come in."""
    removed: int
    """Rows that leave."""
    edited: int
    """Rows that say something else."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Effect:
    """A set of rows compared with another in what matters for balance."""

    parent: str | None
    """The version it is compared with; None where it is the draft as it was, or there is no version."""
    before: Shape
    """The set before."""
    after: Shape
    """The set after."""
    counts: dict[str, int]
    """added, removed, edited, moved, metadata, unchanged, as in a difference."""
    topics: tuple[TopicChange, ...]
    """Each topic, those that change most first."""
    new_words: tuple[str, ...]
    """Words of prompts that are new with it."""
    warnings: tuple[str, ...]
    """What freezing it would warn of."""
    refused: str
    """Why freezing it would be refused; empty when it would not."""


def effect(ws: Workspace, model: str, section: Config) -> Effect:
    """What freezing the draft of `model` would change, against its newest version. Raises DataError without a draft."""
    rows = filerows.rows_of(versions.draft_path(ws, model))
    if not rows:
        raise DataError(f"{model} has no draft", fix=f"tunekeeper data import FILE --model {model}")
    newest = versions.latest(ws, model)
    if newest is None:
        after = survey(rows, len(rows), section)
        words = document_frequency(prompt_of(row.messages) for row in rows)
        frequent = {word: n for word, n in words.items() if n >= max(2, len(rows) // 100)}
        counts = dict.fromkeys(("added", "removed", "edited", "moved", "metadata", "unchanged"), 0) | {"added": len(rows)}
        return between(survey((), 0, section), after, counts, added=after.topics, new_words=most_frequent(frequent))
    found = changes(ws, newest, None)
    told, news = found.difference, {row.id: topic_in(row.metadata, row.messages) or "none" for row in found.new}
    olds = {row.id: topic_in(row.metadata, row.messages) or "none" for row in found.old}
    return between(
        survey(versions.read_examples(ws, newest), newest.examples, section),
        survey(rows, len(rows), section),
        told.counts,
        added=Counter(news[id] for id in told.added),
        removed=Counter(olds[id] for id in told.removed),
        edited=Counter(news[edit.id] if edit.id in news else olds[edit.id] for edit in told.edited),
        new_words=told.new_words,
        parent=newest.id,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Survey:
    """What is to be known of a set of rows to compare it with another."""

    shape: Shape
    """How it is made up."""
    topics: Mapping[str, int]
    """Topic → rows; rows without one under `none`."""
    warnings: tuple[str, ...]
    """What freezing it would warn of."""
    refused: str
    """Why freezing it would be refused; empty when it would not."""


def between(
    before: Survey,
    after: Survey,
    counts: Mapping[str, int],
    *,
    added: Mapping[str, int] = _NONE,
    removed: Mapping[str, int] = _NONE,
    edited: Mapping[str, int] = _NONE,
    new_words: tuple[str, ...] = (),
    parent: str | None = None,
) -> Effect:
    """What becomes of one set when it is another. `counts`: as in a difference; `added`, `removed`, `edited`: the same rows by
    topic."""
    topics = [
        TopicChange(
            topic=topic,
            before=before.topics.get(topic, 0),
            after=after.topics.get(topic, 0),
            added=added.get(topic, 0),
            removed=removed.get(topic, 0),
            edited=edited.get(topic, 0),
        )
        for topic in {**before.topics, **after.topics}
    ]
    return Effect(
        parent=parent,
        before=before.shape,
        after=after.shape,
        counts=dict(counts),
        topics=tuple(sorted(topics, key=lambda c: (-(c.added + c.removed + c.edited), c.topic))),
        new_words=new_words,
        warnings=after.warnings,
        refused=after.refused,
    )


def survey(rows: Iterable[Example], of: int, section: Config) -> Survey:
    """What is to be known of some `of` rows, which are read once and not held."""
    lengths, some, step = array("q"), list[sides.Traits](), of // sides.SAMPLE + 1
    tally, spread = tallies.Counting(), balance.Spreading()
    for place, row in enumerate(rows):
        tally.take(row)
        spread.take(row)
        lengths.append(sum(len(text_of(m.get("content"))) for m in row.messages))
        some += [sides.traits_of(row)] if place % step == 0 else []
    counted, found = tally.tally(), spread.balance()
    return Survey(
        shape=_shape(counted, found, np.sort(np.frombuffer(lengths, np.int64)), section),
        topics=found.topics,
        warnings=tuple(tallies.warnings(counted, section, sides.side_bias(some))),
        refused=_refusal(counted),
    )


def _shape(tally: tallies.Tally, spread: balance.Balance, lengths: npt.NDArray[np.int64], section: Config) -> Shape:
    dated, n = len(tally.dates), len(lengths)
    return Shape(
        examples=tally.rows,
        train=tally.count("train"),
        eval=tally.count("eval"),
        labels=spread.labels,
        dated=dated,
        oldest=datetime.fromtimestamp(min(tally.dates), UTC) if dated else None,
        newest=datetime.fromtimestamp(max(tally.dates), UTC) if dated else None,
        recent=tallies.recent(tally, section),
        synthetic=tally.made_up,
        length=int(lengths[n // 2]) if n else 0,
        long=int(lengths[(95 * n - 1) // 100]) if n else 0,
    )


def _refusal(tally: tallies.Tally) -> str:
    train, held = tally.count("train"), tally.count("eval")
    if not train or not held:
        return f"{train} rows to learn from and {held} held out: neither side may be empty"
    return "".join(found.detail for found in tallies.synthetic_only(tally))


def as_text(found: Effect) -> list[str]:
    """The effect for a reader: what changes, then before and after side by side."""
    before, after = found.before, found.after
    against = f" against {found.parent}" if found.parent else ""
    lines = [counted(found.counts) + against]
    lines += [f"freezing it would be refused: {found.refused}"] if found.refused else []
    lines += [f"warning: {warning}" for warning in found.warnings]
    rows = [
        ("rows", before.examples, after.examples),
        ("to learn from", before.train, after.train),
        ("held out", before.eval, after.eval),
        ("recent", _part(before.recent, before.dated), _part(after.recent, after.dated)),
        ("oldest", _day(before.oldest), _day(after.oldest)),
        ("newest", _day(before.newest), _day(after.newest)),
        ("synthetic", _part(before.synthetic, before.examples), _part(after.synthetic, after.examples)),
        ("median characters", before.length, after.length),
        ("95 of 100 below", before.long, after.long),
    ]
    lines += ["", *_table(rows, ("", "before", "after"))]
    changed = [t for t in found.topics if t.added or t.removed or t.edited]
    if changed:
        told = [
            (t.topic, _share(t.before, before), _share(t.after, after), t.added, t.removed, t.edited) for t in changed[:SHOWN]
        ]
        lines += ["", *_table(told, ("topic", "before", "after", "added", "removed", "edited"))]
    shifts = [
        (label, _share(before.labels.get(label, 0), before), _share(after.labels.get(label, 0), after))
        for label in sorted({**before.labels, **after.labels}, key=lambda each: -_shift(each, before, after))
        if _shift(label, before, after)
    ]
    lines += ["", *_table(shifts[:SHOWN], ("label", "before", "after"))] if shifts else []
    return lines + ([f"new words: {', '.join(found.new_words)}"] if found.new_words else [])


def _shift(label: str, before: Shape, after: Shape) -> int:
    return abs(before.labels.get(label, 0) - after.labels.get(label, 0))


def _share(n: int, of: Shape) -> str:
    return f"{n} ({n / of.examples:.0%})" if of.examples else "0"


def _part(n: int, of: int) -> str:
    return f"{n} of {of} ({n / of:.0%})" if of else "–"


def _day(moment: datetime | None) -> str:
    return "–" if moment is None else f"{moment:%Y-%m-%d}"


def _table(rows: Sequence[Sequence[object]], header: Sequence[str]) -> list[str]:
    cells = [list(header), *[[str(cell) for cell in row] for row in rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
