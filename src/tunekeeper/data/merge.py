"""Merge: old rows and new corrections into the next dataset. Pure: rows in, rows and reasons out.

A row leaves when a correction answers the same question otherwise (superseded), or when people keep correcting that very answer
on similar recent requests (outdated): a policy that changed shows there first. Terms of the glossary are written anew.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from tunekeeper.core.nouns.data import Example
from tunekeeper.data.config import Config
from tunekeeper.data.examples import answer_key, comparable, question_key
from tunekeeper.data.sources import Correction
from tunekeeper.data.terms import rewritten_example
from tunekeeper.text.fingerprints import prompt_of
from tunekeeper.text.vocabulary import Glossary, content_words, jaccard

NEIGHBOURS = 15
"""Similar recent requests, newest first, that decide about an old row."""
LEAST_CORRECTED = 3
"""Corrections among them below which nothing is decided."""
WHOLE_CLASS = 30
"""Newest requests with one served answer, whatever they ask: where half of them were corrected, the answer itself is dead."""
LEAST_OF_CLASS = 5
"""Corrections among those below which the answer is not given up."""
MOST_RECENT = 300
"""Newest recent requests per served answer that are looked at."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Recent:
    """One recent request: what it asked, what was served, and whether somebody corrected that."""

    prompt: str
    """The prompt."""
    served: str
    """The answer that was given."""
    corrected: bool
    """Whether somebody said it should have been another."""
    at: datetime
    """When."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Merge:
    """The next set of rows and why it differs."""

    examples: tuple[Example, ...]
    """Rows, old ones first; sides are not dealt out yet."""
    added: tuple[str, ...]
    """Corrections that came in."""
    superseded: tuple[str, ...]
    """Old rows whose question was answered anew."""
    outdated: tuple[str, ...]
    """Old rows whose answer people keep correcting."""
    rewritten: tuple[str, ...]
    """Rows in which an old term was replaced."""
    rested: tuple[str, ...]
    """Old rows left out by the rehearsal share."""


def merge(
    old: Sequence[Example], corrections: Sequence[Correction], recent: Sequence[Recent], section: Config, *, at: datetime
) -> Merge:
    """The next set: old rows that still hold, rewritten where a term is out of use, and the corrections.

    `at`: the moment that rewritten rows remember. Instructions (system messages) stay as they are.
    """
    rewritten: list[str] = []
    glossary = Glossary(section.glossary)
    kept = [_rewritten(e, glossary, at, rewritten) for e in old]
    fresh = _newest_per_question([_rewritten(c.example, glossary, at, rewritten) for c in corrections])
    answers = {question_key(e): answer_key(e) for e in fresh}
    superseded = [e.id for e in kept if answers.get(question_key(e), answer_key(e)) != answer_key(e)]
    outdated = [id for id in outdated_rows(kept, recent, section) if id not in set(superseded)]
    gone = {*superseded, *outdated}
    kept = [e for e in kept if e.id not in gone]
    rested = [e.id for e in kept if not _rehearsed(e, section.keep_old)]
    kept = [e for e in kept if _rehearsed(e, section.keep_old)]
    there, ids = {question_key(e) for e in kept}, {e.id for e in kept}
    added = [e for e in fresh if question_key(e) not in there and e.id not in ids]
    return Merge(
        examples=(*kept, *added),
        added=tuple(e.id for e in added),
        superseded=tuple(superseded),
        outdated=tuple(outdated),
        rewritten=tuple(dict.fromkeys(rewritten)),
        rested=tuple(rested),
    )


def outdated_rows(rows: Sequence[Example], recent: Sequence[Recent], section: Config) -> list[str]:
    """Ids of rows whose answer was corrected on at least `outdated_share` of similar recent requests that got that answer,
    or on half of all the newest ones that got it."""
    by_answer: dict[str, list[tuple[frozenset[str], bool]]] = defaultdict(list)
    for request in sorted(recent, key=lambda r: r.at, reverse=True):
        same = by_answer[comparable(request.served)]
        if len(same) < MOST_RECENT:
            same.append((frozenset(content_words(request.prompt)), request.corrected))
    suspects = {answer for answer, same in by_answer.items() if sum(corrected for _, corrected in same) >= LEAST_CORRECTED}
    return [e.id for e in rows if (key := answer_key(e)) in suspects and _is_outdated(e, by_answer[key], section)]


def _is_outdated(example: Example, same: Sequence[tuple[frozenset[str], bool]], section: Config) -> bool:
    newest = [corrected for _, corrected in same[:WHOLE_CLASS]]
    if sum(newest) >= LEAST_OF_CLASS and 2 * sum(newest) >= len(newest):
        return True
    words = frozenset(content_words(prompt_of(example.messages)))
    near = [corrected for other, corrected in same if jaccard(words, other) >= section.outdated_similar][:NEIGHBOURS]
    return sum(near) >= LEAST_CORRECTED and sum(near) >= section.outdated_share * len(near)


def _newest_per_question(examples: Sequence[Example]) -> list[Example]:
    """Of corrections that ask the same, the last one; `examples` come oldest first."""
    return list({question_key(e): e for e in examples}.values())


def _rehearsed(example: Example, share: float) -> bool:
    """Whether an old row is in the rehearsal share: decided by its content, so that the same rows stay next time."""
    return int(example.fingerprint.removeprefix("sha256:")[:8], 16) < share * (1 << 32)


def _rewritten(example: Example, glossary: Glossary, at: datetime, rewritten: list[str]) -> Example:
    new = rewritten_example(example, glossary, at)
    if new is not example:
        rewritten.append(example.id)
    return new
