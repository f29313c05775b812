"""Content-addressed files: `blobs/<2 hex digits>/<62 hex digits>`, whole or absent, never changed.

A folder is a manifest, itself a blob: `{"files": {relative name: digest}}`, written after everything it names.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from tunekeeper.core.errors import ArtifactError, DiskFull, NotFound, UserError
from tunekeeper.core.ids import canonical_json, digest_bytes, digest_file

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_NO_SPACE = 28


class Blobs:
    """The blobs of one workspace."""

    def __init__(self, root: Path) -> None:
        """`root`: the folder `blobs/`; made on the first put."""
        self.root = root

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
            raise NotFound(f"blob {digest} is not in this workspace") from None
        if digest_bytes(data) != digest:
            raise ArtifactError(f"blob {digest} is damaged: its bytes have another digest", fix="restore it from a backup")
        return data

    def files(self, digest: str) -> dict[str, str]:
        """The manifest of a folder: relative name → digest. Raises ArtifactError when the blob is no manifest."""
        try:
            files = json.loads(self.read(digest))["files"]
            return {_safe(str(name)): str(part) for name, part in files.items()}
        except (ValueError, KeyError, TypeError, AttributeError):
            raise ArtifactError(f"blob {digest} is not the manifest of a folder") from None

    def checkout_folder(self, digest: str, dest: Path) -> Path:
        """Copy a folder out to `dest`, which appears whole; an existing `dest` is left as it is. Returns `dest`."""
        if dest.exists():
            return dest
        part = dest.with_name(f"{dest.name}.part-{os.getpid()}")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        for name, blob in self.files(digest).items():
            target = part / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if not self.has(blob):
                raise NotFound(f"blob {blob} of {name} is not in this workspace")
            shutil.copyfile(self.path(blob), target)
        try:
            os.rename(part, dest)
        except OSError:
            # Another process made the same folder meanwhile; its content has the same digest.
            shutil.rmtree(part, ignore_errors=True)
        return dest

    def damaged(self) -> tuple[int, list[str]]:
        """Read every blob: how many there are, and the digests of those whose bytes are not what their name says."""
        digests = ["sha256:" + path.parent.name + path.name for path in sorted(self.root.glob("??/*")) if path.name[0] != "."]
        return len(digests), [digest for digest in digests if not self.verify(digest)]

    def verify(self, digest: str) -> bool:
        """Whether the blob is here and its bytes have this digest; reads all of it."""
        return self.has(digest) and digest_file(self.path(digest)) == digest

    def _place(self, digest: str, fill: Callable[[BinaryIO], object]) -> None:
        target = self.path(digest)
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".{target.name}.{os.getpid()}.{os.urandom(4).hex()}")
        try:
            with part.open("xb") as file:
                fill(file)
                file.flush()
                os.fsync(file.fileno())
            part.chmod(0o444)
            os.replace(part, target)
            _sync(target.parent)
        except OSError as error:
            part.unlink(missing_ok=True)
            if error.errno == _NO_SPACE:
                raise DiskFull(f"no room left on the disk of {self.root}", fix="free some space and repeat the command") from None
            raise


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
