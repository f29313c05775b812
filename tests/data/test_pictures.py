from __future__ import annotations

from typing import Any

import pytest

from tunekeeper.data.rows import parse_row

PNG = "iVBORw0KGgo="
ASKED = [{"type": "image"}, {"type": "text", "text": "What is it?"}]


def shown(row: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    made = parse_row(row, {})
    return made.messages[0]["content"], made.metadata


def parts(url: str) -> list[dict[str, Any]]:
    return [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "What is it?"}]


@pytest.mark.parametrize(
    ("row", "url"),
    [
        ({"messages": [{"role": "user", "content": "<image>What is it?"}], "images": ["a/1.jpg"]}, "a/1.jpg"),
        ({"messages": [{"role": "user", "content": ASKED}], "images": [{"bytes": None, "path": "a/1.jpg"}]}, "a/1.jpg"),
        (
            {"messages": [{"role": "user", "content": ASKED}], "images": [{"bytes": f"data:;base64,{PNG}"}]},
            f"data:image/png;base64,{PNG}",
        ),
        ({"conversations": [{"from": "human", "value": "<image>\nWhat is it?"}], "image": "coco/1.jpg"}, "coco/1.jpg"),
        ({"conversations": [{"from": "human", "value": "What is it?"}], "image": "coco/1.jpg"}, "coco/1.jpg"),
        ({"messages": [{"role": "user", "content": "What is it?"}], "images": ["https://a/1.PNG?s=2"]}, "https://a/1.PNG?s=2"),
    ],
)
def test_a_picture_beside_the_messages_is_part_of_the_one_that_shows_it(row: dict[str, Any], url: str) -> None:
    key = "messages" if "messages" in row else "conversations"
    said = {"role": "assistant", "content": "A dog."} if key == "messages" else {"from": "gpt", "value": "A dog."}
    assert shown(row | {key: [*row[key], said]}) == (parts(url), {})


def test_a_row_with_more_marks_than_pictures_stays_as_it_is() -> None:
    talk = [{"role": "user", "content": "<image><image>?"}, {"role": "assistant", "content": "A dog."}]
    assert shown({"messages": talk, "images": ["a.jpg"]}) == ("<image><image>?", {"images": ["a.jpg"]})


@pytest.mark.parametrize("names", [("instruction", "output"), ("question", "answer")])
def test_a_picture_beside_a_question_is_asked_with_it_and_what_is_no_picture_is_not(names: tuple[str, str]) -> None:
    row = dict(zip(names, ("What is it?", "A dog."), strict=True))
    assert shown(row | {"image": "coco/1.jpg"}) == (parts("coco/1.jpg"), {})
    assert shown(row | {"image": "525439"}) == ("What is it?", {"image": "525439"})
