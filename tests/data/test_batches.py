from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard

from tunekeeper import data
from tunekeeper.core.errors import DataError
from tunekeeper.core.nouns.retraining import Model
from tunekeeper.data import drafts
from tunekeeper.data.config import Config
from tunekeeper.workspace import Workspace

Write = Callable[[str, Any], Path]
PAIRS = [(f"Where is parcel {i}?", f"Parcel {i} is on its way.") for i in range(4)]


def openai(pairs: list[tuple[str, str]], salt: str = "") -> tuple[list[Any], list[Any]]:
    """The rows of a batch's requests and of its answers, the answers in another order."""
    asked = [
        {"custom_id": f"r-{i}", "method": "POST", "url": "/v1/chat/completions", "body": {"messages": [_user(q)]}}
        for i, (q, _) in enumerate(pairs)
    ]
    said = [
        {"id": f"batch_{salt}{i}", "custom_id": f"r-{i}", "response": {"status_code": 200, "body": _completion(a)}, "error": None}
        for i, (_, a) in enumerate(pairs)
    ]
    return asked, said[::-1]


def _user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def _completion(text: str) -> dict[str, Any]:
    choice = {"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return {"object": "chat.completion", "choices": [choice]}


def anthropic() -> tuple[list[Any], list[Any]]:
    said = [{"type": "succeeded", "message": {"role": "assistant", "content": [{"type": "text", "text": a}]}} for _, a in PAIRS]
    return (
        [{"custom_id": f"r-{i}", "params": {"messages": [_user(q)]}} for i, (q, _) in enumerate(PAIRS)],
        [{"custom_id": f"r-{i}", "result": result} for i, result in enumerate(said)],
    )


def _said(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "parts": [{"text": text}]}


def gemini() -> tuple[list[Any], list[Any]]:
    return (
        [{"key": f"r-{i}", "request": {"contents": [_said("user", q)]}} for i, (q, _) in enumerate(PAIRS)],
        [{"key": f"r-{i}", "response": {"candidates": [{"content": _said("model", a)}]}} for i, (_, a) in enumerate(PAIRS)],
    )


def said_in(ws: Workspace) -> set[tuple[str, str]]:
    return {(row.messages[0]["content"], row.messages[-1]["content"]) for row in drafts.load_draft(ws, "desk")}


@pytest.mark.parametrize("batch", [openai(PAIRS), anthropic(), gemini()])
def test_answers_of_a_batch_meet_their_requests_in_whichever_order_the_files_are_named(
    ws: Workspace, write: Write, batch: tuple[list[Any], list[Any]]
) -> None:
    asked, said = write("asked.jsonl", batch[0]), write("said.jsonl", batch[1])
    done = data.import_files(ws, Model(name="desk"), Config(), [said, asked])
    assert (done.rows, done.added, [file.file for file in done.files]) == (4, 4, ["said.jsonl"])
    assert said_in(ws) == set(PAIRS)
    assert {row.metadata["custom_id"] for row in drafts.load_draft(ws, "desk")} == {"r-0", "r-1", "r-2", "r-3"}
    assert data.import_files(ws, Model(name="desk"), Config(), [asked, said]).added == 0


def test_the_same_batch_asked_of_bedrock_has_both_in_a_row(ws: Workspace, write: Write) -> None:
    rows = [
        {"recordId": f"c{i}", "modelInput": {"messages": [_user(q)]}, "modelOutput": {"content": [{"type": "text", "text": a}]}}
        for i, (q, a) in enumerate(PAIRS)
    ]
    data.import_files(ws, Model(name="desk"), Config(), [write("out.jsonl", rows)])
    assert said_in(ws) == set(PAIRS)


def test_answers_without_their_requests_are_refused_with_the_file_to_add(ws: Workspace, write: Write) -> None:
    with pytest.raises(DataError, match="the answer to 'r-3' of a batch comes without its request") as caught:
        data.import_files(ws, Model(name="desk"), Config(), [write("said.jsonl", openai(PAIRS)[1])])
    assert caught.value.fix == "name the file of the requests too: tunekeeper data import REQUESTS.jsonl said.jsonl --model NAME"


def test_requests_without_an_answer_are_refused(ws: Workspace, write: Write) -> None:
    with pytest.raises(DataError, match="4 requests of a batch, and none of the files holds an answer"):
        data.import_files(ws, Model(name="desk"), Config(), [write("asked.jsonl", openai(PAIRS)[0])])


def test_a_request_that_failed_or_is_missing_is_a_row_left_out(ws: Workspace, write: Write) -> None:
    asked, said = openai(PAIRS)
    failed = {"id": "b", "custom_id": "r-0", "response": None, "error": {"code": "batch_expired", "message": "too late"}}
    files = [write("asked.jsonl", asked[:3]), write("said.jsonl", [*said[:3], failed])]
    done = data.import_files(ws, Model(name="desk"), Config(), files)
    assert (done.added, done.dropped) == (2, {"broken": 2})
    assert [line.partition(": ")[2] for line in done.broken] == [
        "the answer to 'r-3' of a batch comes without its request",
        "the request 'r-0' of a batch failed: {'code': 'batch_expired', 'message': 'too late'}",
    ]


def test_an_answer_never_meets_the_request_of_another_batch(ws: Workspace, write: Write) -> None:
    asked, said = openai(PAIRS)
    other, _ = openai([("Who are you?", "Me."), *PAIRS[1:]])
    files = [write("asked.jsonl", asked), write("other.jsonl", other), write("said.jsonl", said)]
    done = data.import_files(ws, Model(name="desk"), Config(), files)
    assert done.broken == ("said.jsonl:4: 'r-0' is the name of two requests: import each batch by itself",)
    assert said_in(ws) == set(PAIRS[1:])


def test_a_folder_and_packed_files_of_a_batch_are_read_requests_first(ws: Workspace, write: Write, tmp_path: Path) -> None:
    asked, said = openai(PAIRS)
    folder = tmp_path / "batch"
    folder.mkdir()
    write("z_requests.jsonl", asked).rename(folder / "z_requests.jsonl")
    write("answers.jsonl", said).rename(folder / "answers.jsonl")
    assert data.import_files(ws, Model(name="desk"), Config(), [folder]).added == 4
    for suffix, pack in (("gz", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress), ("zst", zstandard.compress)):
        packed = tmp_path / f"requests.jsonl.{suffix}"
        packed.write_bytes(pack((folder / "z_requests.jsonl").read_bytes()))
        found = data.import_files(ws, Model(name="desk"), Config(), [folder / "answers.jsonl", packed], replace=True)
        assert found.examples == 4


def test_every_row_is_counted_also_one_that_says_nothing_or_cannot_be_kept(ws: Workspace, write: Write) -> None:
    asked, said = openai(PAIRS)
    asked[0]["body"]["seed"] = 10**30
    asked[1]["body"]["messages"] = [_user("\ud800")]
    files = [write("asked.jsonl", [*asked, None]), write("said.jsonl", said)]
    report = data.import_files(ws, Model(name="desk"), Config(), files)
    assert (report.rows, report.added, report.dropped) == (7, 2, {"broken": 5})
