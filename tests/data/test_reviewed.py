from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from tunekeeper.core.errors import DataError
from tunekeeper.core.nouns.retraining import Model
from tunekeeper.data import drafts, review
from tunekeeper.data.config import Config
from tunekeeper.data.erase import erase_data
from tunekeeper.data.exports import dpo_rows
from tunekeeper.data.gathering import collect
from tunekeeper.data.opening import swapped
from tunekeeper.data.reviewed import preferences
from tunekeeper.scoring import load_suite
from tunekeeper.text.redaction import Redactor
from tunekeeper.workspace import Workspace

Write = Callable[[str, Iterable[Any]], Path]
BUG, REFUND = '{"category": "bug"}', '{"category": "refund"}'


@pytest.fixture
def judged(ws: Workspace, traffic: Any) -> dict[str, str]:
    """Five reviewed answers: name → item."""
    asked = {
        "good": traffic.ask("The printer on floor two is broken", BUG),
        "edited": traffic.ask("I paid twice, please help", BUG),
        "bad": traffic.ask("The lift makes a strange noise", BUG),
        "excluded": traffic.ask("asdf qwer zxcv", BUG),
        "learned": traffic.ask("Where is my parcel now?", BUG),
    }
    items = {i.request_id: i.id for i in review.enqueue(ws, "desk", list(asked.values()), why="sample")}
    names = {name: items[request] for name, request in asked.items()}
    for name in ("good", "bad", "excluded"):
        review.judge(ws, names[name], name, by="ana")  # type: ignore[arg-type]
    for name in ("edited", "learned"):
        review.judge(ws, names[name], "edited", answer=REFUND, by="ana", labels=("double charge",))
    return names


def test_finished_judgments_become_cases_and_none_that_is_learned_from(
    ws: Workspace, judged: dict[str, str], row: Any, task: Model, tmp_path: Path
) -> None:
    drafts.save_draft(ws, "desk", [row("where is my parcel NOW", REFUND)])
    gold = review.add_gold(ws, "desk", messages=[{"role": "user", "content": "known"}], answer="x", by="boss")
    review.judge(ws, gold.id, "good", by="ana")
    path = tmp_path / "suites" / "reviewed.jsonl"
    tried = review.export_cases(ws, task, Config(), path, dry_run=True)
    assert not path.exists()
    done = review.export_cases(ws, task, Config(), path)
    assert done == tried
    assert (done.added, done.known, done.learned) == (2, 0, (judged["learned"],))
    suite = load_suite(path)
    assert [(c.id, c.expected, c.category, c.tags, c.source) for c in suite.cases] == [
        (judged["good"], BUG, "bug", ("review",), f"review:{judged['good']}"),
        (judged["edited"], REFUND, "refund", ("review", "double charge"), f"review:{judged['edited']}"),
    ]
    assert [m["role"] for m in suite.cases[0].messages] == ["system", "user"]


def test_cases_are_appended_once_and_a_file_of_something_else_is_left_alone(
    ws: Workspace, judged: dict[str, str], task: Model, write: Write
) -> None:
    path = write("cases.jsonl", [{"id": "mine", "input": "hello", "expected": "hi"}])
    assert review.export_cases(ws, task, Config(), path).added == 3
    before = path.read_bytes()
    again = review.export_cases(ws, task, Config(), path)
    assert (again.added, again.known, again.otherwise, path.read_bytes()) == (0, 3, (), before)
    review.undo(ws, judged["good"], by="ana")
    review.judge(ws, judged["edited"], "edited", answer='{"category": "other"}', by="ana")
    again = review.export_cases(ws, task, Config(), path)
    assert (again.added, set(again.otherwise), path.read_bytes()) == (0, {judged["good"], judged["edited"]}, before)
    assert next(c.id for c in load_suite(path).cases) == "mine"
    other = write("notes.jsonl", ["not json"])
    with pytest.raises(DataError, match=r"notes\.jsonl:1: not JSON"):
        review.export_cases(ws, task, Config(), other)
    assert other.read_text() == "not json\n"


