"""Scorers by name: one answer and its case in, a value from 0 to 1 with its reason out."""

from __future__ import annotations

import inspect
import json
import unicodedata
from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any, Protocol

from tunekeeper.core.errors import ConfigError
from tunekeeper.core.nouns.evaluation import Case
from tunekeeper.core.registry import Registry
from tunekeeper.scoring import formats
from tunekeeper.scoring.apart import Apart, Judged
from tunekeeper.scoring.patterns import compile_pattern, searchable

OUT_OF_SCOPE = "out_of_scope"


class Scorer(Protocol):
    """One way to judge an answer."""

    def applies(self, case: Case) -> bool:
        """Whether this case can be judged this way (has a reference answer, say)."""

    def score(self, answer: str, case: Case) -> Judged:
        """Value 0 (wrong) to 1 (right) and why; None when judging itself failed, which is an error and no verdict."""


SCORERS = Registry(
    "scorer",
    {
        "exact": "tunekeeper.scoring.scorers:Exact",
        "json_fields": "tunekeeper.scoring.scorers:JsonFields",
        "format": "tunekeeper.scoring.scorers:Format",
        "contains": "tunekeeper.scoring.scorers:Contains",
        "regex": "tunekeeper.scoring.scorers:Regex",
        "refusal": "tunekeeper.scoring.refusal:Refusal",
        "word_limit": "tunekeeper.scoring.scorers:WordLimit",
    },
)


def scorer(name: str, **options: Any) -> Scorer:
    """The scorer called `name`; one from elsewhere is made and judges in a process of its own (`apart`). Raises ConfigError for
    an unknown name or option, naming the known ones, and for one that cannot be made."""
    return made(name, options) if name in SCORERS.builtin else Apart(name, options)


def made(name: str, options: dict[str, Any]) -> Scorer:
    """As `scorer`, in this process. Raises ConfigError."""
    kind = SCORERS.load(name)
    known = [p for p in inspect.signature(kind).parameters if p not in ("args", "kwargs")]
    unknown = [key for key in options if key not in known]
    if unknown:
        raise ConfigError(f"scorer {name} has no option {unknown[0]!r}; it has: {', '.join(known) or 'none'}")
    for key, value in options.items():
        fits, wanted = _OPTIONS.get(str(inspect.signature(kind).parameters[key].annotation), (_anything, ""))
        if not fits(value):
            raise ConfigError(f"scorer {name}: {key} is {_show(value)}, not {wanted}", fix=f"write {key} as {wanted}")
    found: Scorer = kind(**options)
    return found


def judged(judge: Scorer, answer: str | None, case: Case) -> Judged | None:
    """What a scorer says of an answer, 0 where there is none; None where it does not judge such cases. One that raises, or says
    what is no judgement, failed to judge: (None, why). What others wrote ends no exam and no training that was paid for."""
    try:
        if not judge.applies(case):
            return None
        value, reason = (0.0, "no answer") if answer is None else judge.score(answer, case)
        if value is None or (isinstance(value, Real) and 0 <= value <= 1):
            return None if value is None else float(value), str(reason)
    except Exception as error:  # noqa: BLE001 - a scorer from elsewhere raises what it likes
        said = " ".join(str(error).split())[:200]
        return None, f"the scorer failed: {type(error).__name__}{f': {said}' if said else ''}"
    return None, f"the scorer gave {_show(value)}, not a number from 0 to 1"


def _anything(_: Any) -> bool:
    return True


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


_OPTIONS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "bool": (lambda value: isinstance(value, bool), "true or false"),
    "int": (_whole, "a whole number"),
    "int | None": (lambda value: value is None or _whole(value), "a whole number"),
    "str | None": (lambda value: isinstance(value, str | None), "text, in quotes"),
    "Sequence[str]": (lambda v: isinstance(v, list | tuple) and all(isinstance(each, str) for each in v), "a list of texts"),
    "dict[str, Any] | None": (lambda value: isinstance(value, dict | None), "a mapping"),
}
"""Annotation of a scorer's option → what fits it, and what that is called."""


class Exact:
    """Equal to the expected answer: as JSON values where both are JSON, else as text without outer and doubled white space."""

    def __init__(self, ignore_case: bool = False) -> None:
        self.ignore_case = ignore_case

    def applies(self, case: Case) -> bool:
        return case.expected is not None

    def score(self, answer: str, case: Case) -> Judged:
        if _plain(answer, self.ignore_case) == _plain(case.expected, self.ignore_case):
            return 1.0, "equal"
        return 0.0, f"expected {_show(case.expected)}"


