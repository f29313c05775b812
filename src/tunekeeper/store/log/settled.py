"""Answers of hours to which nothing is added any more. A window by hour counts each hour for itself, and an hour's files never
change under their names: what was counted in them once is remembered, and only the others are read again.

Kept in memory only, and only where no person is named by what is grouped by, so that an erasure leaves nothing here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from tunekeeper.store.log.listing import Stored, clusters

if TYPE_CHECKING:
    import pyarrow as pa

HOUR = "hour"
PERSONAL = frozenset(("unit", "key_id"))
"""Names of fields that may stand for a person; so may every segment."""
MOST_ROWS = 200_000
"""Rows of remembered answers, together; beyond, everything is forgotten and counted anew."""
_Files = tuple[tuple[str, tuple[int, int, int]], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Divided:
    """What of a question is known, and what has to be asked."""

    files: Sequence[Stored]
    """To be asked."""
    known: Sequence[pa.Table] = ()
    """Answers of the hours that were asked before."""
    settled: Mapping[datetime, tuple[Any, _Files]] = field(default_factory=dict)
    """Hours among `files` whose answers may be remembered, and under what."""


class Settled:
    """Remembered answers of hours. One thread at a time may ask."""

    def __init__(self) -> None:
        self._known: dict[Any, tuple[_Files, pa.Table]] = {}
        self._rows = 0

    def divide(
        self, question: tuple[Any, ...], files: Sequence[Stored], span: tuple[datetime | None, datetime | None], tail: pa.Table
    ) -> Divided:
        """Put aside the hours of `files` that were asked this before. `question`: whatever makes the answer of an hour but its
        files. `span`: first moment and the one after the last. `tail`: what is in no file yet."""
        hours: dict[str, list[Stored]] = defaultdict(list)
        for one in files:
            hours[_hour_of(one)].append(one)
        shared = _shared(files, tail)
        ask: list[Stored] = []
        known: list[pa.Table] = []
        settled: dict[datetime, tuple[Any, _Files]] = {}
        for name, inside in hours.items():
            hour = datetime.fromisoformat(f"{name}:00")
            if name in shared or not _whole(hour, span):
                ask += inside
                continue
            key, stamps = (*question, name), tuple((one.path, one.stamp) for one in inside)
            held = self._known.get(key)
            if held is not None and held[0] == stamps:
                known.append(held[1])
            else:
                ask += inside
                settled[hour] = (key, stamps)
        return Divided(files=ask, known=known, settled=settled)

    def together(self, divided: Divided, answer: pa.Table, place: int, groups: int) -> pa.Table:
        """The whole answer, in the order of its groups; `answer`: of what was asked, whose hour is in column `key<place>` of
        `groups` such columns. What of it is settled is remembered."""
        import pyarrow as pa
        import pyarrow.compute as pc

        for hour, (key, stamps) in divided.settled.items():
            part = answer.filter(pc.equal(answer[f"key{place}"], pa.scalar(hour, answer.schema.field(f"key{place}").type)))
            self._remember(key, stamps, part)
        if not divided.known:
            return answer
        whole = pa.concat_tables([answer, *divided.known])
        return whole.sort_by([(f"key{number}", "ascending") for number in range(groups)])

    def _remember(self, key: Any, stamps: _Files, part: pa.Table) -> None:
        if self._rows + len(part) > MOST_ROWS:
            self._known.clear()
            self._rows = 0
        before = self._known.pop(key, None)
        self._rows += len(part) - (0 if before is None else len(before[1]))
        self._known[key] = (stamps, part)


def may_settle(by: Sequence[str]) -> bool:
    """Whether the answers of a window grouped so can be remembered hour by hour."""
    return HOUR in by and not any(name in PERSONAL or ":" in name for name in by)


def _hour_of(file: Stored) -> str:
    return file.path.rsplit("/", 3)[1]


def _whole(hour: datetime, span: tuple[datetime | None, datetime | None]) -> bool:
    since, until = map(_naive, span)
    return (since is None or since <= hour) and (until is None or hour + timedelta(hours=1) <= until)


def _naive(moment: datetime | None) -> datetime | None:
    return moment if moment is None or moment.tzinfo is None else moment.astimezone(UTC).replace(tzinfo=None)


def _shared(files: Sequence[Stored], tail: pa.Table) -> set[str]:
    """Hours that the tail adds to, or that may hold a request which stands elsewhere too."""
    import pyarrow.compute as pc

    found: set[str] = set()
    if len(tail):
        ends = pc.min_max(tail["request_id"]).as_py()
        found = {hour.isoformat()[:13] for hour in pc.unique(pc.floor_temporal(tail["timestamp"], unit="hour")).to_pylist()}
        found |= {_hour_of(one) for one in files if one.overlaps(ends["min"], ends["max"])}
    for cluster in clusters(files):
        inside = {_hour_of(one) for one in cluster.files}
        found |= inside if len(inside) > 1 else set()
    return found
