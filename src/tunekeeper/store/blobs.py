"""Content-addressed files: `blobs/<2 hex digits>/<62 hex digits>`, whole or absent, never changed but by an erasure.

A folder is a manifest, itself a blob: `{"files": {relative name: digest}}`, written after everything it names. A blob of lines
from which a person's lines were erased keeps its name; `<62 hex digits>.erased` beside it names each line that went and the
digest of what is left, so that damage is still told from erasure.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from tunekeeper.core.errors import ArtifactError, DiskFull, NotFound, UserError
from tunekeeper.core.ids import canonical_json, digest_bytes, digest_file
from tunekeeper.store.place import NO_ROOM, clear, half

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_TOMBSTONES = ".erased"


@dataclass(frozen=True, kw_only=True, slots=True)
class Tombstone:
    """What is left of one erased line."""

    line: int
    """Its number in the blob as it was made, from 1."""
    id: str
    """Whose line it was: the id of the example or case."""
    kept: bool = False
    """Whether something without the erased text stands in its place; else the line is gone."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Overlay:
    """The file beside a blob that something was erased from."""

    holds: str
    """Digest of what is left."""
    was: str
    """Digest before the newest erasure: where that still lies there, the erasure was killed and does not count."""
    rows: tuple[Tombstone, ...]
    """Every erased line."""
    fresh: int
    """How many of them, at the end, the newest erasure added."""


class Blobs:
    """The blobs of one workspace."""

    def __init__(self, root: Path) -> None:
        """`root`: the folder `blobs/`; made on the first put."""
        self.root = root
        self._cleared = False

    def clear(self) -> None:
        """Remove what writers that were killed left half written: no erasure looks there."""
        for folder in self.root.glob("??"):
            clear(folder)
        self._cleared = True

    def put_bytes(self, data: bytes) -> str:
        """Keep the bytes; returns their digest. Raises DiskFull."""
        digest = digest_bytes(data)
        if not self.has(digest):
            self._place(digest, lambda file: file.write(data))
        return digest

    def put_file(self, path: Path) -> str:
        """Keep a copy of a file; returns its digest. Raises NotFound when it is missing, DiskFull."""
        if not path.is_file():
            raise NotFound(f"no file at {path}")
        digest = digest_file(path)
        if not self.has(digest):
            with path.open("rb") as source:
                self._place(digest, lambda file: shutil.copyfileobj(source, file, 1 << 20))
        return digest

    def put_folder(self, path: Path) -> str:
        """Keep a copy of every file under a folder; returns the digest of the manifest, written last."""
        if not path.is_dir():
            raise NotFound(f"no folder at {path}")
        files = sorted(file for file in path.rglob("*") if file.is_file())
        names = {file.relative_to(path).as_posix(): self.put_file(file) for file in files}
        return self.put_bytes(canonical_json({"files": names}))

    def path(self, digest: str) -> Path:
        """Where the blob lies, or would lie. Raises UserError for what is not a digest."""
        if not _DIGEST.fullmatch(digest):
            raise UserError(f"not a digest: {digest!r}", fix="write sha256: and 64 hex digits")
        return self.root / digest[7:9] / digest[9:]

    def has(self, digest: str) -> bool:
        """Whether the blob is here."""
        return self.path(digest).exists()

    def read(self, digest: str) -> bytes:
        """The bytes of a blob. Raises NotFound; ArtifactError when they are not what the digest says."""
        try:
            data = self.path(digest).read_bytes()
        except FileNotFoundError:
            raise NotFound(f"blob {digest} is not in this workspace", fix="restore it from a backup") from None
        if not self._stands_for(digest, digest_bytes(data)):
            raise ArtifactError(f"blob {digest} is damaged: its bytes have another digest", fix="restore it from a backup")
        return data

    def files(self, digest: str) -> dict[str, str]:
        """The manifest of a folder: relative name → digest. Raises ArtifactError when the blob is no manifest."""
        try:
            files = json.loads(self.read(digest))["files"]
            return {_safe(str(name)): str(part) for name, part in files.items()}
        except (ValueError, KeyError, TypeError, AttributeError):
            raise ArtifactError(f"blob {digest} is not the manifest of a folder") from None

    def checkout_folder(self, digest: str, dest: Path, *, link: bool = False) -> Path:
        """Copy a folder out to `dest`, which appears whole; an existing `dest` is left as it is. Returns `dest`.

        `link`: give the blobs a second name there instead, where the file system can: of a folder too large to have twice.
        """
        if dest.exists():
            return dest
        part = dest.with_name(f"{dest.name}.part-{os.getpid()}")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        for name, blob in self.files(digest).items():
            target = part / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if not self.has(blob):
                raise NotFound(f"blob {blob} of {name} is not in this workspace", fix="restore it from a backup")
            (link_or_copy if link else shutil.copyfile)(self.path(blob), target)
            if not self._stands_for(blob, digest_file(target)):
                shutil.rmtree(part, ignore_errors=True)
                raise ArtifactError(
                    f"blob {blob} of {name} is damaged: its bytes have another digest", fix="restore it from a backup"
                )
        try:
            os.rename(part, dest)
        except OSError:
            # Another process made the same folder meanwhile; its content has the same digest.
            shutil.rmtree(part, ignore_errors=True)
        return dest

    def that_begin(self, mark: bytes) -> list[str]:
        """The digests of all blobs that begin with these bytes."""
        found = []
        for path in sorted(self.root.glob("??/*")):
            digest = f"sha256:{path.parent.name}{path.name}"
            if _DIGEST.fullmatch(digest):
                with path.open("rb") as file:
                    found += [digest] if file.read(len(mark)) == mark else []
        return found

    def damaged(self) -> tuple[int, list[str]]:
        """Read every blob: how many there are, and the digests of those whose bytes are not what their name says."""
        names = [path.parent.name + path.name for path in sorted(self.root.glob("??/*"))]
        digests = ["sha256:" + name for name in names if _DIGEST.fullmatch("sha256:" + name)]
        return len(digests), [digest for digest in digests if not self.verify(digest)]

    def verify(self, digest: str) -> bool:
        """Whether the blob is here and its bytes have this digest, erased lines aside; reads all of it."""
        return self.has(digest) and self._stands_for(digest, digest_file(self.path(digest)))

    def erased(self, digest: str) -> tuple[Tombstone, ...]:
        """The lines that were erased from a blob; empty where nothing was."""
        overlay = self._overlay(digest)
        return () if overlay is None else self._counted(digest, overlay)

    def erased_lines(self) -> int:
        """How many lines were erased from all blobs together."""
        beside = (path.parent.name + path.name.removesuffix(_TOMBSTONES) for path in self.root.glob(f"??/*{_TOMBSTONES}"))
        return sum(len(self.erased("sha256:" + name)) for name in beside if _DIGEST.fullmatch("sha256:" + name))

    def erase_lines(
        self, digest: str, change: Callable[[bytes], tuple[str, bytes | None] | None], *, dry_run: bool = False
    ) -> int:
        """Erase lines of a blob, which keeps its name. `change`: a line without its end → None where it stays, else whose it is
        and what stands there instead (None: nothing). Returns how many lines went; an absent blob has none. Killed at any moment
        it can be repeated. Raises DiskFull."""
        if not self.has(digest):
            return 0
        before = self.path(digest).read_bytes()
        data, fresh = _without(before, {row.line for row in self.erased(digest) if not row.kept}, change)
        if fresh and not dry_run:
            self.erase(digest, data, fresh)
        return len(fresh)

    def erase(self, digest: str, data: bytes, fresh: Sequence[Tombstone]) -> None:
        """Put `data`, from which the lines `fresh` were erased, in the place of a blob, which keeps its name. Raises DiskFull."""
        overlay = self._overlay(digest)
        known = () if overlay is None else self._counted(digest, overlay)
        was = digest_file(self.path(digest))
        made = _Overlay(holds=digest_bytes(data), was=was, rows=(*known, *fresh), fresh=len(fresh))
        self._replace(self._tombstones(digest), canonical_json(asdict(made)))
        self._replace(self.path(digest), data)

    def _stands_for(self, digest: str, found: str) -> bool:
        if found == digest:
            return True
        overlay = self._overlay(digest)
        return overlay is not None and found in (overlay.holds, overlay.was)

    def _counted(self, digest: str, overlay: _Overlay) -> tuple[Tombstone, ...]:
        found = digest_file(self.path(digest)) if self.has(digest) else overlay.holds
        return overlay.rows if found == overlay.holds else overlay.rows[: -overlay.fresh] if found == overlay.was else ()

    def _tombstones(self, digest: str) -> Path:
        path = self.path(digest)
        return path.with_name(path.name + _TOMBSTONES)

    def _overlay(self, digest: str) -> _Overlay | None:
        path = self._tombstones(digest)
        try:
            value = json.loads(path.read_bytes())
            rows = tuple(Tombstone(**row) for row in value["rows"])
            return _Overlay(holds=value["holds"], was=value["was"], rows=rows, fresh=int(value["fresh"]))
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError):
            raise ArtifactError(f"{path}: not a list of tombstones", fix="restore it from a backup") from None

    def _place(self, digest: str, fill: Callable[[BinaryIO], object]) -> None:
        if not self._cleared:
            self.clear()
        place(self.path(digest), fill)

    def _replace(self, target: Path, data: bytes) -> None:
        place(target, lambda file: file.write(data))