def test_what_no_suite_can_ask_or_compare_is_no_case(ws: Workspace, task: Model, traffic: Any, tmp_path: Path) -> None:
    calls = [{"id": "1", "type": "function", "function": {"name": "refund", "arguments": "{}"}}]
    response = {"choices": [{"message": {"role": "assistant", "content": None, "tool_calls": calls}}]}
    nobody = {"messages": [{"role": "system", "content": "Greet."}]}
    asked = [
        traffic.ask("Refund me", "", response=json.dumps(response).encode()),
        traffic.ask("", "Hello!", request=json.dumps(nobody).encode()),
        traffic.ask("Where is it?", "Here."),
    ]
    items = [item.id for item in review.enqueue(ws, "desk", asked, why="sample")]
    for item in items:
        review.judge(ws, item, "good", by="ana")
    done = review.export_cases(ws, task, Config(), tmp_path / "cases.jsonl")
    assert (done.added, done.unfit) == (1, tuple(items[:2]))
    assert [case.expected for case in load_suite(tmp_path / "cases.jsonl").cases] == ["Here."]


@pytest.fixture
def preferred(ws: Workspace, traffic: Any, write: Write) -> list[str]:
    """A pair of the log of which the shadow's answer is better, one of a file of which the first is, and a tie."""
    request = traffic.ask("I paid twice", BUG)
    traffic.ask("I paid twice", REFUND, purpose="shadow", parent_id=request, version="v2.0")
    since = ws.clock.utc().replace(hour=0)
    items = review.pairs_from_log(ws, "desk", since, ws.clock.utc().replace(hour=23), 5)
    path = write("pairs.jsonl", [{"prompt": f"mail to bo@example.com {i}", "a": "Yes.", "b": "No."} for i in range(2)])
    items += review.pairs_from_file(ws, "desk", path, system=None, redactor=Redactor())
    for item, better in zip(items, ("second", "first", "tie"), strict=True):
        shown = "a" if (better == "first") != swapped(item) else "b"
        review.prefer(ws, item.id, "tie" if better == "tie" else shown, by="ana")  # type: ignore[arg-type]
    return [item.id for item in items]


def test_preferences_become_examples_with_the_other_answer_rejected(ws: Workspace, preferred: list[str], task: Model) -> None:
    made = {c.example.source: c.example for c in preferences(review.find(ws, "desk"), task, Config())}
    assert set(made) == {f"review:{preferred[0]}", f"review:{preferred[1]}"}
    first, second = (made[f"review:{id}"] for id in preferred[:2])
    assert (first.messages[-1]["content"], first.metadata["rejected"]) == (REFUND, BUG)
    assert (first.metadata["said_by"], first.metadata["said_as"], first.metadata["preferred_from"]) == ("ana", "review", "v2.0")
    assert (second.messages[1]["content"], second.metadata["rejected"]) == ("mail to [EMAIL] 0", "No.")
    (row,) = dpo_rows(first)
    assert row is not None
    assert (row["preferred_output"][0]["content"], row["non_preferred_output"][0]["content"]) == (REFUND, BUG)


def test_preferences_and_corrections_come_into_the_draft_with_who_and_when(
    ws: Workspace, judged: dict[str, str], preferred: list[str], task: Model
) -> None:
    done = collect(ws, task, Config(collect_sample=0))
    rows = {e.metadata["review"]: e for e in drafts.load_draft(ws, "desk")}
    assert set(rows) == {judged["good"], judged["edited"], judged["learned"], *preferred[:2]}
    assert rows[preferred[0]].metadata["rejected"] == BUG
    edited = rows[judged["edited"]]
    assert (edited.metadata["said_by"], edited.metadata["labels"], edited.metadata["rejected"]) == ("ana", ["double charge"], BUG)
    assert edited.metadata["said_at"] == review.get(ws, judged["edited"]).opinions[0].at.isoformat()  # type: ignore[union-attr]
    assert len(done.added) == 5
    again = collect(ws, task, Config(collect_sample=0))
    assert (again.added, len(drafts.load_draft(ws, "desk"))) == ((), 5)


