from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tunekeeper.core.clock import ManualClock
from tunekeeper.core.errors import Busy, ConfigError, NotFound, UserError
from tunekeeper.core.nouns.data import ReviewItem
from tunekeeper.data import review
from tunekeeper.data.opening import LOCK_MINUTES, SKIP_HOURS, swapped, waiting
from tunekeeper.workspace import Workspace, open_workspace


@pytest.fixture
def queued(ws: Workspace, traffic: Any) -> list[str]:
    """Six items in the queue, one opinion each."""
    ids = [
        traffic.ask(f"ticket {i}", f"answer {i}", segments={"plan": "pro"}, confidence=0.5 + i / 10, latency_ms=12.0)
        for i in range(6)
    ]
    return [item.id for item in review.enqueue(ws, "desk", ids, why="sample", reasons=("it stands for many",))]


def next_id(ws: Workspace, by: str, **options: Any) -> str | None:
    found = review.open_next(ws, "desk", by=by, **options)
    return None if found is None else found.item.id


def test_a_reviewer_sees_what_was_asked_answered_and_known(ws: Workspace, queued: list[str], traffic: Any) -> None:
    request = review.get(ws, queued[0]).request_id
    traffic.say(request, "thumb", "down", by="customer-1")
    found = review.open_next(ws, "desk", by="ana")
    assert found is not None
    assert found.item.id == queued[0]
    assert [m["role"] for m in found.messages] == ["system", "user"]
    assert (found.answer, found.other, found.reasons) == ("answer 0", None, ("it stands for many",))
    assert found.facts == {
        "asked": "2026-01-05 09:01 UTC",
        "version": "v1.0",
        "segment plan": "pro",
        "confidence": "0.50",
        "latency": "12 ms",
        "feedback, thumb": "down (by customer-1)",
    }
    assert (found.open_items, found.done_by_me, found.draft_text, found.chosen) == (6, 0, None, None)


def test_an_item_belongs_to_who_opened_it_until_the_lock_runs_out(ws: Workspace, queued: list[str], clock: ManualClock) -> None:
    assert next_id(ws, "ana") == queued[0]
    assert next_id(ws, "ana") == queued[0], "the same again while it is held"
    assert next_id(ws, "bob") == queued[1]
    with pytest.raises(Busy, match="open with ana"):
        review.judge(ws, queued[0], "good", by="bob")
    with pytest.raises(Busy, match="open with ana"):
        review.open_item(ws, queued[0], by="bob")
    clock.advance(60 * LOCK_MINUTES - 1)
    review.keep(ws, queued[0], by="ana")
    clock.advance(60 * LOCK_MINUTES - 1)
    assert next_id(ws, "eve") == queued[1], "bob's lock ran out, ana's was renewed"
    clock.advance(2)
    assert next_id(ws, "mia") == queued[0], "a reviewer who is gone holds nothing for ever"
    with pytest.raises(Busy, match="open with mia"):
        review.keep(ws, queued[0], by="ana")


def test_an_item_that_was_released_goes_to_the_next_reviewer(ws: Workspace, queued: list[str]) -> None:
    next_id(ws, "ana")
    review.release(ws, queued[0], by="bob")
    assert next_id(ws, "bob") == queued[1], "nobody releases what another holds"
    review.release(ws, queued[0], by="ana")
    assert next_id(ws, "eve") == queued[0]


def test_a_text_left_unfinished_comes_first_when_its_reviewer_is_back(
    ws: Workspace, queued: list[str], clock: ManualClock
) -> None:
    review.open_item(ws, queued[2], by="ana")
    review.save_text(ws, queued[2], "half of an", by="ana")
    clock.advance(60 * LOCK_MINUTES)
    assert next_id(ws, "bob") == queued[0], "others take the oldest"
    again = review.open_next(ws, "desk", by="ana")
    assert again is not None
    assert (again.item.id, again.draft_text) == (queued[2], "half of an")
    review.judge(ws, queued[2], "edited", answer="half of an answer", by="ana")
    assert next_id(ws, "ana") == queued[1]


