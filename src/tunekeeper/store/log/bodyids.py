"""Which request an answer's own `id` belongs to: `ids/<hour>`, fixed-width pairs of hash and request id, and `ids/<hour>.sorted`
once the hour is over. Feedback that knows only the body's `id` is joined through it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xxhash

from tunekeeper.store.log.partitions import settle

if TYPE_CHECKING:
    import numpy as np

WIDTH = 40
RECORD = 8 + WIDTH


def _shape() -> Any:
    import numpy as np

    return np.dtype([("hash", "<u8"), ("id", f"S{WIDTH}")])


def _packed(pairs: Iterable[tuple[str, str]]) -> bytes:
    import numpy as np

    fitting = [(body_id, id) for body_id, request_id in pairs if len(id := request_id.encode()) <= WIDTH]
    rows = np.empty(len(fitting), dtype=_shape())
    rows["hash"] = np.array([xxhash.xxh3_64_intdigest(body_id.encode("utf-8", "replace")) for body_id, _ in fitting], dtype="<u8")
    rows["id"] = np.array([id for _, id in fitting], dtype=f"S{WIDTH}")
    return rows.tobytes()


class Index:
    """The index under `root`/ids. Only the holder of `segments.maintenance` changes it."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "ids"

    def add(self, hour: str, pairs: Iterable[tuple[str, str]]) -> None:
        """Append (body id, request id) pairs of an hour. Pairs added twice count once. A request id longer than 40 bytes (an
        imported one) is left out: it was never answered by a gateway of ours."""
        data = _packed(pairs)
        if not data:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / hour).open("ab") as file:
            whole = file.tell() // RECORD * RECORD
            if whole != file.tell():  # a kill cut the last pair; its segment is compacted again
                file.truncate(whole)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())

    def settle(self, hour: str) -> None:
        """Sort an hour that is over, so that looking something up in it costs a few page reads."""
        import numpy as np

        loose = self._loose(hour)
        if len(loose) == 0:
            return
        merged = np.unique(np.concatenate([loose, self._sorted(hour)]))
        self._write_sorted(hour, merged)
        (self.folder / hour).unlink(missing_ok=True)

    def find(self, body_id: str, hours: Iterable[str]) -> set[str]:
        """Request ids whose answer carried `body_id`, in these hours."""
        import numpy as np

        digest = np.uint64(xxhash.xxh3_64_intdigest(body_id.encode("utf-8", "replace")))
        found: set[str] = set()
        for hour in hours:
            loose = self._loose(hour)  # before the sorted file: an hour being settled is then seen in one of the two
            found.update(id.decode() for id in loose["id"][loose["hash"] == digest])
            ordered = self._sorted(hour)
            low, high = np.searchsorted(ordered["hash"], digest, "left"), np.searchsorted(ordered["hash"], digest, "right")
            found.update(id.decode() for id in ordered["id"][low:high])
        return found

    def forget(self, request_ids: set[str]) -> None:
        """Take erased requests out of every hour."""
        import numpy as np

        gone = np.array(sorted(id.encode() for id in request_ids), dtype=f"S{WIDTH}")
        for hour in self.hours():
            both = np.concatenate([self._loose(hour), self._sorted(hour)])
            kept = np.unique(both[~np.isin(both["id"], gone)])
            if len(kept) != len(np.unique(both)):
                self._write_sorted(hour, kept)
                (self.folder / hour).unlink(missing_ok=True)

    def hours(self) -> list[str]:
        """The hours that are indexed, oldest first."""
        if not self.folder.is_dir():
            return []
        return sorted({name.removesuffix(".sorted") for name in os.listdir(self.folder) if not name.startswith(".")})

    def loose_hours(self) -> list[str]:
        """The hours that are not sorted yet."""
        return [hour for hour in self.hours() if (self.folder / hour).exists()]

    def _write_sorted(self, hour: str, pairs: np.ndarray[Any, Any]) -> None:
        hidden = self.folder / f".{hour}.new"
        hidden.write_bytes(pairs.tobytes())
        settle(hidden, self.folder / f"{hour}.sorted")

    def _loose(self, hour: str) -> np.ndarray[Any, Any]:
        import numpy as np

        try:
            data = (self.folder / hour).read_bytes()
        except FileNotFoundError:
            data = b""
        return np.frombuffer(data[: len(data) // RECORD * RECORD], dtype=_shape())

    def _sorted(self, hour: str) -> np.ndarray[Any, Any]:
        import numpy as np

        path = self.folder / f"{hour}.sorted"
        try:
            if path.stat().st_size < RECORD:
                return np.empty(0, dtype=_shape())
            return np.memmap(path, dtype=_shape(), mode="r")
        except FileNotFoundError:
            return np.empty(0, dtype=_shape())
