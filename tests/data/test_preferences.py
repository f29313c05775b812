from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tunekeeper import data
from tunekeeper.core.nouns.data import Example
from tunekeeper.core.nouns.retraining import Model
from tunekeeper.data import drafts
from tunekeeper.data.config import Config
from tunekeeper.data.conversations import Unreadable
from tunekeeper.data.exports import export
from tunekeeper.data.preferences import conversation_of, rejected_of, with_rejected
from tunekeeper.data.rows import parse_row
from tunekeeper.workspace import Workspace

Write = Callable[[str, Any], Path]
ASK = {"role": "user", "content": "Which tea?"}
GOOD = {"role": "assistant", "content": "Black tea."}
BAD = {"role": "assistant", "content": "Dunno."}


@pytest.mark.parametrize(
    "row",
    [
        {"input": {"messages": [ASK]}, "preferred_output": [GOOD], "non_preferred_output": [BAD]},
        {"prompt": "Which tea?", "chosen": "Black tea.", "rejected": "Dunno."},
        {"question": "Which tea?", "chosen": "Black tea.", "rejected": "Dunno."},
        {"instruction": "Which tea?", "input": "", "chosen": "Black tea.", "rejected": "Dunno."},
        {"prompt": [ASK], "chosen": [GOOD], "rejected": [BAD]},
        {"chosen": [ASK, GOOD], "rejected": [ASK, BAD]},
        {"prompt": "Which tea?", "chosen": [ASK, GOOD], "rejected": [ASK, BAD]},
        {"prompt": "Which tea?", "messages": [ASK, GOOD], "chosen": [ASK, GOOD], "rejected": [ASK, BAD]},
        {"messages": [ASK], "chosen": GOOD, "rejected": BAD},
        {
            "conversations": [{"from": "human", "value": "Which tea?"}],
            "chosen": {"from": "gpt", "value": "Black tea."},
            "rejected": {"from": "gpt", "value": "Dunno."},
        },
        {"prompt": json.dumps([ASK]), "chosen": json.dumps([GOOD]), "rejected": json.dumps([BAD])},
    ],
)
def test_every_usual_form_of_a_preference_is_read(row: dict[str, Any]) -> None:
    made = parse_row(row, {})
    assert made.messages == (ASK, GOOD)
    assert made.metadata["rejected"] == "Dunno."
    assert made.shape == "preference"


def test_an_answer_that_is_json_stays_the_text_it_is() -> None:
    good, bad = '{"category": "billing"}', "[1, 2]"
    made = conversation_of({"prompt": "[urgent] Which?", "chosen": good, "rejected": bad})
    assert [m["content"] for m in made.messages] == ["[urgent] Which?", good]
    assert made.metadata["rejected"] == bad


def test_the_system_message_beside_a_preference_comes_first_and_scores_are_kept() -> None:
    made = conversation_of({"system": "Be brief.", "question": "Which tea?", "chosen": "A.", "rejected": "B.", "score": 4})
    assert made.messages[0] == {"role": "system", "content": "Be brief."}
    assert made.metadata == {"score": 4, "rejected": "B."}


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"chosen": "A.", "rejected": "B."}, "without its prompt"),
        ({"prompt": "Q", "chosen": 5, "rejected": "B."}, "`chosen` must be a text or a list of messages"),
        ({"prompt": "Q", "chosen": [], "rejected": "B."}, "`chosen` must be"),
        ({"prompt": "Q", "chosen": "A.", "rejected": [{"from": "x"}]}, "no role is called 'x'"),
    ],
)
def test_a_preference_that_says_too_little_is_broken_with_the_reason(row: dict[str, Any], why: str) -> None:
    with pytest.raises(Unreadable, match=why):
        conversation_of(row)


def test_a_preference_about_a_row_of_the_draft_leaves_its_rejected_answer_there(ws: Workspace, task: Model, write: Write) -> None:
    first = write("first.jsonl", [{"messages": [ASK, GOOD], "metadata": {"id": "p1"}}])
    pairs = write("pairs.jsonl", [{"prompt": "Which tea?", "chosen": "Black tea.", "rejected": "Dunno."}])
    data.import_files(ws, task, Config(), [first])
    report = data.import_files(ws, task, Config(), [pairs])
    assert (report.added, report.dropped, report.examples) == (0, {"exact_duplicate": 1}, 1)
    assert "keeps the answer that was rejected here" in report.left_out[0]
    (row,) = drafts.load_draft(ws, "desk")
    assert (row.id, row.metadata["rejected"], row.metadata["rejected_from"]) == ("p1", "Dunno.", "file:pairs.jsonl:1")
    again = data.import_files(ws, task, Config(), [pairs])
    assert again.dropped == {"already_there": 1}
    assert list(drafts.load_draft(ws, "desk")) == [row]


def test_a_preference_about_a_row_of_the_same_import_leaves_its_rejected_answer_there(
    ws: Workspace, task: Model, write: Write
) -> None:
    rows = [{"messages": [ASK, GOOD]}, {"chosen": [ASK, GOOD], "rejected": [ASK, BAD]}]
    data.import_files(ws, task, Config(), [write("both.jsonl", rows)])
    assert [e.metadata["rejected"] for e in drafts.load_draft(ws, "desk")] == ["Dunno."]


