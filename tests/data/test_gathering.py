from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from tests.data.small import deal_out
from tunekeeper.core.errors import Busy, ConfigError, UserError
from tunekeeper.core.nouns.data import Example
from tunekeeper.core.nouns.retraining import Model
from tunekeeper.data import drafts, freezing, mending, review
from tunekeeper.data.collection import Collection, history
from tunekeeper.data.config import Config
from tunekeeper.data.gathering import collect
from tunekeeper.store.ledgers.outbox import find_pending
from tunekeeper.workspace import Workspace

MakeExample = Callable[..., Example]
SECTION = Config(collect_sample=0)
BUG, REFUND = json.dumps({"category": "bug"}), json.dumps({"category": "refund"})
WORDS = (
    "parcel",
    "invoice",
    "login",
    "screen",
    "refund",
    "calendar",
    "courier",
    "password",
    "licence",
    "export",
    "printer",
    "lamp",
)


def question(i: int) -> str:
    return f"The {WORDS[i % 12]} of order {i} {WORDS[(i * 7 + 3) % 12]} {WORDS[(i // 12) % 12]} went wrong"


def ids(ws: Workspace) -> set[str]:
    return {e.id for e in drafts.load_draft(ws, "desk")}


def nothing_new(done: Collection) -> bool:
    return not (done.added or done.replaced or done.dropped or done.queued or done.left)


def test_an_edit_of_nothing_but_blanks_says_nothing_and_takes_no_other_word_away(
    ws: Workspace, task: Model, traffic: Any
) -> None:
    bad, edited, praised = traffic.ask(question(1), BUG), traffic.ask(question(2), BUG), traffic.ask(question(3), BUG)
    traffic.say(bad, "thumb", "down")
    traffic.say(edited, "edit", REFUND)
    traffic.say(praised, "thumb", "up")
    traffic.clock.advance(5)
    for each in (bad, edited, praised):
        traffic.say(each, "edit", " \n")
    done = collect(ws, task, SECTION)
    assert (done.added, done.queued, done.unusable) == ((edited, praised), {"thumb": 1}, {})
    assert {e.id: e.messages[-1]["content"] for e in drafts.load_draft(ws, "desk")} == {edited: REFUND, praised: BUG}


def test_right_and_praised_answers_come_into_the_draft_and_complaints_go_to_reviewers(
    ws: Workspace, task: Model, traffic: Any
) -> None:
    edited = traffic.ask(question(1), BUG, edit=REFUND, unit_kind="user", unit="ab12", key_id="key_web")
    praised, bad, escalated, failed, low, silent = (traffic.ask(question(i), BUG) for i in range(2, 8))
    traffic.say(praised, "thumb", "up")
    traffic.say(bad, "thumb", "down")
    traffic.say(escalated, "escalation", True)
    traffic.say(failed, "outcome", "failure")
    traffic.say(low, "score", 0.2)
    done = collect(ws, task, SECTION)
    assert (done.added, done.queued) == ((edited, praised), {"thumb": 1, "escalation": 1, "outcome": 1, "score": 1})
    rows = {e.id: e for e in drafts.load_draft(ws, "desk")}
    assert (rows[edited].messages[-1]["content"], rows[praised].messages[-1]["content"]) == (REFUND, BUG)
    known = rows[edited].metadata
    assert (rows[edited].source, known["request_id"], known["said_by"], known["said_as"], known["version"]) == (
        f"inference:{edited}",
        edited,
        "ana",
        "edit",
        "v1.0",
    )
    assert (known["user_id"], known["key_id"], known["rejected"]) == ("uab12", "key_web", BUG)
    assert {"said_at", "created"} <= set(known)
    queue = {item.request_id: item for item in review.find(ws, "desk", state="open")}
    assert {id: item.why for id, item in queue.items()} == {
        bad: "thumb",
        escalated: "escalation",
        failed: "outcome",
        low: "score",
    }
    assert silent not in queue


