"""Contradictions: the same question, answered differently; and which answer to believe."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from tunekeeper.core.nouns.data import Example
from tunekeeper.data.examples import answer_key, created_of, question_key
from tunekeeper.data.findings import Finding, finding
from tunekeeper.text.fingerprints import answer_of


def contradicting_groups(examples: Sequence[Example]) -> list[list[Example]]:
    """Groups of rows that ask the same and answer differently, in the order of their first row."""
    groups: dict[str, list[Example]] = defaultdict(list)
    for example in examples:
        groups[question_key(example)].append(example)
    return [group for group in groups.values() if len(group) > 1 and len({answer_key(e) for e in group}) > 1]


def believed(group: Sequence[Example], votes: Mapping[str, int]) -> str | None:
    """The answer to keep of a group: the newest where every row has a date and one is the newest, else that of more than half
    of the votes (fingerprint → times seen), else None: nobody can tell."""
    dates = [(created_of(e.metadata), answer_key(e)) for e in group]
    known = [(date, answer) for date, answer in dates if date is not None]
    if len(known) == len(group):
        newest = max(date for date, _ in known)
        answers = {answer for date, answer in known if date == newest}
        if len(answers) == 1:
            return answers.pop()
    count: Counter[str] = Counter()
    for example in group:
        count[answer_key(example)] += votes.get(example.fingerprint, 1)
    answer, most = count.most_common(1)[0]
    return answer if most * 2 > sum(count.values()) else None


def contradictions(examples: Sequence[Example]) -> list[Finding]:
    """A finding for each row whose question another row answers differently, naming the first such row."""
    return [found for group in contradicting_groups(examples) for found in describe(group, group)]


def describe(rows: Sequence[Example], group: Sequence[Example]) -> list[Finding]:
    """Findings for `rows`, each beside the first row of `group` that answers otherwise."""
    found = []
    for row in rows:
        other = next((e for e in group if answer_key(e) != answer_key(row)), None)
        if other is not None:
            detail = f"it answers {_short(answer_of(row.messages))}, {other.id} answers {_short(answer_of(other.messages))}"
            found.append(finding("contradiction", row, detail, of=other.id))
    return found


def _short(text: str) -> str:
    flat = " ".join(text.split())
    return repr(flat if len(flat) <= 80 else flat[:77] + "...")
