from __future__ import annotations

from dataclasses import replace
from typing import Any

from tunekeeper.cli import reviewpanels as panels
from tunekeeper.cli.reviewwidgets import Stopwatch
from tunekeeper.core.clock import ManualClock
from tunekeeper.core.nouns.data import ReviewItem
from tunekeeper.data.review import Opened, Pace

ITEM = ReviewItem(id="rev_1", model="desk", request_id="req_1", why="sample")
OPENED = Opened(
    item=ITEM,
    messages=({"role": "user", "content": "why?"},),
    answer="because",
    other=None,
    reasons=("rare topic", "unsure"),
    facts={"version": "v1.2", "confidence": "0.41"},
    draft_text=None,
    chosen=None,
    open_items=12,
    done_by_me=3,
    pace=Pace(judged=3, minutes_each=1.1, an_hour=54.5),
)


def test_a_conversation_shows_its_last_messages_and_says_what_is_folded() -> None:
    many: list[dict[str, Any]] = [{"role": "user", "content": f"message {i}"} for i in range(10_000)]
    found = panels.talk(many)
    assert len(found) == panels.MESSAGES + 1
    assert found[0][0] == "more"
    assert "9970 earlier" in found[0][1].plain
    assert found[-1][1].plain == "message 9999"


def test_a_message_of_nothing_is_named() -> None:
    said = panels.talk([{"role": "user", "content": " \n"}, {"role": "assistant", "content": None, "tool_calls": []}])
    assert [content.plain for _, content in said] == ["(an empty message)"] * 2


def test_a_conversation_is_bounded_however_long_its_messages_are() -> None:
    long: list[dict[str, Any]] = [{"role": "system", "content": "s" * 10**6}, *({"role": "user", "content": "u" * 10**6},) * 40]
    found = panels.talk(long)
    assert sum(len(content.plain) for _, content in found) < panels.CHARACTERS + panels.MESSAGES * (panels.LEAST + 100)
    assert len(panels.talk(long[:1] + long[-1:])[0][1].plain) < 800


def test_the_side_says_why_and_what_is_known_and_which_labels_are_on() -> None:
    remarks = ({"kind": "label", "text": "tone", "by": "ana"}, {"kind": "note", "text": "ask Bea", "by": "ana"})
    opened = replace(OPENED, item=replace(ITEM, remarks=remarks))
    said = panels.side(opened, ["tone", "billing"], "approved").plain
    for text in ("• rare topic", "• unsure", "You said\napproved", "version v1.2", "1 ✓ tone", "2   billing", "Note: ask Bea"):
        assert text in said
    line = panels.line(opened, room=45).plain
    assert line.startswith("Why  rare topic · unsure  ✓ tone")
    assert "version v1.2" in line
    assert "confidence" not in line  # no room


def test_an_unfinished_edit_is_shown_beneath_the_answer() -> None:
    assert panels.answer(OPENED).plain == "because"
    assert "your edit, not saved yet" in panels.answer(replace(OPENED, draft_text="because of it")).plain
    corrected = replace(OPENED, draft_text="because of it", item=replace(ITEM, verdict="edited"))
    assert "your correction" in panels.answer(corrected).plain
    assert panels.said_before(corrected) == "edited"
    assert panels.said_before(replace(OPENED, chosen="b")) == "B is better"
    assert panels.said_before(OPENED) is None
    assert "empty answer" in panels.answer(replace(OPENED, answer="")).plain


def test_the_pace_stands_beside_the_time_of_this_item() -> None:
    clock = ManualClock()
    watch = Stopwatch(clock.real)
    clock.advance(42)
    wide, narrow = panels.pace(OPENED, watch, wide=True), panels.pace(OPENED, watch, wide=False)
    assert wide.plain == "12 open · 3 done · 1:06 each · 54 an hour  0:42 of 3:00"
    assert narrow.plain == "12 open · 3 done · 1:06 each  0:42 of 3:00"
    assert "$warning" not in str(wide.spans)
    for _ in range(4):
        watch.touch()
        clock.advance(50)
    late = panels.pace(OPENED, watch, wide=True)
    assert "4:02 of 3:00" in late.plain
    assert "$warning" in str(late.spans)
    clock.advance(600)
    assert panels.pace(OPENED, watch, wide=True).plain.endswith("resting")


def test_the_whole_conversation_holds_everything_as_it_was_written() -> None:
    opened = replace(OPENED, messages=({"role": "user", "content": "u" * 50_000},), other="or not")
    told = panels.everything(opened)
    assert "u" * 50_000 in told
    assert "## answer A\n\nbecause" in told
    assert "## answer B\n\nor not" in told
