"""What changed between two versions: rows added, removed, edited, moved to the other side; topics that grew or shrank."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tunekeeper.core.nouns.data import Example
from tunekeeper.data.balance import topics
from tunekeeper.data.examples import question_key
from tunekeeper.data.versions import read_examples, resolve
from tunekeeper.text.fingerprints import answer_of, prompt_of
from tunekeeper.text.vocabulary import document_frequency
from tunekeeper.workspace import Workspace

MOST_PAIRS = 4_000_000
"""Pairs of words up to which two texts are compared word by word."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Edit:
    """A row whose content changed under the same name."""

    id: str
    """The row."""
    before: list[dict[str, Any]]
    """Its messages in A."""
    after: list[dict[str, Any]]
    """Its messages in B."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
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
    """added, removed, edited, moved, unchanged."""
    topics: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Topic → rows in A, rows in B, where they differ."""
    new_words: tuple[str, ...] = ()
    """Words of at least 1 % of B's prompts that none of A's uses, most frequent first."""


def diff(ws: Workspace, a: str, b: str, *, model: str | None = None) -> Difference:
    """Compare version `a` with version `b` (ids; with `model` also `d3` or `latest`). Raises NotFound."""
    return compare(list(read_examples(ws, resolve(ws, a, model))), list(read_examples(ws, resolve(ws, b, model))))


def compare(a: Sequence[Example], b: Sequence[Example]) -> Difference:
    """The difference of two sets of rows. Rows without a name of their own are the same row when they ask the same."""
    old, new = {e.id: e for e in a}, {e.id: e for e in b}
    pairs = [(old[id], new[id]) for id in new if id in old]
    removed = [e for id, e in old.items() if id not in new]
    added = [e for id, e in new.items() if id not in old]
    renamed = _same_question(removed, added)
    pairs += renamed
    gone, come = {before.id for before, _ in renamed}, {after.id for _, after in renamed}
    edited = [pair for pair in pairs if not same_content(*pair)]
    moved = [before.id for before, after in pairs if before.split != after.split]
    added_ids = tuple(e.id for e in added if e.id not in come)
    removed_ids = tuple(e.id for e in removed if e.id not in gone)
    counts = {"added": len(added_ids), "removed": len(removed_ids), "edited": len(edited), "moved": len(moved)}
    return Difference(
        added=added_ids,
        removed=removed_ids,
        edited=tuple(Edit(id=x.id, before=list(x.messages), after=list(y.messages)) for x, y in edited),
        moved=tuple(moved),
        counts=counts | {"unchanged": len(pairs) - len(edited)},
        topics=_shifts(a, b),
        new_words=_new_words(a, b),
    )


def same_content(a: Example, b: Example) -> bool:
    """Whether two rows say the same, with the same tools and weight; side, source and metadata do not count."""
    return (a.fingerprint, a.tools, a.weight) == (b.fingerprint, b.tools, b.weight)


def _same_question(removed: Sequence[Example], added: Sequence[Example]) -> list[tuple[Example, Example]]:
    """A row named by its content gets another name when its answer is edited: pair it by its question."""
    waiting: dict[str, list[Example]] = defaultdict(list)
    for example in removed:
        if example.id.startswith("ex_"):
            waiting[question_key(example)].append(example)
    unnamed = [e for e in added if e.id.startswith("ex_")]
    return [(waiting[key].pop(0), e) for e in unnamed if waiting.get(key := question_key(e))]


def _shifts(a: Sequence[Example], b: Sequence[Example]) -> dict[str, tuple[int, int]]:
    before, after = topics(a), topics(b)
    return {t: (before.get(t, 0), after.get(t, 0)) for t in {**before, **after} if before.get(t, 0) != after.get(t, 0)}


def _new_words(a: Sequence[Example], b: Sequence[Example]) -> tuple[str, ...]:
    known = document_frequency(prompt_of(e.messages) for e in a)
    fresh = document_frequency(prompt_of(e.messages) for e in b)
    least = max(2, len(b) // 100)
    found = [word for word, n in fresh.items() if n >= least and word not in known]
    return tuple(sorted(found, key=lambda w: (-fresh[w], w))[:20])


def word_pieces(before: str, after: str) -> list[tuple[str, str]]:
    """The change of a text word by word: pairs of words taken out and words put in, equal where they stay.

    Texts that are long and differ all over (more than four million pairs of words between their common beginning and end) count
    as replaced from there to there.
    """
    import difflib

    a, b = before.split(), after.split()
    start = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    most = min(len(a), len(b)) - start
    end = next((i for i in range(most) if a[-1 - i] != b[-1 - i]), most)
    old, new = a[start : len(a) - end], b[start : len(b) - end]
    pieces = [(" ".join(a[:start]), " ".join(a[:start]))]
    if len(old) * len(new) > MOST_PAIRS:
        pieces.append((" ".join(old), " ".join(new)))
    else:
        codes = difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
        pieces += [(" ".join(old[i:j]), " ".join(new[k:m])) for _, i, j, k, m in codes]
    tail = " ".join(a[len(a) - end :]) if end else ""
    return [pair for pair in (*pieces, (tail, tail)) if any(pair)]


def word_changes(before: str, after: str) -> str:
    """The change of a text word by word, as `[-old-]{+new+}` between the words that stay."""
    pieces = []
    for old, new in word_pieces(before, after):
        pieces.append(old if old == new else (f"[-{old}-]" if old else "") + (f"{{+{new}+}}" if new else ""))
    return " ".join(pieces)


def as_text(found: Difference, most: int = 20) -> list[str]:
    """The difference for a reader: counts first, then at most `most` rows of each kind."""
    lines = [", ".join(f"{n} {name}" for name, n in found.counts.items())]
    lines += [f"topic {topic}: {a} -> {b}" for topic, (a, b) in found.topics.items()]
    lines += [f"new words: {', '.join(found.new_words)}"] if found.new_words else []
    for name, ids in (("added", found.added), ("removed", found.removed), ("moved", found.moved)):
        more = f" and {len(ids) - most} more" if len(ids) > most else ""
        lines += [f"{name}: {' '.join(ids[:most])}{more}"] if ids else []
    for edit in found.edited[:most]:
        prompt = word_changes(prompt_of(edit.before), prompt_of(edit.after))
        lines.append(f"edited {edit.id}: {prompt} => {word_changes(answer_of(edit.before), answer_of(edit.after))}")
    return lines
