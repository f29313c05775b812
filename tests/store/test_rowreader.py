from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from tunekeeper.core.errors import ArtifactError, NotFound
from tunekeeper.store import packs, rowreader
from tunekeeper.store.blobs import Blobs
from tunekeeper.store.marks import Mark
from tunekeeper.store.rowreader import apart
from tunekeeper.store.rows import SIDES, Rows

Line = tuple[bytes, str]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rows:
    """Packs and blocks of some rows only, so that a version has many of both."""
    monkeypatch.setattr(packs, "MOST_BYTES", 3000)
    monkeypatch.setattr(packs, "LARGE", 1500)
    monkeypatch.setitem(packs._BLOCK, "large", 200)
    monkeypatch.setitem(packs._BLOCK, "small", 400)
    return Rows(Blobs(tmp_path / "blobs"), tmp_path / "files")


def some(rng: random.Random, count: int) -> list[Line]:
    return [(b'{"id":"%d"}\n' % n, rng.choice(SIDES)) for n in rng.sample(range(10**6), count)]


def keep(store: Rows, rows: list[Line], *known: str) -> str:
    look = lambda line: (line, Mark(str(len(line)), line[7:8] == b"1", float(len(line))))  # noqa: E731
    return store.keep(rows, look, known).manifest


def test_rows_come_back_in_their_order_however_they_lie(store: Rows) -> None:
    rng = random.Random(4)
    rows = some(rng, 900)
    first = keep(store, rows)
    for _ in range(5):
        for _ in range(30):
            rows[rng.randrange(len(rows))] = some(rng, 1)[0]
        rng.shuffle(rows) if rng.random() < 0.4 else rows.pop(rng.randrange(len(rows)))
        first = keep(store, rows, first)
        for side in SIDES:
            assert b"".join(store.open(first).pieces(side)) == b"".join(line for line, on in rows if on == side)
    reader = store.open(first)
    numbers = reader.manifest.sides["train"][::-3]
    assert reader.pick(numbers) == [line for line, on in rows if on == "train"][::-3]


def test_a_block_is_read_once_though_rows_of_another_pack_stand_between_its_own(
    store: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rowreader, "_CACHED", 4)
    rng = random.Random(6)
    rows = [(line, "train") for line, _ in some(rng, 900)]
    first = keep(store, rows)
    rows[::11] = [(line, "train") for line, _ in some(rng, len(rows[::11]))]
    reader = store.open(keep(store, rows, first)).verified()
    read: list[int] = []
    alone, together = packs.Pack.block, packs.Pack.blocks
    monkeypatch.setattr(packs.Pack, "block", lambda pack, one: [read.append(1), alone(pack, one)][1])
    monkeypatch.setattr(packs.Pack, "blocks", lambda pack, many: [read.append(len(many)), together(pack, many)][1])
    assert b"".join(reader.pieces("train")) == b"".join(line for line, _ in rows)
    assert sum(read) <= sum(len(packs.Pack(store._blobs.path(name)).block_rows) for name in reader.manifest.packs)


def test_what_is_counted_of_rows_is_theirs(store: Rows) -> None:
    rows = some(random.Random(5), 500)
    reader = store.open(keep(store, rows))
    marks = reader.marks(reader.present("eval"))
    lines = [line for line, on in rows if on == "eval"]
    assert [marks.topics[code] for code in marks.topic.tolist()] == [str(len(line)) for line in lines]
    assert marks.made_up.tolist() == [line[7:8] == b"1" for line in lines]
    assert marks.at.tolist() == [float(len(line)) for line in lines]


