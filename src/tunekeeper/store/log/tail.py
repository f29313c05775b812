"""The hot tail: what stands in the spool and is not compacted yet. Segments are read once and then only where they grew."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunekeeper.core.nouns.serving import Feedback
from tunekeeper.store.log import bulk, columns, segments
from tunekeeper.store.log.lines import Line, scan
from tunekeeper.store.log.records import Partial, Tokens, body_bytes, decode, interrupted
from tunekeeper.store.log.segments import Segment

if TYPE_CHECKING:
    import pyarrow as pa

Bodies = tuple[bytes | None, bytes | None]
State = tuple[tuple[tuple[Path, int], ...], frozenset[str]]
_ENDED = ord("E")
_PIECES = 16
"""Pieces that a segment may be in memory before they are made one."""
_LOOKS = 6


@dataclass(kw_only=True, slots=True)
class Opened:
    """Requests of one incarnation that were opened and have not ended."""

    records: dict[str, Any] = field(default_factory=dict)
    """Request id → its O record."""
    partials: dict[str, list[Partial]] = field(default_factory=dict)
    """Request id → the text streamed so far."""

    def take(self, kind: str, record: Any) -> None:
        """Follow one line of kind O, P or E."""
        if kind == "O":
            self.records[record.request_id] = record
        elif kind == "P":
            self.partials.setdefault(record.request_id, []).append(record)
        else:
            self.records.pop(record.request_id, None)
            self.partials.pop(record.request_id, None)

    def interrupted(self) -> list[Any]:
        """Their records, given that the writer is dead."""
        return [interrupted(record, self.partials.get(id, [])) for id, record in self.records.items()]


@dataclass(kw_only=True, slots=True)
class Content:
    """What the lines of one segment say."""

    ended: list[tuple[Line, Any]] = field(default_factory=list)
    """Kind E."""
    feedback: list[tuple[Line, Feedback]] = field(default_factory=list)
    """Kind F."""
    tokens: list[tuple[Line, Tokens]] = field(default_factory=list)
    """Kind T."""
    open: list[tuple[Line, Any]] = field(default_factory=list)
    """Kinds O, P and E in order, to follow what is open."""
    unreadable: int = 0
    """Whole lines that hold no record of ours."""


def read_lines(lines: Iterable[Line]) -> Content:
    """Sort whole lines by kind; erased ones (X) are passed over."""
    content = Content()
    homes = {"E": content.ended, "F": content.feedback, "T": content.tokens}
    for line in lines:
        if line.kind == "X":
            continue
        record = decode(line)
        if record is None:
            content.unreadable += 1
            continue
        if line.kind in homes:
            homes[line.kind].append((line, record))
        if line.kind in "OPE":
            content.open.append((line, record))
    return content


class _Part:
    """Endings of one segment whose metrics are decoded when somebody asks for them."""

    def __init__(self, jsons: list[bytes], starts: list[int], stem: str) -> None:
        self._lines: tuple[list[bytes], list[int], str] | None = (jsons, starts, stem)
        self._table: pa.Table | None = None

    def table(self) -> pa.Table:
        lines = self._lines
        if self._table is None and lines is not None:
            self._table = bulk.endings(*lines, bodies=False).metrics
            self._lines = None
        return self._table

    @classmethod
    def of(cls, parts: list[_Part]) -> _Part:
        """Several as one."""
        import pyarrow as pa

        whole = cls([], [], "")
        whole._table = pa.concat_tables([part.table() for part in parts]).combine_chunks()
        return whole


@dataclass(kw_only=True, slots=True)
class _Known:
    """What is remembered of one segment."""

    offset: int = 0
    parts: list[_Part] = field(default_factory=list)
    places: dict[str, tuple[Path, int, int]] = field(default_factory=dict)
    body_ids: dict[str, set[str]] = field(default_factory=dict)
    feedback: dict[str, Any] = field(default_factory=dict)
    tokens: dict[str, Tokens] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)
    open: dict[str, list[Line]] = field(default_factory=dict)

    def take(self, segment: Segment, base: int, found: bulk.Stretch) -> None:
        """Follow the lines of a stretch that begins at `base`."""
        fresh: list[int] = []
        for place, kind in enumerate(found.kinds):
            named = bulk.name(found.jsons[place]) if kind in b"OPE" else None
            if named is None:
                continue
            request_id, body_id = named
            if kind != _ENDED:
                self.open.setdefault(request_id, []).append(found.line(place))
                continue
            self.open.pop(request_id, None)
            self.ended.add(request_id)
            if request_id in self.places:
                continue
            self.places[request_id] = (segment.path, base + found.starts[place], base + found.ends[place])
            if body_id is not None:
                self.body_ids.setdefault(body_id, set()).add(request_id)
            fresh.append(place)
        if fresh:
            self.parts.append(_Part([found.jsons[i] for i in fresh], [base + found.starts[i] for i in fresh], segment.stem))
        if len(self.parts) > _PIECES:
            self.parts = [_Part.of(self.parts)]
        content = read_lines(found.line(place) for place in found.places(b"FT"))
        self.feedback.update((record.id, record) for _, record in content.feedback)
        self.tokens.update((record.request_id, record) for _, record in content.tokens)


@dataclass(frozen=True, kw_only=True)
class Hot:
    """One moment's view of the tail."""

    feedback: dict[str, Feedback]
    """Feedback id → feedback."""
    tokens: dict[str, Tokens]
    """Request id → counts filled in later."""
    places: dict[str, tuple[Path, int, int]]
    """Request id → the bytes of its line."""
    interrupted: dict[str, Any]
    """Request id → record of a request whose gateway died."""
    parts: tuple[tuple[_Part, frozenset[str]], ...]
    """What `metrics` is made of, and the ids in each piece that another one holds already."""

    @cached_property
    def metrics(self) -> pa.Table:
        """One row per request id, interrupted ones included; decoded when it is first asked for."""
        import pyarrow as pa

        lost = columns.metrics_table(list(self.interrupted.values()), [f"open:{id}" for id in self.interrupted])
        return pa.concat_tables([*(_without(part.table(), doubled) for part, doubled in self.parts), lost])

    def __contains__(self, request_id: str) -> bool:
        return request_id in self.places or request_id in self.interrupted

    def row(self, request_id: str) -> pa.Table:
        """The one row of this request, or none. Only its own line is decoded."""
        if request_id in self.interrupted:
            return columns.metrics_table([self.interrupted[request_id]], [f"open:{request_id}"])
        record = self._record(request_id)
        if record is None:
            return columns.schema("metrics").empty_table()
        path, start, _ = self.places[request_id]
        return columns.metrics_table([record], [f"{path.name.rsplit('.', 1)[0]}:{start}"])

    def bodies(self, request_id: str) -> Bodies | None:
        """Request and response bytes; None when the tail does not hold this request (any more)."""
        if request_id in self.interrupted:
            record = self.interrupted[request_id]
            return body_bytes(record, "request"), body_bytes(record, "response")
        record = self._record(request_id)
        return None if record is None else (body_bytes(record, "request"), body_bytes(record, "response"))

    def _record(self, request_id: str) -> Any | None:
        """The record of an ended request; None when the tail does not hold it (any more)."""
        place = self.places.get(request_id)
        if place is None:
            return None
        path, start, end = place
        try:
            with path.open("rb") as file:
                file.seek(start)
                lines = scan(file.read(end - start)).lines
        except FileNotFoundError:
            return None
        return decode(lines[0]) if lines else None


