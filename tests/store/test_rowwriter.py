from __future__ import annotations

from pathlib import Path

import pytest

from tunekeeper.store import packs, rowwriter
from tunekeeper.store.blobs import Blobs
from tunekeeper.store.marks import Mark
from tunekeeper.store.rows import SIDES, Rows
from tunekeeper.store.rowwriter import content_digest

MARK = Mark("", False, float("nan"))


@pytest.fixture
def store(tmp_path: Path) -> Rows:
    return Rows(Blobs(tmp_path / "blobs"), tmp_path / "files")


def lines(*numbers: int) -> list[tuple[bytes, str]]:
    return [(b'{"id":"t%d"}\n' % n, "eval" if n % 5 == 0 else "train") for n in numbers]


def as_is(line: bytes) -> tuple[bytes, Mark]:
    return line, MARK


def test_a_row_is_looked_at_once_however_often_it_stands_there_and_in_however_many_versions(store: Rows) -> None:
    seen: list[bytes] = []

    def look(line: bytes) -> tuple[bytes, Mark]:
        seen.append(line)
        return line, MARK

    first = store.keep(lines(*range(10), 3, 3), look)
    second = store.keep(lines(*range(2, 12)), look, [first.manifest])
    assert len(seen) == 12
    assert (first.counts, second.counts) == ({"train": 10, "eval": 2}, {"train": 8, "eval": 2})
    assert [*store.lines(first.manifest, "train")][-2:] == [b'{"id":"t3"}\n'] * 2


def test_the_digest_is_of_content_order_and_sides_wherever_the_rows_lie(store: Rows) -> None:
    whole = store.keep(lines(*range(10)), as_is)
    parts = store.keep(lines(*range(5)), as_is)
    grown = store.keep(lines(*range(10)), as_is, [parts.manifest])
    assert grown.digest == whole.digest == content_digest(lines(*range(10)), SIDES)
    assert grown.manifest != whole.manifest, "one lies in one pack, one in two"
    others = [lines(*range(9, -1, -1)), lines(*range(9)), [(line, "train") for line, _ in lines(*range(10))]]
    assert len({whole.digest, *(content_digest(each, SIDES) for each in others)}) == 4


def test_a_row_that_is_written_otherwise_is_stored_as_it_should_be_written(store: Rows) -> None:
    odd = [(b'{ "id": "t1" }\n', "train"), (b'{"id":"t1"}\n', "train"), (b'{"id":"t5"}\n', "eval")]
    kept = store.keep(odd, lambda line: (line.replace(b" ", b""), MARK))
    assert [*store.lines(kept.manifest, "train")] == [b'{"id":"t1"}\n'] * 2
    assert kept.digest == content_digest([(line.replace(b" ", b""), side) for line, side in odd], SIDES)


def test_packs_of_which_no_row_is_left_are_not_named_any_more(store: Rows) -> None:
    first = store.keep(lines(1, 2, 5), as_is)
    second = store.keep(lines(1, 2, 5, 6, 7, 10), as_is, [first.manifest])
    third = store.keep(lines(6, 7, 10), as_is, [second.manifest])
    assert len(store.open(second.manifest).manifest.packs) == 2
    assert len(store.open(third.manifest).manifest.packs) == 1
    assert [*store.lines(third.manifest, "train"), *store.lines(third.manifest, "eval")] == [line for line, _ in lines(6, 7, 10)]


def test_many_rows_go_into_several_packs_with_each_side_in_order(store: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packs, "MOST_BYTES", 4000)
    monkeypatch.setattr(rowwriter, "TOGETHER", 1000)
    rows = lines(*range(2000))
    kept = store.keep(rows, as_is)
    assert len(store.open(kept.manifest).manifest.packs) > 5
    for side in SIDES:
        assert [*store.lines(kept.manifest, side)] == [line for line, on in rows if on == side]


def test_a_row_that_was_erased_is_not_what_a_new_one_is_taken_for(store: Rows) -> None:
    first = store.keep(lines(*range(1, 10)), as_is)
    store.erase([first.manifest], lambda line: ("t3", None) if line == b'{"id":"t3"}' else None)
    again = store.keep(lines(*range(1, 10)), as_is, [first.manifest])
    assert [*store.lines(again.manifest, "train")] == [line for line, side in lines(*range(1, 10)) if side == "train"]
    assert again.digest == first.digest
