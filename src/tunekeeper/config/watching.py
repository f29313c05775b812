"""Which files say what a project wants, and when they have changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

GONE_LOOKS = 8
"""Looks after which a file that is not there counts as gone: an editor may take it away for a moment while it writes."""

_Stamp = tuple[int, int, int]


class FileWatch:
    """Says once that files have changed: when all of them have stood still between two looks, because half a file may be a whole
    one of another meaning."""

    def __init__(self, files: Callable[[], Iterable[Path]]) -> None:
        """`files`: those to look at, asked at each look. As they are now is what changes are told from."""
        self._files = files
        self._gone: dict[Path, int] = {}
        self._seen = self._last = self._look({})

    def changed(self) -> bool:
        """Look once; whether something has changed since the last time that this was true."""
        now = self._look(self._seen)
        steady, self._last = now == self._last, now
        if not steady or now == self._seen:
            return False
        self._seen = now
        return True

    def _look(self, before: dict[Path, _Stamp]) -> dict[Path, _Stamp]:
        """Path → modification, size and inode; of a file that is only missing for a moment what it was `before`."""
        now = {path: stamp for path in self._files() if (stamp := _stamp(path)) is not None}
        self._gone = {path: self._gone.get(path, 0) + 1 for path in before.keys() - now.keys()}
        return now | {path: before[path] for path, looks in self._gone.items() if looks < GONE_LOOKS}


def project_files(project: Path) -> list[Path]:
    """The files that the configuration of `project` is read from."""
    return [project / "tunekeeper.yaml", project / ".env", *sorted((project / "models").glob("*.y*ml"))]


def _stamp(path: Path) -> _Stamp | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
