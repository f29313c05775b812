from __future__ import annotations

import random
from pathlib import Path

import pytest

from tunekeeper.store.blobs import Blobs
from tunekeeper.store.packs import Mark, digest_of
from tunekeeper.store.rows import SIDES, Kept, Rows
from tunekeeper.store.runs import Known, Looked

Line = tuple[bytes, str]
MARK = Mark("", False, float("nan"))


class Store:
    """Keeps lines as runs, and counts those that are looked into."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.rows = Rows(Blobs(root / "blobs"), root / "files")
        self.opened = 0

    def keep(self, lines: list[Line], *known: str) -> Kept:
        """Runs of three lines, each with its side behind it."""
        whole = [line[:-1] + b" " + side.encode() + b"\n" for line, side in lines]
        runs = [b"".join(whole[i : i + 3]) for i in range(0, len(whole), 3)]
        seen = lambda known, parse: [self.look_at(run, known) for run in runs]  # noqa: E731
        return self.rows.keep_runs(seen, lambda line: (line, MARK), known)

    def look_at(self, run: bytes, known: Known) -> Looked:
        turn = known.turns.get(digest_of(run), -1)
        self.opened += turn < 0
        parts = [line.rpartition(b" ") for line in run.splitlines()] if turn < 0 else []
        return Looked(
            marks=[digest_of(run)],
            turns=[turn],
            counts=[len(parts)] if parts else [],
            lines=[text + b"\n" for text, _, _ in parts],
            sides=bytes(SIDES.index(side.decode()) for _, _, side in parts),
            digests=[],
            told=[],
        )


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def some(count: int) -> list[Line]:
    return [(b"row %d\n" % n, "eval" if n % 5 == 0 else "train") for n in range(count)]


def test_runs_that_come_again_are_not_looked_into_and_the_version_is_the_same(store: Store) -> None:
    lines, rng = some(300), random.Random(1)
    kept = store.keep(lines)
    assert store.opened == 100
    for _ in range(4):
        at = rng.randrange(0, 300, 3)
        lines[at : at + 3] = [(b"new %d\n" % rng.randrange(10**9), "train")] * 3
        store.opened = 0
        kept = store.keep(lines, kept.manifest)
        assert store.opened == 1
        assert kept == Rows(Blobs(store.root / "blobs"), store.root / "f").keep(lines, lambda line: (line, MARK), [kept.manifest])
        for side in ("train", "eval"):
            assert list(store.rows.lines(kept.manifest, side)) == [line for line, on in lines if on == side]
    assert len(list((store.root / "files").glob("*.runs"))) == 1, "that of the newest version alone is kept"


@pytest.mark.parametrize("damage", ["gone", "torn", "erased"])
def test_without_what_is_known_of_runs_every_line_is_looked_at_again(store: Store, damage: str) -> None:
    lines = some(30)
    first = store.keep(lines)
    (path,) = (store.root / "files").glob("*.runs")
    if damage == "gone":
        path.unlink()
    elif damage == "torn":
        data = path.read_bytes()
        path.chmod(0o644)
        path.write_bytes(data[: len(data) // 2])
    else:
        store.rows.erase([first.manifest], lambda line: ("row 7", None) if line == b"row 7" else None)
    store.opened = 0
    again = store.keep(lines, first.manifest)
    assert store.opened == 10
    assert again.digest == first.digest
    assert list(store.rows.lines(again.manifest, "train")) == [line for line, on in lines if on == "train"]