def test_going_back_counts_what_waits_of_the_kinds_that_were_asked_for(ws: Workspace, queued: list[str], traffic: Any) -> None:
    [odd] = review.enqueue(ws, "desk", [traffic.ask("odd", "one")], why="thumb")
    assert review.open_item(ws, odd.id, by="ana", kinds=("thumb",)).open_items == 1
    assert review.open_item(ws, odd.id, by="ana").open_items == len(queued) + 1
    assert next_id(ws, "ana", kinds=("sample",)) == queued[0], "what one holds of another kind stays where it is"


def test_an_item_that_wants_two_opinions_is_never_given_twice_to_one_person(ws: Workspace, traffic: Any) -> None:
    [item] = review.enqueue(ws, "desk", [traffic.ask("one", "two")], why="sample", opinions=2)
    assert next_id(ws, "ana") == item.id
    review.judge(ws, item.id, "good", by="ana")
    assert next_id(ws, "ana") is None
    assert next_id(ws, "bob") == item.id
    review.judge(ws, item.id, "good", by="bob")
    assert review.get(ws, item.id).state == "done"


def test_what_others_began_comes_first(ws: Workspace, queued: list[str], traffic: Any) -> None:
    [last] = review.enqueue(ws, "desk", [traffic.ask("late", "one")], why="sample", opinions=2)
    review.judge(ws, last.id, "good", by="ana")
    assert next_id(ws, "bob") == last.id


def test_a_skipped_item_comes_to_others_at_once_and_to_the_same_person_much_later(
    ws: Workspace, queued: list[str], clock: ManualClock
) -> None:
    next_id(ws, "ana")
    review.skip(ws, queued[0], by="ana")
    assert next_id(ws, "ana") == queued[1]
    assert next_id(ws, "bob") == queued[0]
    for id in queued[1:]:
        review.skip(ws, id, by="ana")
    assert next_id(ws, "ana") is None
    clock.advance(3600 * SKIP_HOURS)
    assert next_id(ws, "ana") == queued[0]


def test_what_was_opened_and_skipped_while_the_clock_was_a_year_ahead_comes_again_once_it_is_right(
    ws: Workspace, queued: list[str], clock: ManualClock
) -> None:
    ahead = open_workspace(ws.root, clock=ManualClock(clock.utc() + timedelta(days=365)))
    review.skip(ahead, queued[0], by="bob")
    assert next_id(ahead, "ana") == queued[0]
    assert next_id(ahead, "eve") == queued[1]
    assert next_id(ws, "bob") == queued[0]
    assert review.judge(ws, queued[1], "good", by="bob").state == "done"


def test_items_passed_over_and_items_of_another_kind_are_not_given(ws: Workspace, queued: list[str], traffic: Any) -> None:
    assert next_id(ws, "ana", but=(queued[0], queued[1])) == queued[2]
    review.enqueue(ws, "desk", [traffic.ask("odd", "one")], why="thumb")
    assert next_id(ws, "bob", kinds=("pair",)) is None
    assert next_id(ws, "bob", kinds=("thumb",)) not in queued


def test_going_back_shows_ones_own_judgment_and_replaces_it(ws: Workspace, queued: list[str]) -> None:
    review.judge(ws, queued[0], "edited", answer="mine", by="ana")
    again = review.open_item(ws, queued[0], by="ana")
    assert (again.item.state, again.item.verdict, again.draft_text, again.done_by_me) == ("done", "edited", "mine", 1)
    review.judge(ws, queued[0], "good", by="ana")
    assert review.get(ws, queued[0]).verdict == "good"
    with pytest.raises(NotFound):
        review.open_item(ws, "rev_none", by="ana")


def test_nothing_of_another_reviewer_is_shown(ws: Workspace, traffic: Any) -> None:
    [item] = review.enqueue(ws, "desk", [traffic.ask("one", "two")], why="sample", opinions=3)
    review.judge(ws, item.id, "edited", answer="ana's words", by="ana", note="ana's note")
    review.flag(ws, item.id, "ana's flag", by="ana")
    review.save_text(ws, item.id, "half of a thought", by="bob")
    review.release(ws, item.id, by="bob")
    found = review.open_next(ws, "desk", by="eve")
    assert found is not None
    assert "ana" not in repr(found)
    assert "thought" not in repr(found)
    assert (found.item.verdict, found.item.opinions, found.draft_text) == (None, (), None)


