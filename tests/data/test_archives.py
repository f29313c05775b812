from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import stat
import struct
import time
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from tunekeeper.core.errors import DataError
from tunekeeper.data import archives
from tunekeeper.data.formats import RawRow, read_rows

LINE = json.dumps({"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}).encode() + b"\n"
BOMB = 48 << 20
"""Bytes of nothing that a bomb in these tests unpacks to; a real one is larger, and refused at the same place."""


def zipped(path: Path, entries: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def read(path: Path) -> list[tuple[str, int, str]]:
    return [(row.file, row.line, row.broken) for row in read_rows(path)]


def zeros_of(pack: Callable[[bytes], bytes], end: Callable[[], bytes]) -> bytes:
    piece = bytes(1 << 20)
    return b"".join([pack(piece) for _ in range(BOMB >> 20)]) + end()


def refused(path: Path, message: str) -> None:
    """The file is refused in one line, in little time and memory."""
    tracemalloc.start()
    begun = time.process_time()
    with pytest.raises(DataError, match=message) as caught:
        list(read_rows(path))
    taken, peak = time.process_time() - begun, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "\n" not in str(caught.value)
    assert taken < 20
    assert peak < 50 << 20


def test_packed_files_are_read_as_what_is_in_them(tmp_path: Path) -> None:
    table = b"prompt;answer\nHi;Hello\n"
    whole = zstandard.ZstdCompressor().compress(LINE) + zstandard.ZstdCompressor().compress(LINE)
    assert read(written(tmp_path / "a.jsonl.gz", gzip.compress(LINE, mtime=0) * 2)) == [
        ("a.jsonl.gz", 1, ""),
        ("a.jsonl.gz", 2, ""),
    ]
    assert read(written(tmp_path / "b.jsonl.zst", whole)) == [("b.jsonl.zst", 1, ""), ("b.jsonl.zst", 2, "")]
    assert read(written(tmp_path / "c.csv.gz", gzip.compress(table, mtime=0))) == [("c.csv.gz", 2, "")]
    assert read(written(tmp_path / "d.gz", gzip.compress(b"[" + LINE + b"]", mtime=0))) == [("d.gz", 1, "")]


@pytest.mark.parametrize(("suffix", "pack"), [("bz2", bz2.compress), ("xz", lzma.compress)])
def test_bzip2_and_xz_are_read_stream_by_stream(tmp_path: Path, suffix: str, pack: Callable[[bytes], bytes]) -> None:
    name, many = f"b.jsonl.{suffix}", LINE * 3000
    assert read(written(tmp_path / name, pack(LINE) + pack(LINE) + bytes(8))) == [(name, 1, ""), (name, 2, "")]
    assert len(read(written(tmp_path / name, pack(many)))) == 3000
    for content in (pack(many)[:-9], pack(LINE)[:20], b"no archive at all", pack(LINE) + b"more"):
        refused(written(tmp_path / name, content), rf"b\.jsonl\.{suffix}: not readable as (bzip2|xz)")


def test_each_table_of_a_zip_archive_is_a_file_and_other_files_are_left(tmp_path: Path) -> None:
    entries = {"x/rows.jsonl": LINE + b"nonsense\n", "README.md": b"# hello", "b.csv": b"prompt,answer\nHi,Hello\n"}
    path = zipped(tmp_path / "all.zip", entries | {"__MACOSX/x/._rows.jsonl": b"\0\1", ".DS_Store": b"\0"})
    found = read(path)
    assert found[:2] == [("all.zip/b.csv", 2, ""), ("all.zip/x/rows.jsonl", 1, "")]
    assert found[2][2].startswith("not JSON")
    with pytest.raises(DataError, match="no file with rows in this archive"):
        list(read_rows(zipped(tmp_path / "none.zip", {"README.md": b"x"})))


def test_a_bomb_is_refused_soon_in_little_memory(tmp_path: Path) -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    refused(
        written(tmp_path / "b.jsonl.gz", zeros_of(packer.compress, packer.flush)), r"b\.jsonl\.gz: unpacks to more than 200 times"
    )
    stream = zstandard.ZstdCompressor().compressobj()
    refused(written(tmp_path / "b.jsonl.zst", zeros_of(stream.compress, stream.flush)), "unpacks to more than 200 times")
    for suffix, other in (("bz2", bz2.BZ2Compressor()), ("xz", lzma.LZMACompressor())):
        refused(written(tmp_path / f"b.jsonl.{suffix}", zeros_of(other.compress, other.flush)), "unpacks to more than 200 times")
    with zipfile.ZipFile(tmp_path / "b.zip", "w", zipfile.ZIP_DEFLATED) as archive, archive.open("b.jsonl", "w") as file:
        for _ in range(BOMB >> 20):
            file.write(bytes(1 << 20))
    refused(tmp_path / "b.zip", r"b\.zip: unpacks to more than 200 times")


def test_a_zip_bomb_that_lies_about_its_size_is_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path / "liar.zip", {"b.jsonl": bytes(8 << 20)})
    content = bytearray(path.read_bytes())
    for mark, place in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        at = content.index(mark) + place
        content[at : at + 4] = struct.pack("<L", 1000)
    refused(written(path, bytes(content)), r"b\.jsonl is damaged: Bad CRC-32")


def test_a_file_may_unpack_to_so_much_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "UNPACKED_LIMIT", 1 << 20)
    content = gzip.compress(os.urandom(2 << 20), mtime=0)
    refused(written(tmp_path / "large.jsonl.gz", content), "unpacks to more than 0 GB")


def test_a_million_entries_are_refused_before_they_are_read(tmp_path: Path) -> None:
    entry = zipped(tmp_path / "one.zip", {"a": b""}).read_bytes()
    start, end = entry.index(b"PK\x01\x02"), entry.index(b"PK\x05\x06")
    record = entry[start:end]
    for count in (11_000, 1_000_000):
        body = entry[:start] + record * count
        large = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, len(record) * count, start)
        locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, len(body), 1)
        small = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
        refused(written(tmp_path / "many.zip", body + large + locator + small), "more than 10000 files in one archive")


