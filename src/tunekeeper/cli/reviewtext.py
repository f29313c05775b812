"""Texts of strangers, made fit for a terminal: nothing in them is run, nothing in them is hidden, JSON and Markdown read easily.

What a prompt or an answer holds is shown as text: escape sequences, markup and marks that turn the direction of writing appear
as visible signs. Styles are laid beside the text (`Content`), never parsed out of it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from textual.content import Content, Span

from tunekeeper.cli.visible import hidden, visible

MOST_SHOWN = 12_000
"""Characters of one text that the screen shows at once; `v` pages through the rest."""
MOST_PAIRS = 250_000
"""Pairs of words up to which a change is found word by word while somebody types."""
_STAND_INS = "⍰⌧⎔⎕⌑⍯⌹⍂⎅⌻"
_CJK = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
_WORDS = re.compile(rf"\s+|[{_CJK}]|(?:(?![{_CJK}])\w)+|.", re.DOTALL)
_JSON = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]:,]|[^\s{}\[\]:,"]+')
_MARKDOWN = re.compile(
    r"(?P<code>`[^`\n]+`)|(?P<bold>\*\*[^*\n]+\*\*)|(?P<list>^[ \t]*(?:[-*+]|\d+[.)])[ ])"
    r"|(?P<head>^#{1,6}[ ].*$)|(?P<quote>^>.*$)",
    re.MULTILINE,
)
_KEY_OR_VALUE = re.compile(r'(?P<key>"(?:[^"\\]|\\.)*"(?=:))|(?P<sign>[{}\[\],:])|"(?:[^"\\]|\\.)*"|[^\s{}\[\],:"]+')
_LOOKS = {"code": "$code", "bold": "bold", "list": "bold $accent", "head": "bold $accent", "quote": "italic $quiet"}


# ---- nothing is hidden in what is edited ----


class Veil:
    """A text for a field that is edited: hidden characters stand there as one visible sign each and come back when it is read."""

    def __init__(self, text: str) -> None:
        """`text`: what is edited first."""
        self._crlf = "\r\n" in text and "\n" not in text.replace("\r\n", "")
        self._signs: dict[str, str] = {}
        self._taken = set(text)
        self.text = self.show(text)

    def show(self, text: str) -> str:
        """`text`, which may be pasted into the field, with its hidden characters as signs."""
        text = text.replace("\r\n", "\n") if self._crlf else text
        return "".join(self._sign_of(c) if hidden(c, before) else c for before, c in zip(" " + text, text, strict=False))

    def back(self, text: str) -> str:
        """What the field's `text` means: the signs that stand for hidden characters are these characters again."""
        text = text.translate({ord(sign): c for c, sign in self._signs.items()}) if self._signs else text
        return text.replace("\n", "\r\n") if self._crlf else text

    def _sign_of(self, c: str) -> str:
        if c not in self._signs:
            usual = [chr(0x2400 + ord(c))] if c <= "\x1f" else []
            rare = map(chr, range(0x2800, 0x28FF))
            self._signs[c] = next((s for s in (*usual, *_STAND_INS, *rare) if s not in self._taken), "�")
            self._taken.add(self._signs[c])
        return self._signs[c]


# ---- easy to read ----


def pretty_json(text: str) -> str | None:
    """A JSON object or array on lines of its own, its numbers and repeated keys as they were written; None for other text."""
    if text.lstrip()[:1] not in ("{", "["):
        return None
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return None
    lines, depth, before = [""], 0, ""
    for token in _JSON.findall(text):
        if token in "}]":
            depth -= 1
        if before and ((before in "{[," and before + token not in ("{}", "[]")) or (token in "}]" and before not in "{[")):
            lines.append("  " * depth)
        depth += token in "{["
        lines[-1] += _readable(token) + (" " if token == ":" else "")
        before = token
    return "\n".join(lines)


def _readable(token: str) -> str:
    return json.dumps(json.loads(token), ensure_ascii=False) if "\\u" in token else token


def styled(text: str, most: int = MOST_SHOWN) -> Content:
    """A message or an answer to read: JSON laid out, Markdown kept as written with its parts told apart. `most`: characters."""
    text = folded(text, most)
    laid_out = pretty_json(text)
    return markdown(visible(text)) if laid_out is None else _colored(visible(laid_out))


def folded(text: str, most: int = MOST_SHOWN) -> str:
    """The beginning and the end of a text that is longer than `most` characters, with how much lies between them."""
    if len(text) <= most:
        return text
    head, tail = most * 2 // 3, most // 3
    return f"{text[:head]}\n\n… {len(text) - head - tail:,} more characters: v shows all of it …\n\n{text[-tail:]}"