def test_an_item_whose_request_is_gone_leaves_the_queue(ws: Workspace, queued: list[str]) -> None:
    [gone] = review.enqueue(ws, "desk", ["req_00000000000000000000000000abcd"], why="thumb")
    assert next_id(ws, "ana", kinds=("thumb",)) is None
    assert review.get(ws, gone.id).state == "skipped"
    with pytest.raises(NotFound, match="no longer holds"):
        review.open_item(ws, gone.id, by="ana")


def test_an_answer_of_tool_calls_is_shown_as_json(ws: Workspace, traffic: Any) -> None:
    calls = [{"id": "1", "type": "function", "function": {"name": "refund", "arguments": "{}"}}]
    response = {"choices": [{"message": {"role": "assistant", "content": None, "tool_calls": calls}}]}
    tools = [{"type": "function", "function": {"name": "refund"}}]
    request = {"messages": [{"role": "user", "content": "do it"}], "tools": tools}
    traffic.ask("do it", "", response=json.dumps(response).encode(), request=json.dumps(request).encode())
    response["choices"][0]["message"]["content"] = "One moment."
    traffic.ask("do it", "", response=json.dumps(response).encode(), request=json.dumps(request).encode())
    queued = review.fill(ws, "desk", ws.clock.utc() - timedelta(days=1), ws.clock.utc() + timedelta(days=1), 5)
    assert all("topic refund" in item.reasons[-1] for item in queued)
    shown = [review.open_item(ws, item.id, by="ana") for item in queued]
    texts = sorted((each.answer for each in shown), key=len)
    assert (json.loads(texts[0]), texts[1]) == (calls, f"One moment.\n\n{texts[0]}")
    assert shown[0].tools == tuple(tools)


def test_a_reviewer_without_a_name_and_a_share_that_is_none_get_nothing(ws: Workspace) -> None:
    with pytest.raises(ConfigError, match=r"gold_share: 1\.5 is no part"):
        review.open_next(ws, "desk", by="ana", gold_share=1.5)
    with pytest.raises(UserError, match="who reviews"):
        review.open_next(ws, "desk", by=" ")


def test_half_of_the_pairs_are_shown_the_other_way_round_and_always_the_same_way(ws: Workspace, queued: list[str]) -> None:
    base = review.get(ws, queued[0])
    turned = sum(swapped(replace(base, id=f"rev_{i}")) for i in range(1000))
    assert 420 < turned < 580
    assert swapped(base) == swapped(base)


def test_a_gold_item_looks_like_any_other_and_the_count_never_gives_it_away(
    ws: Workspace, queued: list[str], traffic: Any
) -> None:
    gold = [
        review.add_gold(
            ws, "desk", messages=[{"role": "user", "content": f"g{i}"}], system="Triage.", answer="known", by="boss"
        ).id
        for i in range(4)
    ]
    seen, counts, fields = [], [], []
    while (found := review.open_next(ws, "desk", by="ana", gold_share=0.4)) is not None:
        seen.append(found.item.id)
        counts.append(found.open_items)
        fields.append(
            (
                replace(found.item, id="", request_id="", held=None),
                found.item.state,
                found.item.why,
                found.reasons,
                sorted(found.facts),
                [m["role"] for m in found.messages],
            )
        )
        assert (found.item.known, found.item.shown, found.item.request_id[:4]) == (None, {}, "req_")
        review.judge(ws, found.item.id, "good", by="ana", seconds=5)
    assert set(queued) < set(seen)
    assert set(gold) & set(seen), "some gold was mixed in"
    assert counts == list(range(len(seen), 0, -1)), "the count falls by one each time, gold or not"
    assert len({repr(field) for field in fields}) == 1, "nothing that is shown differs"
    assert next_id(ws, "ana") is None, "gold alone never keeps anybody at it"


def test_gold_comes_at_its_share_and_not_at_all_at_none() -> None:
    usual = [ReviewItem(id=f"rev_{i}", model="desk", request_id=f"req_{i}", why="sample") for i in range(600)]
    gold = [ReviewItem(id=f"rev_g{i}", model="desk", request_id="", why="sample", state="gold", known="x") for i in range(400)]
    now = datetime(2026, 1, 5, tzinfo=UTC)
    assert waiting([*usual, *gold], "ana", now, (), 0.0) == 600
    assert 630 <= waiting([*usual, *gold], "ana", now, (), 0.1) <= 710
    assert waiting([*usual, *gold], "ana", now, ("pair",), 0.1) == 0
