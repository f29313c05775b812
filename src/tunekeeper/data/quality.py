"""Checks that look at one row alone: pure, one reason each."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from tunekeeper.core.nouns.data import Example
from tunekeeper.data.config import Config
from tunekeeper.data.examples import parsed
from tunekeeper.data.findings import Finding, finding
from tunekeeper.data.language import language_of
from tunekeeper.text.fingerprints import answer_of, normalise, prompt_of, text_of
from tunekeeper.text.vocabulary import Glossary

CountTokens = Callable[[Example], int]
"""Tokens of a whole conversation, as the model will read it."""

READMITTED = "readmitted"
"""Key of an example's metadata: kind of finding → when somebody brought the row back in spite of it."""

_CP1252 = "€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ"
_MOJIBAKE = re.compile(
    "\ufffd|[\u0080-\u009f]|[ÃÂ][\u00a0-\u00bf"
    + _CP1252
    + "]|â€[\u0080-\u00bf"
    + _CP1252
    + "]|ï»¿|ðŸ|[ÐÑ][\u00a0-\u00bf"
    + _CP1252
    + "][ÐÑ]"
)
_TEMPLATE = re.compile(
    r"<[|｜][A-Za-z][\w▁]{1,40}[|｜]>|\[/?INST\]|<</?SYS>>|</?s>(?=\s|\Z)|<(?:start|end)_of_turn>|<(?:bos|eos|pad|unk)>"
    r"|\{\{\s{0,4}[\w.]{1,64}\s{0,4}\}\}|\{%\s"
    r"|^#{2,3} (?:Instruction|Response|Human|Assistant):",
    re.MULTILINE,
)
_CANNOT = r"(?:cannot|can't|can not|could not|(?:am|are) (?:unable|not able) to|won't be able to|will not|won't)"
_REFUSAL = re.compile(
    r"\A\W{0,4}(?:(?:i'm |i am |we're |we are )?(?:very |so )?sorry[,.]? (?:but )?|unfortunately,? "
    r"|i apologi[sz]e[,.]? (?:but )?)?"
    r"(?:as an? (?:ai|artificial intelligence|large language|language model)"
    rf"|(?:i|we) {_CANNOT} (?:help|assist|comply|fulfil+|engage|answer)\b(?: you)?(?: with)?(?: that| this| your| the)?"
    rf"|(?:i|we) {_CANNOT} (?:provide|discuss|share|create|generate|do) (?:that|this)\b)",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"[.!?…](?:[\"')\]]|\s|\Z)")
_ROLES = ("system", "developer", "user", "assistant", "tool", "function")


def examine(example: Example, section: Config, *, context: int | None = None, count: CountTokens | None = None) -> list[Finding]:
    """Everything that is wrong with one row, but what somebody brought it back in spite of (`data readmit`).

    `context`: tokens allowed, measured with `count`, else at 4 characters each.
    """
    roles = bad_roles(example.messages)
    if roles:
        return [finding("bad_roles", example, roles)]
    blank = empty(example.messages)
    if blank:
        return [finding("empty", example, blank)]
    answer, prompt = answer_of(example.messages), prompt_of(example.messages)
    found = [
        ("answer_equals_prompt", "the answer repeats the prompt" if answer and normalise(answer) == normalise(prompt) else ""),
        ("too_long", too_long(example, section, context or section.max_tokens, count)),
        ("truncated", truncated(answer, example.metadata) or maybe_truncated(answer)),
        ("refusal", refusal(answer, section.refusal_phrases)),
        ("mojibake", _first(_MOJIBAKE, f"{prompt}\n{answer}", "damaged characters")),
        ("template_leak", _first(_TEMPLATE, f"{prompt}\n{answer}", "a piece of a chat template")),
        ("language", foreign(prompt, answer, section.languages)),
        ("profanity", profane(f"{prompt}\n{answer}", section.bad_words)),
    ]
    known = example.metadata.get(READMITTED)
    wanted = known if isinstance(known, dict) else {}
    return [finding(kind, example, detail) for kind, detail in found if detail and kind not in wanted]  # type: ignore[arg-type]


def dropped_for(found: Finding, section: Config, example: Example) -> bool:
    """Whether an import leaves the row out for this finding (else it only reports it)."""
    if found.kind == "refusal":
        return section.refusals == "drop"
    if found.kind == "truncated":
        return section.truncated == "drop" and bool(truncated(answer_of(example.messages), example.metadata))
    return bool(getattr(section, found.kind, "drop") == "drop")


