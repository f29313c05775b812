"""Which answers people should look at: spread over segment, topic, length, confidence, novelty and disagreement, each with its
reasons in words. Never plainly at random, and the same for the same seed (DATA-27, MON-11). Pure.

The next answer is always taken from the stratum whose values were chosen least so far, so that what is rare comes early and no
stratum gets more than its turn while others are left.
"""

from __future__ import annotations

import hashlib
import heapq
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass

from tunekeeper.core.nouns.data import Example
from tunekeeper.core.nouns.serving import Feedback, Inference
from tunekeeper.data.examples import TOPIC_KEYS, comparable, parsed
from tunekeeper.data.sources import CORRECTING, answer_text, served_answer, served_calls
from tunekeeper.text.fingerprints import prompt_of, text_of
from tunekeeper.text.shingles import shingles
from tunekeeper.text.vocabulary import content_words

LOW_PART = 0.2
"""The lowest part of the known confidences counts as low; so does the highest part of novelty as new."""
LEAST_NOVEL = 0.5
"""Part of a question's word 3-grams, 0 to 1, that the dataset must lack for it to count as new."""
MOST_KNOWN = 1_000_000
"""Word 3-grams of the newest dataset that are remembered."""
AXES = 6
"""Topic, length, confidence, novelty, disagreement; the last is that of all segments."""
COMMON_PART = 0.2
"""Part of the questions, 0 to 1, above which a word is too common to be a topic."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Chosen:
    """One answer for the queue, and why."""

    inference: Inference
    """The answered request."""
    why: str
    """disagreement, low_confidence, novel or sample."""
    reasons: tuple[str, ...]
    """The same in words, the strongest first."""
    weight: float
    """Answers it stands for: those with the same confidence, novelty and disagreement, by those of them that were chosen."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """One answered request with what it is sorted by."""

    inference: Inference
    """The request."""
    segments: tuple[str, ...]
    """Its segments, `name=value` each."""
    topic: str
    """The category of a JSON answer, else its first text; or the tool it calls; else the word that tells the question's topic."""
    length: int
    """Binary digits of the answer's length in characters."""
    low: bool
    """Its confidence is among the lowest."""
    novelty: float | None
    """Part of its question's word 3-grams that the dataset lacks; None without a dataset."""
    new: bool
    """That part is large, and among the largest."""
    against: str
    """Who answered otherwise, in words; empty when nobody."""

    @property
    def stratum(self) -> tuple[str, ...]:
        """The values it is spread by: topic, length, confidence, novelty, disagreement, and then its segments, each by itself, as
        one that has a value for nearly everybody would hide what is rare in another."""
        own = self.segments or ("",)
        return (self.topic, str(self.length), str(self.low), str(self.new), self.against.partition(":")[0], *own)

    @property
    def doubtful(self) -> tuple[bool, bool, bool]:
        """What makes an answer more likely to be wrong, and is sampled more often for it."""
        return self.low, self.new, bool(self.against)


def choose(
    inferences: Sequence[Inference],
    n: int,
    rng: random.Random,
    *,
    known: Set[int] | None = None,
    against: Mapping[str, str] | None = None,
    dataset: str = "the dataset",
    blind: bool = False,
) -> list[Chosen]:
    """`n` of the inferences, spread over the strata. `known`: hashed 3-grams of the dataset (`known_shingles`), which is called
    `dataset`. `against`: request id → who answered otherwise. `blind`: the reasons tell nothing of the answer itself."""
    found = candidates(inferences, known, against or {})
    strata: dict[tuple[str, ...], list[Candidate]] = defaultdict(list)
    for candidate in found:
        strata[candidate.stratum].append(candidate)
    sizes = {key: len(group) for key, group in strata.items()}
    salt = rng.random()
    queues = sorted(strata.items(), key=lambda each: _lot(salt, *each[0]))
    for _, group in queues:
        group.sort(key=lambda candidate: _lot(salt, candidate.inference.request_id))
        if group[0].low:
            group.sort(key=lambda candidate: -(candidate.inference.confidence or 0.0))  # taken from the end: the lowest first
    taken = _in_turn(queues, n)
    all_, drawn = Counter(c.doubtful for c in found), Counter(c.doubtful for c in taken)
    weights = {cell: all_[cell] / count for cell, count in drawn.items()}
    return [_chosen(c, sizes[c.stratum], len(found), dataset, weights[c.doubtful], blind=blind) for c in taken]


def _lot(salt: float, *names: str) -> bytes:
    """A place drawn by lot that one more answer in the window does not change."""
    return hashlib.blake2b("\0".join((str(salt), *names)).encode(errors="surrogatepass"), digest_size=8).digest()


def _in_turn(queues: Sequence[tuple[tuple[str, ...], list[Candidate]]], n: int) -> list[Candidate]:
    """The stratum with the least chosen values gives the next one. Scores only ever fall, so a stale one is looked at again."""
    counts: list[Counter[str]] = [Counter() for _ in range(AXES)]
    heap = [(-float(AXES), place) for place in range(len(queues))]
    heapq.heapify(heap)
    taken: list[Candidate] = []
    while heap and len(taken) < n:
        _, place = heapq.heappop(heap)
        key, group = queues[place]
        score = -_turn(counts, key)
        if heap and score > heap[0][0]:
            heapq.heappush(heap, (score, place))
            continue
        taken.append(group.pop())
        for axis, value in enumerate(key):
            counts[min(axis, AXES - 1)][value] += 1
        if group:
            heapq.heappush(heap, (score, place))
    return taken


