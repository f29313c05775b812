"""Damage done to a text on its way: characters read in the wrong encoding, pieces of chat templates, places nobody filled in."""

from __future__ import annotations

import itertools
import re

_TOP = "€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ"
_C = f"[\u0080-\u00bf{_TOP}]"
"""What a continuation byte of UTF-8 becomes when it is read as Windows-1252 or Latin-1."""
_CLOSING = "”’“…–—»›™\u00a0"
"""Continuations that also stand after a capital letter in real text: a quotation after `MAÇÃ`, a French space."""
_CYRILLIC = "[ЂЃ‚ѓ„…†‡€‰Љ‹ЊЌЋЏђ‘’“”•–—™љ›њќћџ\u00a0ЎўЈ¤Ґ¦§Ё©Є«¬\u00ad®Ї°±Ііґµ¶·ё№є»јЅѕї]"
"""The same, read as Windows-1251."""
_MOJIBAKE = re.compile(
    "|".join(
        (
            "\ufffd|[\u0080-\u009f]|ï»¿|ðŸ|â€|â‚¬|âœ|â„¢",
            # two bytes: Western letters, unless a capital letter stands before a closing sign
            f"(?:(?<![^\\W\\d_])|(?<=[a-zß-ÿ]))[ÃÂ]{_C}|[ÃÂ](?![{_CLOSING}]){_C}|[ÃÂ][{_CLOSING}](?=[a-zÃÂ\\d])",
            f"[ÄÅ]{_C}(?=[a-z])|(?<=[a-z])[ÄÅ]{_C}(?=\\W|\\Z)",
            # two bytes of other scripts, at least two in a row; three bytes, at least two in a row
            *(f"(?:{lead}{_C}){{2,}}" for lead in ("[ÐÑ]", "[ÎÏ]", "[ØÙÚÛ]", "×")),
            f"(?:[à-ï]{_C}{{2}}){{2,}}|(?:[à-ï]{_C}{{1,2}}){{3,}}",
            f"(?:[РС]{_CYRILLIC}){{2,}}",
            # read as Mac Roman
            "‚Ä[ôúùìî¶]|√[©®º∂§±≥¥¢´¨ü†≠](?=[^\\W\\d_])|(?<=[^\\W\\d_])√[©®º∂§±≥¥¢´¨∫ü†≠]",
            # encoded once too often
            "&amp;(?:amp|quot|lt|gt|nbsp|#\\d{1,5});",
            # two bytes read as one, one byte too many
            "\0",
            # two bytes read in the other order: plain letters and blanks
            f"[{''.join(chr(sign << 8) for sign in range(0x20, 0x7F))}]{{8,}}",
        )
    )
)
_LOST = re.compile(r"(?<![\w/=?&.])[A-Za-z]{1,20}\?{1,2}[a-z]{1,20}(?:\?{1,2}[a-z]{1,20})*(?![\w/=?])")
_QUESTIONS = re.compile(r"(?:^|(?<=\s))(?:\?{2,}[\s.,!;:]+){2,}\?{2,}")
"""Words of which nothing else is left."""
_ENTITY = re.compile(
    r"(?:[^\W\d_]&(?:[A-Za-z](?:acute|grave|circ|uml|tilde|cedil|ring|caron|slash)|szlig|[AaOo][Ee]lig|[rl]squo|#\d{2,5}|#x[\da-f]{2,4});"
    r"|&(?:[A-Za-z](?:acute|grave|circ|uml|tilde|cedil|ring|caron|slash)|#\d{3,5});[^\W\d_])",
    re.IGNORECASE,
)
"""A letter of a word as HTML writes it."""
_TAG = re.compile(r"</?[a-z][a-z0-9]{0,9}[ />]|\bhtml\b", re.IGNORECASE)
_ESCAPED = re.compile(r"[A-Za-z]\\u00[0-9a-fA-F]{2}|\\u00[c-fC-F][0-9a-fA-F][a-z]")

_FOREIGN = re.compile(r"[^\x00-\x7f]+")
_LATIN = re.compile(r"[\xa1-\xff]{3,}")
_LETTERS = 12
"""Letters of Latin-1 in words without a plain one, from which a text is none of its own: below, it may list letters."""
_ALONE = 16
"""The same where all of them stand in one word."""
_RUNS = 50
"""Runs of foreign characters that are looked at."""


def _paired(code: str) -> re.Pattern[str]:
    """A character of two bytes or more as an encoding reads its first two."""
    first, second = (re.escape(bytes(range(*bounds)).decode(code, "ignore")) for bounds in ((0xC2, 0xF5), (0x80, 0xC0)))
    return re.compile(f"[{first}][{second}]")


_READ_AS = tuple((code, least, _paired(code)) for code, least in (("cp1251", 2), ("cp437", 2), ("cp850", 2), ("mac_roman", 3)))
"""Encodings that UTF-8 is read in, each with the different characters that have to come of it."""

