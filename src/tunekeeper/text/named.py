"""Secrets that are told by what they are called: the value of a field, whatever the notation, and random letters and digits to
which a few words lead.

The exact finder and its filters stand beside each other, as in `text/numbers.py`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator

import re2

from tunekeeper.text.keys import NAMING, OF_KEYS, SWITCHES
from tunekeeper.text.numbers import ESCAPE, Span, any_of, bytes_of, least, longest
from tunekeeper.text.passwords import PASSWORDS, PLAIN, VERBS

# ---- a few words before or behind ----

_IN_NAMES = ("pat", "oat", "sk", "live", "prod", "apikey", "token", "secret", "key")
"""Parts of a key's own beginning that say what it is, as in `polar_oat_…`."""
_RUN = re.compile(r"(?<![A-Za-z0-9])[A-Za-z0-9](?:[A-Za-z0-9_\-./+~]{10,1023})[A-Za-z0-9/+]={0,2}(?![A-Za-z0-9])")
_LONG, _OFTEN = 16, 4
"""Characters of a secret that a few words lead to; a shorter one has letters and digits that meet so often."""
_OWN = re.compile(
    rf"(?i:.{{0,40}}(?:(?<![a-z])|(?<=api)|(?<=auth)|(?<=access))(?:{'|'.join(_IN_NAMES)})[_\-./])(?=[A-Za-z0-9_\-./+~]{{16}})"
)
"""A name that is one word with its value, as in `dd-apikey-…`."""
_NAMED = re.compile(
    rf"(?:key(?![a-z])|token(?!s|i[sz])|_pat(?![a-z])|{'|'.join(map(re.escape, least(NAMING)))})"
    r"((?:[^\d!?。.]|\.(?!\s)){0,36})\Z",
    re.IGNORECASE,
)
_NAMED_BEHIND = re.compile(
    rf"[\"'`)\]]{{0,2}}(?: (?:is|was|as|for|an?) (?:[a-z]+ ){{1,2}}|(?:が|は|を)[^\s\d]{{0,8}}?)[^\W\d_]{{0,8}}[ -]?"
    rf"(?:key(?![a-z])|token(?!s|i[sz])|{'|'.join(map(re.escape, least(NAMING)))})(?! [a-z]{{4,}})",
    re.IGNORECASE,
)
_SAID_NAME = any_of((*NAMING, "key", "token", "_pat"))
_OF_ANOTHER = re.compile(
    r"(?<![a-z])(?:commits?|sha|hash|digest|checksum|fingerprint|orders?|trace|request|revision|version|build|image|invoice|ticket|"
    r"correlation|transaction|users?|tracking|uuid|guid|etag|model|files?|page|path|url|id|see|https?|customer|job|run|issue|types?|length|size|limit|format|algorithm|"
    r"policy|hint|budget|counts?)(?![a-z])"
    r"|\[KEY",
    re.IGNORECASE,
)
"""Between the name and the value: whose the value is instead."""
_NO_SECRET = re.compile(
    r"(?:public(?:[ _-]?key)?|primary|foreign|cache|partition|sort|idempotency|composite|"
    r"unique|surrogate|routing|shard|object|lookup|row|group|"
    r"map|index|registry|hot|low|\[)[ _-]?\Z",
    re.IGNORECASE,
)
_UNEVEN = re.compile("[0-9]|[A-Za-z][A-Z]")
_FILE = re.compile(r"/.*\.[a-z]{2,4}\Z")
_ODD = re.compile(r"(?<=[A-Za-z])(?=[A-Z])")

# ---- directly behind, as notations set a field ----

