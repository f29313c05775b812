"""The archive file: what goes in comes out, and nothing else is believed."""

from __future__ import annotations

import gc
import hashlib
import io
import json
import random
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import pytest
import zstandard

from tunekeeper.core.errors import ArtifactError, Busy, UserError
from tunekeeper.store import archive
from tunekeeper.store.archive import Caps, Header, Writer

HEADER = Header(format=1, product="0.1", created="2026-01-05T00:00:00+00:00", schemas={"control": "0001", "state": None})
FILES = {
    "control.db": b"x" * 3000,
    "blobs/aa/" + "b" * 62: b"",
    "log/" + "long/" * 40 + "deep.parquet": random.Random(7).randbytes(70_000),
}
Member = tuple[tarfile.TarInfo, bytes]


class _Into(dict[str, bytes]):
    """A sink that remembers."""

    def __call__(self, name: str, size: int, mode: int) -> BinaryIO:
        outer = self

        class Kept(io.BytesIO):
            def close(self) -> None:
                outer[name] = self.getvalue()
                super().close()

        return Kept()


def write(path: Path, files: dict[str, bytes]) -> archive.Contents:
    with path.open("wb") as file:
        writer = Writer(file, HEADER)
        for name, data in files.items():
            writer.add_bytes(name, data, 0o644)
        return writer.close()


def read(path: Path, caps: Caps | None = None) -> tuple[archive.Contents, dict[str, bytes]]:
    into = _Into()
    return archive.read(path, begin=lambda header: None, sink=into, caps=caps, durable=False), dict(into)


def made(path: Path, members: list[Member]) -> Path:
    """An archive with these members, as somebody else might make it."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as tar:
        for member, data in members:
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    path.write_bytes(zstandard.compress(plain.getvalue()))
    return path


def sound(
    *more: Member, name: str = "data/a", files: dict[str, Any] | None = None, header: dict[str, Any] | None = None
) -> list[Member]:
    """The members of a sound archive of one file, with `more` before its manifest."""
    head = header or {"format": 1, "product": "0", "created": "", "schemas": {}}
    listed = files if files is not None else {"a": [1, hashlib.sha256(b"1").hexdigest()]}
    first, last = json.dumps(head).encode(), json.dumps(listed).encode()
    one = (tarfile.TarInfo(name), b"1")
    return [(tarfile.TarInfo("backup.json"), first), one, *more, (tarfile.TarInfo("manifest.json"), last)]


def odd(name: str, change: Callable[[tarfile.TarInfo], None]) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    change(member)
    return member


def test_what_is_written_is_read_and_the_same_files_have_the_same_digest(tmp_path: Path) -> None:
    first = write(tmp_path / "1.tar.zst", FILES)
    second = write(tmp_path / "2.tar.zst", dict(reversed(FILES.items())))
    contents, files = read(tmp_path / "1.tar.zst")
    assert files == FILES
    assert contents == first
    assert (contents.files, contents.bytes, contents.header) == (3, 73_000, HEADER)
    assert first.digest == second.digest != write(tmp_path / "3.tar.zst", {**FILES, "control.db": b"y" * 3000}).digest


def test_a_source_that_ends_early_is_no_copy(tmp_path: Path) -> None:
    with (tmp_path / "a.tar.zst").open("wb") as file, pytest.raises(Busy, match="became shorter"):
        Writer(file, HEADER).add("spool/x", io.BytesIO(b"short"), 9, 0o600)


def test_what_is_broken_off_says_nothing_more_when_it_is_collected(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), (tmp_path / "a.tar.zst").open("wb") as file, Writer(file, HEADER) as writer:
        writer.add_bytes("log", random.Random(7).randbytes(1_500_000), 0o600)
        raise KeyboardInterrupt
    del writer
    gc.collect()


def test_every_cut_and_every_changed_byte_is_found(tmp_path: Path) -> None:
    """But for what is no part of any file: the marks after the manifest."""
    path, bad = tmp_path / "whole.tar.zst", tmp_path / "bad.tar.zst"
    whole = write(path, FILES)
    data, rng = path.read_bytes(), random.Random(11)
    places = [0, 1, len(data) // 2, *rng.sample(range(len(data)), 60)]
    for at in (*places, len(data) - 1):
        changed = bytearray(data)
        changed[at] ^= 1 << rng.randrange(8)
        for broken in (data[:at], bytes(changed)):
            bad.write_bytes(broken)
            if at < len(data) - 64:
                with pytest.raises(ArtifactError):
                    read(bad)
            elif (found := _sound(bad)) is not None:
                assert found == (whole, FILES)


def _sound(path: Path) -> tuple[archive.Contents, dict[str, bytes]] | None:
    try:
        return read(path)
    except ArtifactError:
        return None


@pytest.mark.parametrize(
    "name", ["a", "../a", "data/../a", "data//a", "data/", "/data/a", "data/./a", "data/b\\c", "data/" + "n" * 2000]
)
def test_a_name_that_leads_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ArtifactError):
        read(made(tmp_path / "x.tar.zst", sound(name=name)))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_what_is_no_plain_file_is_refused(tmp_path: Path, kind: bytes) -> None:
    link = odd("data/b", lambda m: (setattr(m, "type", kind), setattr(m, "linkname", "/etc/passwd"))[0])
    with pytest.raises(ArtifactError, match="not a plain file"):
        read(made(tmp_path / "x.tar.zst", sound((link, b""))))


def test_a_file_twice_missing_more_or_after_the_end_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.tar.zst"
    assert read(made(path, sound()))[1] == {"a": b"1"}
    with pytest.raises(ArtifactError, match="once"):
        read(made(path, sound((tarfile.TarInfo("data/a"), b"1"))))
    with pytest.raises(ArtifactError, match="b is not what the manifest says"):
        read(made(path, sound((tarfile.TarInfo("data/b"), b"1"))))
    with pytest.raises(ArtifactError, match="a is not what the manifest says"):
        read(made(path, sound(files={"a": [1, "0" * 64]})))
    with pytest.raises(ArtifactError, match="follows the manifest"):
        read(made(path, [*sound(), (tarfile.TarInfo("data/z"), b"")]))
    with pytest.raises(ArtifactError, match="cut short"):
        read(made(path, sound()[:-1]))
    with pytest.raises(ArtifactError, match="does not begin"):
        read(made(path, sound()[1:]))


def test_caps_hold(tmp_path: Path) -> None:
    path = tmp_path / "x.tar.zst"
    write(path, FILES)
    for caps in (Caps(entries=2), Caps(bytes=72_999), Caps(manifest_bytes=10)):
        with pytest.raises(ArtifactError):
            read(path, caps)
    assert read(path, Caps(entries=3, bytes=73_000))[1] == FILES


def test_a_header_that_claims_the_whole_memory_is_refused(tmp_path: Path) -> None:
    long = odd("data/b", lambda m: setattr(m, "type", tarfile.GNUTYPE_LONGNAME))
    with pytest.raises(ArtifactError):
        read(made(tmp_path / "x.tar.zst", sound((long, b"n" * (65 << 20)))))


def test_a_newer_layout_and_a_missing_file_are_named(tmp_path: Path) -> None:
    newer = made(tmp_path / "x.tar.zst", sound(header={"format": 2, "tables": []}))
    with pytest.raises(UserError, match="layout 2, newer than 1"):
        read(newer)
    with pytest.raises(UserError, match="no backup file"):
        read(tmp_path / "none.tar.zst")
