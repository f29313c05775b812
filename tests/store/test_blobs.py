from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tunekeeper.core.errors import ArtifactError, DiskFull, NotFound, UserError
from tunekeeper.core.ids import digest_bytes
from tunekeeper.store.blobs import Blobs, link_or_copy


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return Blobs(tmp_path / "blobs")


def everything(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]


def test_what_is_put_is_found_by_its_digest(blobs: Blobs, tmp_path: Path) -> None:
    file = tmp_path / "a.bin"
    file.write_bytes(b"weights")
    digest = blobs.put_bytes(b"weights")
    assert digest == digest_bytes(b"weights") == blobs.put_file(file)
    assert blobs.read(digest) == b"weights"
    assert blobs.has(digest)
    assert blobs.verify(digest)
    assert len(everything(blobs.root)) == 1
    assert not os.stat(blobs.path(digest)).st_mode & 0o222, "a blob is not to be written to"


def test_a_folder_comes_back_as_it_was(blobs: Blobs, tmp_path: Path) -> None:
    folder = tmp_path / "adapter"
    (folder / "deep").mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "deep" / "w.safetensors").write_bytes(b"\x00" * 5000)
    digest = blobs.put_folder(folder)
    assert blobs.put_folder(folder) == digest
    out = blobs.checkout_folder(digest, tmp_path / "out")
    assert {path.relative_to(out).as_posix(): path.read_bytes() for path in everything(out)} == {
        "config.json": b"{}",
        "deep/w.safetensors": b"\x00" * 5000,
    }
    assert blobs.checkout_folder(digest, tmp_path / "out") == out, "a folder that is out already is left alone"


def test_a_folder_with_a_damaged_file_does_not_come_back(blobs: Blobs, tmp_path: Path) -> None:
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "w.safetensors").write_bytes(b"weights")
    digest = blobs.put_folder(folder)
    path = blobs.path(digest_bytes(b"weights"))
    path.chmod(0o644)
    path.write_bytes(b"weightz")

    with pytest.raises(ArtifactError, match=r"w\.safetensors is damaged"):
        blobs.checkout_folder(digest, tmp_path / "out")

    assert sorted(each.name for each in tmp_path.iterdir()) == ["adapter", "blobs"]


def test_a_put_that_fails_half_way_leaves_nothing(blobs: Blobs, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFull):
        blobs.put_bytes(b"x" * 100_000)
    assert everything(blobs.root) == []
    assert not blobs.has(digest_bytes(b"x" * 100_000))
    monkeypatch.undo()
    assert blobs.read(blobs.put_bytes(b"x" * 100_000)) == b"x" * 100_000


