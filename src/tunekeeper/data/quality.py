"""Checks that look at one row alone: pure, one reason each."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from tunekeeper.core.nouns.data import Example
from tunekeeper.data.config import Config
from tunekeeper.data.damage import mojibake, template_leak
from tunekeeper.data.endings import maybe_truncated, truncated
from tunekeeper.data.examples import parsed
from tunekeeper.data.findings import Finding, finding
from tunekeeper.data.language import languages_of
from tunekeeper.data.profanity import profane
from tunekeeper.data.refusals import refusal
from tunekeeper.data.roles import bad_arguments, bad_roles, bad_weights, empty, placeholder
from tunekeeper.data.thoughts import spoken
from tunekeeper.scoring import formats
from tunekeeper.text.fingerprints import answer_of, normalise, prompt_of, text_of
from tunekeeper.text.redaction import KINDS, NAME
from tunekeeper.text.vocabulary import words

CountTokens = Callable[[Example], int]
"""Tokens of a whole conversation, as the model will read it."""

READMITTED = "readmitted"
"""Key of an example's metadata: kind of finding → when somebody brought the row back in spite of it."""
INSTRUCTIONS = ("system", "developer")
LEAST_REPEATED = 5
"""Words of a question from which an answer that holds it whole repeats it."""
MOST_AROUND = 3
"""Words that such an answer may add."""

_REDACTED = re.compile(rf"\[(?:{'|'.join(KINDS).upper()})(?::\d+)?\]")
_REDACTED_NAMES = re.compile(rf"\[(?:{'|'.join((*KINDS, NAME)).upper()})(?::\d+)?\]")


def examine(
    example: Example,
    section: Config,
    *,
    context: int | None = None,
    count: CountTokens | None = None,
    format: Mapping[str, Any] | None = None,
) -> list[Finding]:
    """Everything that is wrong with one row, but what somebody brought it back in spite of (`data readmit`).

    `context`: tokens allowed, measured with `count`, else at 4 characters each. `format`: of the model's answers.
    """
    roles = bad_roles(example.messages)
    if roles:
        return [finding("bad_roles", example, roles)]
    blank = empty(example.messages)
    if blank:
        return [finding("empty", example, blank)]
    weights = bad_weights(example.messages)
    if weights:
        return [finding("broken", example, weights)]
    answer, prompt = answer_of(example.messages), prompt_of(example.messages)
    said = spoken(answer)
    damaged, leaked = _of_instructions(*(text_of(m.get("content")) for m in example.messages if m.get("role") in INSTRUCTIONS))
    found = [
        ("broken", bad_arguments(example.messages)),
        ("empty", placeholder(said) or _thought_only(example.messages[-1], answer, said)),
        ("answer_equals_prompt", repeats(example.messages, prompt, said)),
        ("too_long", too_long(example, section, context or section.max_tokens, count)),
        ("truncated", truncated(answer, example.metadata) or maybe_truncated(said)),
        ("refusal", _refused(example.messages[-1]) or refusal(said, section.refusal_phrases)),
        ("mojibake", mojibake(prompt) or mojibake(answer) or damaged),
        ("template_leak", template_leak(*(_without_placeholders(text, example, section) for text in (prompt, answer))) or leaked),
        ("language", foreign(prompt, said, section.languages)),
        ("profanity", profane(f"{prompt}\n{answer}", section.bad_words)),
        ("format", wrong_format(example.messages[-1], said, format)),
    ]
    known = example.metadata.get(READMITTED)
    wanted = known if isinstance(known, dict) else {}
    return [finding(kind, example, detail) for kind, detail in found if detail and kind not in wanted]  # type: ignore[arg-type]


def _without_placeholders(text: str, example: Example, section: Config) -> str:
    """A text in which what redaction wrote is no blank that somebody forgot to fill in: `Dear [NAME]` is one where no names are
    taken out.
    """
    if "[" not in text:
        return text
    named = NAME in section.redact or example.source.startswith("inference:")
    return (_REDACTED_NAMES if named else _REDACTED).sub("redacted", text)


