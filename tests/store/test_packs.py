from __future__ import annotations

import random
from pathlib import Path

import pytest

from tunekeeper.core.errors import ArtifactError
from tunekeeper.store import packs
from tunekeeper.store.marks import Mark, digest_of
from tunekeeper.store.packs import Draft, Pack

NAN = float("nan")


def draft(count: int, seed: int = 1) -> Draft:
    rng, made = random.Random(seed), Draft()
    for number in range(count):
        line = b'{"id":"t%d","text":"%s"}\n' % (number, " ".join(rng.choices(WORDS, k=rng.randint(1, 60))).encode())
        made.add(line, digest_of(line), Mark(rng.choice(("", "bug", "refund")), rng.random() < 0.2, float(number)))
    return made


WORDS = ["parcel", "invoice", "Zürich", "überall", "late", "broken", "again", "please", "refund", "login"]


@pytest.fixture(params=["small", "large"])
def rows(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Draft:
    """Rows that make a pack of one kind or the other; the large one learns a dictionary."""
    if request.param == "large":
        monkeypatch.setattr(packs, "LARGE", 1)
    return draft(3000)


def opened(path: Path, data: bytes) -> Pack:
    path.write_bytes(data)
    return Pack(path)


def test_a_pack_gives_back_every_row_its_digest_and_what_is_counted_of_it(rows: Draft, tmp_path: Path) -> None:
    pack = opened(tmp_path / "p", packs.build(rows.sheet()))
    assert (pack.rows, pack.size) == (3000, sum(map(len, rows.lines)))
    assert pack.draft() == rows
    assert [line for i in range(len(pack.block_rows)) for line in pack.block(i)] == rows.lines
    assert packs.build(rows.sheet()) == packs.build(rows.sheet())


def test_rows_that_share_much_take_little_and_an_empty_line_holds_its_place(rows: Draft, tmp_path: Path) -> None:
    whole = packs.build(rows.sheet())
    assert len(whole) < 0.6 * sum(map(len, rows.lines))
    pack = opened(tmp_path / "p", packs.without(rows, [0, 17, 2999]))
    left = pack.draft()
    assert (pack.rows, [left.lines[i] for i in (0, 17, 2999)]) == (3000, [packs.GONE] * 3)
    assert [n for n, gone in enumerate(pack.gone.tolist()) if gone] == [0, 17, 2999]
    assert left.lines[1:17] == rows.lines[1:17]
    assert (left.topics[17], left.made_up[17], left.dates[17] == left.dates[17]) == ("", False, False)


def test_what_was_erased_is_not_in_the_dictionary_either(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(packs, "LARGE", 1)
    rows = draft(2000)
    rows.lines = [line[:-3] + b' mallory lives in Elm Street"}\n' if n % 2 else line for n, line in enumerate(rows.lines)]
    assert b"mallory lives" in packs.build(rows.sheet()), "the dictionary, which is not compressed, shows it"
    data = packs.without(rows, range(1, 2000, 2))
    pack = opened(tmp_path / "p", data)
    assert b"mallory" not in data
    assert not any(b"mallory" in line for i in range(len(pack.block_rows)) for line in pack.block(i))


def test_one_wrong_byte_anywhere_is_told(rows: Draft, tmp_path: Path) -> None:
    data, rng = packs.build(rows.sheet()), random.Random(2)
    places = [0, 9, 20, *(rng.randrange(len(data)) for _ in range(150))]
    for place in places:
        broken = data[:place] + bytes([data[place] ^ 0x40]) + data[place + 1 :]
        try:
            found = opened(tmp_path / f"b{place}", broken).draft()
        except ArtifactError:
            continue
        assert found.lines == rows.lines, f"byte {place} changed what is read and nothing tells"


@pytest.mark.parametrize("data", [b"", b"tkpack01", b"tkpack01" + b"\xff" * 40, b"not a pack at all, but long enough"])
def test_a_file_that_is_no_pack_is_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(ArtifactError, match="damaged"):
        opened(tmp_path / "p", data)


def test_long_rows_are_blocks_of_their_own(tmp_path: Path) -> None:
    rows = Draft()
    for size in (3_000_000, 10, 700_000):
        line = bytes([97 + size % 26]) * size + b"\n"
        rows.add(line, digest_of(line), Mark("", False, NAN))
    pack = opened(tmp_path / "p", packs.build(rows.sheet()))
    assert (pack.block_rows.tolist(), pack.draft().lines) == ([1, 2], rows.lines)
