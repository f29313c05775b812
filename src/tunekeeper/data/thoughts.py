"""Thoughts of reasoning models, which stand in the text of an answer before what it says: `<think>…</think>`.

What is looked for in an answer is looked for behind them: a refusal, an answer that is empty, one that contradicts another. Two
samples that think differently and say the same contradict nobody.
"""

from __future__ import annotations

import re

_MARKS = ("think>", "thinking>", "thought>", "reasoning>")
_BEGIN = re.compile(r"\s*<(?:think|thinking|thought|reasoning)>", re.IGNORECASE)
_END = re.compile(r"</(?:think|thinking|thought|reasoning)>", re.IGNORECASE)


def spoken(answer: str) -> str:
    """What an answer says behind its thoughts; all of it where it has none, or where they do not end. A template may have begun
    them, so that their end stands alone."""
    if not _marked(answer):
        return answer
    end = _END.search(answer)
    begun = _BEGIN.match(answer) is not None or _BEGIN.search(answer) is None
    return answer[end.end() :].lstrip() if end is not None and begun else answer


def unended(answer: str) -> bool:
    """Whether an answer begins with thoughts that never end."""
    return _marked(answer) and _BEGIN.match(answer) is not None and _END.search(answer) is None


def _marked(answer: str) -> bool:
    return ">" in answer and any(mark in answer.casefold() for mark in _MARKS)
