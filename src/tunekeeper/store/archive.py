"""The one file that a backup is: a tar of plain files in a zstd frame. First `backup.json` says what it is, then come the files
under `data/`, and last `manifest.json` with the size and sha256 of each.

Reading trusts nothing: no links, no names that lead elsewhere, no name twice, caps on count and bytes, and nothing counts before
the manifest has been reached and every file was found to be what it says.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Protocol, Self, cast

import msgspec
import zstandard

from tunekeeper.core.errors import ArtifactError, Busy, UserError
from tunekeeper.core.ids import digest_bytes

FORMAT = 1
"""Newest layout that this release can read, and the one it writes."""
SUFFIX = ".tar.zst"
_HEADER, _MANIFEST, _DATA = "backup.json", "manifest.json", "data/"
_PIECE = 1 << 20
_LONGEST_READ = 64 << 20
_LONGEST_NAME = 1024
_WINDOW = 128 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Header:
    """What a backup says of itself, before any file."""

    format: int
    """Layout of the archive."""
    product: str
    """Release that wrote it."""
    created: str
    """Moment of the copy, ISO 8601 in UTC."""
    schemas: dict[str, str | None]
    """Database → number of its schema; None for one that lives in PostgreSQL and is not in here."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Caps:
    """What reading may cost."""

    entries: int = 5_000_000
    """Most files."""
    bytes: int = 1 << 42
    """Most bytes of all files together."""
    manifest_bytes: int = 1 << 30
    """Largest manifest."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Contents:
    """What was written or read."""

    header: Header
    """What the backup says of itself."""
    files: int
    """How many files it holds."""
    bytes: int
    """Their bytes together, not compressed."""
    digest: str
    """Digest of the manifest: the same content gives the same one."""


class _Source(Protocol):
    def read(self, size: int, /) -> bytes: ...


@dataclass(slots=True)
class _Hashing:
    """Hands bytes on and remembers their sum."""

    source: _Source
    sum: hashlib._Hash = field(default_factory=hashlib.sha256)

    def read(self, size: int, /) -> bytes:
        data = self.source.read(size)
        self.sum.update(data)
        return data


class Writer:
    """Writes one archive into an open file; `close` returns what is in it. As a context: what is broken off is let go of."""

    def __init__(self, file: BinaryIO, header: Header) -> None:
        self._header = header
        self._files: dict[str, tuple[int, str]] = {}
        self._zstd: Any = zstandard.ZstdCompressor(level=3, write_checksum=True).stream_writer(file, closefd=False)
        self._tar: Any = tarfile.open(  # noqa: SIM115  # `close` closes it
            fileobj=self._zstd, mode="w|", format=tarfile.GNU_FORMAT, bufsize=_PIECE
        )
        self._put(_HEADER, io.BytesIO(data := msgspec.json.encode(header)), len(data), 0o600)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            with contextlib.suppress(OSError, ValueError, zstandard.ZstdError):
                self._tar.fileobj.close()  # else it writes its rest when it is collected, after the file was closed

    def add(self, name: str, source: _Source, size: int, mode: int) -> None:
        """Add the next `size` bytes of `source` as the file `name` (relative, with `/`). Raises Busy when there are fewer."""
        hashing = _Hashing(source)
        self._put(_DATA + name, hashing, size, mode)
        self._files[name] = (size, hashing.sum.hexdigest())

    def add_bytes(self, name: str, data: bytes, mode: int) -> None:
        """Add a small file."""
        self.add(name, io.BytesIO(data), len(data), mode)

    def close(self) -> Contents:
        """Write the manifest and end the archive; the file stays open."""
        manifest = _encoded(self._files)
        self._put(_MANIFEST, io.BytesIO(manifest), len(manifest), 0o600)
        self._tar.close()
        self._zstd.close()
        return _contents(self._header, self._files, manifest)

    def _put(self, name: str, source: _Source, size: int, mode: int) -> None:
        member = tarfile.TarInfo(name)
        member.size, member.mode = size, mode & 0o755
        self._tar.addfile(member, cast(Any, _Whole(source, name)))
        self._tar.members.clear()  # it would remember every member for nothing


@dataclass(slots=True)
class _Whole:
    """A source that must not end early: a file that shrinks under us is no copy."""

    source: _Source
    name: str

    def read(self, size: int, /) -> bytes:
        data = self.source.read(size)
        if len(data) < size:
            raise Busy(f"{self.name} became shorter while it was copied", fix="run the backup again")
        return data


def read(
    path: Path,
    *,
    begin: Callable[[Header], None],
    sink: Callable[[str, int, int], BinaryIO],
    caps: Caps | None = None,
    durable: bool = True,
) -> Contents:
    """Read a whole archive and check it against its manifest. `begin` sees the header first and may refuse by raising. `sink`:
    name, size in bytes and mode → an open file that the content goes to, which is closed here and, when `durable`, synced; what
    it got counts only once this function has returned. Raises ArtifactError for anything that is not a sound backup, UserError
    for one of a newer layout, OSError of the disk.
    """
    caps = caps or Caps()
    try:
        with path.open("rb") as file, zstandard.ZstdDecompressor(max_window_size=_WINDOW).stream_reader(file) as plain:
            with tarfile.open(fileobj=cast(Any, _Bounded(plain)), mode="r:") as tar:
                return _read(tar, begin, sink, caps, durable)
    except (tarfile.TarError, zstandard.ZstdError, msgspec.DecodeError, EOFError, ValueError) as error:
        raise _unsound(f"{path.name} is no backup of ours, or damaged: {error}") from None
    except (FileNotFoundError, IsADirectoryError):
        raise UserError(f"no backup file at {path}", fix="name the .tar.zst file") from None


def _read(
    tar: Any, begin: Callable[[Header], None], sink: Callable[[str, int, int], BinaryIO], caps: Caps, durable: bool
) -> Contents:
    first = tar.next()
    if first is None or first.name != _HEADER or first.size > _PIECE:
        raise _unsound("the file does not begin like a backup")
    header = _header(_bytes(tar, first))
    begin(header)
    files: dict[str, tuple[int, str]] = {}
    total = 0
    while (member := tar.next()) is not None:
        tar.members.clear()  # it would remember every member for nothing
        if member.name == _MANIFEST:
            return _checked(header, files, tar, member, caps)
        name = _safe(member, files)
        total += member.size
        if len(files) >= caps.entries or total > caps.bytes:
            raise _unsound(f"the backup holds more than {caps.entries:,} files or {caps.bytes:,} bytes")
        source = _Hashing(_extract(tar, member))
        with sink(name, member.size, member.mode & 0o755) as target:
            while piece := source.read(_PIECE):
                target.write(piece)
            target.flush()
            if durable:
                os.fsync(target.fileno())
        files[name] = (member.size, source.sum.hexdigest())
    raise _unsound("the backup is cut short: its end is missing")


def _header(data: bytes) -> Header:
    said = msgspec.json.decode(data)
    number = said.get("format") if isinstance(said, dict) else None
    if isinstance(number, int) and number > FORMAT:
        raise UserError(
            f"the backup has layout {number}, newer than {FORMAT} of this release", fix="install the newer release, then restore"
        )
    return msgspec.convert(said, Header)


def _checked(
    header: Header, files: dict[str, tuple[int, str]], tar: tarfile.TarFile, member: tarfile.TarInfo, caps: Caps
) -> Contents:
    if member.size > caps.manifest_bytes:
        raise _unsound(f"the manifest is larger than {caps.manifest_bytes:,} bytes")
    manifest = _bytes(tar, member)
    listed = msgspec.json.decode(manifest, type=dict[str, tuple[int, str]])
    for name in sorted(listed.keys() | files.keys()):
        if listed.get(name) != files.get(name):
            raise _unsound(f"{name} is not what the manifest says")
    if tar.next() is not None:
        raise _unsound("something follows the manifest")
    return _contents(header, files, manifest)


def _safe(member: tarfile.TarInfo, known: dict[str, tuple[int, str]]) -> str:
    """The name of a plain file below the data directory."""
    if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.sparse is not None:
        raise _unsound(f"{member.name[:80]!r} is not a plain file")
    name = member.name.removeprefix(_DATA)
    pure = PurePosixPath(name)
    odd = name == member.name or not name or len(name) > _LONGEST_NAME or "\0" in name or "\\" in name
    if odd or pure.is_absolute() or ".." in pure.parts or pure.as_posix() != name or name in known:
        raise _unsound(f"{member.name[:80]!r} is no name that a backup holds once")
    return name


def _extract(tar: tarfile.TarFile, member: tarfile.TarInfo) -> _Source:
    found = tar.extractfile(member)
    if found is None:
        raise _unsound(f"{member.name[:80]!r} is not a plain file")
    return found


def _bytes(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    source, pieces = _extract(tar, member), []
    while piece := source.read(_PIECE):
        pieces.append(piece)
    return b"".join(pieces)


def _encoded(files: dict[str, tuple[int, str]]) -> bytes:
    return msgspec.json.encode(dict(sorted(files.items())))


def _contents(header: Header, files: dict[str, tuple[int, str]], manifest: bytes) -> Contents:
    return Contents(header=header, files=len(files), bytes=sum(size for size, _ in files.values()), digest=digest_bytes(manifest))


def _unsound(why: str) -> ArtifactError:
    return ArtifactError(why, fix="take another backup; nothing was changed")


class _Bounded:
    """The plain bytes, read forwards only, never much at once: a made-up header must not ask for the whole memory."""

    def __init__(self, source: zstandard.ZstdDecompressionReader) -> None:
        self._source = source
        self._at = 0

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _LONGEST_READ:
            raise tarfile.ReadError("a header is too long")
        pieces, missing = [], size
        while missing and (piece := self._source.read(missing)):
            pieces.append(piece)
            missing -= len(piece)
        data = b"".join(pieces)
        self._at += len(data)
        return data

    def tell(self) -> int:
        return self._at

    def seek(self, to: int, whence: int = 0) -> int:
        if whence or to < self._at:
            raise tarfile.ReadError("an archive is read forwards")
        while self._at < to and self.read(min(to - self._at, _PIECE)):
            pass
        return self._at
