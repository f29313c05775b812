from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from tunekeeper.core.nouns.data import Opinion, ReviewItem
from tunekeeper.data.opinions import (
    MOST_OPINIONS,
    blanked,
    disagree,
    majority,
    opinion_by,
    opinions_of,
    with_opinion,
    without_opinion,
)

AT = datetime(2026, 1, 5, tzinfo=UTC)


def item(**fields: Any) -> ReviewItem:
    return ReviewItem(id="rev_1", model="desk", request_id="req_1", why="sample", **fields)


def told(found: ReviewItem, *said: tuple[str, Any]) -> ReviewItem:
    """The item after these opinions; a verdict with a colon carries its answer."""
    for by, verdict in said:
        name, _, answer = verdict.partition(":")
        found = with_opinion(found, Opinion(by=by, verdict=name, answer=answer or None, at=AT))
    return found


def test_one_opinion_is_enough_where_one_is_wanted() -> None:
    done = told(item(), ("ana", "edited:right"))
    assert (done.state, done.verdict, done.answer, done.by, done.done_at) == ("done", "edited", "right", "ana", AT)


def test_a_later_judgment_of_the_same_person_takes_the_place_of_the_first() -> None:
    done = told(item(), ("ana", "good"), ("ana", "bad"))
    assert (done.state, done.verdict, len(done.opinions)) == ("done", "bad", 1)


def test_an_item_that_wants_two_waits_for_the_second_and_disagreement_for_a_third() -> None:
    one = told(item(wants=2), ("ana", "good"))
    assert (one.state, one.verdict, disagree(one)) == ("open", None, False)
    two = told(one, ("bob", "bad"))
    assert (two.state, two.wants, two.verdict, disagree(two)) == ("open", 3, None, True)
    three = told(two, ("eve", "good"))
    assert (three.state, three.verdict, three.by, disagree(three)) == ("done", "good", "eve", False)


def test_somebody_elses_objection_opens_a_finished_item_again() -> None:
    assert told(item(), ("ana", "good"), ("bob", "bad")).state == "open"


def test_edits_agree_by_what_their_json_says_and_prose_by_being_an_edit() -> None:
    apart = told(item(wants=2), ("ana", 'edited:{"a": 1}'), ("bob", 'edited:{"a": 2}'))
    assert apart.state == "open"
    same = told(item(wants=2), ("ana", 'edited:{"a": 1, "b": 2}'), ("bob", 'edited:{"b": 2, "a": 1}'))
    assert (same.state, same.answer) == ("done", '{"b": 2, "a": 1}')
    prose = told(item(wants=2), ("ana", "edited:Dear customer"), ("bob", "edited:Hello"))
    assert (prose.state, prose.answer) == ("done", "Hello")


def test_an_item_on_which_nobody_agrees_is_given_up_and_nothing_is_learned_from_it() -> None:
    said = [(f"p{i}", f'edited:{{"a": {i}}}') for i in range(MOST_OPINIONS)]
    done = told(item(), *said)
    assert (done.state, done.verdict, done.answer) == ("done", "excluded", None)


def test_a_pair_is_settled_by_what_most_prefer() -> None:
    done = told(item(kind="pair", wants=3), ("ana", "first"), ("bob", "second"), ("eve", "second"))
    assert (done.state, done.better, done.verdict) == ("done", "second", None)


def test_taking_back_the_deciding_opinion_opens_the_item() -> None:
    open_again = without_opinion(told(item(), ("ana", "good")), "ana")
    assert (open_again.state, open_again.verdict, open_again.opinions, open_again.by) == ("open", None, (), None)


def test_a_gold_item_is_never_done() -> None:
    assert told(item(state="gold", known="x"), ("ana", "good"), ("bob", "good")).state == "gold"


def test_a_row_of_an_older_release_has_the_opinion_it_was_saved_with() -> None:
    old = item(state="done", verdict="bad", by="ana", seconds=3.0, done_at=AT)
    assert opinions_of(old) == (Opinion(by="ana", verdict="bad", seconds=3.0, at=AT),)
    assert opinion_by(old, "ana") is not None
    assert told(old, ("bob", "bad")).verdict == "bad"


def test_nothing_has_no_majority_and_half_is_none() -> None:
    assert majority(()) is None
    assert majority(tuple(Opinion(by=by, verdict=verdict) for by, verdict in (("a", "good"), ("b", "bad")))) is None


def test_a_blanked_item_holds_no_text_and_waits_no_more() -> None:
    full = told(
        item(shown={"answer": "s"}, known="k", texts={"bob": "t"}, remarks=({"kind": "note", "text": "n", "by": "a", "at": ""},)),
        ("ana", "edited:secret"),
    )
    blank = blanked(full)
    assert (blank.state, blank.verdict, blank.answer, blank.known, blank.texts, blank.shown, blank.remarks) == (
        "done", "excluded", None, None, {}, {}, ()
    )  # fmt: skip
    assert [o.answer for o in blank.opinions] == [None]
    assert blanked(item()).state == "skipped"
    assert blanked(blank) is blank
