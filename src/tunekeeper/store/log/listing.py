"""Which Parquet files can hold what is asked for, found without opening them again: listings are remembered by the times of their
folders, and of every file the footer is read once."""

from __future__ import annotations

import os
import time
from bisect import bisect_left, bisect_right
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
        self._inside: dict[str, tuple[int, list[Stored]]] = {}
        self._hours: dict[tuple[str, str], tuple[tuple[str, ...], list[str], list[str]]] = {}
        self._footers: dict[str, Stored] = {}

    def files(self, kind: str, since: datetime | None, until: datetime | None, model: str | None = None) -> list[str]:
        """As `partitions.files`: every file that can hold rows of `[since, until)`, oldest hour first."""
        return self._files(kind, since, until, None if model is None else partitions.model_folder(model))

    def shared(self, kind: str, since: datetime | None) -> list[str]:
        """The files of statements (feedback, tokens), which lie beside the models', from `since` on."""
        return self._files(kind, since, None, partitions.model_folder(None))

    def found(self, kind: str, since: datetime | None, until: datetime | None, model: str | None) -> list[Stored]:
        """The files of `files`, or, for statements, those of `shared`, as `stored` gives them. Of a folder that did not change
        since it was remembered, no file is looked at."""
        folder = partitions.model_folder(model) if model is not None or kind in partitions.STATEMENTS else None
        found: list[Stored] = []
        for place in self._places(kind, since, until, folder):
            known = self._inside.get(place)
            if known is not None:
                try:
                    if os.stat(place).st_mtime_ns == known[0]:  # files come and go by renaming, which their folder shows
                        found += known[1]
                        continue
                except FileNotFoundError:
                    del self._inside[place]
                    continue
            found += self._look(place)
        return found

    def _look(self, place: str) -> list[Stored]:
        names = self._listed(place, partitions.visible)
        found = self.stored([f"{place}/{name}" for name in names])
        remembered = self._folders.get(place)
        if remembered is not None and remembered[1] is names:
            self._inside[place] = (remembered[0], found)
        return found

    def stored(self, paths: Iterable[str]) -> list[Stored]:
        """What the footers of these files say; files without rows are left out. Raises OSError for a file that is gone and
        pyarrow.ArrowInvalid for one that is damaged."""
        found = [self._footer(path) for path in paths]
        return [one for one in found if one.low <= one.high]

    def _files(self, kind: str, since: datetime | None, until: datetime | None, folder: str | None) -> list[str]:
        places = self._places(kind, since, until, folder)
        return [f"{place}/{name}" for place in places for name in self._listed(place, partitions.visible)]

    def _places(self, kind: str, since: datetime | None, until: datetime | None, folder: str | None) -> list[str]:
        top = f"{self.root}/log/{kind}"
        listed = self._listed(top, partitions.names)
        if folder is None:
            return [
                f"{top}/{hour}/{name}"
                for hour in partitions.within(listed, since, until)
                for name in self._listed(f"{top}/{hour}", partitions.names)
            ]
        known = self._hours.get((kind, folder))
        if known is None or known[0] is not listed:
            hours = partitions.within(listed, None, None)
            known = self._hours[kind, folder] = (listed, hours, [f"{top}/{hour}/{folder}" for hour in hours])
        low, high = partitions.bounds(since, until)
        return known[2][bisect_left(known[1], low) : bisect_right(known[1], high)]

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
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pa.OSFile(path) as file:  # two thirds of the time of `ParquetFile`, and a reader begins with hundreds of these
        footer = pq.read_metadata(file)
    names = footer.schema.to_arrow_schema().names
    place = footer.schema.names.index("request_id") if "request_id" in footer.schema.names else 0
    ranges = [footer.row_group(n).column(place).statistics for n in range(footer.num_row_groups) if footer.row_group(n).num_rows]
    known = all(one is not None and one.has_min_max for one in ranges)
    low = min((one.min for one in ranges), default=_LAST) if known else ""
    high = max((one.max for one in ranges), default="") if known else _LAST
    return Stored(path=path, stamp=stamp, low=low, high=high, columns=tuple(names))


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
