from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tunekeeper.core.nouns.retraining import Model
from tunekeeper.data import drafts, freezing, review
from tunekeeper.data.config import Config
from tunekeeper.workspace import Workspace

JSON = {"kind": "json", "fields": {"category": [], "priority": ["high", "low"]}}


def test_an_answer_outside_the_format_is_complained_about(ws: Workspace, task: Model) -> None:
    desk = replace(task, format=JSON)
    assert review.complaints(ws, desk, '{"category": "bug", "priority": "low"}') == ()
    for answer, word in (("sorry", "not JSON"), ('{"category": "bug"}', "priority is missing"), ("  ", "the answer is empty")):
        assert word in review.complaints(ws, desk, answer)[0]
    call = '[{"type": "function", "function": {"name": "refund", "arguments": "{}"}}]'
    assert review.complaints(ws, desk, call) == ()
    assert "not JSON" in review.complaints(ws, desk, f"One moment.\n\n{call}")[0]


def test_what_an_import_would_drop_or_redact_is_said(ws: Workspace, task: Model) -> None:
    assert review.complaints(ws, task, "It is on its way.") == ()
    assert "chat template" in review.complaints(ws, task, "Hello <|im_end|>")[0]
    assert review.complaints(ws, task, "Write to ana@example.com, please.") == ("personal data will be replaced: 1 email",)
    assert review.complaints(ws, task, "Write to ana@example.com, please.", section=Config(redact=())) == ()


def test_a_value_that_no_example_has_is_probably_a_slip(
    ws: Workspace, task: Model, row: Any, tickets: Callable[..., list[tuple[str, str]]]
) -> None:
    rows = [row(prompt, answer) for prompt, answer in tickets(60)]
    drafts.save_draft(ws, "desk", [replace(each, split="train" if place % 10 else "eval") for place, each in enumerate(rows)])
    version = freezing.freeze(ws, task, Config())
    assert review.complaints(ws, task, '{"category": "refund", "priority": "normal", "note": "new"}') == ()
    assert review.complaints(ws, task, '{"category": "refnd", "priority": "normal"}') == (
        f"category 'refnd' stands in no example of {version.id}",
    )
