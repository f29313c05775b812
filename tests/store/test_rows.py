from __future__ import annotations

import os
import random
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.store.dying import watch
from tunekeeper.core.errors import ArtifactError, NotFound
from tunekeeper.store import packs, rows
from tunekeeper.store.blobs import Blobs
from tunekeeper.store.marks import Mark
from tunekeeper.store.rows import Rows

Line = tuple[bytes, str]
LAST = 99
"""A touch of a file that no run gets to."""


@pytest.fixture
def store(tmp_path: Path) -> Rows:
    return opened(tmp_path)


def opened(root: Path) -> Rows:
    return Rows(Blobs(root / "blobs"), root / "work" / "rows")


def some(count: int, seed: int = 1) -> list[Line]:
    rng = random.Random(seed)
    return [
        (b'{"id":"t%d","text":"%s"}\n' % (n, rng.randbytes(40).hex().encode()), "eval" if n % 9 == 0 else "train")
        for n in range(count)
    ]


def keep(store: Rows, lines: list[Line], *known: str) -> str:
    return store.keep(lines, lambda line: (line, Mark("x", False, float("nan"))), known).manifest


def size(root: Path) -> int:
    return sum(path.stat().st_size for path in root.rglob("*") if path.is_file())


def of(id: bytes) -> Callable[[bytes], tuple[str, None] | None]:
    """What erases the row of this name."""
    return lambda line: (id.decode(), None) if b'"id":"%s"' % id in line else None


def test_a_version_that_shares_its_rows_adds_what_is_new_and_nothing_adds_nothing(store: Rows, tmp_path: Path) -> None:
    lines = some(5000)
    first = keep(store, lines)
    before = size(tmp_path)
    assert keep(store, lines, first) == first
    assert size(tmp_path) == before
    changed = [*lines[:2000], (b'{"id":"new"}\n', "train"), *lines[2001:]]
    second = keep(store, changed, first)
    assert size(tmp_path) - before < 2000
    assert list(store.lines(second, "train")) == [line for line, side in changed if side == "train"]
    assert list(store.lines(first, "train")) == [line for line, side in lines if side == "train"]


def test_of_many_small_packs_the_smaller_half_become_one(store: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "MOST_SMALL", 6)
    lines, known, most = some(200), [], 0
    keep(opened(tmp_path / "one"), lines)
    size_of_one = size(tmp_path / "one")
    for end in range(10, 210, 10):
        known.insert(0, keep(store, lines[:end], *known))
        most = max(most, len(store.open(known[0]).manifest.packs))
    assert most == 7
    assert size(tmp_path) < 5 * size_of_one
    assert list(store.lines(known[0], "eval")) == [line for line, side in lines if side == "eval"]


def test_the_file_of_a_side_is_made_once_and_again_where_it_is_damaged(store: Rows) -> None:
    lines = some(50)
    manifest = keep(store, lines)
    path = store.file(manifest, "train")
    whole, made = path.read_bytes(), path.stat().st_ino
    assert whole == b"".join(line for line, side in lines if side == "train")
    assert store.file(manifest, "train").stat().st_ino == made
    path.chmod(0o644)
    path.write_bytes(whole[:-1] + b"x")
    assert store.file(manifest, "train").read_bytes() == whole


def test_a_file_that_nobody_asked_for_in_a_month_makes_room_for_a_new_one(store: Rows) -> None:
    old, fresh = keep(store, some(50)), keep(store, some(60, seed=2))
    path = store.file(old, "train")
    long_ago = path.stat().st_mtime - rows.MONTH - 60
    os.utime(path, (long_ago, long_ago))
    kept = store.file(fresh, "train")
    assert (path.exists(), kept.exists()) == (False, True)


def test_an_erased_row_is_gone_from_every_version_and_file_and_each_says_so(store: Rows, tmp_path: Path) -> None:
    lines = some(60)
    first = keep(store, lines)
    second = keep(store, [*lines[5:], (b'{"id":"new"}\n', "train")], first)
    path = store.file(second, "train")
    secret = lines[30][0].split(b'"')[7]
    dry = store.erase([first, second], of(b"t30"), dry_run=True)
    assert [(stone.id, stone.line) for stones in dry.values() for stone in stones] == [("t30", 31 - 4)], "eval rows lie behind"
    assert (len(store.erased(first)), len(store.erased(first, dry))) == (0, 1)
    gone = store.erase([first, second], of(b"t30"))
    assert gone == dry
    for manifest in (first, second):
        assert [stone.id for stone in store.erased(manifest)] == ["t30"]
        assert b"t30" not in b"".join(store.lines(manifest, "train"))
    assert len(list(store.lines(first, "train"))) == len([1 for _, side in lines if side == "train"]) - 1
    assert secret not in path.read_bytes()
    assert store.erase([first, second], of(b"t30")) == {}
    assert Blobs(tmp_path / "blobs").damaged()[1] == []


def test_an_erasure_reaches_packs_that_no_version_came_to_hold(store: Rows, tmp_path: Path) -> None:
    manifest = keep(store, some(9))
    (pack,) = store.open(manifest).manifest.packs
    store._blobs.path(manifest).unlink()
    assert [*store.erase([], of(b"t3"))] == [pack]
    assert b"t3" not in b"".join(packs.Pack(store._blobs.path(pack)).draft().lines)


