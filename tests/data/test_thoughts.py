from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tunekeeper import data
from tunekeeper.core.nouns.data import Example
from tunekeeper.core.nouns.retraining import Model
from tunekeeper.data.config import Config
from tunekeeper.data.quality import examine
from tunekeeper.data.thoughts import spoken, unended
from tunekeeper.workspace import Workspace

MakeExample = Callable[..., Example]
THINKING = "<think>\nI'm sorry, I cannot help… or can I? The pump is old.\n</think>\n\n"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (f"{THINKING}Turn it off.", "Turn it off."),
        ("the pump is old\n</think>\nTurn it off.", "Turn it off."),
        ("<Thinking>hm</Thinking>Turn it off.", "Turn it off."),
        ("Write <think> and </think> around it.", "Write <think> and </think> around it."),
        ("<think>never", "<think>never"),
        ("I think > 3 is right", "I think > 3 is right"),
        ("", ""),
    ],
)
def test_what_is_said_stands_behind_the_thoughts(answer: str, said: str) -> None:
    assert spoken(answer) == said
    assert unended(answer) == (answer == "<think>never")


@pytest.mark.parametrize(
    ("answer", "kinds"),
    [
        (f"{THINKING}Turn the valve to the left and wait for two minutes.", []),
        (f"{THINKING}I'm sorry, but I can't help with that.", ["refusal"]),
        (THINKING, ["empty"]),
        (f"{THINKING}null", ["empty"]),
        (f"{THINKING}How do I stop the pump?", ["answer_equals_prompt"]),
        ("<think>\nThe pump is old, so the valve may be stuck.", ["truncated"]),
        (f"{THINKING}```\npump stop", ["truncated"]),
    ],
)
def test_an_answer_is_judged_by_what_it_says_and_not_by_its_thoughts(row: MakeExample, answer: str, kinds: list[str]) -> None:
    assert [found.kind for found in examine(row("How do I stop the pump?", answer), Config())] == kinds


def test_thoughts_that_lead_to_the_same_answer_contradict_nothing(
    ws: Workspace, task: Model, write: Callable[[str, Any], Any]
) -> None:
    asked = {"role": "user", "content": "How much is 17 times 3?"}
    texts = [f"<think>{how}</think>\n\nIt is 51." for how in ("17+17+17", "3*10+3*7", "51 it is")]
    rows = [{"messages": [asked, {"role": "assistant", "content": text}]} for text in texts]
    done = data.import_files(ws, task, Config(), [write("samples.jsonl", rows)])
    assert (done.added, done.dropped) == (3, {})
    other = {"messages": [asked, {"role": "assistant", "content": "<think>17+17+17</think>\n\nIt is 54."}]}
    assert data.import_files(ws, task, Config(), [write("more.jsonl", [*rows, other])], replace=True).dropped == {
        "contradiction": 1
    }