def markdown(text: str) -> Content:
    """Headings, lists, quotes, code and emphasis told apart by style; every character stays, nothing is taken for a link."""
    spans: list[Span] = []
    start = 0
    for i, block in enumerate(text.split("```")):
        if i % 2:
            spans.append(Span(start - 3, start + len(block) + 3, "$code"))
        else:
            spans += (Span(start + m.start(), start + m.end(), _LOOKS[m.lastgroup or "code"]) for m in _MARKDOWN.finditer(block))
        start += len(block) + 3
    return Content(text, spans)


def _colored(laid_out: str) -> Content:
    spans = []
    for found in _KEY_OR_VALUE.finditer(laid_out):
        spans.append(Span(found.start(), found.end(), "$accent" if found["key"] else "$mark" if found["sign"] else "bold $value"))
    return Content(laid_out, spans)


def body(message: Mapping[str, Any]) -> str:
    """What a chat message says: its text, its parts, the tools it calls."""
    content = message.get("content")
    parts = content if isinstance(content, list) else [content]
    said = [_part(part) for part in parts if part is not None]
    calls = message.get("tool_calls")
    for call in calls if isinstance(calls, list) else []:
        function = call.get("function") if isinstance(call, Mapping) else None
        named = function if isinstance(function, Mapping) else {}
        said.append(f"→ {named.get('name', 'tool')}({named.get('arguments', '')})")
    return "\n".join(said)


def _part(part: Any) -> str:
    if isinstance(part, str):
        return part
    if isinstance(part, Mapping) and isinstance(part.get("text"), str):
        return str(part["text"])
    kind = part.get("type", "part") if isinstance(part, Mapping) else type(part).__name__
    return f"[{kind}: not text]"


# ---- what was changed ----


def changes(before: str, after: str) -> list[tuple[str, str]]:
    """The change of a text word by word, white space kept: pairs of what was taken out and what was put in, equal where it stays.

    JSON is compared laid out, unless only its white space changed. Where two texts differ all over a long stretch, the stretch
    counts as replaced.
    """
    import difflib

    laid_out = (pretty_json(before), pretty_json(after))
    if laid_out[0] is not None and laid_out[1] is not None and laid_out[0] != laid_out[1]:
        before, after = laid_out[0], laid_out[1]
    a, b = _WORDS.findall(before), _WORDS.findall(after)
    start = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    most = min(len(a), len(b)) - start
    end = next((i for i in range(most) if a[-1 - i] != b[-1 - i]), most)
    old, new = a[start : len(a) - end], b[start : len(b) - end]
    pieces = [("".join(a[:start]),) * 2]
    if len(old) * len(new) > MOST_PAIRS:
        pieces.append(("".join(old), "".join(new)))
    else:
        codes = difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
        pieces += [("".join(old[i:j]), "".join(new[k:m])) for _, i, j, k, m in codes]
    pieces.append(("".join(a[len(a) - end :]),) * 2)
    return [pair for pair in pieces if any(pair)]


def changed(before: str, after: str, *, plain: bool = False, around: int = 120) -> Content:
    """The change of `before` into `after` to look at: taken out struck through, put in underlined; `plain`: in brackets as well.

    `around`: characters that stay, shown on each side of a change.
    """
    parts: list[str | Content | tuple[str, str]] = []
    pieces = changes(before, after)
    for i, (old, new) in enumerate(pieces):
        if old == new:
            parts.append((_near(visible(old), around, first=i == 0, last=i == len(pieces) - 1), "$quiet"))
            continue
        if old:
            parts.append((f"[-{visible(old)}-]" if plain else visible(old), "strike $gone"))
        if new:
            parts.append((f"{{+{visible(new)}+}}" if plain else visible(new), "bold underline $come"))
    return Content.assemble(*parts)


def _near(text: str, around: int, *, first: bool, last: bool) -> str:
    """Of a stretch that stays, the ends that touch a change."""
    head, tail = "" if first else text[:around], "" if last else text[-around:]
    return text if len(text) <= len(head) + len(tail) + 2 else f"{head}…{tail}"


def marked(text: str, other: str, style: str = "bold underline $warning") -> Content:
    """`text` laid out as `styled` does, with the words marked that `other` does not have in their place."""
    if len(text) > MOST_SHOWN or len(other) > MOST_SHOWN:
        return styled(text)
    plain, spans = "", []
    for theirs, ours in changes(other, text):
        start, plain = len(plain), plain + visible(ours)
        spans += [Span(start, len(plain), style)] if theirs != ours else []
    laid_out = styled(text)
    return laid_out.add_spans(spans) if laid_out.plain == plain else Content(plain, spans)