def _thought_only(message: Mapping[str, Any], answer: str, said: str) -> str:
    return "the answer is nothing but thoughts" if answer.strip() and not said.strip() and not message.get("tool_calls") else ""


def _refused(message: Mapping[str, Any]) -> str:
    return "the model marked it as a refusal" if message.get("refusal") else ""


def wanted(example: Example, kind: str) -> bool:
    """Whether somebody brought the row back in spite of a kind of finding."""
    spite = example.metadata.get(READMITTED)
    return isinstance(spite, dict) and kind in spite


def dropped_for(found: Finding, section: Config, example: Example) -> bool:
    """Whether an import leaves the row out for this finding (else it only reports it)."""
    if found.kind == "refusal":
        return section.refusals == "drop"
    if found.kind == "truncated":
        return section.truncated == "drop" and bool(truncated(answer_of(example.messages), example.metadata))
    return bool(getattr(section, found.kind, "drop") == "drop")


def too_long(example: Example, section: Config, context: int | None, count: CountTokens | None) -> str:
    """By how much the conversation is too long, in tokens where a limit in tokens is known, else in characters."""
    texts = [text_of(message.get("content")) for message in example.messages]
    chars = sum(map(len, texts))
    if context is not None:
        tokens = count(example) if count is not None else (chars + 3) // 4 + 4 * len(texts)
        about = "" if count is not None else "about "
        return f"{about}{tokens} tokens, {context} fit" if tokens > context else ""
    return f"{chars} characters, {section.max_chars} are allowed" if chars > section.max_chars else ""


def repeats(messages: Sequence[Mapping[str, Any]], prompt: str, answer: str) -> str:
    """Whether the answer says what was asked and nothing else: the last question or all of them, marks and case aside; or the
    question whole, with at most three words around it. Empty when it does not."""
    asked = next((text_of(m.get("content")) for m in reversed(messages) if m.get("role") == "user"), "")
    if all(abs(len(answer) - len(text)) > 40 + len(text) // 2 for text in (asked, prompt)):
        return ""
    if "_" in answer and answer.strip().isidentifier():  # a label whose name the question happens to spell
        return ""
    said = words(answer)
    if not said or answer.lstrip().startswith(("{", "[")):
        return "the answer repeats the prompt" if answer and normalise(answer) in (normalise(prompt), normalise(asked)) else ""
    question = words(asked)
    if said == question or (asked != prompt and said == words(prompt)):
        return "the answer repeats the prompt"
    extra = len(said) - len(question)
    long = len(question) >= LEAST_REPEATED and 0 < extra <= MOST_AROUND
    whole = long and any(said[i : i + len(question)] == question for i in range(extra + 1))
    return f"the answer repeats the prompt and adds {extra} words" if whole else ""


def wrong_format(message: Mapping[str, Any], answer: str, format: Mapping[str, Any] | None) -> str:
    """How the last answer fails the model's format, naming the place inside its JSON; empty where there is none to fail."""
    if not format or format.get("kind", "text") == "text" or (message.get("tool_calls") and not answer.strip()):
        return ""
    return formats.check(answer, dict(format))[1]


def foreign(prompt: str, answer: str, languages: Sequence[str]) -> str:
    """Which language prompt or answer seems to be in that is none of `languages`; empty when none, or when it cannot be told."""
    if not languages:
        return ""
    for what, text in (("prompt", prompt), ("answer", "" if parsed(answer) is not None else answer)):
        found = languages_of(text)
        if found and not set(found) & set(languages):
            return f"the {what} seems to be {' or '.join(found)}; {', '.join(languages)} is wanted"
    return ""


@lru_cache(maxsize=64)
def _of_instructions(*texts: str) -> tuple[str, str]:
    """Damage to the system messages of a row and pieces of templates in them; most rows have the same ones."""
    return mojibake("\n".join(texts)), template_leak("\n".join(texts), "")
