from __future__ import annotations

import random
from array import array
from pathlib import Path

import pytest

from tunekeeper.store import runs
from tunekeeper.store.blobs import Blobs
from tunekeeper.store.marks import Mark, digests_of
from tunekeeper.store.rows import SIDES, Kept, Rows
from tunekeeper.store.runs import NEW, Known, Looked

Line = tuple[bytes, str]
MARK = Mark("", False, float("nan"))


class Store:
    """Keeps the lines of a draft, and counts those that are looked at."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.rows = Rows(Blobs(root / "blobs"), root / "files")
        self.opened = 0

    def keep(self, lines: list[Line], *known: str) -> Kept:
        return self.rows.keep_draft(lambda before: [self.look(lines[:7], before), self.look(lines[7:], before)], "desk", known)

    def look(self, lines: list[Line], known: Known) -> Looked:
        """A row is known by eight bytes of its line and its side; there are no runs."""
        hashes = [line[-9:-1].rjust(7) + side[:1].encode() for line, side in lines]
        there = {known.hashes[i : i + 8]: i // 8 for i in range(0, len(known.hashes), 8)}
        places = [there.get(each, NEW) for each in hashes]
        fresh = [n for n, place in enumerate(places) if place == NEW]
        self.opened += len(fresh)
        found = [lines[n][0] for n in fresh]
        return Looked(
            seed=9,
            steps=array("I", [n for place in places for n in (place, 1)]).tobytes(),
            marks=b"m" * 16,
            sizes=array("I", [1]).tobytes(),
            counts=array("I", [len(lines)]).tobytes(),
            text=b"".join(found),
            lengths=array("I", map(len, found)).tobytes(),
            digests=b"".join(digests_of(found)),
            sides=bytes(SIDES.index(lines[n][1]) for n in fresh),
            hashes=b"".join(hashes[n][:8] for n in fresh),
            topics=[MARK.topic] * len(fresh),
            made_up=bytes([MARK.made_up] * len(fresh)),
            dates=array("d", [MARK.at] * len(fresh)).tobytes(),
        )


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def some(count: int) -> list[Line]:
    return [(b"%07d\n" % n, "eval" if n % 5 == 0 else "train") for n in range(count)]


def test_rows_that_come_again_are_not_looked_at_and_the_version_is_the_same(store: Store) -> None:
    lines, rng = some(300), random.Random(1)
    kept = store.keep(lines)
    assert store.opened == 300
    for _ in range(4):
        at = rng.randrange(0, 300, 3)
        lines[at : at + 3] = [(b"%07d\n" % rng.randrange(1000, 10**7), "train") for _ in range(3)]
        lines.insert(0, lines.pop())
        store.opened = 0
        kept = store.keep(lines, kept.manifest)
        assert store.opened == 3
        assert kept == Rows(Blobs(store.root / "blobs"), store.root / "f").keep(lines, lambda line: (line, MARK), [kept.manifest])
        for side in ("train", "eval"):
            assert list(store.rows.lines(kept.manifest, side)) == [line for line, on in lines if on == side]
            assert b"".join(kept.reader.pieces(side)) == b"".join(line for line, on in lines if on == side)
        assert runs.load(store.rows.runs_of("desk")).manifest == kept.manifest
    assert len(list((store.root / "files").iterdir())) == 1, "that of the newest version alone is kept"


@pytest.mark.parametrize("twice", [(3, 4), (2, 12), (0, 6)], ids=["beside", "in the next stretch", "on the other side"])
def test_a_row_that_stands_twice_in_a_draft_is_stored_once_and_named_twice(store: Store, twice: tuple[int, int]) -> None:
    lines, (one, other) = some(20), twice
    lines[other] = (lines[one][0], lines[other][1])
    kept = store.keep(lines)
    assert sum(kept.reader.manifest.rows) == 19
    assert kept == Rows(Blobs(store.root / "b"), store.root / "f").keep(lines, lambda line: (line, MARK))
    assert [*kept.reader.pieces("train")] == [b"".join(line for line, side in lines if side == "train")]


@pytest.mark.parametrize("damage", ["gone", "torn", "erased", "another version's"])
def test_without_what_is_known_of_a_draft_every_line_is_looked_at_again(store: Store, damage: str) -> None:
    lines = some(30)
    first = store.keep(lines)
    path = store.rows.runs_of("desk")
    if damage == "gone":
        path.unlink()
    elif damage == "torn":
        path.write_bytes(path.read_bytes()[:-1])
    elif damage == "erased":
        store.rows.erase([first.manifest], lambda line: ("row 7", None) if line == b"0000007" else None)
    else:
        store.keep(some(10), first.manifest)
    store.opened = 0
    again = store.keep(lines, first.manifest)
    assert store.opened == 30
    assert again.digest == first.digest
    assert list(store.rows.lines(again.manifest, "train")) == [line for line, on in lines if on == "train"]


def test_what_is_known_comes_back_as_it_was_and_each_kind_of_damage_is_nothing(tmp_path: Path) -> None:
    path = runs.path_of(tmp_path / "work", "desk")
    known = Known(
        manifest="sha256:" + "ab" * 32,
        seed=2**64 - 1,
        marks=bytes(range(32)),
        sizes=array("I", [700, 2**32 - 1]),
        counts=array("I", [2, 1]),
        hashes=bytes(range(24)),
        sides=b"\0\1\0",
    )
    runs.save(path, known)
    found = runs.load(path)
    parts = ("manifest", "seed", "marks", "sizes", "counts", "hashes", "sides")
    assert [getattr(found, part) for part in parts] == [getattr(known, part) for part in parts]
    assert found.digest
    whole = path.read_bytes()
    for data in (b"", whole[:5], whole[:-1], whole[:30] + b"x" + whole[31:]):
        path.write_bytes(data)
        assert runs.load(path).manifest == ""
    path.unlink()
    assert runs.load(path).manifest == ""


def test_where_nothing_can_be_noted_nothing_is(tmp_path: Path) -> None:
    (tmp_path / "work").write_bytes(b"a file")
    runs.save(runs.path_of(tmp_path / "work", "desk"), Known(manifest="sha256:" + "ab" * 32))
    assert runs.load(runs.path_of(tmp_path / "work", "desk")).manifest == ""