def place(target: Path, fill: Callable[[BinaryIO], object]) -> None:
    """Make a file that nobody writes to, whole or not at all, and synced; `fill` writes its bytes. Raises DiskFull."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with half(target) as part:
            with part.open("wb") as file:
                fill(file)
                file.flush()
                os.fsync(file.fileno())
            part.chmod(0o444)
            os.replace(part, target)
            _sync(target.parent)
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        raise DiskFull(f"no room left on the disk of {target.parent}", fix="free some space and repeat the command") from None


def link_or_copy(source: str | Path, target: str | Path) -> None:
    """Make `target` another name of `source`: a hard link where the file system allows it, else a copy."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _without(
    data: bytes, gone: set[int], change: Callable[[bytes], tuple[str, bytes | None] | None]
) -> tuple[bytes, list[Tombstone]]:
    """The lines that stay and a tombstone for each that does not. `gone`: numbers of lines that went earlier."""
    kept: list[bytes] = []
    fresh: list[Tombstone] = []
    number = 0
    for line in data.splitlines(keepends=True):
        number += 1
        while number in gone:
            number += 1
        text = line.rstrip(b"\r\n")
        changed = change(text)
        if changed is None:
            kept.append(line)
            continue
        whose, instead = changed
        fresh.append(Tombstone(line=number, id=whose, kept=instead is not None))
        kept += [] if instead is None else [instead + line[len(text) :]]
    return b"".join(kept), fresh


def _safe(name: str) -> str:
    pure = PurePosixPath(name)
    if pure.is_absolute() or ".." in pure.parts or not pure.parts or "\0" in name:
        raise ArtifactError(f"a manifest names a file outside its folder: {name!r}")
    return name


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
