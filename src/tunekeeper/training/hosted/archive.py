"""An adapter that comes home packed: a tar (plain, gzip, zstd) or zip from outside, opened without trusting it."""

from __future__ import annotations

import shutil
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from tunekeeper.core.errors import ArtifactError
from tunekeeper.jobs.child import no_room
from tunekeeper.training.adapter import SETTINGS, WEIGHTS

WANTED = (SETTINGS, WEIGHTS, "LICENSE", "README.md")
_PIECE = 1 << 20
_MEMBERS = 10_000
ZSTD, ZIP = b"\x28\xb5\x2f\xfd", b"PK\x03\x04"


def unpack(archive: Path, target: Path, most: int) -> Path:
    """The adapter's files out of `archive`, flat in the new folder `target`; everything else in it is left out.

    Only plain files count, by the last part of their names, so no link is followed and nothing lands elsewhere. Raises
    ArtifactError for an archive that is broken, holds a file twice, or unpacks to more than `most` bytes.
    """
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    left = most
    try:
        for name, stream in _files(archive):
            base = name.replace("\\", "/").rpartition("/")[2]
            if base not in WANTED:
                continue
            if (target / base).exists():
                raise ArtifactError(f"{archive.name}: holds {base} twice, so which one is meant is not known")
            left = _copy(stream, target / base, left, archive, most)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError, ValueError, RuntimeError) as error:
        if no_room(error):
            raise
        raise ArtifactError(
            f"{archive.name}: not an archive that can be read: {error}", fix="repeat the command: it is taken home again"
        ) from error
    for name in (SETTINGS, WEIGHTS):
        if not (target / name).is_file():
            raise ArtifactError(f"{archive.name}: holds no {name}")
    return target


def _files(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """Name and content of each plain file, in one pass."""
    with archive.open("rb") as file:
        start = file.read(4)
    if start == ZIP:
        with zipfile.ZipFile(archive) as packed:
            for entry in packed.infolist()[:_MEMBERS]:
                if not entry.is_dir() and (entry.external_attr >> 16) & 0o170000 in (0, 0o100000):
                    with packed.open(entry) as stream:
                        yield entry.filename, stream
        return
    with _plain(archive, start) as stream, tarfile.open(fileobj=stream, mode="r|*") as tar:
        for number, member in enumerate(tar):
            if number >= _MEMBERS:
                raise ArtifactError(f"{archive.name}: more than {_MEMBERS} members")
            content = tar.extractfile(member) if member.isreg() else None
            if content is not None:
                yield member.name, content


@contextmanager
def _plain(archive: Path, start: bytes) -> Iterator[Any]:
    with archive.open("rb") as file:
        if start != ZSTD:
            yield file
            return
        import zstandard

        with zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(file, read_across_frames=True) as stream:
            yield _Errors(stream, zstandard.ZstdError)


class _Errors:
    """A stream whose library's own error is an OSError."""

    def __init__(self, stream: Any, kind: type[Exception]) -> None:
        self.stream, self.kind = stream, kind

    def read(self, size: int = -1) -> bytes:
        try:
            return bytes(self.stream.read(size))
        except self.kind as error:
            raise OSError(str(error)) from error


def _copy(stream: IO[bytes], target: Path, left: int, archive: Path, most: int) -> int:
    """Copy a file and return how many bytes may still come."""
    with target.open("wb") as file:
        while piece := stream.read(_PIECE):
            left -= len(piece)
            if left < 0:
                raise ArtifactError(
                    f"{archive.name}: unpacks to more than {most:,} bytes", fix="raise training.backend_options.most_bytes"
                )
            file.write(piece)
    return left
