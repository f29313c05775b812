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


def runs_of(path: Path) -> list[bytes]:
    return [bytes(run) for some in lines.runs_of_draft(path) for run in some]


def test_a_draft_comes_in_runs_and_a_new_row_changes_few_of_them(row: Any, tmp_path: Path) -> None:
    whole = [encode(row(f"q{n}", "a", id=f"t{n}"), with_split=True) for n in range(400)]
    path = tmp_path / "draft.jsonl"
    path.write_bytes(b"".join(whole))
    before = runs_of(path)
    assert b"".join(before) == b"".join(whole)
    assert 50 <= len(before) <= 80
    assert all(run.count(b"\n") >= 5 for run in before[:-1])
    path.write_bytes(b"".join([*whole[:50], encode(row("new", "a"), with_split=True), *whole[50:]]))
    after = runs_of(path)
    assert len([run for run in after if run not in before]) <= 6
    assert list(lines.runs_of_draft(tmp_path / "none")) == []


def test_the_rows_of_runs_are_told_from_each_other_wherever_their_sides_stand(examples: list[Example]) -> None:
    whole = [encode(each, with_split=True) for each in examples]
    runs = [memoryview(b"".join(whole[a:b])) for a, b in ((0, 3), (3, 4), (4, 7))]
    rows, sides, counts = lines.of_runs(runs)
    assert rows == [encode(each) for each in examples]
    assert [lines.SIDES[side] for side in sides] == [each.split for each in examples]
    assert counts == [3, 1, 3]
    short = encode(Example(id="", messages=(), fingerprint=""), with_split=True)
    assert lines.of_runs([memoryview(short[:-1])]) == ([encode(decode(short))], b"\0", [1])


def test_the_spans_of_a_draft_are_whole_lines_and_all_of_it(row: Any, tmp_path: Path) -> None:
    path = tmp_path / "draft.jsonl"
    for end in (b"", b"\n"):
        path.write_bytes(b"\n".join(b"%d" % n * (n % 90) for n in range(500)) + end)
        data = path.read_bytes()
        spans = list(lines.spans_of_draft(path, 300))
        assert b"".join(data[a:b] for a, b in spans) == data
        assert all(data[:b].endswith(b"\n") for _, b in spans[:-1])
        assert len(spans) > 50
    assert list(lines.spans_of_draft(tmp_path / "none", 300)) == []


def test_lines_longer_than_what_is_read_at_once_and_files_without_a_last_line_end_come_whole(tmp_path: Path, row: Any) -> None:
    long = [encode(row(f"q{n} " + "x" * n * 900_000, "a", id=f"t{n}"), with_split=True) for n in range(4)]
    short = [encode(row(f"q{n}", "a", id=f"t{n}"), with_split=True) for n in range(3000)]
    path = tmp_path / "draft.jsonl"
    for whole in (long, [*short, *long, *short], [b"{}\n"] * 400_000):
        path.write_bytes(b"".join(whole)[:-1])
        runs = runs_of(path)
        assert b"".join(runs) == path.read_bytes()
        assert all(run.endswith(b"\n") for run in runs[:-1])
        assert max(map(len, runs)) < 8_000_000
    path.write_bytes(b"".join([*short, *long])[:-1])
    assert list(lines.of_draft(path)) == [(encode(decode(line)), decode(line).split) for line in (*short, *long)]