def _turn(counts: Sequence[Counter[str]], key: Sequence[str]) -> float:
    """How much it is this stratum's turn: 1 for each axis on which its value was not chosen yet; of the segments the mean."""
    *axes, segments = counts
    own = key[len(axes) :]
    spread = sum(1 / (1 + counted[value]) for counted, value in zip(axes, key, strict=False))
    return spread + sum(1 / (1 + segments[value]) for value in own) / len(own)


def candidates(inferences: Sequence[Inference], known: Set[int] | None, against: Mapping[str, str]) -> list[Candidate]:
    """The inferences with what they are sorted by, by request id."""
    ordered = sorted(inferences, key=lambda i: i.request_id)
    words = [frozenset(content_words(i.question)) for i in ordered]
    seen = Counter(word for each in words for word in each)
    lowest = _edge([i.confidence for i in ordered if i.confidence is not None], LOW_PART)
    novelties = [None if known is None else novelty(i.question, known) for i in ordered]
    highest = _edge([-each for each in novelties if each is not None], LOW_PART)
    return [
        Candidate(
            inference=i,
            segments=tuple(f"{name}={value}" for name, value in sorted(i.segments.items())),
            topic=_topic(i, own, seen, len(ordered)),
            length=len(answer_text(i) or "").bit_length(),
            low=i.confidence is not None and lowest is not None and i.confidence <= lowest,
            novelty=new,
            new=new is not None and highest is not None and new >= max(-highest, LEAST_NOVEL),
            against=against.get(i.request_id, ""),
        )
        for i, own, new in zip(ordered, words, novelties, strict=True)
    ]


def _edge(values: list[float], part: float) -> float | None:
    """The value below which the lowest `part` lies; None where all are the same or there are too few to speak of a part."""
    if len(values) * part < 1 or min(values) == max(values):
        return None
    return sorted(values)[int(len(values) * part) - 1]


def _topic(inference: Inference, words: frozenset[str], seen: Counter[str], questions: int) -> str:
    if calls := served_calls(inference):
        return str(calls[0]["function"].get("name", ""))[:80]
    value = parsed(served_answer(inference) or "")
    if isinstance(value, dict):
        named = next((value[key] for key in (*TOPIC_KEYS, *value) if isinstance(value.get(key), str)), "")
        if named.strip():
            return str(named)[:80]
    telling = [word for word in words if 1 < seen[word] <= COMMON_PART * questions]
    return max(telling, key=lambda word: (seen[word], word), default="")


def known_shingles(examples: Iterable[Example]) -> set[int]:
    """Hashes of the word 3-grams of the examples' prompts, up to MOST_KNOWN; they compare in this process only."""
    known: set[int] = set()
    for example in examples:
        known.update(map(hash, shingles(prompt_of(example.messages))))
        if len(known) >= MOST_KNOWN:
            break
    return known


def novelty(question: str, known: Set[int]) -> float | None:
    """Part of the question's word 3-grams that are not known, 0 to 1; None for a question without words."""
    own = shingles(question)
    return sum(hash(each) not in known for each in own) / len(own) if own else None


def contradicted(inferences: Iterable[Inference], shadows: Iterable[Inference], feedback: Iterable[Feedback]) -> dict[str, str]:
    """Request id → who says otherwise: the shadow's copy of the request, or the user. Of several, the user's last word."""
    served = {i.request_id: comparable(answer) for i in inferences if (answer := served_answer(i)) is not None}
    found: dict[str, str] = {}
    for shadow in shadows:
        answer = served_answer(shadow)
        if answer is not None and shadow.parent_id in served and comparable(answer) != served[shadow.parent_id]:
            found[shadow.parent_id] = "the shadow answered otherwise"
    for said in feedback:
        if said.request_id in served and (how := _contradicts(said, served[said.request_id])):
            found[said.request_id] = f"the user's feedback contradicts it: {how}"
    return found


def _contradicts(said: Feedback, served: str) -> str:
    if said.kind == "thumb":
        return "thumb down" if said.value == "down" else ""
    if said.kind == "escalation":
        return "escalated"
    right = text_of(said.value) if isinstance(said.value, str) else ""
    return said.kind if said.kind in CORRECTING and right and comparable(right) != served else ""


def _chosen(candidate: Candidate, size: int, of: int, dataset: str, weight: float, *, blind: bool) -> Chosen:
    reasons: list[tuple[str, str]] = []
    if candidate.against:
        reasons.append(("disagreement", candidate.against))
    if candidate.low and candidate.inference.confidence is not None:
        reasons.append(("low_confidence", f"its confidence of {candidate.inference.confidence:.2f} is among the lowest fifth"))
    if candidate.new and candidate.novelty is not None:
        reasons.append(("novel", f"{candidate.novelty:.0%} of its question's word 3-grams are not in {dataset}"))
    like = ", ".join(f"{name} {value}" for name, value in _named(candidate, blind=blind) if value)
    reasons.append(("sample", f"stands for {size} of {of} answers{': ' if like else ''}{like}"))
    return Chosen(inference=candidate.inference, why=reasons[0][0], reasons=tuple(text for _, text in reasons), weight=weight)


def _named(candidate: Candidate, *, blind: bool) -> list[tuple[str, str]]:
    """What the answers it stands for have in common, in words."""
    segment = ("segment", ", ".join(candidate.segments))
    low, high = 1 << candidate.length >> 1, (1 << candidate.length) - 1
    length = ("length", f"{low} to {high} characters" if high > 1 else "1 character")
    return [segment] if blind else [("topic", candidate.topic), segment, length]