@pytest.mark.parametrize("name", ["/etc/rows.jsonl", "../rows.jsonl", "a/../../rows.jsonl", "a\\..\\rows.jsonl", "C:rows.jsonl"])
def test_a_name_that_leads_out_refuses_the_archive_and_nothing_is_written(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    path = zipped(folder / "out.zip", {"good.jsonl": LINE, name: LINE})
    refused(path, "leads out of the archive")
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["in", "out.zip"]


def test_links_nested_archives_and_passwords_are_refused(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("rows.jsonl")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "link.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    refused(tmp_path / "link.zip", "is a link or no plain file")
    inner = zipped(tmp_path / "inner.zip", {"rows.jsonl": LINE}).read_bytes()
    refused(zipped(tmp_path / "outer.zip", {"inner.zip": inner, "rows.jsonl": LINE}), "an archive inside an archive")
    refused(zipped(tmp_path / "hidden.zip", {"rows.jsonl": inner}), "this is a zip archive, not text")
    refused(written(tmp_path / "twice.gz", gzip.compress(gzip.compress(LINE, mtime=0), mtime=0)), "this is gzip data, not text")
    refused(written(tmp_path / "t.tar.gz", gzip.compress(LINE, mtime=0)), r"an archive of kind .tar is not read")
    locked = bytearray(zipped(tmp_path / "locked.zip", {"rows.jsonl": LINE}).read_bytes())
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        locked[locked.index(mark) + place] |= 1
    refused(written(tmp_path / "locked.zip", bytes(locked)), "is encrypted")
    refused(zipped(tmp_path / "rare.zip", {"rows.jsonl": LINE}, zipfile.ZIP_LZMA), "is packed by method 14")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl.gz", gzip.compress(LINE * 50, mtime=0)),
        ("a.jsonl.zst", zstandard.ZstdCompressor().compress(LINE * 50)),
        ("a.zip", b""),
    ],
)
def test_a_damaged_archive_is_refused_wherever_it_is_cut_or_changed(tmp_path: Path, name: str, content: bytes) -> None:
    content = content or zipped(tmp_path / "whole.zip", {"rows.jsonl": LINE * 50}).read_bytes()
    for length in range(5, len(content) - 1, 7):
        refused(written(tmp_path / name, content[:length]), r"a\.(jsonl\.)?(gz|zst|zip)")


def test_rows_of_a_packed_file_stay_the_same_on_a_second_read(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl.gz", gzip.compress(LINE * 3, mtime=0))
    first: list[RawRow] = list(read_rows(path))
    assert list(read_rows(path)) == first
