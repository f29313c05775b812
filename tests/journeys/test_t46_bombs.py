"""T46: archives that unpack to gigabytes, links, a million entries, giant lines: refused soon, in little memory; no file made."""

from __future__ import annotations

import gzip
import io
import json
import stat
import struct
import subprocess
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard

from tests.journeys.rig import SECONDS, figure, say, within
from tests.outside.conftest import REPOSITORY, environment

SEED = 46
MB = 1 << 20
UNPACKED = figure(64, 10_240)
"""Megabytes of nothing that a bomb unpacks to; ten gigabytes are ten megabytes packed."""
pytestmark = pytest.mark.timeout(SECONDS)
LINE = b'{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}\n'


def bombs(into: Path) -> None:
    """Files that unpack to far more than they are."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    with (into / "bomb.jsonl.gz").open("wb") as packed:
        for _ in range(UNPACKED):
            packed.write(packer.compress(bytes(MB)))
        packed.write(packer.flush())
    with zstandard.open(into / "bomb.csv.zst", "wb") as packed:
        for _ in range(UNPACKED):
            packed.write(bytes(MB))
    with (
        zipfile.ZipFile(into / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("a.jsonl", "w", force_zip64=True) as inside,
    ):
        for _ in range(UNPACKED):
            inside.write(bytes(MB))
    (into / "nested.zip").write_bytes(zipped({"inner.zip": (into / "bomb.zip").read_bytes()[:MB], "a.jsonl": LINE}))
    (into / "twice.jsonl.gz").write_bytes(gzip.compress((into / "bomb.jsonl.gz").read_bytes()[:MB]))
    quine = zipped({f"{number}.jsonl": bytes(MB) for number in range(150)})
    (into / "many.zip").write_bytes(quine)


def zipped(entries: dict[str, bytes]) -> bytes:
    with io.BytesIO() as memory:
        with zipfile.ZipFile(memory, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in entries.items():
                archive.writestr(name, content)
        return memory.getvalue()


def entries(count: int) -> bytes:
    """A zip archive of so many entries, all of them the same one."""
    one = zipped({"a": b""})
    start, end = one.index(b"PK\x01\x02"), one.index(b"PK\x05\x06")
    body = one[:start] + one[start:end] * count
    large = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, (end - start) * count, start)
    return body + large + struct.pack("<4sLQL", b"PK\x06\x07", 0, len(body), 1) + struct.pack(
        "<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0
    )  # fmt: skip


def tricks(outside: Path) -> Iterator[tuple[str, bytes]]:
    """Links, names that lead out, a million entries, giant lines, NULs, files that are not what their name says."""
    link = zipfile.ZipInfo("rows.jsonl")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with io.BytesIO() as memory:
        with zipfile.ZipFile(memory, "w") as archive:
            archive.writestr(link, "/etc/passwd")
        yield "link.zip", memory.getvalue()
    for number, name in enumerate((f"{outside}/x.jsonl", "../x.jsonl", "a/../../../x.jsonl", "..\\x.jsonl", "C:\\x.jsonl")):
        yield f"out{number}.zip", zipped({"good.jsonl": LINE, name: LINE})
    yield "million.zip", entries(1_000_000)
    for kind, name in (("w", "rows.tar"), ("w:gz", "rows.tar.gz"), ("w:bz2", "rows.tgz")):
        with io.BytesIO() as memory:
            with tarfile.open(fileobj=memory, mode=kind) as tape:  # type: ignore[call-overload]
                tape.addfile(info := tarfile.TarInfo("../../out.jsonl"), io.BytesIO(LINE))
                info.type, info.linkname = tarfile.SYMTYPE, str(outside)
                tape.addfile(info)
            yield name, memory.getvalue()
    yield "long.jsonl", LINE + b'{"messages": "' + b"x" * (200 * MB) + b'"}\n' + LINE
    yield "long.csv", b"prompt,answer\nHi,Hello\n" + b"x" * (figure(40, 200) * MB) + b",b\nHi,Hello\n"
    yield "zeros.csv", b"prompt,answer\nHi,Hel\0lo\n" + b"\0" * 1000 + b"\nHi,Hello\n"
    yield "deep.jsonl", LINE + b"[" * 100_000 + b"\n" + LINE
    for name in ("pickle.jsonl", "pickle.csv", "pickle.parquet", "pickle.xlsx"):
        yield name, b"\x80\x04\x95\x1a\0\0\0\0\0\0\0\x8c\x05posix\x94\x8c\x06system\x94\x93\x94" * 10
    yield "program.jsonl", b"\x7fELF" + bytes(4096)
    yield "page.csv", b"%PDF-1.7\n" + bytes(4096)


def test_a_bomb_or_a_trick_is_refused_soon_in_little_memory_and_makes_no_file(tmp_path: Path) -> None:
    into, outside = tmp_path / "in" / "files", tmp_path / "outside"
    into.mkdir(parents=True)
    outside.mkdir()
    bombs(into)
    for name, data in tricks(outside):
        (into / name).write_bytes(data)
    before = sorted(path.name for path in tmp_path.rglob("*"))
    command = [sys.executable, "-m", "tests.journeys.importer", str(into)]
    done = subprocess.run(
        command, cwd=REPOSITORY, env=environment(), capture_output=True, text=True, check=False, timeout=SECONDS - 60
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = {each["file"]: each for each in map(json.loads, done.stdout.splitlines())}
    let_in = {name: each["rows"] for name, each in found.items() if each["why"] is None}
    say(
        "T46",
        SEED,
        files=len(found),
        refused=len(found) - len(let_in),
        unpacked_mb=UNPACKED,
        slowest_s=max(each["seconds"] for each in found.values()),
        grown_mb=max(each["grown_mb"] for each in found.values()),
        by=max(found, key=lambda name: found[name]["grown_mb"]),
    )
    assert let_in.keys() <= {"long.jsonl", "long.csv", "zeros.csv", "deep.jsonl", "pickle.jsonl", "program.jsonl", "page.csv"}
    assert all(each["broken"] or each["why"] for each in found.values()), "what is wrong is named"
    assert (found["long.jsonl"]["rows"], found["deep.jsonl"]["rows"]) == (2, 2), "the rows around a bad one are read"
    assert found["long.jsonl"]["broken"][0].startswith("long.jsonl:2: ")
    assert all(len(each["why"].splitlines()) == 1 for each in found.values() if each["why"])
    assert within(max(each["seconds"] for each in found.values()), 20)
    assert max(each["grown_mb"] for each in found.values()) < 50, "of one file"
    assert sorted({path.name for path in tmp_path.rglob("*")} - set(before)) == ["small.jsonl"]
