"""The answers of an exam, for a person: what was asked, said and wanted, and why it counts as wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tunekeeper.evaluation.answers import Answered

SHOWN = 300
"""Characters of one text that are shown."""


def lines(answers: Sequence[Answered], limit: int) -> Iterator[str]:
    """The first `limit` of `answers`, and how many are left out."""
    for each in answers[:limit]:
        where = f" ({each.category})" if each.category else ""
        yield f"{each.case}{where}: {'; '.join(each.wrong) or 'right'}"
        yield f"  asked   {_short(_question(each))}"
        yield f"  said    {_short(each.answer) if each.answer is not None else f'nothing: {each.error}'}"
        if each.expected is not None:
            yield f"  wanted  {_short(each.expected)}"
    if len(answers) > limit:
        yield f"{len(answers) - limit} more: --limit {len(answers)}"


def _question(each: Answered) -> Any:
    """The last message that asked."""
    return each.messages[-1].get("content") if each.messages else ""


def _short(value: Any) -> str:
    """One line of `value`, cut where it is long."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = " ".join(text.split())
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
