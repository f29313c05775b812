"""The difference of two versions for a reader: counts first, then rows, edited ones word by word."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import zip_longest
from typing import Any

from tunekeeper.data import ages
from tunekeeper.data.differences import Difference, Edit, Relabel
from tunekeeper.text.fingerprints import answer_of, prompt_of, text_of

MOST_PAIRS = 4_000_000
"""Pairs of words up to which two texts are compared word by word."""


def word_pieces(before: str, after: str, most_pairs: int = MOST_PAIRS) -> list[tuple[str, str]]:
    """The change of a text word by word: pairs of words taken out and words put in, equal where they stay.

    Texts that are long and differ all over (more than `most_pairs` of words between their common beginning and end) count as
    replaced from there to there.
    """
    import difflib

    a, b = before.split(), after.split()
    start = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    most = min(len(a), len(b)) - start
    end = next((i for i in range(most) if a[-1 - i] != b[-1 - i]), most)
    old, new = a[start : len(a) - end], b[start : len(b) - end]
    pieces = [(" ".join(a[:start]), " ".join(a[:start]))]
    if len(old) * len(new) > most_pairs:
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
    lines = [counted(found.counts)]
    lines += [f"topic {topic}: {a} -> {b}" for topic, (a, b) in found.topics.items()]
    lines += ages.as_text(*found.recency) if found.recency is not None else []
    lines += [f"new words: {', '.join(found.new_words)}"] if found.new_words else []
    for name, ids in (("added", found.added), ("removed", found.removed), ("moved", found.moved)):
        more = f" and {len(ids) - most} more" if len(ids) > most else ""
        lines += [f"{name}: {' '.join(ids[:most])}{more}"] if ids else []
    for edit in found.edited[:most]:
        prompt = word_changes(prompt_of(edit.before), prompt_of(edit.after))
        lines.append(f"edited {edit.id}: {prompt} => {word_changes(answer_of(edit.before), answer_of(edit.after))}")
        lines += [f"  {what}: {word_changes(x, y)}" for what, x, y in elsewhere(edit)]
    for each in found.metadata[:most]:
        lines.append(f"metadata {each.id}: {', '.join(relabelled(each))}")
    return lines


def elsewhere(edit: Edit) -> list[tuple[str, str, str]]:
    """What of an edited row changed besides its prompt and its answer: the role of a message, `tools`, `weight` or a key of the
    metadata, and what it said before and after."""
    shown = [(prompt_of(edit.before), prompt_of(edit.after)), (answer_of(edit.before), answer_of(edit.after))]
    found = []
    for x, y in zip_longest(edit.before, edit.after):
        said = text_of((x or {}).get("content")), text_of((y or {}).get("content"))
        if x == y or (said[0] != said[1] and said in shown):
            continue
        if said[0] == said[1]:  # it calls another tool, or has another weight
            said = _as_json(x), _as_json(y)
        found.append((str((y or x or {}).get("role")), *said))
    return found + [(what, _as_json(x), _as_json(y)) for what, (x, y) in edit.beside.items()]


def _as_json(value: Any) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)


def relabelled(each: Relabel) -> list[str]:
    """What became of each key of a row's metadata, e.g. `category: bug -> refund`."""
    keys = {**each.before, **each.after}
    return [f"{key}: {_value(each.before, key)} -> {_value(each.after, key)}" for key in keys]


def _value(metadata: Mapping[str, Any], key: str) -> str:
    text = str(metadata[key]) if key in metadata else "none"
    return text if len(text) <= 100 else f"{text[:99]}…"


def counted(counts: Mapping[str, int]) -> str:
    """Counts for a reader; what is seldom there is named only where it is."""
    return ", ".join(f"{n} {name}" for name, n in counts.items() if n or name != "metadata")