class Tail:
    """Reads the spool under `root`; safe to share between threads."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._known: dict[Path, _Known] = {}
        self._last: tuple[State, Hot] | None = None
        self._erasure: tuple[int, int] | None = None
        self._buried: dict[str, tuple[tuple[tuple[Path, int], ...], dict[str, Any]]] = {}
        self._lock = threading.Lock()

    def read(self) -> Hot:
        """The tail as it is now. A segment that is compacted meanwhile is passed over: its records are in Parquet by then, so
        list the Parquet files after this call, not before."""
        with self._lock:
            groups, dead = self._refresh()
            return self._view(groups, dead)

    def unended(self) -> set[str] | None:
        """Ids of requests that were opened and will still end, for their writer lives; None where the spool changed under every
        look."""
        with self._lock:
            for _ in range(_LOOKS):
                groups, dead = self._refresh()
                alive = [group for writer, group in groups.items() if writer not in dead]
                if all(segment.path in self._known for group in alive for segment in group):
                    return {id for group in alive for id in self._open_of(group)}
            return None

    def _open_of(self, group: list[Segment]) -> set[str]:
        still: set[str] = set()
        for segment in segments.open_chain(group):
            known = self._known[segment.path]
            still = (still - known.ended) | known.open.keys()
        return still

    def find_body_id(self, body_id: str) -> set[str]:
        """Request ids in the tail whose answer carried this `id`."""
        with self._lock:
            self._refresh()
            return {id for known in self._known.values() for id in known.body_ids.get(body_id, ())}

    def _refresh(self) -> tuple[dict[str, list[Segment]], set[str]]:
        erasure = segments.last_erasure(self.root)
        if erasure != self._erasure:  # lines were overwritten in place: no segment shows it by its length
            self._erasure = erasure
            self._known, self._buried, self._last = {}, {}, None
        found = segments.list_segments(self.root)
        groups = segments.by_writer(found)
        # Looked at before the segments are read: what a dead writer left is final.
        dead = {writer for writer in groups if not segments.is_alive(self.root, writer)}
        paths = {segment.path for segment in found}
        for path in [path for path in self._known if path not in paths]:
            del self._known[path]
        for segment in found:
            self._grow(segment)
        return groups, dead

    def _grow(self, segment: Segment) -> None:
        known = self._known.setdefault(segment.path, _Known())
        try:
            with segment.path.open("rb") as file:
                size = file.seek(0, 2)
                if size < known.offset:  # a batch that could not be written whole was taken back
                    known = self._known[segment.path] = _Known()
                if size == known.offset:
                    return
                file.seek(known.offset)
                data = file.read(size - known.offset)
        except FileNotFoundError:
            del self._known[segment.path]
            return
        found = bulk.read(data, growing=True)
        known.take(segment, known.offset, found)
        known.offset += found.consumed

    def _view(self, groups: dict[str, list[Segment]], dead: set[str]) -> Hot:
        state = (tuple((path, known.offset) for path, known in self._known.items()), frozenset(dead))
        if self._last is None or self._last[0] != state:
            self._last = (state, self._join(groups, dead))
        return self._last[1]

    def _join(self, groups: dict[str, list[Segment]], dead: set[str]) -> Hot:
        places: dict[str, tuple[Path, int, int]] = {}
        feedback: dict[str, Feedback] = {}
        tokens: dict[str, Tokens] = {}
        parts: list[tuple[_Part, frozenset[str]]] = []
        for known in self._known.values():
            apart = places.keys().isdisjoint(known.places)
            doubled = frozenset() if apart else frozenset(known.places.keys() & places.keys())
            parts.extend((part, doubled) for part in known.parts)
            places.update(known.places if apart else {id: one for id, one in known.places.items() if id not in doubled})
            feedback.update(known.feedback)
            tokens.update(known.tokens)
        lost = {
            id: r for writer in sorted(dead) for id, r in self._interrupted(writer, groups[writer]).items() if id not in places
        }
        self._buried = {writer: found for writer, found in self._buried.items() if writer in dead}
        return Hot(feedback=feedback, tokens=tokens, places=places, interrupted=lost, parts=tuple(parts))

    def _interrupted(self, writer: str, group: list[Segment]) -> dict[str, Any]:
        """What a dead writer left open, by request id; worked out once for the same files."""
        chain = [(s.path, known) for s in segments.open_chain(group) if (known := self._known.get(s.path)) is not None]
        state = tuple((path, known.offset) for path, known in chain)
        found = self._buried.get(writer)
        if found is None or found[0] != state:
            still: dict[str, list[Line]] = {}
            for _, known in chain:
                for id in known.ended:
                    still.pop(id, None)
                for id, lines in known.open.items():
                    still.setdefault(id, []).extend(lines)
            opened = Opened()
            for line, record in read_lines(line for lines in still.values() for line in lines).open:
                opened.take(line.kind, record)
            found = self._buried[writer] = (state, {record.request_id: record for record in opened.interrupted()})
        return found[1]


def _without(table: pa.Table, ids: frozenset[str]) -> pa.Table:
    if not ids:
        return table
    import pyarrow as pa
    import pyarrow.compute as pc

    return table.filter(pc.invert(pc.is_in(table["request_id"], value_set=pa.array(sorted(ids), pa.string()))))


def id_range(table: pa.Table) -> tuple[str, str] | None:
    """The smallest and the greatest request id of a table; None when it is empty."""
    import pyarrow.compute as pc

    if len(table) == 0:
        return None
    ends = pc.min_max(table["request_id"]).as_py()
    return ends["min"], ends["max"]