def bad_roles(messages: tuple[dict[str, Any], ...]) -> str:
    """What is wrong with the order of roles; empty when nothing is."""
    roles = [message.get("role") for message in messages]
    for place, role in enumerate(roles):
        if role not in _ROLES:
            return f"message {place + 1} has no known role: {role!r}"
        if role in ("system", "developer") and place > 0 and roles[place - 1] not in ("system", "developer"):
            return f"message {place + 1}: a system message after the conversation began"
        if place and role == roles[place - 1] and role in ("user", "assistant"):
            return f"messages {place} and {place + 1} are both of the {role}"
        if role in ("tool", "function") and "assistant" not in roles[:place]:
            return f"message {place + 1}: a tool answers before anybody called it"
    if "user" not in roles:
        return "no message of the user"
    if roles[-1] != "assistant":
        return f"the last message is of the {roles[-1]}, not of the assistant"
    first = next(role for role in roles if role not in ("system", "developer"))
    return "" if first == "user" else f"the conversation begins with the {first}"


def empty(messages: tuple[dict[str, Any], ...]) -> str:
    """Which message of user or assistant says nothing; empty when none."""
    for place, message in enumerate(messages, 1):
        speaks = message.get("role") in ("user", "assistant")
        if speaks and not message.get("tool_calls") and not text_of(message.get("content")).strip():
            attachments = isinstance(message.get("content"), list) and bool(message["content"])
            if not attachments:
                return f"message {place} of the {message['role']} is empty"
    return ""


def too_long(example: Example, section: Config, context: int | None, count: CountTokens | None) -> str:
    """By how much the conversation is too long, in tokens where a limit in tokens is known, else in characters."""
    texts = [text_of(message.get("content")) for message in example.messages]
    chars = sum(map(len, texts))
    if context is not None:
        tokens = count(example) if count is not None else (chars + 3) // 4 + 4 * len(texts)
        about = "" if count is not None else "about "
        return f"{about}{tokens} tokens, {context} fit" if tokens > context else ""
    return f"{chars} characters, {section.max_chars} are allowed" if chars > section.max_chars else ""


def truncated(answer: str, metadata: dict[str, Any]) -> str:
    """How one knows for certain that the answer ends in the middle; empty when one does not."""
    for key in ("finish_reason", "stop_reason"):
        if str(metadata.get(key, "")).casefold() in ("length", "max_tokens"):
            return f"the server stopped it: {key} is {metadata[key]}"
    text = answer.strip()
    if text.startswith(("{", "[")) and parsed(text) is None and text.count(text[0]) > text.count("}" if text[0] == "{" else "]"):
        return "the JSON ends before it is closed"
    return "a code block is never closed" if text.count("```") % 2 else ""


def maybe_truncated(answer: str) -> str:
    """Whether prose seems to end in the middle of a sentence: it has sentences, and its last words form none."""
    text = answer.strip()
    ends = [match.end() for match in _SENTENCE_END.finditer(text)]
    rest = text[ends[-1] :] if ends else text
    if parsed(text) is not None or "\n" in rest.strip() or len(rest.split()) < 4 or len(text.split()) < 8:
        return ""
    last = rest.rstrip()[-1]
    return f"it ends in the middle: … {' '.join(rest.split()[-4:])}" if last.isalpha() or last in ",;:-–(" else ""


def refusal(answer: str, phrases: Sequence[str] = ()) -> str:
    """The words of a refusal, or the one of `phrases`, that an answer of at most 600 characters begins with; empty when none."""
    if len(answer) > 600:
        return ""
    match = _REFUSAL.match(answer.replace("’", "'"))
    if match:
        return f"it begins with {match[0]!r}"
    beginning = normalise(answer)
    return next((f"it begins with {each!r}" for each in phrases if (n := normalise(each)) and beginning.startswith(n)), "")


def foreign(prompt: str, answer: str, languages: Sequence[str]) -> str:
    """Which language prompt or answer seems to be in that is none of `languages`; empty when none, or when it cannot be told."""
    if not languages:
        return ""
    for what, text in (("prompt", prompt), ("answer", "" if parsed(answer) is not None else answer)):
        found = language_of(text)
        if found is not None and found not in languages:
            return f"the {what} seems to be {found}; {', '.join(languages)} is wanted"
    return ""


def profane(text: str, bad_words: Sequence[str]) -> str:
    """Which of `bad_words` stand in a text, as whole words in any case; empty when none."""
    found = _glossary(tuple(bad_words)).find(text) if bad_words else []
    return f"bad words: {', '.join(dict.fromkeys(found))}" if found else ""


@lru_cache(maxsize=8)
def _glossary(terms: tuple[str, ...]) -> Glossary:
    return Glossary(dict.fromkeys(terms, ""))


def _first(pattern: re.Pattern[str], text: str, what: str) -> str:
    match = pattern.search(text)
    return f"{what}: {text[max(0, match.start() - 12) : match.end() + 12]!r}" if match else ""
