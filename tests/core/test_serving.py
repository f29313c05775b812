"""What an inference says of itself."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from tunekeeper.core.nouns.serving import Inference

PICTURE = {"type": "image_url", "image_url": {"url": "data:,"}}
THOUGHT = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}


@pytest.mark.parametrize(
    ("asked", "said", "question", "answer"),
    [
        ("what?", "this", "what?", "this"),
        ([{"type": "text", "text": "what?"}, PICTURE], [THOUGHT, {"type": "text", "text": "this"}], "what?", "this"),
        ([PICTURE], None, "", None),
        (None, [THOUGHT], "", None),
    ],
)
def test_a_text_in_parts_is_a_text(asked: Any, said: Any, question: str, answer: str | None) -> None:
    found = Inference(
        request_id="r",
        timestamp=datetime(2026, 1, 5, tzinfo=UTC),
        model_id="m",
        request={"messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": asked}]},
        response={"choices": [{"message": {"role": "assistant", "content": said}}]},
    )
    assert (found.question, found.answer) == (question, answer)