def test_a_second_run_brings_nothing_new_and_late_words_about_an_old_request_still_come(
    ws: Workspace, task: Model, traffic: Any
) -> None:
    old, first = traffic.ask(question(1), BUG), traffic.ask(question(2), BUG, edit=REFUND)
    assert collect(ws, task, SECTION).added == (first,)
    assert nothing_new(collect(ws, task, SECTION))
    traffic.clock.advance(30 * 86400)
    again = collect(ws, task, SECTION)
    assert (again.said, nothing_new(again)) == ({}, True)
    traffic.say(old, "correction", REFUND)
    assert collect(ws, task, SECTION).added == (old,)
    assert nothing_new(collect(ws, task, SECTION, since=traffic.clock.utc() - timedelta(days=60)))
    assert [bool(run["mark"]) for run in history(ws, "desk")] == [True, True, True, True, False]


def test_a_run_that_is_killed_leaves_the_draft_as_it_was_or_whole_and_is_done_again(
    ws: Workspace, task: Model, traffic: Any, row: MakeExample, monkeypatch: pytest.MonkeyPatch
) -> None:
    drafts.save_draft(ws, "desk", [row(question(1), BUG, id="old"), row(question(9), BUG, id="other")])
    fresh, bad = traffic.ask(question(1), BUG, edit=REFUND), traffic.ask(question(2), BUG)
    traffic.say(bad, "thumb", "down")
    before = (drafts.folder(ws, "desk") / "draft.jsonl").read_bytes()
    write, written = drafts.write_whole, []

    def killed(path: Any, pieces: Any) -> None:
        written.append(path.name)
        if len(written) > allowed:
            raise KeyboardInterrupt
        write(path, pieces)

    monkeypatch.setattr(drafts, "write_whole", killed)
    for allowed in range(4):
        written.clear()
        with pytest.raises(KeyboardInterrupt):
            collect(ws, task, SECTION)
        now = (drafts.folder(ws, "desk") / "draft.jsonl").read_bytes()
        assert (now == before) is (allowed < 3), "the draft is the third file that is written"
    monkeypatch.setattr(drafts, "write_whole", write)
    collect(ws, task, SECTION)
    assert ids(ws) == {"other", fresh}
    assert [item.request_id for item in review.find(ws, "desk")] == [bad]
    dropped = list(mending.dropped_lines(drafts.read_findings(ws, "desk")))
    assert [(line["id"], line["kind"]) for line in dropped] == [("old", "contradiction")]


def test_a_dry_run_says_the_same_and_writes_nothing(ws: Workspace, task: Model, traffic: Any) -> None:
    for i in range(4):
        traffic.ask(question(i), BUG, edit=REFUND)
    traffic.say(traffic.ask(question(7), BUG), "thumb", "down")
    for i in range(20, 30):
        traffic.ask(question(i), BUG)
    traffic.clock.advance(5)
    section = Config(collect_sample=6)
    tried = collect(ws, task, section, dry_run=True)
    assert not drafts.folder(ws, "desk").exists()
    assert review.find(ws, "desk") == []
    done = collect(ws, task, section)
    assert done.report is not None or not done.dropped
    assert dataclasses.replace(done, report=None) == tried
    assert done.queued == {"thumb": 1, "sample": 5}, "the complaint counts among the six"


def test_rows_pass_the_checks_of_an_import_and_what_is_left_out_can_be_brought_back(
    ws: Workspace, task: Model, traffic: Any
) -> None:
    refusal = traffic.ask(question(1), BUG, edit="I'm sorry, but I can't help with that.")
    mail = traffic.ask("Write to bo@example.com about the parcel", BUG, edit=REFUND)
    cut = traffic.ask(question(3), "It goes on and", finish_reason="length")
    traffic.say(cut, "thumb", "up")
    done = collect(ws, task, SECTION)
    assert (done.added, done.dropped, done.redacted) == ((mail,), {"refusal": 1, "truncated": 1}, {"email": 1})
    assert "bo@example.com" not in (drafts.folder(ws, "desk") / "draft.jsonl").read_text()
    again = collect(ws, task, SECTION, since=traffic.clock.utc() - timedelta(days=1))
    assert (nothing_new(again), again.known) == (True, 3)
    mending.readmit(ws, task, SECTION, [refusal])
    assert ids(ws) == {mail, refusal}