_BARE, _QUOTED = r"[!#-%+\-./0-9?-Z^_a-z~]", r"[^\s\"'`<>\\]"
_BEHIND_BARE = re.compile(rf"{_BARE}{{0,512}}(?:==?(?![\w=]))?")
_BEFORE_BARE, _BEFORE_QUOTED, _BEHIND_QUOTED = (re.compile(each) for each in (f"{_BARE}*", f"{_QUOTED}*", f"{_QUOTED}*"))
"""The parts of a value behind and before a place inside it; the latter read from right to left."""
_AROUND = 256
_SHORTEST, _AHEAD = 8, 72
_OF_AN_ASSEMBLY = b"PublicKeyToken"
"""What .NET calls the hash of a public key, which names a library."""
_SPACES, _QUOTES = frozenset(" \n\t"), frozenset("\"'`\\")
_AND_MORE = re.compile(r":[A-Za-z0-9_\-./+~]{8,512}={0,2}")
"""The second half of a pair, as in `id:secret`."""
_SIGN = r"[!-/:-@\[-`{-~]"
_MIXED = re.compile(rf"[0-9](?:(?<=[A-Za-z].)|(?<=[A-Za-z]{_SIGN}.)|(?={_SIGN}?[A-Za-z]))")
"""Where letters and digits meet."""
_ENDINGS = r"(?:[\-_ .]?(?:value|string|prod|production|live|dev|staging|test|base|old|new|primary|secondary|v?[0-9]{1,2}))?"
_SURE = (
    rf"(?:passw(?:or[dt]|d)|pass(?:phrase|code|key)|pwd|secret(?:[\-_ .]?[a-z]{{1,12}}){{0,3}}|token|credentials?|api[\-_ .]?key|"
    rf"(?:{OF_KEYS}|session|webhook|hmac|jwt|auth|cipher|decryption|app|bot)[\-_ .]?key|(?:{'|'.join(least(NAMING))})"
    r"\p{L}{0,12})"
)
_PERHAPS = r"(?:(?:^|[^A-Za-z])(?:pass|pat|auth|creds?)|(?-i:[a-z](?:Pass|Pat|Auth|Creds?)))"
_SET = (
    r"(?:[\"'`\])*_}\\]{0,4}\s{0,3}(?:=>|:=|[:=：])[*_]{0,2}(?: ?[>|]-?\s)?\s{0,4}[rbfu]?[\"'`*(\[\\]{0,3}"
    r"|\\?[\"'`](?:,\s{0,2}|>\s{0,2})\\?[\"'`]?|>|\s?\|\s{0,2}|\\?[\"']?,?\s{0,16}\\?[\"']?value\\?[\"']?\s?[:=] ?\\?[\"']?"
    rf"|[*`\"']{{0,3}} (?:{'|'.join(VERBS)}|=)(?: now| set to| jetzt)?:? [\"'`*]{{0,3}}|[はが이가는은是为為] ?)$"
)
"""What stands between a name and its value."""


def _led(names: str, short: str) -> re2.Pattern:
    """What directly leads to a value: `names` in any notation, and at a prompt."""
    option = rf"--(?:[a-z]{{1,12}}-){{0,3}}(?:{short})[ =][\"']?$|(?-i:[A-Z0-9]_(?:{short.upper()})) [\"']?$"
    return re2.compile(f"(?i)(?:{names}){_ENDINGS}{_SET}|{option}".encode())


_OVER_LINK = re.compile(rf"(?: ?[:=：]\s{{1,3}}| (?:{'|'.join(VERBS)}|from|von) )[\"'`*]{{0,2}}\Z")
_OVER = re.compile(
    rf"(?:(?:api|{OF_KEYS})[ _-]?key(?![^\W\d_])|token(?!s|i[sz])|(?<![a-z])(?:pw|mdp)(?![^\W\d_])|"
    rf"{'|'.join(map(re.escape, least((*NAMING, *PASSWORDS))))})"
    r"([^\W\d_]{0,6}(?:[ -](?:\([^()\n\d]{1,20}\)|\[[^\[\]\n\d]{1,20}\]|[^\W\d_]{1,14})){0,6})\Z",
    re.IGNORECASE,
)
"""A name and a few words, before what leads to a value."""
_SAID_OVER = any_of((*NAMING, *PASSWORDS, "key", "token", "pw", "mdp"))
_LOGIN = re2.compile(
    rb"(?i)(?:(?:credential|credencial|credenzial|identifiant|login|zugangsdaten|anmeldedaten|creds|user(?:name)?/pass)[a-z]{0,8}"
    rb"[:=]?\s{1,2}[\w.@\-]{1,40}\s?[:/]\s?|identified by [\"'])$"
)
"""Whose secret it is, or in SQL."""
_BEHIND = re.compile(
    r"[\"'`]{0,2} (?:as|is) (?:[a-z]+ ){0,2}(?:passw(?:or[dt]|d)|passphrase|pw|api[ _-]key|token|secret)(?![^\W_])", re.IGNORECASE
)
_LED = _led(_SURE, "(?:api-|access-|[a-z]{4,12}-)?key|token|secret|password|pwd")
_PERHAPS_LED = _led(_PERHAPS, "pass|pat|auth|creds?")
NAME_FILTER = (
    rb"(?i:(?:key|basic|_pat)(?:[^a-z]|$)|token(?:[^s]|$)|authorization|bearer|ssws|_pass|(?:[\x22']|_)auth|creden[tcz]ial|"
    + rb"identifi(?:ant|ed by )|login|"
    + rb"zugangsdaten|anmeldedaten|"
    + b"|".join(map(bytes_of, least((*NAMING, *PASSWORDS))))
    + rb"|(?:pass|pat|auth|creds?|pw|mdp)(?:[^a-z]|$))|(?:^|[^a-z]|api|auth|access|"
    + ESCAPE
    + rb")(?i:"
    + "|".join(_IN_NAMES).encode()
    + rb")(?:[_\-.]|\\?/)"
)
"""Names of secrets. Whether there is a value at all is asked for first, by `VALUE_FILTER`: names in all scripts make an automaton
with many states."""
_IN_JSON = rb"[^\x00-\x20\x22\x27<>]{3}"
_TURN = rb"(?:[A-Za-z][!-/:-@\[-`{-~]{0,2}[0-9]|[0-9][!-/:-@\[-`{-~]{0,2}[A-Za-z])"
VALUE_FILTER = rb"(?:[A-Za-z0-9_\-./+=~]|\\/){16}|" + _TURN + _IN_JSON + rb"|" + _IN_JSON + _TURN


