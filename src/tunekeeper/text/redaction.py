"""Redaction of personal data and secrets: e-mail, phone, card, IBAN, IP address, keys.

Every expression is bounded or begins where its own class cannot go on to the left, so that the time grows with the length of the
text and no input makes it explode; numbers are confirmed by their check digits. Names have no structure: where they are asked
for, a detector of `text/names.py` finds them. Postal addresses are not looked for.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import re2

from tunekeeper.core.errors import ConfigError
from tunekeeper.text import figures
from tunekeeper.text.contacts import EMAIL_FILTER, IP_FILTER, addresses, emails
from tunekeeper.text.keys import ALONE_FILTER, KEY_FILTER, keys
from tunekeeper.text.leads import BEFORE_FILTER, BEHIND_FILTER
from tunekeeper.text.named import NAME_FILTER, VALUE_FILTER, named
from tunekeeper.text.names import NameFinder
from tunekeeper.text.numbers import CARD_FILTER, IBAN_FILTER, Span, cards, ibans, longest
from tunekeeper.text.passwords import PASSWORD_FILTER, is_of_password, passwords
from tunekeeper.text.places import AROUND, Look, look_near
from tunekeeper.text.readings import JSON_FILTER, TEXT_FILTER, readings, written
from tunekeeper.text.seals import Seal
from tunekeeper.text.spans import Found, merge, with_unread
from tunekeeper.text.telephones import DIGITS_FILTER, DIGITS_IN_JSON, PHONE_FILTER, phones

KINDS = ("key", "email", "iban", "card", "ip", "phone")
"""In the order they are looked for: the longer and the checked ones first."""

_ESCAPED = rb"\\u00[0-7]"  # ASCII written as an escape could be anything
_FINDERS: dict[str, Callable[[str], list[Span]]] = {
    "key": keys,
    "email": emails,
    "iban": ibans,
    "card": cards,
    "ip": addresses,
    "phone": phones,
}
_FILTERS = dict(zip(KINDS, (KEY_FILTER, EMAIL_FILTER, IBAN_FILTER, CARD_FILTER, IP_FILTER, DIGITS_FILTER), strict=True))
"""RE2 over the bytes says where a kind could be at all; the exact expressions look there only. A filter must never say no where
an exact expression hits, in a plain text as in the same text inside JSON, so it looks at less: no checks on what follows, any
byte that is not ASCII stands for any letter or blank, and an escape is whatever it could be."""
NAME = "name"
"""The kind that has no structure, and needs a detector (`text/names.py`)."""
UNREAD = "[TOO LONG TO REDACT]"
"""Stands for what was left out unseen."""
_NUMBERED = re.compile(r"\[[A-Z]{2,8}:(\d{1,9})\]")
_SHORTEST = 5
"""No kind is shorter."""
_SHORT, _LONGER, _A_DIGIT = 80, 512, re.compile(r"\d")
"""Characters of a value that what its field is called tells something about; of one without blanks."""
_ANYTHING = frozenset(("content", "text", "input", "prompt", "role", "id"))
"""Fields whose name tells nothing."""
_AT_ONCE, _COMMON = 100_000, 200
"""Characters that a detector of names gets at once, and those that two such parts have in common: no name is longer."""
_TOGETHER = 16_384
"""Bytes up to which all kinds are asked for at once. On a long text made for it RE2 throws so large an automaton away again and
again, and takes a microsecond a byte; those of single kinds are small."""


_Match = Callable[[bytes], list[int] | None]
_NEVER = rb"[^\x00-\xff]"
_A_DATE = re.compile(rb"(?<![0-9])(?:19|20)[0-9]{2}-[01][0-9]-[0-3][0-9](?![0-9])")
"""As log lines begin with: no number, and no reason to look closer."""


@lru_cache(maxsize=64)
def _hits(kinds: tuple[str, ...], *, escaped: bool) -> re2.Pattern:
    """Where any of `kinds` could be in bytes. `escaped`: or behind an escape of JSON."""
    return re2.compile(b"|".join([_FILTERS[kind] for kind in kinds] + [_ESCAPED] * escaped), _options())


def _options(*, log_errors: bool = False) -> re2.Options:
    """`log_errors`: whether RE2 says on stderr that memory ran out. A search then goes on in a slower way and finds the same; a
    set says no, which nobody may overlook."""
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.log_errors = log_errors
    return options


class _Whether:
    """Whether kinds could be in bytes, and whether those could read otherwise than they are written.

    Telephones, which are written in more ways than all others together, have an automaton of their own, and what leads to bare
    digits is only asked for where there are any. As one they had a thousand times as many states: texts in other scripts made
    RE2 throw them away again and again.
    """

    def __init__(self, kinds: tuple[str, ...], *, escaped: bool) -> None:
        """`escaped`: in JSON, where ASCII written as an escape could be anything."""
        filters, otherwise = _FILTERS | {"key": ALONE_FILTER}, JSON_FILTER if escaped else TEXT_FILTER
        others = [filters[kind] for kind in kinds if kind != "phone"] + [_ESCAPED] * escaped
        self._kinds = [_set([each]) for each in others]
        self._others = _set([b"|".join(others) or _NEVER, otherwise])
        self._otherwise = _set([otherwise])
        self._passwords = _set([PASSWORD_FILTER if "key" in kinds else _NEVER])
        phones = [PHONE_FILTER, DIGITS_IN_JSON if escaped else DIGITS_FILTER] if "phone" in kinds else [_NEVER, _NEVER]
        self._apart = _set([*phones, VALUE_FILTER if "key" in kinds else _NEVER])
        self._names = _set([NAME_FILTER])
        self._before = re2.compile(BEFORE_FILTER, _options())
        self._behind = _set([BEHIND_FILTER])

    def ask(self, data: bytes) -> Sequence[int]:
        """0: what is looked for could be in `data`. 1: `data` could read otherwise than it is written. Empty: neither."""
        found: Sequence[int]
        if len(data) <= _TOGETHER:
            found = self._others(data) or ()
        else:
            found = (0,) * any(one(data) for one in self._kinds) + (1,) * bool(self._otherwise(data))
        return found if 0 in found or not (self._passwords(data) or self._may_apart(data)) else (0, *found)

    def _may_apart(self, data: bytes) -> bool:
        seen = self._apart(data)
        if not seen:
            return False
        if 0 in seen or (2 in seen and self._names(data)):
            return True
        if 1 not in seen:
            return False
        first = self._before.search(data)
        bare = data if self._behind(data) else b"" if first is None else data[max(0, first.start() - 1) :]
        return bool(bare) and 1 in (self._apart(_A_DATE.sub(b"", bare)) or ())


def _set(patterns: list[bytes]) -> _Match:
    """Which of the patterns are in bytes: a set keeps no places, and costs less."""
    made = re2.Set.SearchSet(_options(log_errors=True))
    for pattern in patterns:
        made.Add(pattern)
    made.Compile()
    match: _Match = made.Match
    return match


@lru_cache(maxsize=64)
def _whether(kinds: tuple[str, ...], *, escaped: bool) -> _Whether:
    return _Whether(kinds, escaped=escaped)


class Redactor:
    """Replaces what it finds with placeholders such as `[EMAIL]`; the same text always gives the same result."""

    def __init__(
        self,
        kinds: Iterable[str] = KINDS,
        *,
        names: NameFinder | None = None,
        most: int | None = None,
        pepper: bytes = b"",
        seal: Seal | None = None,
    ) -> None:
        """`kinds`: which of `KINDS` to look for, and `name` where `names` finds them. `most`: bytes of one value that are looked
        through exactly where something could be, counted for each kind; such places beyond are left out whole (`UNREAD`), so
        that no text, however made, costs its reader more than is known. None: no such end. `pepper`: the secret of `alias`, up
        to 64 bytes. `seal`: what `sealed_json` closes its boxes with. Raises ConfigError for another kind."""
        wanted = tuple(kinds)
        unknown = [kind for kind in wanted if kind not in (*KINDS, NAME)]
        if unknown:
            raise ConfigError(
                f"no kind of personal data is called {unknown[0]!r}", fix=f"choose from {', '.join((*KINDS, NAME))}"
            )
        if NAME in wanted and names is None:
            raise ConfigError("redact: names need a detector", fix="write e.g. names: {detector: list, file: names.txt}")
        self.kinds = tuple(kind for kind in KINDS if kind in wanted)
        self._names = names if NAME in wanted else None
        self._most, self._pepper, self._seal = most, pepper, seal
        self._raw = _whether(self.kinds, escaped=True) if self.kinds else None
        self._text = _whether(self.kinds, escaped=False) if self.kinds else None

    def may_hold(self, data: bytes) -> bool:
        """Whether `data`, a text in UTF-8 or one inside JSON, could hold anything to redact; a no is certain. For callers that
        would have to parse it first: about 3 ns a byte."""
        return self._names is not None or bool(self._may(data, self._raw))

    def redact(self, text: str) -> tuple[str, dict[str, int]]:
        """The text with placeholders, and kind → number of replacements; the text itself when there is nothing to replace."""
        work = _Work(self._most)
        return self._redacted(text, work), dict(work.counts)

    def alias(self, text: str) -> tuple[str, dict[str, int]]:
        """As `redact`, for what names a person, a conversation or a row: two of them stay two, one stays one. A keyed hash stands
        behind the placeholder, where there is a `pepper`."""
        clean, counts = self.redact(text)
        if not counts or not self._pepper:
            return clean, counts
        return f"{clean}~{hashlib.blake2b(text.encode('utf-8', 'replace'), key=self._pepper, digest_size=8).hexdigest()}", counts

    def redact_json(self, value: Any) -> tuple[Any, dict[str, int]]:
        """A JSON value with every string in it redacted, the names of fields included, and the numbers that are somebody's
        (`text/figures.py`); the same value when nothing was found."""
        work = _Work(self._most)
        return self._walk(value, work, 0), dict(work.counts)

    def sealed_json(self, value: Any, *, beyond: int = 0) -> tuple[Any, dict[str, int], str | None]:
        """As `redact_json`; with a `seal`, placeholders have numbers, `[EMAIL:1]`, the same for the same text, and a box holds
        what they stand for. None: nothing was found, or nothing is sealed. `beyond`: numbers start after it, so that boxes
        of several parts of one thing can lie side by side."""
        if self._seal is None:
            return *self.redact_json(value), None
        work = _Work(self._most)
        work.numbered = {}
        work.first = 1 + max(beyond, *map(int, _NUMBERED.findall(str(value))), 0)
        clean = self._walk(value, work, 0)
        values = {placeholder: text for (_, text), placeholder in work.numbered.items()}
        return clean, dict(work.counts), self._seal.close(values) if values else None

    def find(self, text: str) -> list[Found]:
        """Start, end and kind of everything found, in order, without overlaps; an earlier kind of `KINDS` wins."""
        return self._found(text, _Work(self._most))

    def _redacted(self, text: str, work: _Work, field: str = "") -> str:
        """`field`: what the text is called where it stands; looked at as well where the text alone is nothing."""
        spans = self._found(text, work)
        short = len(text) <= _SHORT or (len(text) <= _LONGER and " " not in text)
        if not spans and field and field not in _ANYTHING and short and (_A_DIGIT.search(text) or is_of_password(field)):
            before = len(named := f'"{field}": "')
            spans = [(a - before, b - before, kind) for a, b, kind in self._found(named + text, work) if a >= before]
        if not spans:
            return text
        pieces, at = [], 0
        quotes = figures.quotes(text, [(start, end) for start, end, _ in spans])
        for start, end, kind in spans:
            stands = text[start:end] if start not in quotes else int(text[start:end])
            sign = UNREAD if kind == "unread" else work.placeholder(kind, stands)
            pieces += [text[at:start], quotes.get(start, ""), sign, quotes.get(start, "")]
            at = end
        pieces.append(text[at:])
        work.counts.update(kind for _, _, kind in spans)
        return "".join(pieces)

    def _found(self, text: str, work: _Work) -> list[Found]:
        if len(text) < _SHORTEST and self._names is None:
            return []
        data = text.encode("utf-8", "surrogatepass")
        taken: list[Found] = []
        unread: list[Span] = []
        hits = self._may(data, self._text)
        if hits and len(data) <= AROUND and not work.has(len(data)):
            hits, unread = (), [(0, len(text))]  # each kind would come to this, one after the other
        levels = readings(text, work.take) if 1 in hits else []
        read = levels[-1].text.encode("utf-8", "surrogatepass") if levels else b""
        anew = 0 in self._may(read, self._text)
        for kind in self.kinds:
            if anew:  # first, since it knows better where something begins: an `n` may be a new line
                look = _look(kind, read, work)
                taken = merge(taken, [written(levels, span) for span in look.found], kind)
                unread += [written(levels, span) for span in look.unread]
            if 0 in hits:
                look = _look(kind, data, work)
                taken = merge(taken, look.found, kind) if look.found else taken
                unread += look.unread
        if self._names is not None:
            taken = merge(taken, _in_parts(self._names, text), NAME)
        return taken if not unread else with_unread(taken, unread)

    def _may(self, data: bytes, whether: _Whether | None) -> Sequence[int]:
        """As `_Whether.ask`."""
        return () if whether is None or not data else whether.ask(data)

    def _walk(self, value: Any, work: _Work, depth: int, field: str = "") -> Any:
        if isinstance(value, str):
            return self._redacted(value, work, field)
        if depth > 200:
            return "[TOO DEEP]"
        if isinstance(value, dict | Mapping):  # a plain dict first: asking Mapping costs a microsecond
            before = work.counts.total() if value.get("logprobs") else 0
            changed = {
                self._field(key, work, value): self._walk(item, work, depth + 1, _called(key, value))
                for key, item in value.items()
            }
            if value.get("logprobs") and work.counts.total() > before:
                changed["logprobs"] = None  # they spell it token by token
            same = len(changed) == len(value) and all(changed.get(key, work) is item for key, item in value.items())
            return value if same else changed
        if isinstance(value, list | tuple):
            items = [self._walk(item, work, depth + 1, field) for item in value]
            same = all(new is old for new, old in zip(items, value, strict=True))
            return value if same else type(value)(items)
        kind = figures.kind_of(value, field)
        if kind is None or kind not in self.kinds:
            return value
        work.counts[kind] += 1
        return work.placeholder(kind, value)

    def _field(self, name: Any, work: _Work, beside: Mapping[Any, Any]) -> Any:
        """The name of a field among those `beside` it; what a schema calls its fields is short, and not looked at."""
        if not isinstance(name, str) or (len(name) < 20 and name.isidentifier()):
            return name
        clean = self._redacted(name, work)
        if clean is name:
            return name
        work.fields += 1
        while f"{clean} {work.fields}" in beside:
            work.fields += 1
        return f"{clean} {work.fields}"  # two addresses are two fields still


def _called(key: Any, beside: Mapping[Any, Any]) -> str:
    """What a field is called; a `value` by the `name` or `key` beside it, as headers and variables are listed."""
    if key == "value":
        key = beside.get("name", beside.get("key"))
    return key if isinstance(key, str) and len(key) <= 40 else ""


@lru_cache(maxsize=1)
def _everything() -> Redactor:
    return Redactor()


def said(text: str) -> str:
    """What somebody typed, a note, a reason, a corrected answer, without personal data of any of `KINDS`: for what is stored with
    no configuration at hand."""
    return _everything().redact(text)[0]


class _Work:
    """What one call has found, and how much it may still look through."""

    __slots__ = ("counts", "fields", "first", "left", "numbered")

    def __init__(self, most: int | None) -> None:
        self.counts: Counter[str] = Counter()
        self.fields = 0
        self.left = most
        self.numbered: dict[tuple[str, str | float], str] | None = None
        self.first = 1

    def placeholder(self, kind: str, text: str | float) -> str:
        """What stands for a text of a kind, or for a number; with a number of its own where they are sealed."""
        if self.numbered is None:
            return f"[{kind.upper()}]"
        number = self.first + len(self.numbered)
        return self.numbered.setdefault((kind, text), f"[{kind.upper()}:{number}]")

    def has(self, size: int) -> bool:
        """Whether so many bytes may still be looked through."""
        return self.left is None or self.left >= size

    def take(self, size: int) -> bool:
        """Whether so many bytes may still be looked through; if so, they are."""
        if not self.has(size):
            return False
        if self.left is not None:
            self.left -= size
        return True


def _look(kind: str, data: bytes, work: _Work) -> Look:
    """What is found of a kind in a text."""
    look = look_near(_FINDERS[kind], _hits((kind,), escaped=False), data, take=work.take)
    if kind == "key":
        told = look_near(passwords, _of_passwords(), data, take=work.take)
        look.unread.extend(told.unread)
        # Names with no end: they cost a tenth of the others, and code is full of them.
        look.found[:] = longest(look.found + told.found + look_near(named, _names(), data).found)
    return look


@lru_cache(maxsize=1)
def _of_passwords() -> re2.Pattern:
    """Where a password could be in bytes."""
    return re2.compile(PASSWORD_FILTER, _options())


@lru_cache(maxsize=1)
def _names() -> re2.Pattern:
    """Where a secret could be named in bytes."""
    return re2.compile(NAME_FILTER, _options())


def _in_parts(names: NameFinder, text: str) -> list[Span]:
    """What a detector finds; of a long text in parts, since such detectors hold much for each character."""
    if len(text) <= _AT_ONCE:
        return list(names.find(text))
    found: list[Span] = []
    for first in range(0, len(text), _AT_ONCE):
        found += [(first + a, first + b) for a, b in names.find(text[first : first + _AT_ONCE + _COMMON])]
    return longest(found)
