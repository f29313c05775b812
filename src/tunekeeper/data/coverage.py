"""What the examples and another set (a suite, an evaluation file) share and do not share: leaks, and topics nobody covers."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from tunekeeper.core.nouns.data import Example
from tunekeeper.data.duplicates import similar_pairs
from tunekeeper.data.examples import topic_of
from tunekeeper.data.findings import Finding, finding
from tunekeeper.text.fingerprints import prompt_key, prompt_of
from tunekeeper.text.vocabulary import content_words, document_frequency

MOST_TOPICS = 20


def leaks(train: Sequence[Example], held: Sequence[Example], threshold: float, *, where: str) -> list[Finding]:
    """A finding for each row to learn from whose prompt, nearly or exactly, also stands in `held`, or whose conversation does.

    `where`: what the held rows are, for the reader. `threshold`: Jaccard similarity of prompts, 0 to 1.
    """
    found: dict[int, Finding] = {}
    exact = {prompt_key(e.messages): e for e in reversed(held)}
    talks = {str(e.metadata["conversation_id"]): e for e in held if e.metadata.get("conversation_id")}
    for place, row in enumerate(train):
        same = exact.get(prompt_key(row.messages))
        talk = talks.get(str(row.metadata.get("conversation_id")))
        if same is not None:
            found[place] = finding("leak", row, f"the same prompt stands in {where}", of=same.id)
        elif talk is not None:
            found[place] = finding("leak", row, f"the same conversation stands in {where}", of=talk.id)
    texts = [prompt_of(e.messages) for e in train] + [prompt_of(e.messages) for e in held]
    for i, j, similarity in similar_pairs(texts, threshold):
        if i < len(train) <= j and i not in found:
            other = held[j - len(train)]
            found[i] = finding("leak", train[i], f"{similarity:.0%} of the prompt's word 3-grams stand in {where}", of=other.id)
    return [found[place] for place in sorted(found)]


def uncovered(rows: Sequence[Example], held: Sequence[Example], share: float, *, where: str) -> list[Finding]:
    """Topics that make up at least `share` (0 to 1) of one side and are absent from the other, both ways.

    A topic is the row's category where rows have one, else a word that tells a topic and occurs on one side only.
    """
    if not rows or not held:
        return []
    return [
        *_absent(rows, held, share, here="the dataset", there=where),
        *_absent(held, rows, share, here=where, there="the dataset"),
    ]


def _absent(rows: Sequence[Example], other: Sequence[Example], share: float, *, here: str, there: str) -> list[Finding]:
    least = max(1, round(share * len(rows)))
    mine, theirs = Counter(map(topic_of, rows)), Counter(map(topic_of, other))
    named = [(topic, n) for topic, n in mine.most_common() if topic and n >= least and topic not in theirs]
    if not any(theirs) or not any(mine):
        named = _absent_words(rows, other, max(3, least))
    return [
        Finding(kind="uncovered", topic=topic, detail=f"{n} of {len(rows)} rows in {here} ({n / len(rows):.1%}), none in {there}")
        for topic, n in named[:MOST_TOPICS]
    ]


def _absent_words(rows: Sequence[Example], other: Sequence[Example], least: int) -> list[tuple[str, int]]:
    """Words as topics: the most frequent one absent from the other side names its rows, then the next among the rest."""
    known = document_frequency(prompt_of(e.messages) for e in other)
    holders: dict[str, set[int]] = defaultdict(set)
    for place, row in enumerate(rows):
        for word in set(content_words(prompt_of(row.messages))) - known.keys():
            holders[word].add(place)
    topics: list[tuple[str, int]] = []
    told: set[int] = set()
    for word in sorted(holders, key=lambda w: (-len(holders[w]), w)):
        fresh = holders[word] - told
        if len(fresh) >= least:
            topics.append((word, len(fresh)))
            told |= fresh
    return topics
