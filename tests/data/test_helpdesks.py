from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from tunekeeper.data.conversations import Unreadable
from tunekeeper.data.formats import read_rows
from tunekeeper.data.rows import parse_row

ZENDESK = {
    "id": 35,
    "subject": "Pump",
    "description": "It leaks.",
    "status": "closed",
    "created_at": "2026-03-01T10:00:00Z",
    "requester": {"id": 5, "name": "Ada", "email": "ada@example.org"},
    "tags": ["pump"],
    "comments": [
        {"author_id": 5, "plain_body": "It leaks.", "public": True},
        {"author_id": 5, "body": "And it is loud.", "public": True},
        {"author_id": 9, "body": "She is a difficult one.", "public": False},
        {"author_id": 9, "html_body": "<p>Hold &amp; turn the valve.<br>Twice.</p>", "public": True},
        {"author_id": 5, "body": "Thanks!", "public": True},
    ],
}
INTERCOM = {
    "type": "conversation",
    "id": "77",
    "created_at": 1767000000,
    "source": {"body": "<p>Where is it?</p>", "author": {"type": "user", "id": "u1"}},
    "conversation_parts": {
        "type": "conversation_part.list",
        "conversation_parts": [
            {"part_type": "assignment", "body": None, "author": {"type": "bot"}},
            {"part_type": "note", "body": "<p>ask Bo</p>", "author": {"type": "admin"}},
            {"part_type": "comment", "body": "<p>On its way.</p>", "author": {"type": "admin"}},
        ],
    },
}
CHATGPT = {
    "title": "Tea",
    "create_time": 1767000000.5,
    "conversation_id": "c1",
    "current_node": "e",
    "mapping": {
        "r": {"id": "r", "message": None, "parent": None},
        "a": {"message": {"author": {"role": "user"}, "content": {"content_type": "text", "parts": ["How hot?"]}}, "parent": "r"},
        "b": {"message": {"author": {"role": "assistant"}, "content": {"content_type": "text", "parts": ["no"]}}, "parent": "a"},
        "c": {"message": {"author": {"role": "assistant"}, "content": {"content_type": "thoughts"}}, "parent": "a"},
        "d": {
            "message": {
                "author": {"role": "assistant"},
                "recipient": "python",
                "content": {"content_type": "text", "parts": ["1+1"]},
            },
            "parent": "c",
        },
        "e": {
            "message": {
                "author": {"role": "assistant"},
                "recipient": "all",
                "content": {"content_type": "text", "parts": ["80 degrees."]},
            },
            "parent": "d",
        },
    },
}
CLAUDE = {
    "uuid": "x1",
    "name": "Tea",
    "created_at": "2026-01-01T00:00:00Z",
    "chat_messages": [
        {
            "sender": "human",
            "content": [{"type": "text", "text": "How hot?"}],
            "attachments": [{"extracted_content": "green"}],
        },
        {"sender": "assistant", "text": "80 degrees.", "content": []},
    ],
}


@pytest.mark.parametrize(
    ("shape", "row", "said", "metadata"),
    [
        (
            "zendesk",
            ZENDESK,
            [("user", "It leaks.\n\nAnd it is loud."), ("assistant", "Hold & turn the valve.\nTwice.")],
            {"id": 35, "created": "2026-03-01T10:00:00Z", "subject": "Pump", "status": "closed", "tags": ["pump"], "user_id": 5},
        ),
        (
            "intercom",
            INTERCOM,
            [("user", "Where is it?"), ("assistant", "On its way.")],
            {"id": "77", "created": 1767000000, "user_id": "u1"},
        ),
        (
            "chatgpt",
            CHATGPT,
            [("user", "How hot?"), ("assistant", "80 degrees.")],
            {"id": "c1", "created": 1767000000.5, "subject": "Tea"},
        ),
        (
            "claude",
            CLAUDE,
            [("user", "How hot?\ngreen"), ("assistant", "80 degrees.")],
            {"id": "x1", "created": "2026-01-01T00:00:00Z", "subject": "Tea"},
        ),
    ],
)
def test_a_talk_is_read_as_both_sides_saw_it(shape: str, row: dict[str, Any], said: Any, metadata: dict[str, Any]) -> None:
    talk = parse_row(row, {})
    assert talk.shape == shape
    assert [(m["role"], m["content"]) for m in talk.messages] == said
    assert talk.metadata == metadata
    cells = {key: json.dumps(value) if isinstance(value, dict | list) else value for key, value in row.items()}
    assert parse_row(cells, {}).messages == talk.messages