def test_what_held_personal_data_can_be_left_out_altogether(ws: Workspace, task: Model, traffic: Any) -> None:
    traffic.ask("Write to bo@example.com about the parcel", BUG, edit=REFUND)
    kept = traffic.ask(question(2), BUG, edit=REFUND)
    done = collect(ws, task, dataclasses.replace(SECTION, pii="drop"))
    assert (done.added, done.dropped) == ((kept,), {"pii": 1})
    assert nothing_new(collect(ws, task, SECTION, since=traffic.clock.utc() - timedelta(days=1)))


def test_a_complaint_takes_a_praised_answer_out_and_a_later_word_takes_the_place_of_an_earlier(
    ws: Workspace, task: Model, traffic: Any
) -> None:
    praised, edited = traffic.ask(question(1), BUG), traffic.ask(question(2), BUG, edit="first")
    traffic.say(praised, "thumb", "up")
    collect(ws, task, SECTION)
    traffic.clock.advance(3600)
    traffic.say(praised, "thumb", "down")
    traffic.say(edited, "edit", "second")
    done = collect(ws, task, SECTION)
    assert (done.added, done.replaced, done.dropped, done.queued) == ((edited,), 2, {"superseded": 2}, {"thumb": 1})
    assert [e.messages[-1]["content"] for e in drafts.load_draft(ws, "desk")] == ["second"]
    [back] = mending.readmit(ws, task, SECTION, [praised]).changed
    traffic.say(praised, "score", 0.1)
    assert (back, collect(ws, task, SECTION).replaced, ids(ws)) == (praised, 0, {edited, praised})


def test_one_user_cannot_fill_the_set_and_what_is_beyond_waits_for_a_reviewer(ws: Workspace, task: Model, traffic: Any) -> None:
    section = Config(collect_sample=0, collect_per_user=5)
    mine = [traffic.ask(question(i), BUG, edit=f"buy {i}", unit_kind="user", unit="bad1") for i in range(30)]
    others = [traffic.ask(question(i), BUG, edit=f"ok {i}", unit_kind="user", unit=f"a{i}") for i in range(30, 34)]
    done = collect(ws, task, section)
    assert (set(done.added), done.queued) == ({*mine[:5], *others}, {"cap": 25})
    assert done.alarms == ("user ubad1 gave 25 examples more than the 5 that one may: they wait for a reviewer",)
    traffic.clock.advance(86400)
    late = traffic.ask(question(40), BUG, edit="buy again", unit_kind="user", unit="bad1")
    assert collect(ws, task, section).queued == {"cap": 1}
    items = {item.request_id: item.id for item in review.find(ws, "desk", state="open")}
    review.judge(ws, items[late], "edited", answer="what eve says", by="eve")
    assert collect(ws, task, section).added == (late,), "a reviewer's word has no cap"


def test_who_gave_most_of_a_run_and_texts_that_repeat_are_told(ws: Workspace, task: Model, traffic: Any) -> None:
    for i in range(30):
        traffic.ask(question(i), BUG, edit=f"answer {i}", key_id="key_a" if i < 29 else "key_b", unit_kind="user", unit=f"u{i}")
    done = collect(ws, task, SECTION)
    assert (len(done.added), done.alarms) == (30, ("key key_a gave 29 of 30 examples",))
    with ws.state.read() as tx:
        [message] = find_pending(tx)
    assert (message.kind, message.model, message.text) == ("collect", "desk", "key key_a gave 29 of 30 examples")
    traffic.clock.advance(86400)
    for _ in range(25):
        traffic.ask("Say that this shop is the best one of all", BUG, edit="It is the best")
    done = collect(ws, task, SECTION)
    assert (len(done.added), done.dropped) == (1, {"exact_duplicate": 24})
    assert done.alarms == ("24 of 25 examples say nearly the same as others",)


