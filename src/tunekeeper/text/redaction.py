"""Redaction of personal data and secrets: e-mail, phone, card, IBAN, IP address, keys.

Every expression is bounded or begins where its own class cannot go on to the left, so that the time grows with the length of the
text and no input makes it explode; numbers are confirmed by their check digits. Names have no structure: where they are asked
for, a detector of `text/names.py` finds them. Postal addresses are not looked for.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any

import re2

from tunekeeper.core.errors import ConfigError
from tunekeeper.text.contacts import EMAIL_FILTER, IP_FILTER, PHONE_FILTER, addresses, emails, phones
from tunekeeper.text.keys import KEY_FILTER, keys
from tunekeeper.text.names import NameFinder
from tunekeeper.text.numbers import CARD_FILTER, IBAN_FILTER, Span, cards, ibans
from tunekeeper.text.seals import Seal

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
_FILTERS = {
    "key": KEY_FILTER,
    "email": EMAIL_FILTER,
    "iban": IBAN_FILTER,
    "card": CARD_FILTER,
    "ip": IP_FILTER,
    "phone": PHONE_FILTER,
}
"""One pass of RE2 over the bytes says which kinds could be there at all; the exact expressions run for those only. It must never
say no where an exact one hits, in a plain text as in the same text inside JSON, so it looks at less: no checks on what follows,
any byte that is not ASCII stands for any letter or blank, and an escape is whatever it could be."""
NAME = "name"
"""The kind that has no structure, and needs a detector (`text/names.py`)."""
UNREAD = "[TOO LONG TO REDACT]"
"""Stands for what was left out unseen."""
Found = tuple[int, int, str]
_NUMBERED = re.compile(r"\[[A-Z]{2,8}:(\d{1,9})\]")
WINDOW = 16_384
"""Characters of one part of a long text; nothing that is looked for is longer, but a private key with much text in it."""
BEFORE = 64
"""Characters before a part that its exact expressions see as well."""
_SHORTEST = 5
"""No kind is shorter."""


@lru_cache(maxsize=64)
def _filter_of(kinds: tuple[str, ...]) -> Callable[[bytes], list[int] | None]:
    """Bytes → places in `kinds` of those that could be in them."""
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    both = re2.Set.SearchSet(options)
    for kind in kinds:
        both.Add(_FILTERS[kind] + rb"|" + _ESCAPED)
    both.Compile()
    match: Callable[[bytes], list[int] | None] = both.Match
    return match


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
        """`kinds`: which of `KINDS` to look for, and `name` where `names` finds them. `most`: characters of one value that are
        looked through exactly where something could be; what goes beyond is left out whole (`UNREAD`), so that no text, however
        made, costs its reader more than a fraction of a second. None: no such end. `pepper`: the secret of `alias`, up to 64
        bytes. `seal`: what `sealed_json` closes its boxes with. Raises ConfigError for another kind."""
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
        self._filter = _filter_of(self.kinds)
        self.hints = self._filter if self._names is None else _anything
        """Bytes of a text in UTF-8, or of one inside JSON → places in `kinds` of those that could be in it; None: nothing to
        redact, for certain. For callers that would have to parse it first: about 3 ns a byte."""

    def may_hold(self, data: bytes) -> bool:
        """Whether `data` could hold anything to redact, as `hints` says."""
        return self.hints(data) is not None

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
        """A JSON value with every string in it redacted, the names of fields included; the same value when nothing was found."""
        work = _Work(self._most)
        return self._walk(value, work, 0), dict(work.counts)

    def sealed_json(self, value: Any) -> tuple[Any, dict[str, int], str | None]:
        """As `redact_json`; with a `seal`, placeholders have numbers, `[EMAIL:1]`, the same for the same text, and a box holds
        what they stand for. None: nothing was found, or nothing is sealed."""
        if self._seal is None:
            return *self.redact_json(value), None
        work = _Work(self._most)
        work.numbered = {}
        work.first = 1 + max(map(int, _NUMBERED.findall(str(value))), default=0)
        clean = self._walk(value, work, 0)
        values = {placeholder: text for (_, text), placeholder in work.numbered.items()}
        return clean, dict(work.counts), self._seal.close(values) if values else None

    def find(self, text: str) -> list[Found]:
        """Start, end and kind of everything found, in order, without overlaps; an earlier kind of `KINDS` wins."""
        return self._found(text, _Work(self._most))

    def _redacted(self, text: str, work: _Work) -> str:
        spans = self._found(text, work)
        if not spans:
            return text
        pieces, at = [], 0
        for start, end, kind in spans:
            pieces += [text[at:start], UNREAD if kind == "unread" else work.placeholder(kind, text[start:end])]
            at = end
        pieces.append(text[at:])
        work.counts.update(kind for _, _, kind in spans)
        return "".join(pieces)

    def _found(self, text: str, work: _Work) -> list[Found]:
        if len(text) < _SHORTEST and self._names is None:
            return []
        if len(text) > 2 * WINDOW:
            return self._in_windows(text, work)
        hinted = self._filter(text.encode("utf-8", "surrogatepass"))
        if hinted is None and self._names is None:
            return []
        if not work.take(len(text)):
            return [(0, len(text), "unread")]
        return self._exact(text, hinted or [])

    def _exact(self, text: str, hinted: Iterable[int]) -> list[Found]:
        taken: list[Found] = []
        for place in sorted(hinted):
            kind = self.kinds[place]
            fresh = _FINDERS[kind](text)
            if fresh:
                taken = _merge(taken, fresh, kind)
        return taken if self._names is None else _merge(taken, list(self._names.find(text)), NAME)

    def _in_windows(self, text: str, work: _Work) -> list[Found]:
        """A long text, where something could be only: nothing but a private key is longer than a window."""
        found: list[Found] = []
        for start, end, hinted in self._runs(text):
            first = max(0, start - BEFORE)
            if not work.take(end - first):
                found.append((start, end, "unread"))
                continue
            known = found[-1][1] if found else 0
            fresh = [(at + first, to + first, kind) for at, to, kind in self._exact(text[first:end], hinted)]
            found += [span for span in fresh if span[0] >= known]
        return found

    def _runs(self, text: str) -> Iterator[tuple[int, int, set[int]]]:
        """Start, end and kinds of the parts of a long text that could hold something; a part reaches one window beyond the last
        where something could begin."""
        run: tuple[int, int, set[int]] | None = None
        for start in range(0, len(text), WINDOW):
            end = min(start + 2 * WINDOW, len(text))
            hinted = self._filter(text[max(0, start - BEFORE) : end].encode("utf-8", "surrogatepass"))
            some = hinted is not None or self._names is not None
            if run is not None and (not some or end - run[0] > 8 * WINDOW):
                yield run
                run = None
            if some:
                run = (run[0], end, run[2].union(hinted or ())) if run is not None else (start, end, set(hinted or ()))
        if run is not None:
            yield run

    def _walk(self, value: Any, work: _Work, depth: int) -> Any:
        if isinstance(value, str):
            return self._redacted(value, work)
        if depth > 200:
            return "[TOO DEEP]"
        if isinstance(value, dict | Mapping):  # a plain dict first: asking Mapping costs a microsecond
            changed = {self._field(key, work): self._walk(item, work, depth + 1) for key, item in value.items()}
            same = len(changed) == len(value) and all(changed.get(key, work) is item for key, item in value.items())
            return value if same else changed
        if isinstance(value, list | tuple):
            items = [self._walk(item, work, depth + 1) for item in value]
            same = all(new is old for new, old in zip(items, value, strict=True))
            return value if same else type(value)(items)
        return value

    def _field(self, name: Any, work: _Work) -> Any:
        """The name of a field; what a schema calls its fields is short, and not looked at."""
        if not isinstance(name, str) or (len(name) < 20 and name.isidentifier()):
            return name
        clean = self._redacted(name, work)
        if clean is name:
            return name
        work.fields += 1
        return f"{clean} {work.fields}"  # two addresses are two fields still


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
        self.numbered: dict[tuple[str, str], str] | None = None
        self.first = 1

    def placeholder(self, kind: str, text: str) -> str:
        """What stands for a text of a kind; with its number where texts are sealed."""
        if self.numbered is None:
            return f"[{kind.upper()}]"
        number = self.first + len(self.numbered)
        return self.numbered.setdefault((kind, text), f"[{kind.upper()}:{number}]")

    def take(self, characters: int) -> bool:
        """Whether so many may still be looked through; if so, they are."""
        if self.left is None:
            return True
        if self.left < characters:
            return False
        self.left -= characters
        return True


def _anything(data: bytes) -> list[int] | None:
    """The filter of names: any text may hold one."""
    return []


def _merge(taken: list[Found], fresh: list[Span], kind: str) -> list[Found]:
    merged: list[Found] = []
    queue = iter(sorted(fresh))
    span = next(queue, None)
    for old in taken:
        while span is not None and span[0] < old[1]:
            clear = span[1] <= old[0] and (not merged or merged[-1][1] <= span[0])
            if clear:
                merged.append((*span, kind))
            span = next(queue, None)
        merged.append(old)
    while span is not None:
        if not merged or merged[-1][1] <= span[0]:
            merged.append((*span, kind))
        span = next(queue, None)
    return merged
