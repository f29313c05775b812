"""What a change of the draft does to the set: before and after side by side, before anything is frozen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from tunekeeper.core.errors import DataError
from tunekeeper.core.nouns.data import Example
from tunekeeper.data import balance, drafts, sides, tallies, versions
from tunekeeper.data.config import Config
from tunekeeper.data.differences import compare, counted
from tunekeeper.data.examples import topic_of
from tunekeeper.text.fingerprints import text_of
from tunekeeper.workspace import Workspace

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
    rows = drafts.load_draft(ws, model)
    if not rows:
        raise DataError(f"{model} has no draft", fix=f"tunekeeper data import FILE --model {model}")
    newest = versions.latest(ws, model)
    before = [] if newest is None else list(versions.read_examples(ws, newest))
    return between(before, rows, section, parent=None if newest is None else newest.id)


def between(before: Sequence[Example], after: Sequence[Example], section: Config, *, parent: str | None = None) -> Effect:
    """What becomes of `before` when it is `after`."""
    found = compare(before, after)
    return Effect(
        parent=parent,
        before=shape_of(before, section),
        after=shape_of(after, section),
        counts=found.counts,
        topics=_topics(before, after, found.added, found.removed, [edit.id for edit in found.edited]),
        new_words=found.new_words,
        warnings=tuple(tallies.warnings(tallies.of_examples(after), section, sides.side_bias(after))),
        refused=refusal(after),
    )


def shape_of(rows: Sequence[Example], section: Config) -> Shape:
    """How `rows` are made up."""
    tally = tallies.of_examples(rows)
    dates = sorted(tally.dates)
    lengths = sorted(sum(len(text_of(m.get("content"))) for m in row.messages) for row in rows)
    return Shape(
        examples=len(rows),
        train=tally.count("train"),
        eval=tally.count("eval"),
        labels=balance.spread(rows).labels,
        dated=len(dates),
        oldest=datetime.fromtimestamp(dates[0], UTC) if dates else None,
        newest=datetime.fromtimestamp(dates[-1], UTC) if dates else None,
        recent=tallies.recent(tally, section),
        synthetic=tally.made_up,
        length=lengths[len(lengths) // 2] if lengths else 0,
        long=lengths[(95 * len(lengths) - 1) // 100] if lengths else 0,
    )


def refusal(rows: Sequence[Example]) -> str:
    """Why these rows could not be frozen; empty when they could."""
    sides = Counter(row.split for row in rows)
    if not sides["train"] or not sides["eval"]:
        return f"{sides['train']} rows to learn from and {sides['eval']} held out: neither side may be empty"
    return "".join(found.detail for found in balance.synthetic_only(rows))


def _topics(
    before: Sequence[Example], after: Sequence[Example], added: Sequence[str], removed: Sequence[str], edited: Sequence[str]
) -> tuple[TopicChange, ...]:
    old, new = ({row.id: topic_of(row) or "none" for row in rows} for rows in (before, after))
    olds, news = Counter(old.values()), Counter(new.values())
    come, gone, other = Counter(new[id] for id in added), Counter(old[id] for id in removed), Counter(new[id] for id in edited)
    changes = [
        TopicChange(topic=t, before=olds[t], after=news[t], added=come[t], removed=gone[t], edited=other[t]) for t in olds | news
    ]
    return tuple(sorted(changes, key=lambda c: (-(c.added + c.removed + c.edited), c.topic)))


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