def test_what_reviewers_do_not_agree_on_is_not_learned(ws: Workspace, traffic: Any, task: Model) -> None:
    [item] = review.enqueue(ws, "desk", [traffic.ask("one", BUG)], why="sample", opinions=2)
    review.judge(ws, item.id, "good", by="ana")
    assert collect(ws, task, Config(collect_sample=0)).added == ()
    review.judge(ws, item.id, "edited", answer=REFUND, by="bob")
    assert collect(ws, task, Config(collect_sample=0)).added == ()
    assert review.agreement(review.find(ws, "desk")).disputed == (item.id,)
    review.judge(ws, item.id, "edited", answer='{"category":"refund"}', by="eve")
    collect(ws, task, Config(collect_sample=0))
    assert [json.loads(e.messages[-1]["content"]) for e in drafts.load_draft(ws, "desk")] == [{"category": "refund"}]


def test_what_is_taken_back_leaves_the_draft_and_what_is_said_again_comes_again(
    ws: Workspace, judged: dict[str, str], preferred: list[str], task: Model, traffic: Any
) -> None:
    def in_draft() -> dict[str, str]:
        collect(ws, task, Config(collect_sample=0))
        return {str(e.metadata.get("review")): str(e.messages[-1]["content"]) for e in drafts.load_draft(ws, "desk")}

    before = in_draft()
    for name in (judged["good"], judged["edited"], preferred[0]):
        review.undo(ws, name, by="ana")
    traffic.clock.advance(3600)
    assert in_draft() == {judged["learned"]: before[judged["learned"]], preferred[1]: before[preferred[1]]}
    lines = {line["row"]["metadata"]["review"]: line["detail"] for line in drafts.load_findings(ws, "desk") if line.get("row")}
    assert set(lines.values()) == {"the judgment was taken back"}
    review.judge(ws, judged["good"], "good", by="bob")
    review.prefer(ws, preferred[0], "a", by="bob")
    assert in_draft().keys() == {judged["learned"], judged["good"], *preferred[:2]}
    traffic.clock.advance(3600)
    review.judge(ws, judged["good"], "bad", by="eve")
    assert judged["good"] not in in_draft()
    request = review.get(ws, judged["learned"]).request_id
    review.add_gold(ws, "desk", request_id=request, answer=BUG, by="ana")
    assert judged["learned"] not in in_draft()


def test_a_user_s_word_counts_again_once_the_judgment_over_it_is_taken_back(ws: Workspace, task: Model, traffic: Any) -> None:
    request = traffic.ask("one", BUG, edit=REFUND)
    [item] = review.enqueue(ws, "desk", [request], why="sample")
    review.judge(ws, item.id, "good", by="ana")
    collect(ws, task, Config(collect_sample=0))
    assert [e.messages[-1]["content"] for e in drafts.load_draft(ws, "desk")] == [BUG]
    traffic.clock.advance(3600)
    review.undo(ws, item.id, by="ana")
    told = collect(ws, task, Config(collect_sample=0))
    assert (told.said, told.added) == ({"undone": 1}, (request,))
    assert [e.messages[-1]["content"] for e in drafts.load_draft(ws, "desk")] == [REFUND]


def test_erasing_a_user_takes_their_pairs_out_of_the_draft_and_the_queue(
    ws: Workspace, preferred: list[str], task: Model
) -> None:
    collect(ws, task, Config(collect_sample=0))
    assert {e.id for e in drafts.load_draft(ws, "desk")} == set(preferred[:2])
    request = review.get(ws, preferred[0]).request_id
    assert erase_data(ws, {request}, "nobody").counts == {"examples": 0, "drafts": 1, "reports": 0, "reviews": 1}
    assert [e.id for e in drafts.load_draft(ws, "desk")] == [preferred[1]]
    assert review.get(ws, preferred[0]).shown == {}
