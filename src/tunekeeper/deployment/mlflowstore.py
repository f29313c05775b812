"""Where an MLflow server keeps the files of a run: behind itself (`mlflow-artifacts:`), or in a folder of this machine."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import quote, unquote, urlsplit

from tunekeeper.core.errors import ArtifactError, NotFound, UserError
from tunekeeper.deployment.mlflowserver import MlflowServer

PROXY = "/api/2.0/mlflow-artifacts/artifacts"
DEPTH = 4
"""Folders within folders that are looked into."""
MOST_ENTRIES = 10_000
"""Files and folders that are looked at."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One file or folder."""

    name: str
    """Its own name."""
    folder: bool
    """Whether it is a folder."""
    bytes: int | None = None
    """Size of a file; None where it is not told."""


class Store(Protocol):
    """Files below one address."""

    def ls(self, path: str = "") -> list[Entry]:
        """What lies in a folder; nothing where there is none."""

    def put(self, path: str, file: Path) -> None:
        """Write a file."""

    def get(self, path: str, target: Path, most: int) -> int:
        """Copy a file to `target` and return its bytes. Raises NotFound; ArtifactError beyond `most` bytes."""


def store_of(server: MlflowServer, uri: str) -> Store:
    """The store at `uri`, an artifact address of the server. Raises UserError for one that lies where only MLflow itself gets."""
    parts = urlsplit(uri)
    there, here = (parts.hostname, parts.port), (urlsplit(server.url).hostname, urlsplit(server.url).port)
    if parts.scheme == "mlflow-artifacts" and (not parts.netloc or there == here):
        return Proxied(server=server, root=_plain(parts.path.strip("/")))
    if parts.scheme == urlsplit(server.url).scheme and there == here:
        below = parts.path.partition(PROXY)
        if below[1]:
            return Proxied(server=server, root=_plain(unquote(below[2]).strip("/")))
    if parts.scheme in ("", "file") and parts.netloc in ("", "localhost") and parts.path.startswith("/"):
        if server.local:
            return Folder(root=Path(unquote(parts.path) if parts.scheme else parts.path))
        raise UserError(
            f"{server.url} keeps its files in a folder of its own machine, where nobody else gets them",
            fix="start it with --serve-artifacts --artifacts-destination FOLDER",
        )
    kind = server.shown(f"{parts.scheme}:" if parts.scheme else "a place without a scheme")
    raise UserError(f"{server.url} keeps its files at {kind} and does not pass them on", fix="start it with --serve-artifacts")


@dataclass(frozen=True, kw_only=True, slots=True)
class Proxied:
    """Files that the server passes on."""

    server: MlflowServer
    """The server."""
    root: str
    """Path of the folder below its artifacts."""

    def ls(self, path: str = "") -> list[Entry]:
        """As `Store`."""
        found = self.server.find(PROXY, {"path": _joined(self.root, path)}) or {}
        rows = found.get("files") or []
        entries = []
        for row in rows[:MOST_ENTRIES] if isinstance(rows, list) else []:
            name = str(row.get("path", "")) if isinstance(row, dict) else ""
            if name in ("", ".", "..") or "/" in name or "\\" in name or "\0" in name:
                continue  # a server that names files outside the folder is not followed there
            size = row.get("file_size")
            told = int(size) if isinstance(size, int | str) and str(size).isdigit() else None
            entries.append(Entry(name=name, folder=bool(row.get("is_dir")), bytes=told))
        return entries

    def put(self, path: str, file: Path) -> None:
        """As `Store`."""
        self.server.put(self._url(path), file)

    def get(self, path: str, target: Path, most: int) -> int:
        """As `Store`."""
        return self.server.get(self._url(path), target, most)

    def _url(self, path: str) -> str:
        return f"{self.server.url}{PROXY}/{quote(_joined(self.root, path))}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Folder:
    """Files of this machine."""

    root: Path
    """The folder."""

    def ls(self, path: str = "") -> list[Entry]:
        """As `Store`."""
        folder = self.root / path
        if not folder.is_dir():
            return []
        found = [each for each in sorted(folder.iterdir())[:MOST_ENTRIES] if not each.is_symlink()]
        return [Entry(name=p.name, folder=p.is_dir(), bytes=p.stat().st_size if p.is_file() else None) for p in found]

    def put(self, path: str, file: Path) -> None:
        """As `Store`."""
        target = self.root / path
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
        except OSError as error:
            raise UserError(
                f"{target}: cannot be written: {error.strerror}", fix="start the server with --serve-artifacts"
            ) from None

    def get(self, path: str, target: Path, most: int) -> int:
        """As `Store`."""
        source = self.root / path
        if not source.is_file() or source.is_symlink():
            raise NotFound(f"{source}: no such file")
        if source.stat().st_size > most:
            raise ArtifactError(f"{source}: more than {most:,} bytes, which no such file of an adapter has")
        shutil.copyfile(source, target)
        return target.stat().st_size


def folders_with(store: Store, name: str) -> Iterator[str]:
    """The folders, nearest first, that hold a file called `name`; bounded in depth and number."""
    waiting, seen = [""], 0
    while waiting:
        path = waiting.pop(0)
        entries = store.ls(path)
        seen += len(entries)
        if any(entry.name == name and not entry.folder for entry in entries):
            yield path
        if seen > MOST_ENTRIES:
            return
        if path.count("/") < DEPTH - 1:
            waiting += [_joined(path, entry.name) for entry in entries if entry.folder]


def _joined(*parts: str) -> str:
    return "/".join(part for part in parts if part)


def _plain(path: str) -> str:
    """A path below the artifacts; one that climbs out of them is refused."""
    if any(part in (".", "..") for part in path.split("/")) or "\0" in path:
        raise UserError(f"an artifact address climbs out of its folder: {path!r}")
    return path
