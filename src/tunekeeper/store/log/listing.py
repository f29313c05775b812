"""Which Parquet files can hold what is asked for, found without opening them again: listings are remembered by the times of their
folders, and of every file the footer is read once."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from tunekeeper.store.log import partitions

_TRUSTED_NS = 200_000_000
"""How old a folder's time must be before its listing is remembered: two changes within one tick of the kernel's clock leave the
same time."""
_LAST = "\U0010ffff"


@dataclass(frozen=True, kw_only=True, slots=True)
class Stored:
    """One Parquet file as its footer describes it."""

    path: str
    """Where it is."""
    stamp: tuple[int, int, int]
    """Inode, size in bytes and time of change (ns): differs when the file was written anew under its name."""
    low: str
    """No request id in it is smaller."""
    high: str
    """No request id in it is greater; smaller than `low` when the file has no rows."""
    columns: tuple[str, ...]
    """Names of its columns."""

    def overlaps(self, low: str, high: str) -> bool:
        """Whether an id of `[low, high]` can be in it."""
        return self.low <= high and low <= self.high


@dataclass(frozen=True, kw_only=True, slots=True)
class Cluster:
    """Files that can share request ids, because the ranges of their ids overlap."""

    files: tuple[Stored, ...]
    """At least two, by their lowest id."""
    low: str
    """No id is in two of the files that is smaller."""
    high: str
    """No id is in two of the files that is greater."""


class Listing:
    """The files under `root`/log. The caller sees to it that one thread at a time asks."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._folders: dict[str, tuple[int, tuple[str, ...]]] = {}
        self._footers: dict[str, Stored] = {}

    def files(self, kind: str, since: datetime | None, until: datetime | None, model: str | None = None) -> list[str]:
        """As `partitions.files`: every file that can hold rows of `[since, until)`, oldest hour first."""
        return self._files(kind, since, until, None if model is None else partitions.model_folder(model))

    def shared(self, kind: str, since: datetime | None) -> list[str]:
        """The files of statements (feedback, tokens), which lie beside the models', from `since` on."""
        return self._files(kind, since, None, partitions.model_folder(None))

    def stored(self, paths: Iterable[str]) -> list[Stored]:
        """What the footers of these files say; files without rows are left out. Raises OSError for a file that is gone and
        pyarrow.ArrowInvalid for one that is damaged."""
        found = [self._footer(path) for path in paths]
        return [one for one in found if one.low <= one.high]

    def _files(self, kind: str, since: datetime | None, until: datetime | None, folder: str | None) -> list[str]:
        top = f"{self.root}/log/{kind}"
        found: list[str] = []
        for hour in partitions.within(self._listed(top, partitions.names), since, until):
            names = [folder] if folder is not None else self._listed(f"{top}/{hour}", partitions.names)
            for name in names:
                place = f"{top}/{hour}/{name}"
                found.extend(f"{place}/{file}" for file in self._listed(place, partitions.visible))
        return found

    def _listed(self, folder: str, read: Callable[[Path], list[str]]) -> tuple[str, ...]:
        try:
            changed = os.stat(folder).st_mtime_ns
        except (FileNotFoundError, NotADirectoryError):
            self._folders.pop(folder, None)
            return ()
        known = self._folders.get(folder)
        if known is not None and known[0] == changed:
            return known[1]
        settled = abs(time.time_ns() - changed) > _TRUSTED_NS
        listed = tuple(sorted(read(Path(folder))))
        if settled:
            self._folders[folder] = (changed, listed)
        return listed

    def _footer(self, path: str) -> Stored:
        status = os.stat(path)
        stamp = (status.st_ino, status.st_size, status.st_mtime_ns)
        known = self._footers.get(path)
        if known is None or known.stamp != stamp:
            known = self._footers[path] = _read_footer(path, stamp)
        return known


def _read_footer(path: str, stamp: tuple[int, int, int]) -> Stored:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        footer, names = file.metadata, tuple(file.schema_arrow.names)
    place = footer.schema.names.index("request_id") if "request_id" in footer.schema.names else 0
    ranges = [footer.row_group(n).column(place).statistics for n in range(footer.num_row_groups) if footer.row_group(n).num_rows]
    known = all(one is not None and one.has_min_max for one in ranges)
    low = min((one.min for one in ranges), default=_LAST) if known else ""
    high = max((one.max for one in ranges), default="") if known else _LAST
    return Stored(path=path, stamp=stamp, low=low, high=high, columns=names)


def clusters(files: Sequence[Stored]) -> list[Cluster]:
    """The groups of files that can hold an id twice. Files whose ids lie apart are in none."""
    found: list[Cluster] = []
    group: list[Stored] = []
    high = ""
    for file in [*sorted(files, key=lambda one: (one.low, one.path)), None]:
        if file is not None and group and file.low <= high:
            group.append(file)
        else:
            if len(group) > 1:
                found.append(_cluster(group))
            group = [] if file is None else [file]
            high = ""
        high = high if file is None else max(high, file.high)
    return found


def _cluster(group: Sequence[Stored]) -> Cluster:
    """An id of two files is at least the lowest id of the second file, and at most the second greatest of their highest ids."""
    return Cluster(files=tuple(group), low=group[1].low, high=sorted(one.high for one in group)[-2])
