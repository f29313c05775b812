"""How an answer ends: whether it stops in the middle.

Certain signs are a server that says so, JSON, a code block, a list or a table that is not closed. Prose is only suspected: by an
end that no sentence has, or by a last sentence without an end after others that have one. A list, a verse, a signature, code or a
title ends without a full stop and is complete.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tunekeeper.data import thoughts
from tunekeeper.data.examples import parsed
from tunekeeper.data.language import language_of

LEAST_WORDS = 5
"""Words of an answer below which its prose is not judged: a label is no sentence."""
_JSON_BEGIN = re.compile(r"\{\s*(?:\"|\Z)|\[\s*(?:[\"{\[\d-]|true|false|null|\Z)")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})([^\n]*)")
_BARE_MARK = re.compile(r"\s*(?:\d{1,3}[.)]|[-*•+])\s*\Z")
_ITEM = re.compile(r"\s*(?:\d{1,3}[.)]|[-*•+]) \S")
_SENTENCE_END = re.compile(r"[.!?…。！？؟।](?:[\"'”’»)\]]|\s|\Z)|[。！？]")
_OPEN_END = re.compile(r"(?:[,(\[{–—、，；]|[:：]|[^\W\d_]-|(?<=[^\W\d_]);)\Z")
_BREAKS = re.compile(
    r"(?:その後|しかし|そして|または|なぜなら|因为|但是|以及|如果|并且)\Z|。[^。]*[をはがへ]\Z"
    r"|、[^。、]*(?:[をはへ]|(?<![すただん])が)\Z"
)
_FACES = re.compile(r"[:;=]['\-o^]?[()\[\]]|\(\s?[;:]")
SIGNED = re.compile(
    r"(?:(?:best|kind|warm|many)? ?(?:regards|wishes|greetings)|sincerely|cheers|thanks|thank you|yours|mit freundlichen"
    r"|viele grüße|beste grüße|liebe grüße|cordialement|bien à vous|saludos|atentamente|cordiali saluti|atenciosamente)\b",
    re.IGNORECASE,
)
"""How a signature begins."""
FINITE = re.compile(r"(?:です|ます|ません|でした|ました|ください|だ|た|よ|ね|か|[다요까죠네])\Z")
"""How a Japanese or Korean sentence ends, with a mark or without."""
_UNFINISHED = {
    "en": "the a an and or because although than into whose your our my their every nor via",
    "de": "der die dem den des einen einem einer eines und oder weil dass sowie für von vom zum zur ihrer seine unsere wenn",
    "fr": "le la les un une des du de et ou à au aux que qui pour avec dans par son sa ses votre vos notre nos leur ce cette",
    "es": "el la los las un una unos y o de del que con para por en su sus al pero",
    "it": "il lo la gli un una e o di del della che con per al alla nel nella",
    "pt": "o os as um uma e ou de do da que com para por em no na ao",
    "nl": "de het een en of van dat omdat",
    "sv": "och eller att som en ett",
    "da": "og eller at som en et",
    "ru": "и или но а что если чтобы потому который которая которые для от до при без по на из к с у о об за под через между",
    "pl": "i oraz lub że w z do na od dla",
}
_AFTER = frozenset(
    ("to", "with", "for", "from", "by", "in", "on", "at", "as", "is", "are", "was", "were", "will", "that", "which", "if")
)
_AFTER |= {"when", "but", "it", "this", "be", "been", "has", "have", "can", "of"}
"""English words that seldom end a sentence, where others before it did end."""
_WORDS = {code: frozenset(text.split()) for code, text in _UNFINISHED.items()}
_FOREIGN = frozenset().union(*(words for code, words in _WORDS.items() if code != "en"))
"""Words that no sentence ends with, in a text with letters that English does not have."""


def truncated(answer: str, metadata: Mapping[str, Any]) -> str:
    """How one knows for certain that the answer ends in the middle; empty when one does not."""
    for key in ("finish_reason", "stop_reason"):
        if str(metadata.get(key, "")).casefold() in ("length", "max_tokens"):
            return f"the server stopped it: {key} is {metadata[key]}"
    if thoughts.unended(answer):
        return "its thoughts never end"
    text = thoughts.spoken(answer).strip()
    if _JSON_BEGIN.match(text) and parsed(text) is None and _is_open(text):
        return "the JSON ends before it is closed"
    if _fence_is_open(text):
        return "a code block is never closed"
    lines = text.rsplit("\n", 2)
    if len(lines) > 1:
        last, before = lines[-1], lines[-2]
        if _BARE_MARK.match(last) and _ITEM.match(before):
            return "the list ends with an item that says nothing"
        if last.startswith("|") and not last.rstrip().endswith("|") and before.startswith("|") and before.rstrip().endswith("|"):
            return "the table ends in the middle of a row"
    return ""


def _is_open(text: str) -> bool:
    """Whether brackets outside strings, or a string, are still open at the end of a JSON text."""
    depth, inside, escaped = 0, False, False
    for sign in text:
        if inside:
            inside = escaped or sign != '"'
            escaped = not escaped and sign == "\\"
        elif sign == '"':
            inside = True
        elif sign in "{[":
            depth += 1
        elif sign in "}]":
            depth -= 1
            if depth <= 0:
                return False  # whatever follows is no cut: prose after JSON, or brackets in prose
    return inside or depth > 0


def _fence_is_open(text: str) -> bool:
    if "```" not in text and "~~~" not in text:
        return False
    opened, seen = "", False
    for line in text.split("\n"):
        match = _FENCE.match(line)
        if match is None or (not opened and "`" in match[2]):
            continue
        seen = True
        if not opened:
            opened = match[1]
        elif match[1].startswith(opened) and not match[2].strip():
            opened = ""
    return bool(opened) if seen else text.count("```") % 2 == 1


def maybe_truncated(answer: str) -> str:
    """Why prose seems to end in the middle of a sentence; empty when it does not, or when the answer is no prose."""
    text = answer.strip()
    if not text or text.endswith((".", "!", "?", "。", "！", "？", "```", "~~~")) or parsed(text) is not None:
        return ""
    if _BREAKS.search(text):
        return f"it ends in the middle: … {text[-12:]}"
    paragraph = text.rsplit("\n\n", 1)[-1]
    found = paragraph.split()
    if len(found) < LEAST_WORDS:
        return f"it ends in the middle: … {text[-12:]}" if text[-1] in "、，" and len(text) > 8 else ""
    cut = f"it ends in the middle: … {' '.join(found[-4:])}"
    if _OPEN_END.search(text) or _unpaired(paragraph):
        return cut
    # A dot before a digit or a small letter is an abbreviation's.
    ends = [
        m.end() for m in _SENTENCE_END.finditer(paragraph) if not re.match(r"\s*[\da-zß-ÿ]", paragraph[m.end() : m.end() + 9])
    ]
    rest = paragraph[ends[-1] :].strip() if ends else paragraph
    if not rest or not rest[-1].isalpha() or found[-1].startswith(("http", "www.", "/", "@")):
        return ""
    last = found[-1].casefold()
    language = language_of(text)
    # Of a text whose language is not known, an English word decides only where no other language ends a sentence with it.
    if last in _WORDS.get(language or "en", ()) and (language is not None or last not in ("an", "a")):
        return cut
    if language is None and not text.isascii() and last in _FOREIGN:
        return cut
    language = language or "en"
    if ends and language == "en" and last in _AFTER:
        return cut
    fragment = len(rest.split()) >= 4 and "\n" not in rest and not SIGNED.match(rest) and not FINITE.search(rest)
    items = _ITEM.match(paragraph) or _ITEM.match(paragraph.rsplit("\n", 1)[-1])
    return cut if ends and fragment and not items and not paragraph.startswith("#") else ""


def _unpaired(paragraph: str) -> bool:
    """Whether a bracket or a quotation is still open at the end of a paragraph that ends without a sentence's end."""
    if _SENTENCE_END.search(paragraph[-2:]) or not paragraph[-1].isalnum():
        return False
    plain = _FACES.sub("", paragraph)
    if plain.count("(") > plain.count(")"):
        return True
    straight = min(plain.count('"') % 2, len(re.findall(r'(?<!\d)"', plain)) % 2)  # behind a digit it may stand for inches
    curly = plain.count("“") - plain.count("”") if "„" not in plain else plain.count("„") - plain.count("“") - plain.count("”")
    return straight == 1 or curly > 0
