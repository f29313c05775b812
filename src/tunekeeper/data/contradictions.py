"""Contradictions: the same question, or nearly the same, answered differently; and which answer to believe."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

from tunekeeper.core.nouns.data import Example
from tunekeeper.data.courtesies import plain
from tunekeeper.data.duplicates import similar_pairs
from tunekeeper.data.examples import TOPIC_KEYS, answer_key, comparable, created_of, parsed, question_key
from tunekeeper.data.findings import Finding, finding
from tunekeeper.data.rephrasing import difference, essence, masked, shared
from tunekeeper.data.thoughts import spoken
from tunekeeper.text.fingerprints import answer_of, attached, prompt_of
from tunekeeper.text.shingles import tokens

FEW = 4
"""Rows or partners up to which a difference between questions is taken for one of wording; among more it is a form's blank."""
LOOKED_AT = 0.7
"""Part of the similarity of near duplicates from which questions are compared word by word: a mistyped word spoils three runs."""
USUAL = 0.8
"""Part of the rows of a form, 0 to 1, that must answer alike for the others to contradict them."""
_SIGNS = re.compile(
    r"!=|[=<>^|~%×÷−≠≤≥±√∑∞¬∧∨∈⊂∩∪]+|(?<=\w)[#+]+|\+(?=\s?[\w(.])|(?<![^\W\d])-(?=\s?[\d.(])"
    r"|(?<=[\w)])\s?\*\s?(?=[\w(])|(?<=[\d)])\s?/\s?(?=[\d(])"
)
"""Signs of sums and of programs: `2 + 2` is another question than `2 - 2`, and C# than C."""


def said_key(example: Example) -> str:
    """What a row's answer says, as it is compared: courtesies before and behind it say nothing; of calls of tools what is called
    and with what, by value."""
    said, calls = plain(answer_key(example)), called(example.messages)
    return f"{said}\x00{calls}" if calls else said


def called(messages: Sequence[Mapping[str, Any]]) -> str:
    """What the last message calls, as JSON whose order does not count; empty where it calls nothing."""
    calls = messages[-1].get("tool_calls") if messages else None
    functions = [call["function"] for call in calls or () if isinstance(call, dict) and isinstance(call.get("function"), dict)]
    written = ((each.get("name"), each.get("arguments")) for each in functions)
    made = [json.dumps([name, parsed(args) if isinstance(args, str) else args], sort_keys=True) for name, args in written]
    return ", ".join(sorted(made))


def contradicting_groups(examples: Sequence[Example], said: Callable[[Example], str] = answer_key) -> list[list[Example]]:
    """Groups of rows that ask the same and answer differently, in the order of their first row. `said`: of a row, by what its
    answer is compared."""
    groups: dict[str, list[Example]] = defaultdict(list)
    for example in examples:
        groups[question_key(example)].append(example)
    return [group for group in groups.values() if len(group) > 1 and len({said(e) for e in group}) > 1]


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


def contradictions(examples: Sequence[Example], near: float | None = None) -> list[Finding]:
    """A finding for each row whose question another row answers differently, naming the first such row.

    `near`: similarity, above 0 to 1, from which texts are near duplicates; None: look at the same questions only.
    """
    found = [found for group in contradicting_groups(examples, said_key) for found in describe(group, group, said_key)]
    return found if near is None else found + near_contradictions(examples, near, known={f.id for f in found})


def describe(rows: Sequence[Example], group: Sequence[Example], said: Callable[[Example], str] = answer_key) -> list[Finding]:
    """Findings for `rows`, each beside the first row of `group` that answers otherwise, by what `said` says of them."""
    found = []
    for row in rows:
        other = next((e for e in group if said(e) != said(row)), None)
        if other is not None:
            detail = f"it answers {_short(_answer(row))}, {other.id} answers {_short(_answer(other))}"
            found.append(finding("contradiction", row, detail, of=other.id))
    return found


@dataclass(frozen=True, kw_only=True, slots=True)
class _Asked:
    """A row as near contradictions see it; texts as their hashes, since there may be a million rows."""

    row: Example
    """The row."""
    question: int
    """What it was asked under (system message, tools), and the words of its question that matter."""
    form: int
    """The same with identifiers left blank."""
    answer: int
    """The words of its answer, without its courtesies."""
    label: str | None
    """Its answer where that is a label; None where it is a text."""
    coded: bool
    """Whether that stands in JSON."""


def near_contradictions(examples: Sequence[Example], near: float, known: Set[str | None] = frozenset()) -> list[Finding]:
    """Findings, for rows not `known`, where nearly the same question has another answer; both sides name each other.

    Nearly the same are questions that differ in fillers or spelling; where the answer is a label, also those that differ in an
    identifier, or in few words of a long question (half the part that `near` leaves). Where many rows differ in just one place,
    that place is a blank that the answer may depend on, and nothing is said.
    """
    asked = [_asked(e) for e in examples if answer_of(e.messages)]
    beside: dict[str, _Asked] = {}
    for group in _grouped(asked, lambda each: each.question):
        _pair_off(group, lambda each: each.answer, beside)
    forms, told = _grouped(asked, lambda each: each.form), _told(asked)
    for group in forms:
        labelled = [each for each in group if each.label is not None]
        if _agree_mostly(labelled) and any(each.label in told for each in labelled):
            _pair_off(labelled, lambda each: each.label, beside)
    for one, other in _nearly_asked([group[0] for group in forms], near):
        if _contradict(one, other, near, told):
            beside.setdefault(one.row.id, other)
            beside.setdefault(other.row.id, one)
    return [_beside(each.row, beside[each.row.id].row) for each in asked if each.row.id in beside and each.row.id not in known]


