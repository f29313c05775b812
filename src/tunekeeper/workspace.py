"""The data directory, each part opened on first use.

Importing this file costs the standard library only; SQLAlchemy comes with a database of an older schema or a PostgreSQL one,
DuckDB with the log. Nothing here reads configuration, so that going back works with a broken `tunekeeper.yaml`.
"""

from __future__ import annotations

import os
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from tunekeeper.core.clock import Clock, SystemClock
from tunekeeper.core.errors import NotFound, UserError
from tunekeeper.core.ids import Entropy, new_id

if TYPE_CHECKING:
    from tunekeeper.store.blobs import Blobs
    from tunekeeper.store.clockfile import CompressedClock
    from tunekeeper.store.database import Database
    from tunekeeper.store.log import Log
    from tunekeeper.store.rows import Rows
    from tunekeeper.store.transactions import Name

_FOLDERS = ("blobs", "spool", "log", "routes", "run", "work", "secrets", "ids")


class Workspace:
    """One data directory and what lies in it."""

    def __init__(
        self,
        root: Path,
        *,
        project: Path | None,
        clock: Clock,
        database_url: str | None = None,
        entropy: Entropy = os.urandom,
    ) -> None:
        """`root`: the data directory. `project`: folder with tunekeeper.yaml, None for a gateway alone. `database_url`: a
        PostgreSQL database in place of the two files. `entropy`: count → that many random bytes, for ids, salts and keys."""
        self.root = root
        self.project = project
        self.clock = clock
        self.entropy = entropy
        self._database_url = database_url

    @cached_property
    def control(self) -> Database:
        """Routes, slots, rollouts, approvals, incidents, keys."""
        return self._database("control")

    @cached_property
    def state(self) -> Database:
        """Every other record."""
        return self._database("state")

    @cached_property
    def blobs(self) -> Blobs:
        """Adapters, artifacts, transcripts, packs of rows, by digest."""
        from tunekeeper.store.blobs import Blobs

        return Blobs(self.path("blobs"))

    @cached_property
    def rows(self) -> Rows:
        """The rows of dataset versions, each stored once."""
        from tunekeeper.store.rows import Rows

        return Rows(self.blobs, self.path("work", "rows"))

    @cached_property
    def log(self) -> Log:
        """Inferences and feedback."""
        from tunekeeper.store.log import Log

        return Log(self.root, self.clock)

    def new_id(self, prefix: str) -> str:
        """A new id `<prefix>_<26 characters>` of now."""
        return new_id(prefix, self.clock.utc(), self.entropy)

    def path(self, *parts: str) -> Path:
        """A path under the data directory."""
        return self.root.joinpath(*parts)

    def request_key(self) -> bytes:
        """32 random bytes, made once: the key of request ids."""
        return self._secret("request.key")

    def pepper(self) -> bytes:
        """32 random bytes, made once: what API keys are hashed with."""
        return self._secret("pepper")

    def _database(self, name: Name) -> Database:
        from tunekeeper.store.database import Database

        return Database(self._database_url or self.path(f"{name}.db"), name, self.clock)

    def _secret(self, name: str) -> bytes:
        path = self.path("secrets", name)
        try:
            return path.read_bytes()
        except FileNotFoundError:
            pass
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        part = path.with_name(f".{name}.{os.getpid()}.{os.urandom(4).hex()}")
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.write(descriptor, self.entropy(32))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        try:
            # A link fails where a rename would replace: of two that start at once, one key wins and both read it.
            os.link(part, path)
        except FileExistsError:
            pass
        finally:
            part.unlink()
        return path.read_bytes()


def open_workspace(
    root: Path,
    *,
    project: Path | None = None,
    clock: Clock | None = None,
    create: bool = False,
    database_url: str | None = None,
    entropy: Entropy = os.urandom,
) -> Workspace:
    """Open the data directory `root`.

    `create`: make what is missing and bring databases to this release's schema. Without it a missing workspace raises
    NotFound with the command that makes one; databases are looked at on first use only, so that a broken `state.db` stops
    nothing that reads `control.db`. `clock`: None takes the compressed clock of the workspace where there is one, else the
    machine's. `database_url`: a PostgreSQL database in place of the two files. `entropy`: where ids, salts and keys come from.
    """
    root = root.absolute()
    if create:
        _make(root)
    elif not root.is_dir() or (database_url is None and not (root / "control.db").exists()):
        raise NotFound(f"no workspace at {root}", fix="tunekeeper init DIR, or name the project with --dir")
    workspace = Workspace(root, project=project, clock=clock or _clock(root), database_url=database_url, entropy=entropy)
    if create:
        _upgrade(workspace, root if database_url is None else None)
    return workspace


def create_workspace(
    root: Path,
    *,
    project: Path | None = None,
    clock: Clock | None = None,
    database_url: str | None = None,
    entropy: Entropy = os.urandom,
) -> Workspace:
    """`open_workspace` with `create`: everything that is missing is made, what is there is kept."""
    return open_workspace(root, project=project, clock=clock, create=True, database_url=database_url, entropy=entropy)


def compress_clock(root: Path, *, start: datetime, factor: float) -> CompressedClock:
    """Give the data directory a compressed clock, before it is opened; one that is there already goes on as it is.

    `start`: what it reads now, in UTC. `factor`: workspace seconds per real second. It stands still without heartbeats.
    """
    from tunekeeper.store.clockfile import create_clock

    return create_clock(root.absolute(), start=start, factor=factor)


def _upgrade(workspace: Workspace, root: Path | None) -> None:
    """Bring both databases to this release's schema. Files (`root`) that stand there with it, or that nobody made yet, need no
    database library."""
    from tunekeeper.store import snapshot

    for name in ("control", "state"):
        path = root / f"{name}.db" if root is not None else None
        if path is not None and (snapshot.version(path, name) == snapshot.HEAD[name] or snapshot.create(path, name)):
            continue
        database = workspace.control if name == "control" else workspace.state
        database.upgrade()


def _make(root: Path) -> None:
    try:
        for name in _FOLDERS:
            (root / name).mkdir(mode=0o700 if name == "secrets" else 0o755, parents=True, exist_ok=True)
    except (NotADirectoryError, FileExistsError, PermissionError) as error:
        raise UserError(f"{root} cannot become a data directory: {error.strerror}", fix="name a folder, or a new one") from error


def _clock(root: Path) -> Clock:
    if not (root / "clock").exists():
        return SystemClock()
    from tunekeeper.store.clockfile import CompressedClock

    return CompressedClock(root)
