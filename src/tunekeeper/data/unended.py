"""Answers that stop without an end mark, in a set whose answers nearly always have one: suspected of being cut off.

One answer alone cannot tell: labels, titles, lists, chat, and languages such as Thai do without. So a row is held against what is
usual among the rows of its script, of its instructions, of its topic, and of questions that begin as its own does. What ends as a
list, a table, code, a verse or a signature does is never suspected, nor an answer that other rows give too.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator

from tunekeeper.core.nouns.data import Example
from tunekeeper.data.endings import FINITE, SIGNED
from tunekeeper.data.examples import parsed, topic_of
from tunekeeper.data.findings import Finding, finding
from tunekeeper.data.quality import READMITTED
from tunekeeper.text.fingerprints import answer_of, prompt_of, text_of

LEAST = 30
"""Answers of one script in prose below which nothing is known to be usual."""
FEW = 10
"""Rows of one kind (instructions, topic, beginning of the question) below which only its script counts."""
USUAL = 0.9
"""Part of the rows of a kind, 0 to 1, that must have an end mark for the others to be suspected."""
LEAST_WORDS, LEAST_SIGNS = 5, 12
"""Of the last line, in words, and of a script without blanks in letters: less is a label or a name."""
MOST_KINDS = 200_000
"""Kinds that are counted; rows of others are held against the first ones alone."""

_END = re.compile(r"[.!?…。！？．｡।॥؟۔։።။។‼⁇⁈⁉]")
_CLOSERS = "\"'”’»›)]}*_`~」』）】》"
_NO_PROSE = re.compile(
    r"[{}<>=\\|_;$]|\w\(|://|@|(?:^|\s)(?:--?\w|[~.]{0,2}/\w|[-*•+#>]\s|\d{1,3}[.)]\s)|\t| {3}|^\S+(?: \S+){0,3}:\s"
)
_ITS_OWN = frozenset(("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN"))
"""Scripts without blanks between words."""
_Kinds = tuple[Hashable, ...]


def unended(examples: Iterable[Example]) -> list[Finding]:
    """A finding for each row whose answer has no end mark where nearly every one of its kind does. `examples`: read twice."""
    ended: Counter[Hashable] = Counter()
    total: Counter[Hashable] = Counter()
    for _, kinds, open_ in _told(examples):
        for kind in kinds:
            if kind in total or len(total) < MOST_KINDS:
                total[kind] += 1
                ended[kind] += not open_
    usual = {kind for kind, n in total.items() if ended[kind] >= USUAL * n}
    if not any(total[kind] >= LEAST and ended[kind] < total[kind] for kind in usual if isinstance(kind, str)):
        return []
    suspects = [
        (example, kinds[0], answer_of(example.messages))
        for example, kinds, open_ in _told(examples)
        if open_ and total[kinds[0]] >= LEAST and all(kind in usual or total[kind] < FEW for kind in kinds)
        if kinds[0] in usual and not _readmitted(example)
    ]
    given = Counter(" ".join(answer.split()).casefold() for _, _, answer in suspects)
    return [
        finding("truncated", example, f"{_tail(answer)}: no end mark; {ended[kind]} of {total[kind]} answers have one")
        for example, kind, answer in suspects
        if given[" ".join(answer.split()).casefold()] == 1
    ]


def _told(examples: Iterable[Example]) -> Iterator[tuple[Example, _Kinds, bool]]:
    """Rows answered in prose, with what they are held against, their script first, and whether their answer has no end."""
    for example in examples:
        answer = answer_of(example.messages).strip()
        open_ = is_open(answer)
        if open_ is None:
            continue
        system = "\n".join(text_of(m.get("content")) for m in example.messages if m.get("role") in ("system", "developer"))
        begin = " ".join(prompt_of(example.messages)[:200].casefold().split()[:3])
        script = script_of(answer)
        yield example, (script, (script, 0, hash(system)), (script, 1, topic_of(example)), (script, 2, begin)), open_


def is_open(answer: str) -> bool | None:
    """Whether an answer in prose stops without an end mark; None for what is no prose, and where nobody can tell."""
    text = answer.rstrip().rstrip(_CLOSERS).rstrip()
    if not text or "```" in answer or "~~~" in answer or parsed(answer) is not None:
        return None
    if _END.match(text[-1]):
        return False
    if unicodedata.category(text[-1])[0] not in "LMN" or text != answer.rstrip():
        return None  # a smile, a bracket, a quotation: somebody ended it somehow
    before, _, line = text.rpartition("\n")
    before = before.rstrip(" ")
    hanging = bool(before) and not before.endswith("\n") and not _END.match(before.rstrip(_CLOSERS)[-1:] or " ")
    if hanging or _NO_PROSE.search(line) or _is_title(line) or FINITE.search(text) or SIGNED.match(line):
        return None
    size = _signs(line) >= LEAST_SIGNS if script_of(text) in _ITS_OWN else len(line.split()) >= LEAST_WORDS
    return True if size else None


def script_of(text: str) -> str:
    """The script of the last letter of a text; those of Japanese and Chinese are one."""
    letter = next((sign for sign in reversed(text) if sign.isalpha()), "")
    name = unicodedata.name(letter, "").partition(" ")[0] if letter else ""
    return "CJK" if name in ("HIRAGANA", "KATAKANA") else name


def _is_title(line: str) -> bool:
    """Whether most words begin with a capital, in a script that has them: a heading, a name, an address."""
    words = [word for word in line.split() if word[0].isalpha() and len(word) > 3]
    return len(words) > 2 and sum(word[0].isupper() for word in words) > 0.6 * len(words)


def _signs(line: str) -> int:
    return sum(map(str.isalpha, line))


def _readmitted(example: Example) -> bool:
    known = example.metadata.get(READMITTED)
    return isinstance(known, dict) and "truncated" in known


def _tail(answer: str) -> str:
    return f"it ends in … {' '.join(answer.split())[-40:]}"