_CODE = re.compile(
    r"^ {0,3}(`{3,}|~{3,}).*?(?:^ {0,3}\1|\Z)|`[^`\n]*`|\\[A-Za-z]{1,20}(?:\{\{[^{}\n]{0,60}\}\}){1,4}", re.MULTILINE | re.DOTALL
)
_MARKS = re.compile(
    r"<[|｜][A-Za-z][\w▁]{1,40}[|｜]>|<(?:im_start|im_end|im_sep)>|\[[|｜](?:assistant|user|system|human|endofturn)[|｜]\]"
    r"|\[/?INST\]|\[/?(?:AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS|SYSTEM_PROMPT)\]|<</?SYS>>|\[gMASK\]|<sop>"
    r"|<(?:extra_id|reserved)_\d{1,4}>|<0x[0-9A-F]{2}>|<_(?:user|bot|system|end)>|<eo[ahm]>"
    r"|<(?:start|end)_of_turn>|<(?:bos|eos|pad|unk|unused\d{1,3})>|\[(?:CLS|SEP|PAD|UNK|EOS|BOS)\]",
    re.IGNORECASE,
)
_WORDED = re.compile(
    r"\Asystem\n.{1,2000}\nuser\n.{1,4000}\nassistant\n"
    r"|Below is an instruction that describes a task[.,]",
    re.DOTALL,
)
_BOUNDS = re.compile(r"\A\s*<s>|</s>\s*\Z")
_HEADINGS = re.compile(r"^#{2,3} (?:Instruction|Response|Human|Assistant|Input|User):", re.MULTILINE)
_GREETING = (
    r"(?:dear|hi|hello|hey|hallo|liebe[rs]?|sehr geehrte[rs]?(?:\(r\)|/r)?(?: (?:frau|herr))?|bonjour|ch(?:er|ère)|hola"
    r"|estimad[oa]|ciao|gentile|olá|prezad[oa]|beste|geachte|hej|witaj|здравствуйте|уважаем\w{2,3}|merhaba|sayın)"
)
_NAMED = (
    r"(?:(?:first|last|full|customer|client|user) ?name|name des kunden|(?:kunden|vor|nach)name|prénom|nom(?: du client)?"
    r"|nombre(?: del cliente)?|apellidos?|nome(?: d[oe]l? cliente)?|cognome|(?:voor|achter)naam|imię(?: i nazwisko)?|nazwisko"
    r"|имя(?: клиента)?|фамилия|ім'я|(?:您的|客户)?(?:姓名|名字)|氏名|お?名前|お客様名|이름|고객명|성함"
    r"|الاسم|اسم(?:ك| العميل)|שם(?: הלקוח)?|नाम|ชื่อ(?:ลูกค้า)?"
    r"|phone number|telephone number|order number|tracking number|company name|support email)"
)
"""What a blank in square brackets is called: other words there may be meant."""
_BLANKS = re.compile(
    r"(?<![}\\^])(?<!\$\")\{\{[#/^!&]?\s{0,4}[A-Za-z_.][\w.]{0,63}\s{0,4}\}\}|(?<![\w^}\\])\{\{\d{1,2}\}\}"
    r"|\{%-?\s"
    r"|(?:(?<=\s)|(?<=\A))\{[a-z]{2,20}(?:_[a-z]{2,20}){1,3}\}(?=[\s,.!?]|\Z)"
    r"|\[(?:your|insert|customer|client|recipient|company|agent)(?:['’]s)?[ _](?:(?:your|the|first|last|full|company|customer) )?"
    r"(?:name|title|address|e-?mail|phone|position|company|number|date|link)(?: here)?\]"
    rf"|(?<![\w\])])\[{_NAMED}\](?![(\[:])|(?<![A-Za-z0-9_\\}}^$])\{{(?=[^\x00-\x7f]){_NAMED}\}}"
    rf"|^{_GREETING},? "
    rf"(?:\[[^\W\d_][^\]\[\n\d]{{2,30}}\](?!\()|<[a-z_ ]{{0,20}}name>|\$?\{{\w{{1,20}}\}}|__(?:[a-z]{{2,10}}_)?name__)",
    re.IGNORECASE | re.MULTILINE,
)
_FIELD = re.compile(
    r"(?:\$\{|%|\[\[|<<)\s{0,2}(?:(?:customer|client|guest|patient|user|first|last|full|company|agent|order)[_ ]?"
    r"(?:name|number|title|address)|(?:kunden|vor|nach|firmen)_?(?:name|nummer)|prénom|nombre_cliente)\s{0,2}(?:\}|%|\]\]|>>)",
    re.IGNORECASE,
)
"""A blank named as letters name theirs: other names in such marks are code."""
_ABOUT = re.compile(
    r"\b(?:jinja2?|mustache|handlebars|liquid|twig|templat(?:e|es|ing)|placeholders?|vorlagen?|platzhaltern?|f-strings?|helm|ansible)\b",
    re.IGNORECASE,
)
"""Words of a talk about templates, in which blanks are meant."""
_INLINE = re.compile(r"`[^`\n]*`")
_SPEAKER = re.compile(r"\A\s*(?:Assistant|ASSISTANT|Human|HUMAN|User|USER): ?\S|\n[ \t]*\n(?:Human|User|### (?:Human|User)): ?\S")