def test_a_row_that_was_erased_is_stored_anew_when_somebody_brings_it_again(store: Rows) -> None:
    lines = some(20)
    first = keep(store, lines)
    store.erase([first], of(b"t3"))
    again = keep(store, lines, first)
    assert list(store.lines(again, "train")) == [line for line, side in lines if side == "train"]
    assert (len(store.erased(first)), len(store.erased(again))) == (1, 0)


def test_a_version_whose_blobs_are_not_here_is_told(store: Rows) -> None:
    manifest = keep(store, some(5))
    assert store.has(manifest)
    store._blobs.path(store.open(manifest).manifest.packs[0]).unlink()
    assert not store.has(manifest)
    with pytest.raises(NotFound):
        store.file(manifest, "train")
    unknown = "sha256:" + "0" * 64
    assert (store.has(unknown), store.erased(unknown)) == (False, ())


def killed_at(root: Path, number: int, work: Callable[[Rows], object]) -> bool:
    """Do something in a process that is killed at its n-th touch of a file; whether it was."""
    child = os.fork()
    if child == 0:
        try:
            watch(str(root), number)
            work(opened(root))
        finally:
            os._exit(0)  # whatever happens: what is below runs tests
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def test_a_kill_at_any_moment_leaves_whole_packs_or_none(tmp_path: Path) -> None:
    lines = some(40)
    first = keep(opened(tmp_path), lines[:20])
    for number in range(1, LAST):
        if not killed_at(tmp_path, number, lambda store: keep(store, lines, first)):
            break
        assert Blobs(tmp_path / "blobs").damaged()[1] == []
        assert list(opened(tmp_path).lines(first, "train")) == [line for line, side in lines[:20] if side == "train"]
    assert 4 < number < LAST
    second = keep(opened(tmp_path), lines, first)
    assert list(opened(tmp_path).lines(second, "train")) == [line for line, side in lines if side == "train"]


def test_an_erasure_that_was_killed_is_finished_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packs, "MOST_BYTES", 1500)
    lines, number = some(40), 0
    both = lambda line: of(b"t3")(line) or of(b"t31")(line)  # noqa: E731
    for number in range(1, LAST, 4):
        root = tmp_path / str(number)
        manifest = keep(opened(root), lines)
        opened(root).file(manifest, "train")
        killed = killed_at(root, number, lambda store, manifest=manifest: store.erase([manifest], both))
        assert Blobs(root / "blobs").damaged()[1] == []
        opened(root).erase([manifest], both)
        left = b"".join(opened(root).lines(manifest, "train"))
        assert opened(root).file(manifest, "train").read_bytes() == left
        assert sorted(stone.id for stone in opened(root).erased(manifest)) == ["t3", "t31"]
        assert b'"t3"' not in left
        if not killed:
            break
    assert 8 < number < LAST


OLD = (
    ("sha256:7d3584acaab6708b08e32c3e3a05f1b004e5db9420f3a92a0090c3e71988d0e4", 0, 300),
    ("sha256:a70f77fd25e5eca571066bf0112ba2298a061d830bc80fe6bbcbb10e3a787886", 10, 320),
)
"""Manifests of two versions that an earlier release stored (packs01.zip: a large pack and a small one), and their rows."""


def test_a_store_of_an_earlier_release_is_read_shared_and_has_the_digests_it_had(store: Rows, tmp_path: Path) -> None:
    with zipfile.ZipFile(Path(__file__).with_name("packs01.zip")) as old:
        old.extractall(tmp_path / "blobs")
    rng = random.Random(16)
    words = ["parcel", "invoice", "late", "broken", "again", "please", "refund", "login"]
    texts = [" ".join(rng.choices(words, k=12)).encode() for _ in range(320)]
    whole = [(b'{"id":"t%d","text":"%s"}\n' % (n, text), "eval" if n % 5 == 0 else "train") for n, text in enumerate(texts)]
    digests = []
    for manifest, first, last in OLD:
        for side in ("train", "eval"):
            wanted = [line for line, on in whole[first:last] if on == side]
            assert list(store.lines(manifest, side)) == wanted
            reader = store.open(manifest)
            assert reader.pick(reader.present(side)[::-1]) == wanted[::-1]
        assert (reader := store.open(manifest)).topics(reader.present("train"))["bug"] == sum(
            b"broken" in line for line, on in whole[first:last] if on == "train"
        )
        digests.append(store.keep(whole[first:last], lambda line: (line, Mark("", False, 0.0)), [manifest]))
    assert [kept.digest[7:15] for kept in digests] == ["7c29ec8f", "daecf731"]
    assert digests[0].manifest == OLD[0][0], "no row was stored again"


def test_one_wrong_byte_in_a_pack_of_an_earlier_release_which_has_no_checksums_is_told(store: Rows, tmp_path: Path) -> None:
    with zipfile.ZipFile(Path(__file__).with_name("packs01.zip")) as old:
        old.extractall(tmp_path / "blobs")
    manifest, rng, told = OLD[1][0], random.Random(17), 0
    whole = store.open(manifest)
    numbers = whole.present("train")
    right = whole.pick(numbers)
    for pack in whole.manifest.packs:
        path = tmp_path / "blobs" / pack[7:9] / pack[9:]
        path.chmod(0o644)
        data = path.read_bytes()
        for place in rng.sample(range(len(data) // 2, len(data)), 60):
            path.write_bytes(data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :])
            try:
                assert store.open(manifest).pick(numbers) == right
            except ArtifactError:
                told += 1
        path.write_bytes(data)
    assert told > 30
