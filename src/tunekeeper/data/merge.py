"""Merge: old rows and new corrections into the next dataset. Pure: rows in, rows and reasons out; no old row is held.

A row leaves when a later word, or a reviewer's, answers the same question otherwise (superseded), or when people keep correcting
that very answer on similar recent requests (outdated): a policy that changed shows there first. A row that somebody brought back
in spite of that stays. Terms of the glossary are written anew.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from tunekeeper.core.nouns.data import Example
from tunekeeper.data.admission import displaces, weight_of
from tunekeeper.data.config import Config
from tunekeeper.data.examples import answer_key, comparable, question_key
from tunekeeper.data.findings import Finding, finding
from tunekeeper.data.quality import wanted
from tunekeeper.data.sources import Correction
from tunekeeper.data.terms import rewritten_example
from tunekeeper.text.fingerprints import answer_of, prompt_key, prompt_of
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


class Merge:
    """The next set of rows, one old row after the other, and why it differs."""

    def __init__(self, corrections: Sequence[Correction], recent: Sequence[Recent], section: Config, *, at: datetime) -> None:
        """`at`: the moment that rewritten rows remember. Instructions (system messages) stay as they are."""
        self.superseded: list[str] = []
        """Old rows whose question was answered anew, or whose judgment was taken back."""
        self.outdated: list[str] = []
        """Old rows whose answer people keep correcting."""
        self.rewritten: list[str] = []
        """Old rows in which a term out of use was replaced."""
        self.rested: list[str] = []
        """Old rows left out by the rehearsal share."""
        self.left: dict[str, Finding] = {}
        """Superseded and outdated rows, by their ids → why they leave."""
        self._section, self._glossary, self._at = section, Glossary(section.glossary), at
        self._fresh = _newest_per_question([rewritten_example(c.example, self._glossary, at) for c in corrections])
        self._was = {c.example.id: c.example for c in corrections}
        self._right = {question_key(e): e for e in self._fresh}
        self._prompts = {prompt_key(e.messages) for e in self._fresh}
        self._dying = Outdated(recent, section)
        self._there, self._ids = set[str](), set[str]()

    def next(self, row: Example) -> Example | None:
        """What becomes of an old row, rewritten where a term is out of use; None where it leaves."""
        kept = rewritten_example(row, self._glossary, self._at)
        self.rewritten += [row.id] if kept is not row else []
        # Most rows ask what nobody asked since, and finding that out is the most of the work.
        asked = question_key(kept) if prompt_key(kept.messages) in self._prompts else None
        now = None if asked is None else self._right.get(asked)
        stays = wanted(row, "superseded")
        if now is not None and not stays and answer_key(now) != answer_key(kept) and displaces(now, kept):
            self.superseded.append(row.id)
            self.left[row.id] = overtaken_by(now, row)
        elif not stays and self._dying.holds(kept):
            self.outdated.append(row.id)
            self.left[row.id] = kept_correcting(row)
        elif not _rehearsed(kept, self._section.keep_old):
            self.rested.append(row.id)
        else:
            self._there |= {asked} if asked is not None else set()
            self._ids |= {kept.id} if kept.id in self._was else set()
            return kept
        return None

    def take_back(self, row: Example, why: str) -> None:
        """Let an old row go whose judgment was taken back."""
        self.superseded.append(row.id)
        self.left[row.id] = finding("superseded", row, why)

    def may_return(self, row: Example) -> bool:
        """Whether a correction has the name of an old row, and takes its place where that leaves."""
        return row.id in self._was

    def added(self) -> list[Example]:
        """The corrections that come in, once every old row was told."""
        return [e for e in self._fresh if question_key(e) not in self._there and e.id not in self._ids]


def overtaken_by(newer: Example, row: Example) -> Finding:
    """Why a row leaves whose question somebody answered otherwise since."""
    said = " ".join(answer_of(newer.messages).split())[:80]
    return finding("superseded", row, f"somebody answered the same question with {said!r} since", of=newer.id)


def kept_correcting(row: Example) -> Finding:
    """Why a row leaves whose answer is corrected again and again."""
    return finding("superseded", row, "people keep correcting this answer on similar recent requests")


class Outdated:
    """Answers that people keep correcting on recent requests."""

    def __init__(self, recent: Sequence[Recent], section: Config) -> None:
        self._section = section
        self._by_answer: dict[str, list[tuple[frozenset[str], bool]]] = defaultdict(list)
        for request in sorted(recent, key=lambda r: r.at, reverse=True):
            same = self._by_answer[comparable(request.served)]
            if len(same) < MOST_RECENT:
                same.append((frozenset(content_words(request.prompt)), request.corrected))
        self._suspects = {
            answer for answer, same in self._by_answer.items() if sum(corrected for _, corrected in same) >= LEAST_CORRECTED
        }

    def holds(self, row: Example) -> bool:
        """Whether the row's answer was corrected on at least `outdated_share` of similar recent requests that got that answer, or
        on half of all the newest ones that got it."""
        if not self._suspects or (key := answer_key(row)) not in self._suspects:
            return False
        return _is_outdated(row, self._by_answer[key], self._section)


def _is_outdated(example: Example, same: Sequence[tuple[frozenset[str], bool]], section: Config) -> bool:
    newest = [corrected for _, corrected in same[:WHOLE_CLASS]]
    if sum(newest) >= LEAST_OF_CLASS and 2 * sum(newest) >= len(newest):
        return True
    words = frozenset(content_words(prompt_of(example.messages)))
    near = [corrected for other, corrected in same if jaccard(words, other) >= section.outdated_similar][:NEIGHBOURS]
    return sum(near) >= LEAST_CORRECTED and sum(near) >= section.outdated_share * len(near)


def _newest_per_question(examples: Sequence[Example]) -> list[Example]:
    """Of corrections that ask the same, a reviewer's, else the one said last; `examples` come oldest first."""
    return list({question_key(e): e for e in sorted(examples, key=weight_of)}.values())


def _rehearsed(example: Example, share: float) -> bool:
    """Whether an old row is in the rehearsal share: decided by its content, so that the same rows stay next time."""
    return int(example.fingerprint.removeprefix("sha256:")[:8], 16) < share * (1 << 32)
