from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tunekeeper.core.nouns.data import Example
from tunekeeper.data import lines
from tunekeeper.data.examples import created_of, decode, encode, topic_of
from tunekeeper.data.tallies import is_synthetic

TRAP = ',"split":"eval"}'


@pytest.fixture
def examples(row: Any) -> list[Example]:
    """Rows whose texts, tools and metadata look like the end of a line, or move it."""
    plain = row("q", f"the end is {TRAP}", id="1", split="eval", category="bug", created="2026-05-01T10:00:00Z")
    tool = {"type": "function", "function": {"name": "f", "parameters": {"a": 1, "split": "eval"}}}
    return [
        plain,
        replace(plain, id="2", split="eval"),
        replace(plain, id="3", tools=(tool,), split="train"),
        replace(plain, id="4", tools=({"name": "g", "split": "eval"},), split="eval"),
        replace(plain, id="5", weight=0.5, split="eval"),
        replace(plain, id="6", metadata={"inner": {"split": "eval"}, "synthetic": "yes"}, source=TRAP, split="train"),
        replace(plain, id="7", source='file:"x"\\', split="eval"),
    ]


def test_a_draft_gives_each_row_as_a_version_holds_it_with_its_side(examples: list[Example], tmp_path: Path) -> None:
    path = tmp_path / "draft.jsonl"
    path.write_bytes(b"".join(encode(e, with_split=True) for e in examples))
    assert list(lines.of_draft(path)) == list(lines.of_examples(examples)) == [(encode(e), e.split) for e in examples]
    assert list(lines.of_draft(tmp_path / "none")) == []


@pytest.mark.parametrize("side", ["train", "eval"])
def test_a_row_of_a_version_becomes_the_line_of_a_draft(examples: list[Example], side: Any) -> None:
    for each in examples:
        assert lines.for_draft(encode(each), side) == encode(replace(each, split=side), with_split=True)


def test_what_is_counted_of_a_line_is_what_is_counted_of_its_row(examples: list[Example]) -> None:
    for each in examples:
        line, mark = lines.look(encode(each))
        created = created_of(each.metadata)
        assert (line, mark.topic, mark.made_up) == (encode(each), topic_of(each), is_synthetic(each))
        assert mark.at == created.timestamp() if created is not None else mark.at != mark.at


def test_a_line_that_somebody_wrote_otherwise_becomes_canonical(examples: list[Example]) -> None:
    line = encode(examples[0])
    odd = (
        line.replace(b'{"fingerprint"', b'{ "more": 1, "fingerprint"').replace(b'"id":"1",', b"").replace(b"}\n", b',"id":"1"}\n')
    )
    assert lines.look(odd)[0] == line == encode(decode(odd))


def test_a_draft_without_its_last_line_end_gives_all_its_rows(examples: list[Example], tmp_path: Path) -> None:
    path = tmp_path / "draft.jsonl"
    path.write_bytes(b"".join(encode(e, with_split=True) for e in examples)[:-1])
    assert list(lines.of_draft(path)) == [(encode(e), e.split) for e in examples]
