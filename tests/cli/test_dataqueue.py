from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import BUG, REFUND, Tell


@pytest.fixture
def item(ask: Tell) -> str:
    """One item of the queue."""
    return str(ask("review", "--fill", 1, "--json").json["queued"]["answers"][0]["id"])


def test_another_tool_drives_the_queue_by_json(ask: Tell, item: str) -> None:
    found = ask("queue", "next", "--by", "ana", "--json").json
    assert (found["item"]["id"], found["answer"], found["other"], found["open_items"]) == (item, BUG, None, 1)
    assert [m["role"] for m in found["messages"]] == ["system", "user"]
    assert found["reasons"]
    assert ask("queue", "next", "--by", "bob", "--json").json == {"item": None, "open_items": 0}
    busy = ask("queue", "judge", item, "good", "--by", "bob", "--json")
    assert (busy.code, "open with ana" in busy.json["error"]["message"]) == (4, True)
    assert ask("queue", "save", item, "--text", "half", "--by", "ana", "--json").json["text"] == "half"
    assert ask("queue", "keep", item, "--by", "ana", "--json").json["held_until"] is not None
    assert ask("queue", "release", item, "--by", "ana", "--json").json["held_until"] is None
    again = ask("queue", "open", item, "--by", "ana", "--json").json
    assert again["draft_text"] == "half"
    done = ask(
        "queue", "judge", item, "edited", "--answer", REFUND, "--label", "money", "--note", "n", "--by", "ana", "--json"
    ).json
    assert (done["state"], done["verdict"], done["answer"], done["complaints"]) == ("done", "edited", REFUND, [])
    assert [r["text"] for r in done["remarks"]] == ["money", "n"]
    assert ask("queue", "undo", item, "--by", "ana", "--json").json["state"] == "open"
    assert ask("queue", "skip", item, "--by", "ana").out == f"{item}: open\n"
    assert ask("queue", "next", "--by", "ana").out == "nothing waits for ana\n"


def test_an_answer_comes_from_standard_input_and_is_taken_as_it_is_only_with_force(
    ask: Tell,
    item: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("Dear customer"))
    done = ask("queue", "judge", item, "edited", "--answer-file", "-", "--force", "--by", "ana", "--json").json
    assert (done["answer"], len(done["complaints"])) == ("Dear customer", 1)


def test_a_person_reads_the_item_as_text(ask: Tell, item: str) -> None:
    text = ask("queue", "next", "--by", "ana").out
    for words in (f"{item}: one of 1; 0 done by you", "why: stands for", "version: v1.0", "[user] thing", f"[answer] {BUG}"):
        assert words in text


def test_a_pair_is_preferred_blind(ask: Tell, desk: Path) -> None:
    (desk / "pairs.jsonl").write_text('{"prompt": "q", "a": "one", "b": "two", "a_from": "v1.0", "b_from": "v2.0"}\n')
    ask("review", "--pairs", desk / "pairs.jsonl")
    found = ask("queue", "next", "--by", "ana", "--json")
    assert "v1.0" not in found.out
    assert "v2.0" not in found.out
    id = found.json["item"]["id"]
    done = ask("queue", "prefer", id, "b", "--by", "ana", "--json").json
    assert (done["state"], done["chosen"], done["verdict"]) == ("done", "b", None)


def test_a_gold_item_is_not_told_apart_by_what_a_verb_answers(ask: Tell, item: str, desk: Path) -> None:
    (desk / "gold.jsonl").write_text('{"prompt": "known", "answer": "{\\"category\\": \\"refund\\"}"}\n')
    gold = ask("review", "--gold", desk / "gold.jsonl", "--json").json["queued"]["gold items"][0]["id"]
    answers: list[Any] = [ask("queue", "judge", id, "good", "--by", "ana", "--json").json for id in (gold, item)]
    assert {**answers[0], "item": ""} == {**answers[1], "item": ""}
    assert ask("queue", "retire", gold, "--by", "ana", "--json").json == {"item": gold, "state": "skipped"}
    assert ask("queue", "retire", item, "--by", "ana").code == 2


def test_what_makes_no_sense_is_one_line(ask: Tell, item: str, desk: Path) -> None:
    for words, message in (
        (("judge", item, "superb"), "no verdict is called 'superb'"),
        (("judge", item, "edited", "--answer", "x", "--answer-file", "y"), "given twice"),
        (("judge", item, "edited", "--answer-file", desk / "none"), "cannot be read"),
        (("prefer", item, "a"), "holds one answer"),
        (("remark", item), "nothing to remark"),
        (("open", "rev_none"), "hold nothing with the id 'rev_none'"),
    ):
        said = ask("queue", *words, "--by", "ana")
        assert (said.code, said.err.count("\n")) == (2, 1)
        assert message in said.err


def test_images_and_calls_of_tools_are_named_in_words(ask: Tell, tmp_path: Path) -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    call = {"id": "c", "type": "function", "function": {"name": "lookup", "arguments": "{}"}}
    asked = [
        {"role": "user", "content": [{"type": "text", "text": "what is this?"}, image]},
        {"role": "assistant", "content": None, "tool_calls": [call]},
    ]
    (tmp_path / "pairs.jsonl").write_text(json.dumps({"messages": asked, "a": "one", "b": "two"}))
    assert ask("review", "--pairs", tmp_path / "pairs.jsonl").code == 0
    said = ask("queue", "next", "--by", "ana").out
    assert "[user] what is this?\n[image_url: not text]\n[assistant] → lookup({})\n[a] " in said