@pytest.mark.parametrize("shared", [True, False])
def test_two_versions_are_told_apart_as_their_rows_say(store: Rows, shared: bool) -> None:
    rng = random.Random(6)
    rows = some(rng, 400)
    a = keep(store, rows)
    now = [(line, rng.choice(SIDES) if rng.random() < 0.1 else side) for line, side in rows if rng.random() < 0.9] + some(rng, 30)
    # Without sharing the same rows lie in other packs, and are known by their digests.
    b = keep(store, now, *([a] if shared else []))
    old, new = store.open(a), store.open(b)
    found = apart(old, new)

    def read(reader, sides):
        return {(line, side) for side, numbers in sides.items() for line in reader.pick(numbers)}

    before, after = dict(rows), dict(now)
    assert read(old, found.only_a) == {(line, side) for line, side in rows if line not in after}
    assert read(new, found.only_b) == {(line, side) for line, side in now if line not in before}
    assert read(old, found.moved) == {(line, side) for line, side in rows if after.get(line, side) != side}
    assert sorted(old.pick(found.kept)) == sorted(line for line in before if line in after)


def test_a_sample_is_spread_and_all_of_it_where_there_is_little(store: Rows) -> None:
    rows = [(b'{"id":"%d"}\n' % n, "train") for n in range(5000)]
    reader = store.open(keep(store, rows))
    numbers = reader.manifest.sides["train"]
    assert b"".join(reader.sample(numbers, 10_000)) == b"".join(line for line, _ in rows)
    chosen = packs.lines_of(b"".join(reader.sample(numbers, 1000)))
    assert 900 <= len(chosen) <= 1100
    assert any(line > b'{"id":"4' for line in chosen)


@pytest.mark.parametrize("share", [1, 50])
def test_rows_are_picked_in_any_order_twice_as_well_and_erased_ones_leave_their_place(store: Rows, share: int) -> None:
    rng = random.Random(8)
    rows = some(rng, 600)
    first = keep(store, rows)
    gone = {line for line, _ in rng.sample(rows, 40)}
    store.erase([first], lambda line: ("who", None) if line + b"\n" in gone else None)
    reader = store.open(first)
    held = [line for side in SIDES for line, on in rows if on == side]
    numbers = np.concatenate([reader.manifest.sides[side] for side in SIDES])
    places = rng.choices(range(len(held)), k=len(held) // share)
    picked = reader.pick(numbers[places])
    assert picked == [packs.GONE if held[place] in gone else held[place] for place in places]
    assert reader.verified().pick(numbers[places]) == picked
    assert reader.pick(numbers[:0]) == []


@pytest.mark.parametrize("share", [1, 50])
def test_one_wrong_byte_is_told_whether_few_rows_are_picked_or_many(store: Rows, share: int) -> None:
    rng = random.Random(9)
    manifest = keep(store, some(rng, 300))
    whole = store.open(manifest)
    numbers = np.arange(sum(whole.manifest.rows), dtype=np.uint32)[::share]
    right, path = whole.pick(numbers), store._blobs.path(whole.manifest.packs[0])
    data = path.read_bytes()
    path.chmod(0o644)
    for place in rng.sample(range(len(data)), 60):
        path.write_bytes(data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :])
        try:
            assert store.open(manifest).pick(numbers) == right
        except ArtifactError:
            continue


def test_damage_and_absence_are_told(store: Rows) -> None:
    manifest = keep(store, some(random.Random(7), 300))
    pack = store.open(manifest).manifest.packs[0]
    path = store._blobs.path(pack)
    whole = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(whole[:-3] + bytes([whole[-3] ^ 1]) + whole[-2:])
    with pytest.raises(ArtifactError, match="damaged"):
        list(store.lines(manifest, "train"))
    with pytest.raises(ArtifactError, match="damaged"):
        reader = store.open(manifest)
        reader.pick(np.arange(sum(reader.manifest.rows), dtype=np.uint32))
    path.write_bytes(whole[: -len(whole) // 4])
    reader = store.open(manifest)
    numbers = reader.present("train")
    for read in (reader.pick, lambda numbers: list(reader.sample(numbers, len(numbers)))):
        with pytest.raises(ArtifactError, match="damaged"):
            read(numbers)
    path.unlink()
    with pytest.raises(NotFound, match=f"blob {pack} is not in this workspace"):
        store.open(manifest)
