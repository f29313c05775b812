"""What the verbs do with rows of any size, here with few of them in memory: to make drafts, and to compare what the verbs say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import msgspec
import numpy as np

from tunekeeper.core.nouns.data import Example, Split
from tunekeeper.data import drafts, nextdraft
from tunekeeper.data.balance import topics
from tunekeeper.data.config import Config
from tunekeeper.data.differences import Difference, paired
from tunekeeper.data.duplicates import similar_pairs
from tunekeeper.data.examples import encode
from tunekeeper.data.merge import Merge, Recent
from tunekeeper.data.nextdraft import Came
from tunekeeper.data.sources import Correction
from tunekeeper.data.split import OPEN, SIDE, deal, numbers_of
from tunekeeper.text.fingerprints import prompt_of
from tunekeeper.text.vocabulary import document_frequency
from tunekeeper.workspace import Workspace


def assign(examples: Sequence[Example], placed: Mapping[str, Split], share: float, near: float) -> list[Example]:
    """The examples with their sides. `placed`: id → side that a row already has."""
    known = np.array([SIDE.index(placed[e.id]) if e.id in placed else OPEN for e in examples], dtype=np.int8)
    pairs = similar_pairs([prompt_of(e.messages) for e in examples], near)
    dealt = deal(numbers_of(examples), known, pairs, share)
    return [replace(example, split=SIDE[side]) for example, side in zip(examples, dealt.sides.tolist(), strict=True)]


def deal_out(ws: Workspace, rows: Iterable[Example], section: Config) -> list[Example]:
    """Make new rows the draft of the model `desk`; returns them with their sides."""
    nextdraft.save(ws, "desk", ((encode(row, with_split=True), Came.NEW) for row in rows), section)
    return drafts.load_draft(ws, "desk")


def compare(a: Sequence[Example], b: Sequence[Example]) -> Difference:
    """The difference of two sets of rows, all of them looked at."""
    known, fresh = (document_frequency(prompt_of(e.messages) for e in rows) for rows in (a, b))
    new = [word for word, n in fresh.items() if n >= max(2, len(b) // 100) and word not in known]
    before, after = Counter(topics(a)), Counter(topics(b))
    shifts = {t: (before[t], after[t]) for t in {**before, **after} if before[t] != after[t]}
    return msgspec.structs.replace(paired(a, b), topics=shifts, new_words=tuple(sorted(new, key=lambda w: (-fresh[w], w))[:20]))


@dataclass(frozen=True)
class Merged:
    """What a merge makes of a few rows."""

    examples: tuple[Example, ...]
    added: tuple[str, ...]
    superseded: tuple[str, ...]
    outdated: tuple[str, ...]
    rewritten: tuple[str, ...]
    rested: tuple[str, ...]


def merge(
    old: Sequence[Example], corrections: Sequence[Correction], recent: Sequence[Recent], section: Config, *, at: datetime
) -> Merged:
    """The next set of a few old rows."""
    made = Merge(corrections, recent, section, at=at)
    kept = [now for row in old if (now := made.next(row)) is not None]
    added = made.added()
    return Merged(
        examples=(*kept, *added),
        added=tuple(e.id for e in added),
        superseded=tuple(made.superseded),
        outdated=tuple(made.outdated),
        rewritten=tuple(made.rewritten),
        rested=tuple(made.rested),
    )
