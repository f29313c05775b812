from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import orjson
import pytest

from tunekeeper.core.errors import DataError
from tunekeeper.core.nouns.data import Example
from tunekeeper.data import lines
from tunekeeper.data.examples import created_of, decode, encode, topic_of
from tunekeeper.data.tallies import SIDES, is_synthetic
from tunekeeper.store.marks import Mark

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


USUAL = (
    '{"fingerprint":"sha256:1","id":"1","messages":[{"content":"q\\u0001 \\\\ \\" \\n é 😀","role":"user"},'
    '{"content":"{\\"category\\":\\"bug\\"}","role":"assistant"}],"metadata":METADATA,"source":"s","split":"eval"}\n'
)
ODD = [
    *(
        USUAL.replace("METADATA", value)
        for value in ('{"b":1,"a":2}', '{"a":1,"a":1}', '{"a": 1}', '{"a":"\\u00e9"}', '{"a":1e3}')
    ),
    *(USUAL.replace("METADATA", value) for value in (f'{{"a":{2**70}}}', '{"a":-0}', '{"a":1.10}', '{"a":"\\/"}')),
    USUAL.replace("METADATA", "{}").replace('"id"', ' "id"'),
    USUAL.replace("METADATA", "{}").replace('"id":"1"', '"id":7'),
    USUAL.replace("METADATA", "{}").replace('"id":"1"', '"id":"0","id":"1"'),
    USUAL.replace("METADATA", "{}").replace(',"role":"user"', ',"name":"n","role":"user"'),
    USUAL.replace("METADATA", "{}").replace('"role":"user"', '"role":"user","content":"twice"'),
    USUAL.replace("METADATA", "{}").replace("\\u0001", "\\u0041"),
    USUAL.replace("METADATA", "{}").replace("é", "\\u00e9"),
    USUAL.replace("METADATA", "{}").replace("\n", "\r\n"),
    USUAL.replace("METADATA", "{}").replace("\n", "")[:-1] + "\r}\n",
    USUAL.replace("METADATA", "{}").replace('"eval"}', '"eval","weight":0.5}'),
    USUAL.replace("METADATA", "{}").replace(',"split":"eval"', ""),
]
PLAIN = [
    *(USUAL.replace("METADATA", value) for value in ("{}", '{"a":null,"b":[1,{"c":0.5}],"d":true}', '{"created":1750000000.5}')),
    *(USUAL.replace("METADATA", value) for value in ('{"category":"refund","synthetic":"yes"}', '{"é":"\x7f","😀":-7}')),
]


def alone(line: bytes) -> str:
    """The row of a draft's line, and what is counted of it, as text: dates may be nan."""
    row, side = lines.row_of(line)
    canonical, mark = lines.look(row)
    return str((canonical, side, mark))


def told(draft: list[bytes]) -> list[str]:
    """The same of lines that are looked at together."""
    found = lines.seen(draft)
    marks = [Mark(*each) for each in zip(found.topics, map(bool, found.made_up), found.dates, strict=True)]
    sides = [SIDES[side] for side in found.sides]
    return [str(each) for each in zip(found.lines, sides, marks, strict=True)]


@pytest.mark.parametrize("size", [1, 2, 400])
def test_lines_that_are_looked_at_together_are_what_each_is_alone(examples: list[Example], size: int) -> None:
    """However many of them are usual: one that is canonical, or is written otherwise, is told by its own line."""
    some = [each.encode() for each in (*PLAIN, *ODD)] + [encode(each, with_split=True) for each in examples]
    plain = [each.encode() for each in PLAIN] * 30
    for draft in (plain, some, [*plain, *some, *plain], [line for odd in some for line in (*plain[:20], odd)]):
        found = [each for first in range(0, len(draft), size) for each in told(draft[first : first + size])]
        assert found == list(map(alone, draft))
    assert lines.seen(plain).lines == [line.replace(b',"split":"eval"', b"") for line in plain]


def test_every_character_is_written_as_versions_have_it() -> None:
    """What proves that a line is canonical writes texts like what versions are written with."""
    text = "".join(map(chr, (*range(0xD800), *range(0xE000, 0x110000))))
    row = Example(id="1", messages=({"role": "user", "content": text},), fingerprint="f", source="s", metadata={"a": "b"})
    line = encode(row, with_split=True)
    assert (lines.seen([line]).lines, lines.seen([line]).sides) == ([encode(row)], b"\0")
    assert msgspec.json.encode(text) == orjson.dumps(text)


@pytest.mark.parametrize("bad", [b"\xff", b"\xed\xa0\x80", b"\xc0\x80", b"\x01", b"\\x", b'\\ud800"'], ids=repr)
def test_a_line_with_damaged_text_is_none(bad: bytes) -> None:
    line = USUAL.replace("METADATA", "{}").encode().replace("é".encode(), bad)
    with pytest.raises(DataError, match="a stored row is damaged"):
        lines.seen([line])