def _asked(example: Example) -> _Asked:
    scope, words, answer = _scope(example), _essence(example), spoken(answer_of(example.messages))
    return _Asked(
        row=example,
        question=hash((scope, words)),
        form=hash((scope, masked(words))),
        answer=hash(tuple(tokens(plain(comparable(answer))))),
        label=_label(answer),
        coded=answer.startswith("{"),
    )


def _scope(example: Example) -> tuple[str, ...]:
    """What besides its words makes a question another one: instructions, tools, pictures, signs."""
    system, *_, tools = question_key(example).split("\x00")
    signs = ("".join(sign.split()) for sign in _SIGNS.findall(prompt_of(example.messages)))
    return system, tools, attached(example.messages), *signs


def _essence(example: Example) -> tuple[str, ...]:
    return essence(prompt_of(example.messages))


def _grouped(asked: Iterable[_Asked], key: Callable[[_Asked], int]) -> list[list[_Asked]]:
    groups: dict[int, list[_Asked]] = defaultdict(list)
    for each in asked:
        groups[key(each)].append(each)
    return list(groups.values())


def _label(answer: str) -> str | None:
    """The answer as a label: the topic, or all of a JSON answer of few short values, or up to three words; None for a text."""
    value = parsed(answer)
    if isinstance(value, dict):
        topic = next((value[key] for key in TOPIC_KEYS if isinstance(value.get(key), str)), None)
        if topic is not None:
            return " ".join(tokens(topic))
        return comparable(answer) if all(_is_short(str(each)) for each in value.values()) else None
    return " ".join(tokens(answer)) if value is None and _is_short(answer) else None


def _is_short(text: str) -> bool:
    return len(text) <= 40 and len(tokens(text)) <= 3 and not any(map(str.isdigit, text))


def _pair_off(group: Sequence[_Asked], answer: Callable[[_Asked], Hashable], beside: dict[str, _Asked]) -> None:
    """Put each row of a group beside the first that answers otherwise, unless it stands beside one."""
    first = {answer(each): each for each in reversed(group)}
    if len(first) < 2:
        return
    earliest = group[0]
    second = next(each for each in group if answer(each) != answer(earliest))
    for each in group:
        beside.setdefault(each.row.id, earliest if answer(each) != answer(earliest) else second)


def _agree_mostly(group: Sequence[_Asked]) -> bool:
    """Whether a group has one usual answer, so that another is a slip and not what the blank decides."""
    usual = Counter(each.label for each in group).most_common(1)
    return len(group) <= FEW or usual[0][1] >= USUAL * len(group)


def _nearly_asked(firsts: Sequence[_Asked], near: float) -> Iterator[tuple[_Asked, _Asked]]:
    """Pairs of questions that are similar as a whole, without those that resemble many others: they fill in a form."""
    partners: Counter[int] = Counter()
    pairs = []
    for i, j, _ in similar_pairs([" ".join(masked(_essence(each.row))) for each in firsts], LOOKED_AT * near):
        partners.update((i, j))
        if max(partners[i], partners[j]) <= FEW:
            pairs.append((i, j))
    yield from ((firsts[i], firsts[j]) for i, j in pairs if max(partners[i], partners[j]) <= FEW)


def _told(asked: Iterable[_Asked]) -> Set[str]:
    """The labels that are known to be some: those of JSON answers, and texts that questions of several forms have. `Oslo`, said
    to `Where is order 00000` alone, may be looked up."""
    form: dict[str, int] = {}
    return {
        each.label
        for each in asked
        if each.label is not None and (each.coded or form.setdefault(each.label, each.form) != each.form)
    }


def _contradict(one: _Asked, other: _Asked, near: float, told: Set[str]) -> bool:
    if one.answer == other.answer or _scope(one.row) != _scope(other.row):
        return False
    a, b = _essence(one.row), _essence(other.row)
    if difference(a, b) == "nothing":
        return True
    labelled = one.label is not None and other.label is not None and one.label != other.label
    known = one.label in told or other.label in told
    return labelled and known and shared(a, b) >= (1 + near) / 2 and difference(masked(a), masked(b)) != "point"


def _beside(row: Example, other: Example) -> Finding:
    detail = (
        f"it answers {_short(answer_of(row.messages))}; {other.id} is asked nearly the same, {_short(prompt_of(other.messages))},"
        f" and answers {_short(answer_of(other.messages))}"
    )
    return finding("contradiction", row, detail, of=other.id)


def _answer(example: Example) -> str:
    """What a row answers, as it is shown: its text, else what it calls."""
    return answer_of(example.messages) or called(example.messages)


def _short(text: str) -> str:
    flat = " ".join(text.split())
    return repr(flat if len(flat) <= 80 else flat[:77] + "...")
