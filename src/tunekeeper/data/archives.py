"""Packed files of rows (`.gz`, `.zst`, `.bz2`, `.xz`, `.zip`), unpacked one at a time into a file without a name, within bounds.

A bomb is stopped while it unpacks, by what it has made so far beside what it took, never by what it says of itself. Nothing is
written where an archive wants it: its names are only read, and one that leads elsewhere refuses the whole archive.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any, BinaryIO
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from tunekeeper.core.errors import DataError, DiskFull

SUFFIXES = (".gz", ".zst", ".bz2", ".xz", ".zip")
UNPACKED_LIMIT = 4 << 30
"""Bytes that one archive may unpack to."""
RATIO_LIMIT = 200
"""Times its own size that an archive may unpack to, looked at from `RATIO_FROM` on: text of any kind stays far below."""
RATIO_FROM = 16 << 20
"""Bytes."""
MOST_ENTRIES = 10_000
"""Files in one zip archive."""
DIRECTORY_LIMIT = 4 << 20
"""Bytes of a zip archive's list of files, which is read whole."""
_PIECE = 1 << 16
_ZSTD_PIECE = 512
"""Bytes given to zstd at a time: a block of four bytes may become 128 kB."""
_ZSTD_WINDOW = 1 << 27
_XZ_MEMORY = 1 << 28
"""Bytes that unpacking xz may take: its strongest usual setting takes 65 MB."""
_END = struct.Struct("<4s4H2LH")
_END64 = struct.Struct("<4sQ2H2L4Q")


@contextmanager
def nameless(folder: Path | None = None) -> Iterator[tuple[BinaryIO, Path]]:
    """A file that vanishes with this process, however it ends, and the path to read it by, here and in a child. It lies on the
    disk of `folder`, else where temporary files do. Raises DiskFull inside."""
    try:
        with tempfile.TemporaryFile(prefix="tunekeeper-", dir=folder) as file:
            path = Path(f"/proc/{os.getpid()}/fd/{file.fileno()}")
            if path.exists():
                yield file, path
                return
        with tempfile.NamedTemporaryFile(prefix="tunekeeper-", dir=folder) as named:
            yield named, Path(named.name)  # type: ignore[misc]
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT):
            raise
        raise DiskFull("no room left to put rows aside", fix="free some space, or set TMPDIR to a larger disk") from None


@contextmanager
def unpacked(path: Path, name: str) -> Iterator[Path]:
    """The content of a packed file, as a file to read. Raises DataError for a bomb and a damaged file, DiskFull."""
    read = {".gz": _gzip, ".zst": _zstd, ".bz2": _bzip2, ".xz": _xz}[path.suffix.casefold()]
    with nameless() as (out, place), path.open("rb") as file:
        _pour(read(file, name), out, lambda: file.tell(), name)
        yield place


def tables(path: Path, name: str, suffixes: tuple[str, ...]) -> Iterator[tuple[str, Path]]:
    """The files with rows in a zip archive, each with its name there, unpacked while it is looked at; other files are left.

    Raises DataError for an archive that is damaged, too large, encrypted, or holds links, paths that lead out or archives.
    """
    with opened_zip(path, name) as archive:
        for entry in archive.infolist():
            _refuse_odd(entry, name)
        files = [e for e in archive.infolist() if not e.is_dir() and not _hidden(e.filename)]
        found = [e for e in files if PurePosixPath(e.filename).suffix.casefold() in suffixes]
        if not found:
            raise DataError(f"{name}: no file with rows in this archive", fix=f"pack {', '.join(suffixes[:4])}")
        for entry in sorted(found, key=lambda e: e.filename):
            with nameless() as (out, place):
                out.writelines(pieces(archive, entry, name))
                out.flush()
                yield entry.filename, place


@contextmanager
def opened_zip(path: Path, name: str) -> Iterator[ZipFile]:
    """A zip archive whose list of files is short and whose files say they unpack to little. Raises DataError."""
    with path.open("rb") as file:
        _refuse_long_list(file, name)
    try:
        archive = ZipFile(path)
    except (BadZipFile, RuntimeError, ValueError, struct.error, EOFError) as error:
        raise DataError(f"{name}: a damaged zip archive: {error}", fix="pack it again") from None
    with archive:
        packed, size = (sum(getattr(e, key) for e in archive.infolist()) for key in ("compress_size", "file_size"))
        refuse_bomb(name, min(packed, path.stat().st_size), size)
        yield archive


def pieces(archive: ZipFile, entry: ZipInfo, name: str) -> Iterator[bytes]:
    """The content of one file of an archive, piece by piece. Raises DataError for a bomb and a damaged one."""
    if entry.flag_bits & 0x1:
        raise DataError(f"{name}: {entry.filename} is encrypted", fix="pack it without a password")
    if entry.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
        raise DataError(f"{name}: {entry.filename} is packed by method {entry.compress_type}", fix="pack it with deflate")
    made = 0
    try:
        with archive.open(entry) as file:
            while piece := file.read(_PIECE):
                made += len(piece)
                refuse_bomb(f"{name}: {entry.filename}", entry.compress_size, made)
                yield piece
    except (BadZipFile, RuntimeError, zlib.error, EOFError, struct.error) as error:
        raise DataError(f"{name}: {entry.filename} is damaged: {error}", fix="pack it again") from None


