"""Texts of strangers on a terminal: what it would obey or swallow is written out.

Answers, prompts, names of files and columns come from anywhere. An escape sequence in one of them could recolour the screen, hide
a line or type a command; a mark that turns the direction of writing could make one name look like another.
"""

from __future__ import annotations

import re
import unicodedata

_JOINERS = "\u200c\u200d"
"""They join letters of Indic and Persian scripts and emoji: harmless behind such a character, hidden behind others."""
_NAMES = (
    *("NUL", "SOH", "STX", "ETX", "EOT", "ENQ", "ACK", "BEL", "BS", "HT", "LF", "VT", "FF", "CR", "SO", "SI"),
    *("DLE", "DC1", "DC2", "DC3", "DC4", "NAK", "SYN", "ETB", "CAN", "EM", "SUB", "ESC", "FS", "GS", "RS", "US"),
)
_IN_JSON = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def visible(text: str) -> str:
    """`text` with every character that a terminal obeys or hides written out: `‹ESC›`, `‹U+202E›` for a bidi override."""
    text = text.replace("\r\n", "\n")
    if text.isascii() and text.replace("\n", "").isprintable():
        return text
    shown = []
    before = ""
    for c in text:
        shown.append(_sign(c) if hidden(c, before) else "    " if c == "\t" else c)
        before = c
    return "".join(shown)


def hidden(c: str, before: str = "") -> bool:
    """Whether a terminal would obey or swallow the character `c` that stands behind `before`."""
    if c in "\n\t" or " " <= c <= "~":
        return False
    if c in _JOINERS:
        return before <= "~"
    # Tags and supplementary variation selectors (planes 14) smuggle text that nobody sees.
    return c >= "\U000e0000" or c == "\u3164" or unicodedata.category(c) in ("Cc", "Cf", "Cs", "Cn", "Co", "Zl", "Zp")


def _sign(c: str) -> str:
    """A name in angle quotes, which every font has."""
    return f"‹{_NAMES[ord(c)]}›" if c <= "\x1f" else "‹DEL›" if c == "\x7f" else f"‹U+{ord(c):04X}›"


def line(text: str) -> str:
    """`text` as one visible line: a name or a message with line breaks in it cannot pass for two."""
    return visible(text).replace("\n", "‹LF›")


def in_json(document: str) -> str:
    """A JSON document that says the same and holds no character that a terminal obeys: JSON itself lets some of them stand, and
    half characters, which no output takes."""
    if document.isascii() and "\x7f" not in document:
        return document
    return _IN_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", document)