def named(text: str) -> list[Span]:
    """Where secrets stand that are called so: random letters and digits over a few words, in any language, anything with letters
    and digits directly behind the name of its field."""
    spans: list[Span] = []
    for run in _RUN.finditer(text):
        if _UNEVEN.search(run[0]) is None:
            continue
        start, end = run.span()
        own = _OWN.match(run[0])
        if own is not None and _is_random(text[start + own.end() : end]):
            spans.append((start + 1 + run[0].rfind("/", 0, own.end()), end))
        elif end - start < _LONG:
            if len(SWITCHES.findall(run[0])) >= _OFTEN and _is_named(text, start):
                spans.append((start, end))
        elif _is_random(run[0]) and (_is_named(text, start) or _is_named_behind(text, end)):
            spans.append((start, _with_more(text, end)))
    return longest(spans + _set_values(text))


def _set_values(text: str) -> list[Span]:
    """What stands directly behind a name."""
    return [span for span in _values(text) if _is_set(text, *span)]


def _values(text: str) -> Iterator[Span]:
    """Whatever has letters and digits, bare and in quotes: around each place where the two meet, since most texts have few."""
    done = 0
    for turn in _MIXED.finditer(text):
        at = turn.end()
        if at <= done:
            continue
        behind = text[max(0, at - _AROUND) : at][::-1]
        start, done = at - _end(_BEFORE_BARE, behind, 0), _end(_BEHIND_BARE, text, at)
        if text[done : done + 1] not in ("(", "["):  # code
            yield start, start + len(text[start : _with_more(text, done)].rstrip(".?"))
        if _SPACES.isdisjoint((text[start - 1 : start], text[done : done + 1])):
            first, last = at - _end(_BEFORE_QUOTED, behind, 0), _end(_BEHIND_QUOTED, text, at, at + _AROUND)
            if text[first - 1 : first] in _QUOTES and text[last : last + 1] in _QUOTES:
                yield first, last


def _end(pattern: re.Pattern[str], text: str, first: int, last: int = sys.maxsize) -> int:
    match = pattern.match(text, first, last)
    return first if match is None else match.end()


def _is_set(text: str, start: int, end: int) -> bool:
    """Whether a value stands directly behind the name of a secret, and could be one."""
    value = text[start:end]
    if len(value) < _SHORTEST or not value.isascii() or PLAIN.fullmatch(value) is not None:
        return False
    before = text[max(0, start - _AHEAD) : start].encode("utf-8", "surrogatepass")
    if before.rstrip(b"=: \"'").endswith(_OF_AN_ASSEMBLY):
        return False
    if _LED.search(before) is not None or _LOGIN.search(before) is not None or _BEHIND.match(text, end) is not None:
        return True
    if _is_led_over(text[max(0, start - _AHEAD) : start], before):
        return True
    return _is_random(value) and _PERHAPS_LED.search(before) is not None


def _is_led_over(text: str, data: bytes) -> bool:
    """Whether a name leads to what is behind a text over a few words, which name nothing else. `data`: the text in UTF-8."""
    link = _OVER_LINK.search(text)
    if link is None or _SAID_OVER.search(data) is None:
        return False
    over = _OVER.search(text, 0, link.start())
    return over is not None and _OF_ANOTHER.search(over[1]) is None


def _with_more(text: str, end: int) -> int:
    more = _AND_MORE.match(text, end)
    return end if more is None or PLAIN.fullmatch(more[0], 1) is not None else more.end()


def _is_named(text: str, start: int) -> bool:
    before = text[max(0, start - 56) : start]
    if _SAID_NAME.search(before.encode("utf-8", "surrogatepass")) is None:
        return False
    name = _NAMED.search(before)
    return name is not None and _OF_ANOTHER.search(name[1]) is None and _NO_SECRET.search(before, 0, name.start()) is None


def _is_named_behind(text: str, end: int) -> bool:
    return _NAMED_BEHIND.match(text, end, end + 48) is not None


def _is_random(value: str) -> bool:
    """Whether nobody would write it: letters and digits change more often than in a name, and it is no file's."""
    if _FILE.search(value) is not None:
        return False
    switches = len(SWITCHES.findall(value))
    if switches >= _OFTEN:
        return True
    changes = (switches + len(_ODD.findall(value))) / len(value)
    lower = sum(map(str.islower, value)) >= len(value) // 4
    return lower and changes > (0.3 if switches else 0.36) and "." not in value and "_" not in value
