"""Files with a message a row become talks, and who of the people is the assistant is told, never guessed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tunekeeper.core.errors import DataError
from tunekeeper.data import threads
from tunekeeper.data.formats import read_rows

Talk = list[tuple[str, Any]]
SLACK = [
    {"type": "message", "user": "U1", "text": "Where &amp; when?", "ts": "100.1"},
    {"type": "message", "subtype": "channel_join", "user": "U3", "text": "joined", "ts": "101.0"},
    {"type": "message", "user": "U3", "text": "A plan?", "ts": "102.0", "thread_ts": "102.0"},
    {"type": "message", "user": "U2", "text": "Here, now.", "ts": "103.0", "thread_ts": "100.1", "user_profile": {"name": "bob"}},
    {"type": "message", "subtype": "bot_message", "username": "Bob", "text": "Yes.", "ts": "104.0", "thread_ts": "102.0"},
]
DISCORD = {
    "guild": {"id": "1"},
    "channel": {"id": "2"},
    "messages": [
        {"id": "1", "type": "Default", "timestamp": "2024-01-01T10:00:00+00:00", "content": "How?", "author": {"name": "ann"}},
        {"id": "2", "type": "Default", "timestamp": "2024-01-01T10:01:00+00:00", "content": "Why?", "author": {"name": "cid"}},
        {
            "id": "3",
            "type": "Reply",
            "timestamp": "2024-01-01T10:02:00+00:00",
            "content": "Write &lt;b&gt;.",
            "author": {"name": "bob", "nickname": "Helper"},
            "reference": {"messageId": "1"},
        },
    ],
}


def talks(path: Path, *assistants: str) -> list[Talk | str]:
    rows = read_rows(path, assistants=frozenset(assistants))
    return [
        row.broken if row.conversation is None else [(m["role"], m["content"]) for m in row.conversation.messages] for row in rows
    ]


def saved(path: Path, content: Any) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
    return path


def test_a_thread_of_slack_is_a_talk_also_over_the_files_of_two_days(tmp_path: Path) -> None:
    wanted = [[("user", "Where & when?"), ("assistant", "Here, now.")], [("user", "A plan?"), ("assistant", "Yes.")]]
    assert talks(saved(tmp_path / "day.json", SLACK), "bob") == wanted
    saved(tmp_path / "export" / "1.json", SLACK[:3])
    saved(tmp_path / "export" / "2.json", SLACK[3:])
    assert talks(tmp_path / "export", "bob") == wanted


def test_without_a_name_of_who_answers_nothing_is_read_and_the_names_are_told(tmp_path: Path) -> None:
    first, second = talks(saved(tmp_path / "day.json", SLACK))
    assert first == f"{threads.NOBODY}'U1', 'U2'"
    assert second == f"{threads.NOBODY}'U3', 'Bob'"


def test_a_reply_belongs_to_what_it_answers(tmp_path: Path) -> None:
    path = saved(tmp_path / "d.json", DISCORD)
    assert talks(path, "helper") == [[("user", "How?"), ("assistant", "Write &lt;b&gt;.")], f"{threads.NOBODY}'cid'"]


def test_where_two_people_ask_and_nothing_says_whom_an_answer_is_for_it_is_left_out(tmp_path: Path) -> None:
    rows = [dict(row) for row in DISCORD["messages"]]  # type: ignore[attr-defined]
    del rows[2]["reference"]
    [why] = talks(saved(tmp_path / "d.json", {**DISCORD, "messages": rows}), "bob")
    assert "2 people ask here" in str(why)


def test_an_hour_of_silence_ends_a_talk_and_texts_in_pieces_are_one(tmp_path: Path) -> None:
    said = [
        ("Ann", ["How", {"type": "bold", "text": " so?"}], 0),
        ("Help", "Thus.", 60),
        ("Ann", "And?", 9000),
        ("Help", "No.", 9060),
    ]
    messages = [{"id": n, "type": "message", "from": who, "text": text, "ts": at} for n, (who, text, at) in enumerate(said)]
    path = saved(tmp_path / "result.json", {"name": "x", "type": "personal_chat", "id": 1, "messages": messages})
    assert talks(path, "help") == [[("user", "How so?"), ("assistant", "Thus.")], [("user", "And?"), ("assistant", "No.")]]


@pytest.mark.parametrize(
    "table",
    [
        "conversation_id,role,content\n1,user,Hi?\n2,user,Ho?\n1,assistant,Hello.\n2,assistant,Hm.\n",
        "ticket_id,sender,message,created_at\n1,agent,Hello.,2024-01-02T00:00:00Z\n1,customer,Hi?,2024-01-01\n"
        "2,customer,Ho?,2024-01-01\n2,agent,Hm.,2024-01-03\n",
        "tweet_id,author_id,inbound,created_at,text,in_response_to_tweet_id\n1,shop,False,x,Hello.,2\n2,115,True,y,Hi?,\n"
        "3,116,True,z,Ho?,\n4,shop,False,z,Hm.,3\n",
    ],
)
def test_a_table_with_a_message_a_row_gives_a_talk_for_each_conversation(tmp_path: Path, table: str) -> None:
    path = saved(tmp_path / "t.csv", table)
    assert talks(path) == [[("user", "Hi?"), ("assistant", "Hello.")], [("user", "Ho?"), ("assistant", "Hm.")]]
    assert next(row.line for row in read_rows(path)) in (2, 3)


def test_of_replies_that_were_ranked_the_best_way_is_taken(tmp_path: Path) -> None:
    told = [("a", None, "prompter", "Hi?", None), ("b", "a", "assistant", "Go.", 1), ("c", "a", "assistant", "Hello.", 0)]
    keys = ("message_id", "parent_id", "role", "text", "rank")
    rows = [dict(zip(keys, each, strict=True)) | {"message_tree_id": "a"} for each in told]
    assert talks(saved(tmp_path / "o.json", rows)) == [[("user", "Hi?"), ("assistant", "Hello.")]]


def test_too_many_messages_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "MOST", 3)
    with pytest.raises(DataError, match="more than 3 messages, a row each"):
        talks(saved(tmp_path / "day.json", SLACK), "bob")


def test_a_thread_of_teams_is_a_talk_of_what_people_said(tmp_path: Path) -> None:
    said = [("1", None, "Ann", "Where?"), ("2", "1", "Bob", "<p>Here &amp; now.</p>"), ("3", None, None, "joined")]
    messages = [
        {
            "id": id,
            "replyToId": to,
            "messageType": "message" if who else "systemEventMessage",
            "createdDateTime": f"2026-01-01T10:0{id}:00Z",
            "from": {"user": {"id": id, "displayName": who}} if who else None,
            "body": {"contentType": "html" if text.startswith("<") else "text", "content": text},
        }
        for id, to, who, text in said
    ]
    path = saved(tmp_path / "channel.json", {"value": messages})
    assert talks(path, "bob") == [[("user", "Where?"), ("assistant", "Here & now.")]]