class JsonFields:
    """Share of the expected object's fields that the answer has right. `fields`: which to compare; empty: all expected ones."""

    def __init__(self, fields: Sequence[str] = ()) -> None:
        self.fields = tuple(fields)

    def applies(self, case: Case) -> bool:
        return case.expected is not None

    def score(self, answer: str, case: Case) -> Judged:
        expected = case.expected
        if isinstance(expected, str):
            expected, problem = formats.parse_object(expected)
            if expected is None:
                return None, f"the expected answer of {case.id} is {problem}"
        if not isinstance(expected, dict):
            return None, f"the expected answer of {case.id} is no object"
        fields = self.fields or tuple(expected)
        missing = [f for f in fields if f not in expected]
        if missing or not fields:
            return None, f"the expected answer of {case.id} has no field {', '.join(missing) or 'at all'}"
        value, problem = formats.parse_object(answer)
        if value is None:
            return 0.0, problem
        wrong = [f for f in fields if f not in value or value[f] != expected[f]]
        if not wrong:
            return 1.0, "all fields right"
        said = "; ".join(f"{f} is {_show(value.get(f))}, expected {_show(expected[f])}" for f in wrong)
        return (len(fields) - len(wrong)) / len(fields), said


class Format:
    """1 when the answer has the task's format (`formats`), whatever it says."""

    def __init__(self, spec: dict[str, Any] | None = None) -> None:
        """`spec`: the `format` of the model's file."""
        self.spec = spec or {}
        formats.validate(self.spec)

    def applies(self, case: Case) -> bool:
        return OUT_OF_SCOPE not in case.tags

    def score(self, answer: str, case: Case) -> Judged:
        ok, reason = formats.check(answer, self.spec)
        return (1.0, "well formed") if ok else (0.0, reason)


class Contains:
    """Holds every text of `all_of` and none of `none_of`; without either, every text of the expected answer (one or a list)."""

    def __init__(self, all_of: Sequence[str] = (), none_of: Sequence[str] = (), ignore_case: bool = True) -> None:
        self.all_of, self.none_of, self.ignore_case = tuple(all_of), tuple(none_of), ignore_case

    def applies(self, case: Case) -> bool:
        return bool(self.all_of or self.none_of) or case.expected is not None

    def score(self, answer: str, case: Case) -> Judged:
        wanted: Any = self.all_of
        if not self.all_of and not self.none_of:
            wanted = case.expected if isinstance(case.expected, list | tuple) else [case.expected]
        text = _words(answer, self.ignore_case)
        absent = [w for w in wanted if _words(w if isinstance(w, str) else json.dumps(w), self.ignore_case) not in text]
        present = [w for w in self.none_of if _words(w, self.ignore_case) in text]
        if absent:
            return 0.0, f"lacks {_show(absent[0])}"
        return (0.0, f"holds {_show(present[0])}") if present else (1.0, "holds what it must")


class Regex:
    """Matches a pattern somewhere (RE2, linear time): `pattern`, else the expected answer."""

    def __init__(self, pattern: str | None = None) -> None:
        self.pattern = pattern
        if pattern is not None:
            formats.validate({"kind": "regex", "pattern": pattern}, "scorer regex")

    def applies(self, case: Case) -> bool:
        return self.pattern is not None or isinstance(case.expected, str)

    def score(self, answer: str, case: Case) -> Judged:
        pattern = self.pattern if self.pattern is not None else str(case.expected)
        try:
            found = compile_pattern(pattern).search(searchable(answer))
        except ValueError as error:
            return None, f"pattern {pattern!r} of {case.id}: {error}"
        return (1.0, "matches") if found else (0.0, f"nothing matches {pattern!r}")


class WordLimit:
    """Between `at_least` and `at_most` words; a word is a run of letters and digits, each CJK character is one."""

    def __init__(self, at_most: int | None = None, at_least: int = 0) -> None:
        self.at_most, self.at_least = at_most, at_least

    def applies(self, case: Case) -> bool:
        return True

    def score(self, answer: str, case: Case) -> Judged:
        n = len(compile_pattern(r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}]|[\p{L}\p{N}\p{M}_']+").findall(searchable(answer)))
        if n < self.at_least:
            return 0.0, f"{n} words, fewer than {self.at_least}"
        if self.at_most is not None and n > self.at_most:
            return 0.0, f"{n} words, more than {self.at_most}"
        return 1.0, f"{n} words"


def _plain(value: Any, ignore_case: bool) -> Any:
    """What equality looks at: a JSON value as such, other text in NFC with single spaces."""
    if not isinstance(value, str):
        return value
    if value.lstrip()[:1] in ("{", "["):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            pass
    return _words(value, ignore_case)


def _words(text: str, ignore_case: bool) -> str:
    plain = " ".join(unicodedata.normalize("NFC", text).split())
    return plain.casefold() if ignore_case else plain


def _show(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else text[:77] + "..."