def mojibake(text: str) -> str:
    """Where characters of a text were damaged on the way; empty when none were. Letters that only look like it are left alone."""
    plain, marked = text.isascii(), "&" in text or "\0" in text
    if plain and not marked and "\\u00" not in text and text.count("?") < 2:
        return ""
    match = None if plain and not marked else _MOJIBAKE.search(text)
    if match is None and "\\u00" in text and not text.lstrip().startswith(("{", "[")):
        match = _ESCAPED.search(_CODE.sub(" ", text))
    if match is None and marked and ";" in text and not _TAG.search(text):
        match = _ENTITY.search(_CODE.sub(" ", text))
    span = match.span() if match is not None else None if plain else _misread(text)
    if span is not None:
        return _around(text, *span, "damaged characters")
    if text.count("?") < 2:
        return ""
    lost = [found for found in _LOST.finditer(text) if not found[0].startswith("http")]
    words = _QUESTIONS.search(text) if 2 * text.count("?") > len("".join(text.split())) else None
    if words is not None or len(lost) >= 2:
        return _around(text, *(words or lost[0]).span(), "question marks in place of letters")
    return ""


def _misread(text: str) -> tuple[int, int] | None:
    """Where a text begins that was read in another encoding than it was written in, by all of its foreign characters together:
    UTF-8 as a code page in which they are UTF-8 again, or a code page of other letters as Latin-1."""
    for code, least, paired in _READ_AS:
        if paired.search(text) is None:
            continue
        runs = list(itertools.islice(_FOREIGN.finditer(text), _RUNS))
        told = [(run, meant) for run in runs if (meant := _meant(run[0], code))]
        if 2 * len(told) > len(runs) and len({sign for _, meant in told for sign in meant}) >= least:
            return told[0][0].span()
    odd = [run for run in _LATIN.finditer(text) if sum(sign.isalpha() for sign in run[0]) > 1]
    letters = sum(len(run[0]) for run in odd)
    several = letters >= (_LETTERS if len(odd) > 1 else _ALONE)
    if several and 2 * letters > sum(map(str.isalnum, text)) and not text.isupper():
        return odd[0].span()
    return None


def _meant(run: str, code: str) -> str:
    """The text that was read as `run` in an encoding; empty where it was none."""
    try:
        meant = run.encode(code).decode()
    except UnicodeError:
        return ""
    return meant if meant.isprintable() else ""


def template_leak(prompt: str, answer: str) -> str:
    """The piece of a chat template, or the blank nobody filled in, that stands in a prompt or an answer; empty when none.

    Blanks in code are how templates are written about; a speaker's name is looked for in answers only.
    """
    for text in (prompt, answer):
        match = (_MARKS.search(_INLINE.sub(" ", text)) or _bounds(text)) if "<" in text or "[" in text else None
        if match is None and ("\nuser\n" in text or "Below is an" in text):
            match = _WORDED.search(text)
        asked = text.find("USER: ")
        if match is None and asked >= 0 and text.find("ASSISTANT:", asked) >= 0:
            return _around(text, asked, asked + 5, "a piece of a chat template")
        if match is not None:
            return _around(match.string, match.start(), match.end(), "a piece of a chat template")
        if any(sign in text for sign in ("#", "{", "[", "%", "<", "__")):
            plain = _CODE.sub(" ", text)
            match = _HEADINGS.search(plain) or _BLANKS.search(plain) or _FIELD.search(plain)
            if match is not None and (match.re is _HEADINGS or not (_ABOUT.search(prompt) or _ABOUT.search(answer))):
                return _around(plain, match.start(), match.end(), "a piece of a template")
    match = _SPEAKER.search(answer) if ":" in answer else None
    if match is not None and match[0].strip().split(":")[0].casefold() not in prompt.casefold():
        return _around(answer, match.start(), match.end(), "the name of a speaker")
    return ""


def _bounds(text: str) -> re.Match[str] | None:
    """`<s>` at the beginning or `</s>` at the end of a text, unless both make a stretch of HTML that is struck out."""
    match = _BOUNDS.search(text)
    if match is None:
        return None
    struck = text.count("<s>") == text.count("</s>") > 0
    return None if struck and not (text.lstrip().startswith("<s>") and text.rstrip().endswith("</s>")) else match


def _around(text: str, start: int, end: int, what: str) -> str:
    return f"{what}: {text[max(0, start - 12) : min(end, start + 40) + 12]!r}"
