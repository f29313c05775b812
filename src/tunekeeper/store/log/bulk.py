"""Many lines at once. A segment without damage, which is nearly every one, is split at its newlines, all checksums are compared
in one go, and its endings become columns. Whatever is unusual goes the careful way of `lines`, `records` and `columns`, line by
line, with the same outcome."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import msgspec
import xxhash

from tunekeeper.store.log import columns
from tunekeeper.store.log.lines import MARK, PREFIX_BYTES, Line, scan
from tunekeeper.store.log.records import BODIES, METRIC_TYPES, Ended, decode

if TYPE_CHECKING:
    import pyarrow as pa

_KIND = PREFIX_BYTES + 5
_HEADS = (b'"k":"O","request_id":"', b'"k":"P","request_id":"')
_ID = PREFIX_BYTES + len(_HEADS[0])
_HASH = xxhash.xxh3_64_hexdigest
_BETWEEN = '",' + MARK.decode()
_NOTHING = b"null"


_Plain: Any = msgspec.defstruct("_Plain", [], bases=(Ended,), kw_only=True, gc=False)
"""As `Ended`, for the garbage collector not to look at: JSON holds no cycles."""
_DECODE = msgspec.json.Decoder(_Plain, strict=False).decode
_Named: Any = msgspec.defstruct("_Named", [("request_id", str), ("body_id", str | None, None)], gc=False)
_NAME = msgspec.json.Decoder(_Named, strict=False).decode
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


@dataclass(frozen=True, kw_only=True, slots=True)
class Stretch:
    """The whole lines of some bytes, not decoded; four lists side by side."""

    kinds: bytes
    """One letter for each line."""
    starts: Sequence[int]
    """Offset of each line."""
    ends: Sequence[int]
    """Offset after each line and its newline."""
    jsons: Sequence[bytes]
    """Each line's JSON object."""
    corrupt: int = 0
    """Damaged stretches, as `lines.Scan` counts them."""
    consumed: int = 0
    """Bytes after which a later read of a growing file goes on."""

    def line(self, place: int) -> Line:
        """One of the lines."""
        kind = chr(self.kinds[place])
        return Line(start=self.starts[place], end=self.ends[place], kind=kind, json=self.jsons[place])

    def places(self, kinds: bytes) -> list[int]:
        """Where the lines of these kinds are, in order."""
        return [place for place, kind in enumerate(self.kinds) if kind in kinds]


def read(data: bytes, *, growing: bool = False) -> Stretch:
    """Every whole line in `data`, each checksum verified: what `lines.scan` finds, faster where nothing is wrong."""
    return _undamaged(data) or _careful(data, growing)


def _undamaged(data: bytes) -> Stretch | None:
    """None when a byte is not part of a whole line, or when there is none."""
    jsons = data.split(b"\n")
    if jsons.pop() or not jsons or min(map(len, jsons)) <= _KIND:
        return None
    sums = _BETWEEN.join([_HASH(json[PREFIX_BYTES:]) for json in jsons])
    if b"".join([json[:PREFIX_BYTES] for json in jsons]) != b'%b%b",' % (MARK, sums.encode()):
        return None
    ends = list(accumulate([len(json) + 1 for json in jsons]))
    kinds = bytes([json[_KIND] for json in jsons])
    return Stretch(kinds=kinds, starts=[0, *ends[:-1]], ends=ends, jsons=jsons, consumed=len(data))


def _careful(data: bytes, growing: bool) -> Stretch:
    found = scan(data, growing=growing)
    return Stretch(
        kinds=b"".join(line.kind.encode("ascii", "replace") or b"?" for line in found.lines),
        starts=[line.start for line in found.lines],
        ends=[line.end for line in found.lines],
        jsons=[line.json for line in found.lines],
        corrupt=found.corrupt,
        consumed=found.consumed,
    )


def name(json: bytes) -> tuple[str, str | None] | None:
    """Request id and body id of a line of kind O, P or E; None when it is no record of ours."""
    try:
        found = _NAME(json)
    except _UNREADABLE:
        return None
    return found.request_id, found.body_id


def id_bytes(json: bytes) -> bytes | None:
    """The request id of a line of kind O or P, where it stands where the spool puts it and needs no decoding; else None."""
    if json[PREFIX_BYTES:_ID] not in _HEADS:
        return None
    found = json[_ID : json.find(b'"', _ID)]
    return None if b"\\" in found else found


@dataclass(frozen=True, kw_only=True, slots=True)
class Endings:
    """Ended requests as columns, in the order of their lines."""

    metrics: pa.Table
    """All but the bodies."""
    bodies: pa.Table | None
    """Their bodies; None when they were not asked for."""
    unreadable: int
    """Lines that hold no record of ours; they are in neither table."""


def endings(jsons: Sequence[bytes], starts: Sequence[int], stem: str, *, bodies: bool = True) -> Endings:
    """The columns of lines of kind E that begin at `starts` in the segment called `stem`."""
    try:
        rows = [_DECODE(json) for json in jsons]
    except _UNREADABLE:
        return _one_by_one(jsons, starts, stem, bodies)
    if not rows:
        return _one_by_one(jsons, starts, stem, bodies)
    fields = dict(zip(_Plain.__struct_fields__, zip(*map(msgspec.structs.astuple, rows), strict=True), strict=True))
    if bodies and any(any(fields[name + "64"]) for name in BODIES):
        return _one_by_one(jsons, starts, stem, bodies)
    metrics = columns.table_of("metrics", fields, _origins(stem, starts), METRIC_TYPES)
    return Endings(metrics=metrics, bodies=_bodies(fields) if bodies else None, unreadable=0)


def _origins(stem: str, starts: Sequence[int]) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.binary_join_element_wise(stem, pa.array(starts, pa.int64()).cast(pa.string()), ":")


def _bodies(fields: dict[str, Any]) -> pa.Table:
    """Bodies that are safe JSON, as they stand in their lines."""
    import pyarrow as pa

    ids = pa.array(fields["request_id"], pa.string())
    texts = [pa.array(_texts(fields[name]), pa.binary()).cast(pa.string()) for name in BODIES]
    nothing = pa.nulls(len(ids), pa.binary())
    return pa.Table.from_arrays([ids, *texts, nothing, nothing], schema=columns.schema("bodies"))


def _texts(bodies: Sequence[msgspec.Raw]) -> list[bytes | None]:
    found: list[bytes | None] = list(map(bytes, bodies))
    return [None if text == _NOTHING else text for text in found] if _NOTHING in found else found


def _one_by_one(jsons: Sequence[bytes], starts: Sequence[int], stem: str, bodies: bool) -> Endings:
    both = [(decode(Line(start=0, end=0, kind="E", json=json)), start) for json, start in zip(jsons, starts, strict=True)]
    good = [(record, start) for record, start in both if record is not None]
    records = [record for record, _ in good]
    return Endings(
        metrics=columns.metrics_table(records, [f"{stem}:{start}" for _, start in good]),
        bodies=columns.bodies_table(records) if bodies else None,
        unreadable=len(both) - len(good),
    )
