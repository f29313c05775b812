from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from tunekeeper import data
from tunekeeper.core.errors import UserError
from tunekeeper.core.nouns.retraining import Model
from tunekeeper.data import brought, drafts
from tunekeeper.data.config import Config
from tunekeeper.data.importreport import ImportReport
from tunekeeper.workspace import Workspace

Write = Callable[[str, Iterable[Any]], Path]
WORDS = ("harbour", "ladder", "meadow", "needle", "orange", "pencil", "quartz", "river", "stone", "timber", "valley", "window")


def rows(first: int, last: int, **more: Any) -> list[dict[str, Any]]:
    """Rows that ask nothing alike."""
    asked = [" ".join(random.Random(n).sample(WORDS, 8)) + f" {n}" for n in range(first, last)]
    return [{"prompt": text, "completion": f"It is number {n}.", "id": f"r{n}", **more} for n, text in enumerate(asked, first)]


@pytest.fixture
def load(ws: Workspace, task: Model) -> Callable[..., ImportReport]:
    def made(*paths: Path, **options: Any) -> ImportReport:
        return data.import_files(ws, task, Config(), paths, **options)

    return made


def sides(ws: Workspace) -> dict[str, str]:
    return {row.id: row.split for row in drafts.load_draft(ws, "desk")}


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("train.jsonl", "test.jsonl"),
        ("data/train-00000-of-00001.jsonl", "data/validation-00000-of-00001.jsonl"),
        ("train/one.jsonl", "held_out/two.jsonl"),
        ("train_sft.jsonl", "test_sft.jsonl"),
        ("support.training.jsonl", "support-dev.jsonl"),
    ],
)
def test_the_splits_that_files_are_called_after_are_kept_where_that_is_asked_for(
    ws: Workspace, load: Callable[..., ImportReport], write: Write, tmp_path: Path, train: str, test: str
) -> None:
    for name in (train, test):
        (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
    write(f"set/{train}", rows(0, 14))
    write(f"set/{test}", rows(14, 20))
    report = load(tmp_path / "set", keep_splits=True)
    assert sides(ws) == {f"r{n}": "train" if n < 14 else "eval" for n in range(20)}
    assert (report.brought, report.kept) == ({"train": 14, "eval": 6},) * 2
    assert brought.line(report.brought, report.kept) == "splits kept: 14 rows to learn from, 6 held out"


@pytest.mark.parametrize("shape", ["columns", "openai"])
def test_a_row_that_names_its_split_is_of_that_one_whatever_its_file_is_called(
    ws: Workspace, load: Callable[..., ImportReport], write: Write, shape: str
) -> None:
    said = [
        row
        for n, split in enumerate(("train", "VALIDATION", "test", "word by word"))
        for row in rows(n * 5, n * 5 + 5, split=split)
    ]
    if shape == "openai":
        talk = [
            ({"role": "user", "content": row.pop("prompt")}, {"role": "assistant", "content": row.pop("completion")})
            for row in said
        ]
        said = [{**row, "messages": messages} for row, messages in zip(said, talk, strict=True)]
    report = load(write("train.jsonl", said), keep_splits=True)
    assert [sides(ws)[f"r{n}"] for n in (0, 5, 10, 15)] == ["train", "eval", "eval", "train"]
    assert report.kept == {"train": 10, "eval": 10}


def test_without_asking_the_rows_are_dealt_out_and_the_import_says_what_would_keep_their_splits(
    ws: Workspace, load: Callable[..., ImportReport], write: Write
) -> None:
    files = write("train.jsonl", rows(0, 30)), write("test.jsonl", rows(30, 40))
    report = load(*files)
    assert Counter(sides(ws).values()) == {"train": 36, "eval": 4}
    told = "the data bring splits of their own (30 rows to learn from, 10 held out): --keep-splits keeps them"
    assert (report.kept, brought.line(report.brought, report.kept)) == (None, told)
    again = load(*files, keep_splits=True)  # nothing was frozen: nothing was learned from these sides yet
    assert (again.added, again.kept) == (0, {"train": 30, "eval": 10})
    assert Counter(sides(ws).values()) == {"train": 30, "eval": 10}
    assert load(*files).brought == {}


def test_a_row_of_a_version_never_changes_sides(
    ws: Workspace, task: Model, load: Callable[..., ImportReport], write: Write
) -> None:
    load(write("a.jsonl", rows(0, 20)))
    data.freeze(ws, task, Config())
    frozen = sides(ws)
    other = write("test.jsonl", rows(0, 20)), write("train.jsonl", rows(20, 30))
    report = load(*other, keep_splits=True)
    assert {id: side for id, side in sides(ws).items() if id in frozen} == frozen
    assert (report.brought, report.kept) == ({"train": 10, "eval": 20}, {"train": 10, "eval": 2})
    assert brought.line(report.brought, report.kept).endswith("; 18 keep the side that they have in a version")


def test_rows_that_belong_together_and_were_brought_apart_stay_so_and_are_named(
    ws: Workspace, load: Callable[..., ImportReport], write: Write
) -> None:
    train = [*rows(0, 20), *rows(20, 22, user_id="ana")]
    test = [*rows(30, 34), *rows(34, 36, user_id="ana"), {**rows(3, 4)[0], "id": "again"}]
    late = rows(40, 41, user_id="ana")  # says nothing: it goes with its group
    report = load(write("train.jsonl", train), write("test.jsonl", test), write("more.jsonl", late), keep_splits=True)
    assert report.flagged == {"leak": 3}
    assert (report.dropped, sides(ws)["r3"]) == ({"exact_duplicate": 1}, "eval")  # what is brought on both sides is held out
    assert [sides(ws)[f"r{n}"] for n in (20, 21, 34, 35, 40)] == ["train", "train", "eval", "eval", "train"]


def test_splits_that_nothing_tells_are_refused_and_nothing_is_written(
    ws: Workspace, load: Callable[..., ImportReport], write: Write
) -> None:
    with pytest.raises(UserError, match=r"--keep-splits: no row says of which split it is.*name the files train.jsonl"):
        load(write("rows.jsonl", rows(0, 5)), keep_splits=True)
    assert sides(ws) == {}
