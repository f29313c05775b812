"""Lines put aside until all of them are known, and given back in the order of the files that they become: by hour and model,
each request id once. Memory holds some forty bytes of each line, the disk the rest."""

from __future__ import annotations

import os
import tempfile
from array import array
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import xxhash

from tunekeeper.store.log.columns import aware
from tunekeeper.store.log.spool import ended_line

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_HOUR = timedelta(hours=1)


class Aside:
    """Records of ended requests that lie aside, as the lines that they will be."""

    def __init__(self, folder: Path) -> None:
        """`folder`: on which disk. The file has no name, so that nothing of it stays, however this process ends."""
        folder.mkdir(parents=True, exist_ok=True)
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed by `close`
        self._ends = array("Q", [0])
        self._hours = array("q")
        self._models = array("L")
        self._digests = bytearray()
        self._codes: dict[str, int] = {}

    def put(self, records: Iterable[dict[str, Any]]) -> None:
        """Take some more, those of one hour and model beside each other: they are read again in that order. Raises OSError."""
        for record in sorted(records, key=_place):
            hour, model = _place(record)
            line = ended_line(record)
            self._file.write(line)
            self._ends.append(self._ends[-1] + len(line))
            self._hours.append(hour)
            self._models.append(self._codes.setdefault(model, len(self._codes)))
            self._digests += xxhash.xxh3_128_digest(record["request_id"].encode())

    def lines(self) -> Iterator[bytes]:
        """The lines by hour and model; of one request id the one that came first."""
        import numpy as np

        self._file.flush()
        halves = np.frombuffer(self._digests, "<u8").reshape(-1, 2)
        by_id = np.lexsort((halves[:, 0], halves[:, 1]))  # stable: of one id, the first one comes first
        halves = halves[by_id]
        again = np.concatenate([[False], (halves[1:] == halves[:-1]).all(axis=1)])[: len(by_id)]
        kept = np.sort(by_id[~again])
        hours, models = np.frombuffer(self._hours, "<i8")[kept], np.frombuffer(self._models, "<u8")[kept]
        for place in kept[np.lexsort((models, hours))].tolist():
            start = self._ends[place]
            yield os.pread(self._file.fileno(), self._ends[place + 1] - start, start)

    def close(self) -> None:
        """Let them go."""
        self._file.close()


def _place(record: dict[str, Any]) -> tuple[int, str]:
    """The hour of a record, counted from 1970, and its model."""
    return (aware(record["timestamp"]) - _EPOCH) // _HOUR, record["model_id"]
