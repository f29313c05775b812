"""A talk is read whatever its row calls it: turns, lines of a text, a tree of replies, two talks of which one won."""

from __future__ import annotations

from typing import Any

import pytest

from tunekeeper.data.conversations import Unreadable
from tunekeeper.data.rows import parse_row

WANTED = [("user", "Where is it?"), ("assistant", "In the kitchen.")]
ASKED, SAID = WANTED[0][1], WANTED[1][1]


def spoken(row: Any) -> list[tuple[str, Any]]:
    return [(m["role"], m["content"]) for m in parse_row(row, {}).messages]


@pytest.mark.parametrize(
    "row",
    [
        {"dialogue": [{"speaker": "USER", "text": ASKED}, {"speaker": "SYSTEM", "text": SAID}]},
        {"turns": [{"speaker": "customer", "utterance": ASKED}, {"speaker": "agent", "utterance": SAID}]},
        {"messages": [{"sender": "customer", "text": ASKED}, {"sender": "agent", "text": SAID}]},
        {"messages": [{"role": "user", "text": ASKED}, {"role": "assistant", "text": SAID}]},
        {"messages": [{"type": "human", "data": {"content": ASKED}}, {"type": "ai", "data": {"content": SAID}}]},
        {"conversation": [{"input": ASKED, "output": SAID}]},
        {"id": 3, "traj": [{"role": "user", "content": ASKED}, {"role": "assistant", "content": SAID}], "reward": 1.0},
        {"id": "0", "data": [ASKED, SAID]},
        {"transcript": f"Customer: {ASKED}\nAgent: {SAID}"},
        {"conversation": f"[10:01] Customer: {ASKED}\n[10:02] Agent: {SAID}\n[10:03] Customer: Thanks"},
        {"transcript": f"\n\nHuman: {ASKED}\n\nAssistant: {SAID}", "rating": 1.0},
    ],
)
def test_a_talk_is_read_under_whatever_name_it_stands(row: Any) -> None:
    assert spoken(row) == WANTED


def test_a_text_in_which_one_side_speaks_alone_is_no_talk() -> None:
    with pytest.raises(Unreadable, match="no column for 'assistant'"):
        parse_row({"text": "Agent: hello\nAgent: is anybody there?"}, {})


def test_a_tree_gives_the_way_of_the_best_replies_and_the_next_best_last_one() -> None:
    last = [{"role": "assistant", "text": text, "rank": rank, "replies": []} for text, rank in (("Meh.", 1), ("In Oslo.", 0))]
    more = {"role": "prompter", "text": "Which one?", "replies": last}
    best = {"role": "assistant", "text": SAID, "rank": 0, "replies": [more]}
    worse = {"role": "assistant", "text": "Somewhere.", "rank": 1, "replies": []}
    row = {"message_tree_id": "t", "prompt": {"role": "prompter", "text": ASKED, "replies": [worse, best]}}
    assert spoken(row) == [*WANTED, ("user", "Which one?"), ("assistant", "In Oslo.")]
    assert parse_row(row, {}).metadata == {"id": "t", "rejected": "Meh."}
    with pytest.raises(Unreadable, match="nobody answered"):
        parse_row({"prompt": {"role": "prompter", "text": ASKED, "replies": []}}, {})


def test_of_two_talks_the_winner_is_learned_and_a_tie_is_left_out() -> None:
    talks = [[{"role": "user", "content": ASKED}, {"role": "assistant", "content": text}] for text in ("Dunno.", SAID)]
    row = {"conversation_a": talks[0], "conversation_b": talks[1], "winner": "model_b"}
    made = parse_row(row, {})
    assert (made.messages[1]["content"], made.metadata["rejected"]) == (SAID, "Dunno.")
    with pytest.raises(Unreadable, match="nobody won"):
        parse_row(row | {"winner": "tie"}, {})


def test_messages_under_an_unknown_name_are_no_talk_where_they_stand_beside_a_question_or_other_ones() -> None:
    turns = [{"role": "user", "content": ASKED}, {"role": "assistant", "content": SAID}]
    for row in ({"log": turns, "question": "And now?"}, {"one": turns, "other": turns}, {"log": turns[:1]}):
        with pytest.raises(Unreadable, match="no column for"):
            parse_row(row, {})
