"""A bound on the disk that one workspace's log may take: what is oldest goes, the texts before the numbers.

Texts are a thousand times as large as numbers, so a flood pushes out old texts, and numbers only where nothing else is left. The
newest hour's numbers always stay: whoever is served now must still be counted.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tunekeeper.store.log import partitions

FOLDERS = ("log", "spool", "ids")
"""What counts: Parquet files, segments with those kept aside, the index of body ids."""


def size(root: Path) -> int:
    """Bytes that the log under `root` takes."""
    return sum(_size(root / name) for name in FOLDERS)


def keep_within(root: Path, most: int) -> list[str]:
    """Drop what is oldest until the log takes at most `most` bytes, or nothing may go any more. Returns what went, in words.

    For whoever holds the log's maintenance lock.
    """
    over = size(root) - most
    gone: list[str] = []
    if over <= 0:
        return gone
    for path in sorted((root / "spool" / "damaged").glob("*.jsonl")):
        if over > 0:
            over -= path.stat().st_size
            path.unlink(missing_ok=True)
            gone.append(f"damaged segment {path.name}")
    for hour in partitions.hours(root, "bodies"):
        if over > 0:
            folder = root / "log" / "bodies" / hour
            over -= _size(folder)
            shutil.rmtree(folder, ignore_errors=True)
            gone.append(f"texts of {hour}")
    for hour in partitions.hours(root, "metrics")[:-1]:
        if over > 0:
            over -= sum(_size(root / "log" / kind / hour) for kind in partitions.KINDS)
            partitions.drop_hour(root, hour)
            gone.append(f"everything of {hour}")
    return gone


def _size(folder: Path) -> int:
    """Bytes of the files below a folder; one that goes away meanwhile counts for nothing."""
    total = 0
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                total += (
                    _size(Path(entry.path)) if entry.is_dir(follow_symlinks=False) else entry.stat(follow_symlinks=False).st_size
                )
    except FileNotFoundError:
        pass
    return total