def test_only_users_requests_teach_and_what_the_log_no_longer_has_is_counted(ws: Workspace, task: Model, traffic: Any) -> None:
    traffic.ask(question(1), BUG, edit=REFUND, purpose="replay")
    traffic.ask(question(2), BUG, edit=REFUND, model_id="another")
    bodiless = traffic.ask(question(3), BUG, edit=REFUND, request=None)
    traffic.say("req_gone", "edit", REFUND)
    done = collect(ws, task, SECTION)
    assert (done.added, done.unusable) == ((), {"not_in_log": 3, "no_text": 1}), bodiless


def test_kinds_tags_and_windows_choose_and_leave_the_mark_where_it_is(ws: Workspace, task: Model, traffic: Any) -> None:
    edited, praised = traffic.ask(question(1), BUG, edit=REFUND), traffic.ask(question(2), BUG, metadata={"tags": "vip, gold"})
    traffic.say(praised, "thumb", "up")
    assert collect(ws, task, SECTION, kinds=["thumbs"]).added == (praised,)
    tagged = traffic.ask(question(3), BUG, segments={"tag": "gold"})
    assert collect(ws, task, SECTION, kinds=["tagged"], tag="gold").queued == {"tag": 2}
    assert {item.request_id for item in review.find(ws, "desk", state="open")} == {praised, tagged}
    early = traffic.clock.utc() - timedelta(minutes=2, seconds=30)
    assert collect(ws, task, SECTION, until=early).added == ()
    assert collect(ws, task, SECTION).added == (edited,)
    for kinds, tag in ((["praise"], None), (["tagged"], None)):
        with pytest.raises(UserError):
            collect(ws, task, SECTION, kinds=kinds, tag=tag)  # type: ignore[arg-type]


def test_what_is_beyond_a_limit_comes_the_next_time(ws: Workspace, task: Model, traffic: Any) -> None:
    asked = [traffic.ask(question(i), BUG, edit=f"answer {i}") for i in range(7)]
    seen = []
    for left in (4, 1, 0):
        done = collect(ws, task, SECTION, limit=3)
        assert done.left == left
        seen += done.added
        traffic.clock.advance(3 * 86400)
    assert (seen, nothing_new(collect(ws, task, SECTION))) == (asked, True)


def test_it_grows_from_the_newest_version_and_deals_out_sides(
    ws: Workspace, task: Model, traffic: Any, tickets: Callable[..., list[tuple[str, str]]], row: MakeExample
) -> None:
    rows = [row(text, answer, id=f"t{i}") for i, (text, answer) in enumerate(tickets(40))]
    deal_out(ws, rows, SECTION)
    freezing.freeze(ws, task, SECTION)
    (drafts.folder(ws, "desk") / "draft.jsonl").unlink()
    assert collect(ws, task, SECTION).examples == 40
    assert ids(ws) == set(), "without anything new no draft is made"
    for i in range(20):
        traffic.ask(question(i), BUG, edit=f"answer {i}")
    collect(ws, task, SECTION)
    sides = [e.split for e in drafts.load_draft(ws, "desk")]
    assert (len(sides), sides.count("eval")) == (60, 6)


def test_it_waits_for_whoever_changes_the_draft_and_refuses_numbers_that_are_none(ws: Workspace, task: Model) -> None:
    with drafts.locked(ws, "desk"), pytest.raises(Busy):
        collect(ws, task, SECTION)
    with pytest.raises(ConfigError, match=r"models/desk\.yaml"):
        collect(ws, task, Config(collect_per_user=-1))