def test_every_rejected_answer_of_a_conversation_is_kept_and_each_is_a_pair_of_the_export(
    ws: Workspace, task: Model, write: Write, tmp_path: Path
) -> None:
    pair = {"prompt": "Which tea?", "chosen": "Black tea."}
    files = [
        write("a.jsonl", [{**pair, "rejected": "Dunno."}, {**pair, "rejected": "Green."}, {**pair, "rejected": "Green."}]),
        write("b.jsonl", [{**pair, "rejected": "Coffee."}, {**pair, "rejected": "Dunno."}]),
    ]
    for file in files:
        data.import_files(ws, task, Config(), [file])
    (row,) = before = drafts.load_draft(ws, "desk")
    assert rejected_of(row) == ["Dunno.", "Green.", "Coffee."]
    assert [each["from"] for each in row.metadata["rejected_more"]] == ["file:a.jsonl:2", "file:b.jsonl:1"]
    for file in files:
        assert data.import_files(ws, task, Config(), [file]).added == 0
    assert drafts.load_draft(ws, "desk") == before
    assert export(ws, "draft", "dpo", "all", tmp_path / "o.jsonl", model="desk") == 3
    pairs = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    assert [each["non_preferred_output"][0]["content"] for each in pairs] == rejected_of(row)
    data.import_files(ws, replace(task, name="other"), Config(), [tmp_path / "o.jsonl"])
    assert [rejected_of(e) for e in drafts.load_draft(ws, "other")] == [rejected_of(row)]


@pytest.mark.parametrize("form", ["openai", "trl"])
def test_calls_of_tools_are_preferred_and_rejected_as_answers_are(
    ws: Workspace, task: Model, write: Write, tmp_path: Path, form: str
) -> None:
    tool = {"type": "function", "function": {"name": "find", "parameters": {"type": "object"}}}
    first, second = (
        {"role": "assistant", "content": None, "tool_calls": [{"id": "c", "type": "function", "function": each}]}
        for each in ({"name": "find", "arguments": '{"x": 1}'}, {"name": "find", "arguments": '{"x": 2}'})
    )
    pairs = [("Find one.", first, second), ("Find it.", first, BAD), ("Find what?", GOOD, second)]
    asked = [({"role": "user", "content": question}, good, bad) for question, good, bad in pairs]
    openai = [
        {"input": {"messages": [question], "tools": [tool]}, "preferred_output": [good], "non_preferred_output": [bad]}
        for question, good, bad in asked
    ]
    trl = [{"prompt": [question], "chosen": [good], "rejected": [bad], "tools": [tool]} for question, good, bad in asked]
    data.import_files(ws, task, Config(), [write("pairs.jsonl", openai if form == "openai" else trl)])
    assert export(ws, "draft", "dpo", "all", tmp_path / "o.jsonl", model="desk") == 3
    made = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    assert [(each["preferred_output"], each["non_preferred_output"]) for each in made] == [([g], [b]) for _, g, b in asked]
    again = data.import_files(ws, task, Config(), [tmp_path / "o.jsonl"])
    assert (again.added, again.replaced) == (0, 0)


def test_a_rejected_answer_that_comes_in_parts_is_their_text() -> None:
    bad = {"role": "assistant", "content": [{"type": "text", "text": "Dunno."}]}
    assert conversation_of({"prompt": [ASK], "chosen": [GOOD], "rejected": [bad]}).metadata["rejected"] == "Dunno."
    nothing = {"role": "assistant", "content": None}
    assert conversation_of({"prompt": [ASK], "chosen": [GOOD], "rejected": [nothing]}).metadata["rejected"] is None


def test_a_row_keeps_the_rejected_answers_it_has(row: Callable[..., Example]) -> None:
    plain, one, two = (
        row("Which tea?", "Black.", id=i, **more) for i, more in (("a", {}), ("b", {"rejected": "B"}), ("c", {"rejected": "C"}))
    )
    taught = with_rejected(plain, one)
    assert taught is not None
    assert taught.metadata["rejected"] == "B"
    both = with_rejected(taught, two)
    assert both is not None
    assert (both.metadata["rejected"], rejected_of(both)) == ("B", ["B", "C"])
    assert with_rejected(both, two) is None
    assert with_rejected(one, plain) is None
    assert with_rejected(plain, row("Which tea?", "Black.", rejected="Black.")) is None


def test_further_rejected_answers_that_somebody_wrote_as_texts_are_known(row: Callable[..., Example]) -> None:
    made = row("Q?", "Good.", rejected="Bad.", rejected_more=["Worse.", {"answer": "Worst."}, 5])
    assert rejected_of(made) == ["Bad.", "Worse.", "Worst."]


def test_the_pairs_of_stack_exchange_are_preferences() -> None:
    made = parse_row({"question": ASK["content"], "response_j": GOOD["content"], "response_k": BAD["content"]}, {})
    assert (made.messages, made.metadata["rejected"]) == ((ASK, GOOD), BAD["content"])