def test_a_manifest_is_written_after_everything_it_names(blobs: Blobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "f"
    folder.mkdir()
    for name in "abc":
        (folder / name).write_text(name)
    whole = Blobs(tmp_path / "whole").put_folder(folder)
    synced = os.fsync
    calls = 0

    def third_fails(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls >= 5:
            raise OSError(errno.EIO, "broken")
        synced(descriptor)

    monkeypatch.setattr(os, "fsync", third_fails)
    with pytest.raises(OSError, match="broken"):
        blobs.put_folder(folder)
    assert not blobs.has(whole)
    assert all(blobs.verify("sha256:" + path.parent.name + path.name) for path in everything(blobs.root))


def test_a_damaged_blob_is_never_handed_out(blobs: Blobs) -> None:
    digest = blobs.put_bytes(b"good")
    path = blobs.path(digest)
    path.chmod(0o644)
    path.write_bytes(b"evil")
    assert not blobs.verify(digest)
    with pytest.raises(ArtifactError, match=digest):
        blobs.read(digest)


def test_missing_things_are_named(blobs: Blobs, tmp_path: Path) -> None:
    absent = digest_bytes(b"absent")
    assert not blobs.verify(absent)
    with pytest.raises(NotFound, match=absent):
        blobs.read(absent)
    with pytest.raises(NotFound):
        blobs.put_file(tmp_path / "none")
    with pytest.raises(NotFound):
        blobs.put_folder(tmp_path / "none")
    with pytest.raises(UserError, match="not a digest"):
        blobs.path("../../etc/passwd")


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/../../evil", ""])
def test_a_manifest_cannot_write_outside_its_folder(blobs: Blobs, tmp_path: Path, name: str) -> None:
    inner = blobs.put_bytes(b"x")
    digest = blobs.put_bytes(f'{{"files":{{"{name}":"{inner}"}}}}'.encode())
    with pytest.raises(ArtifactError, match="outside"):
        blobs.checkout_folder(digest, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "evil").exists()


def test_a_blob_that_is_no_manifest_is_refused_as_a_folder(blobs: Blobs, tmp_path: Path) -> None:
    for data in (b"not json", b"[]", b'{"files": 3}', b"{}"):
        with pytest.raises(ArtifactError, match="manifest"):
            blobs.checkout_folder(blobs.put_bytes(data), tmp_path / "out")


ROWS = b'{"id":"a"}\n{"id":"b","text":"secret"}\n{"id":"c"}\n{"id":"d"}'


def without(*names: str, instead: bytes | None = None) -> Callable[[bytes], tuple[str, bytes | None] | None]:
    def change(line: bytes) -> tuple[str, bytes | None] | None:
        name = json.loads(line)["id"]
        return (name, instead) if name in names else None

    return change


def test_erased_lines_go_and_the_blob_keeps_its_name(blobs: Blobs) -> None:
    digest = blobs.put_bytes(ROWS)
    assert blobs.erase_lines(digest, without("b"), dry_run=True) == 1
    assert (blobs.read(digest), blobs.erased(digest)) == (ROWS, ())
    assert blobs.erase_lines(digest, without("b")) == 1
    assert blobs.read(digest) == b'{"id":"a"}\n{"id":"c"}\n{"id":"d"}'
    assert blobs.erase_lines(digest, without("b")) == 0
    assert blobs.erase_lines(digest, without("d")) == 1
    assert [(stone.line, stone.id) for stone in blobs.erased(digest)] == [(2, "b"), (4, "d")], "lines as they were frozen"
    assert (blobs.verify(digest), blobs.damaged(), blobs.erased_lines()) == (True, (1, []), 2)
    assert not os.stat(blobs.path(digest)).st_mode & 0o222
    assert blobs.put_bytes(ROWS) == digest
    assert b"secret" not in blobs.read(digest), "what was erased does not come back by being put again"


def test_a_line_may_be_replaced_and_stays_in_its_place(blobs: Blobs) -> None:
    digest = blobs.put_bytes(ROWS)
    blobs.erase_lines(digest, without("b", instead=b'{"id":"B"}'))
    blobs.erase_lines(digest, without("c"))
    assert blobs.read(digest) == b'{"id":"a"}\n{"id":"B"}\n{"id":"d"}'
    assert [(stone.line, stone.id, stone.kept) for stone in blobs.erased(digest)] == [(2, "b", True), (3, "c", False)]


def test_damage_is_told_from_erasure(blobs: Blobs) -> None:
    digest = blobs.put_bytes(ROWS)
    blobs.erase_lines(digest, without("b"))
    path = blobs.path(digest)
    path.chmod(0o644)
    path.write_bytes(path.read_bytes().replace(b'"c"', b'"x"'))
    assert (blobs.verify(digest), blobs.damaged()) == (False, (1, [digest]))
    with pytest.raises(ArtifactError, match="damaged"):
        blobs.read(digest)


@pytest.mark.parametrize("earlier", [(), ("a",)])
def test_an_erasure_that_was_killed_counts_nothing_and_is_done_again(
    blobs: Blobs, monkeypatch: pytest.MonkeyPatch, earlier: tuple[str, ...]
) -> None:
    digest = blobs.put_bytes(ROWS)
    blobs.erase_lines(digest, without(*earlier))
    real = os.replace

    def killed(source: Path, target: Path) -> None:
        if Path(target) == blobs.path(digest):
            raise KeyboardInterrupt
        real(source, target)

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        blobs.erase_lines(digest, without("b"))
    monkeypatch.undo()
    assert blobs.verify(digest)
    assert [stone.id for stone in blobs.erased(digest)] == list(earlier)
    assert blobs.erase_lines(digest, without("b")) == 1
    assert [(stone.line, stone.id) for stone in blobs.erased(digest)] == [*((1, name) for name in earlier), (2, "b")]
    assert blobs.verify(digest)


def test_a_folder_too_large_to_have_twice_is_checked_out_as_further_names_of_its_blobs(blobs: Blobs, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_bytes(b"w" * 1000)
    digest = blobs.put_folder(tmp_path / "model")
    out = blobs.checkout_folder(digest, tmp_path / "out", link=True)
    blob = blobs.path(blobs.files(digest)["weights"])
    assert (out / "weights").samefile(blob)
    link_or_copy(blob, tmp_path / "again")
    assert (tmp_path / "again").samefile(blob)
    blob.chmod(0o644)
    blob.write_bytes(b"v" * 1000)
    with pytest.raises(ArtifactError, match="weights is damaged"):
        blobs.checkout_folder(digest, tmp_path / "other", link=True)