def test_a_page_of_tickets_is_read_ticket_by_ticket(tmp_path: Path) -> None:
    path = tmp_path / "tickets.json"
    path.write_text(json.dumps({"tickets": [ZENDESK, {**ZENDESK, "id": 36}], "next_page": None, "count": 2}))
    assert [row.conversation.metadata["id"] for row in read_rows(path) if row.conversation] == [35, 36]


PICTURE = {"content_type": "multimodal_text", "parts": [{}]}


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({**ZENDESK, "comments": ZENDESK["comments"][:3]}, "a talk that nobody answered"),  # type: ignore[index]
        ({**ZENDESK, "comments": "all of them"}, "`comments` must be a list of objects"),
        ({**CHATGPT, "current_node": "z"}, "a talk that nobody answered"),
        (
            {"current_node": "a", "mapping": {"a": {"message": {"author": {"role": "user"}, "content": PICTURE}}}},
            "a talk about a picture or a recording that the export does not hold",
        ),
    ],
)
def test_a_talk_without_an_answer_says_so(row: dict[str, Any], why: str) -> None:
    with pytest.raises(Unreadable, match=why):
        parse_row(row, {})


def test_a_path_that_goes_in_circles_ends() -> None:
    nodes = {name: {**CHATGPT["mapping"][name], "parent": other} for name, other in (("a", "e"), ("e", "a"))}  # type: ignore[index]
    assert len(parse_row({**CHATGPT, "mapping": nodes}, {}).messages) == 2


def test_a_damaged_talk_is_read_or_says_why_and_never_ends_otherwise() -> None:
    rng = random.Random(7)
    odd: list[Any] = [None, 5, "text", [], {}, [None], [[]], {"type": "user"}, True]

    def damaged(value: Any) -> Any:
        if rng.random() < 0.15:
            return rng.choice(odd)
        if isinstance(value, dict):
            return {key: damaged(item) for key, item in value.items()}
        return [damaged(item) for item in value] if isinstance(value, list) else value

    refused = 0
    for row in (ZENDESK, INTERCOM, CHATGPT, CLAUDE):
        for _ in range(300):
            try:
                parse_row({key: damaged(value) for key, value in row.items()}, {})
            except Unreadable:
                refused += 1
    assert 100 < refused < 1100


def test_a_ticket_of_freshdesk_is_what_both_sides_saw() -> None:
    replies = [
        {"body_text": "In the kitchen.", "incoming": False, "private": False},
        {"body_text": "Tell nobody.", "incoming": False, "private": True},
    ]
    row = {"id": 1, "requester_id": 5, "description": "<p>Where is it?</p>", "conversations": replies}
    made = parse_row(row, {})
    assert [(m["role"], m["content"]) for m in made.messages] == [("user", "Where is it?"), ("assistant", "In the kitchen.")]
    assert (made.shape, made.metadata) == ("freshdesk", {"id": 1, "user_id": 5})


def test_who_wrote_a_comment_of_zendesk_may_stand_in_its_author() -> None:
    comments = [{"author": {"id": 5}, "body": "Where?"}, {"author": {"id": 9}, "body": "There."}]
    made = parse_row({"id": 1, "requester": {"id": 5}, "comments": comments}, {})
    assert [m["role"] for m in made.messages] == ["user", "assistant"]