def refuse_bomb(name: str, packed: int, made: int) -> None:
    """Raise DataError where `packed` bytes became `made` bytes, and that is no text."""
    if made > UNPACKED_LIMIT:
        raise DataError(f"{name}: unpacks to more than {UNPACKED_LIMIT >> 30} GB", fix="unpack it and import that")
    if made > RATIO_FROM and made > RATIO_LIMIT * packed:
        raise DataError(f"{name}: unpacks to more than {RATIO_LIMIT} times its size", fix="if it is no bomb, unpack it yourself")


def _pour(found: Iterator[bytes], out: IO[bytes], taken: Any, name: str) -> None:
    made = 0
    for piece in found:
        made += len(piece)
        refuse_bomb(name, taken(), made)
        out.write(piece)
    out.flush()


def _gzip(file: BinaryIO, name: str) -> Iterator[bytes]:
    import gzip

    try:
        with gzip.GzipFile(fileobj=file) as packed:
            while piece := packed.read(_PIECE):
                yield piece
    except (OSError, EOFError, zlib.error) as error:
        if isinstance(error, OSError) and not isinstance(error, gzip.BadGzipFile):
            raise
        raise DataError(f"{name}: not readable as gzip: {error}", fix="pack it again") from None


def _zstd(file: BinaryIO, name: str) -> Iterator[bytes]:
    import zstandard

    frames = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
    frame, begun = frames.decompressobj(), False
    try:
        while piece := file.read(_ZSTD_PIECE):
            while piece:
                begun = True
                yield frame.decompress(piece)
                piece = frame.unused_data if frame.eof else b""
                if frame.eof:
                    frame, begun = frames.decompressobj(), False
    except zstandard.ZstdError as error:
        raise DataError(f"{name}: not readable as zstd: {error}", fix="pack it again") from None
    if begun:
        raise DataError(f"{name}: not readable as zstd: the data end early", fix="pack it again")


def _bzip2(file: BinaryIO, name: str) -> Iterator[bytes]:
    import bz2

    yield from _streams(file, bz2.BZ2Decompressor, f"{name}: not readable as bzip2")


def _xz(file: BinaryIO, name: str) -> Iterator[bytes]:
    import lzma

    yield from _streams(file, lambda: lzma.LZMADecompressor(memlimit=_XZ_MEMORY), f"{name}: not readable as xz")


def _streams(file: BinaryIO, begin: Callable[[], Any], what: str) -> Iterator[bytes]:
    """The content of one packed stream after the other, at most a piece of it at a time. `what`: said of a damaged one."""
    import lzma

    stream, piece = begin(), b""
    try:
        while True:
            if stream.eof:
                piece = stream.unused_data or file.read(_PIECE)
                if not piece.strip(b"\0"):  # padding
                    return
                stream = begin()
            elif stream.needs_input and not (piece := file.read(_PIECE)):
                raise DataError(f"{what}: the data end early", fix="pack it again")
            yield stream.decompress(piece, _PIECE)
            piece = b""
    except (OSError, EOFError, lzma.LZMAError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise DataError(f"{what}: {error}", fix="pack it again, or unpack it yourself") from None


def _refuse_long_list(file: BinaryIO, name: str) -> None:
    """Look at the archive's end record before anything reads its list of files into memory."""
    size = file.seek(0, 2)
    file.seek(max(0, size - _END.size - 65_535))
    start, tail = file.tell(), file.read()
    plain = len(tail) - _END.size
    at = plain if plain >= 0 and tail[plain:].startswith(b"PK\x05\x06") and tail.endswith(b"\0\0") else tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) - at < _END.size:
        raise DataError(f"{name}: not a zip archive, or one that is cut off", fix="pack it again")
    claims = [_END.unpack_from(tail, at)[4:6]]
    locator = start + at - 20
    if locator >= 0 and _read_at(file, locator, 4) == b"PK\x06\x07":
        said = struct.unpack("<Q", _read_at(file, locator + 8, 8))[0]
        # Readers differ in where they look for the large record: where the locator says, or right before it.
        records = [_read_at(file, place, _END64.size) for place in (min(said, size), max(0, locator - _END64.size))]
        claims = [_END64.unpack(r)[7:9] for r in records if len(r) == _END64.size and r.startswith(b"PK\x06\x06")]
    if any(entries > MOST_ENTRIES or length > DIRECTORY_LIMIT for entries, length in claims):
        raise DataError(f"{name}: more than {MOST_ENTRIES} files in one archive", fix="pack fewer, larger files")


def _read_at(file: BinaryIO, place: int, size: int) -> bytes:
    file.seek(place)
    return file.read(size)


def _hidden(entry: str) -> bool:
    return entry.startswith("__MACOSX/") or PurePosixPath(entry).name in (".DS_Store", "Thumbs.db")


def _refuse_odd(entry: ZipInfo, name: str) -> None:
    place = PurePosixPath(entry.filename)
    if place.is_absolute() or ".." in place.parts or "\\" in entry.filename or entry.filename[1:2] == ":":
        raise DataError(f"{name}: {entry.filename!r} leads out of the archive", fix="pack it with plain relative names")
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise DataError(f"{name}: {entry.filename!r} is a link or no plain file", fix="pack the file itself")
    if place.suffix.casefold() in (*SUFFIXES, ".tar", ".tgz", ".7z", ".rar"):
        raise DataError(f"{name}: {entry.filename!r} is an archive inside an archive", fix="unpack the outer one")
