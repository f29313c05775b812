"""Records as Arrow tables and back. The columns are derived from the nouns; values that have no column type of their own are
JSON text. Timestamps are UTC without a zone, which DuckDB reads without its time zone extension."""

from __future__ import annotations

import typing
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from itertools import accumulate, chain
from typing import TYPE_CHECKING, Any

import msgspec

from tunekeeper.core.nouns.serving import Feedback
from tunekeeper.store.log.records import METRIC_TYPES, Tokens, body_bytes

if TYPE_CHECKING:
    import pyarrow as pa

FEEDBACK_TYPES: dict[str, Any] = {
    "id": str,
    "request_id": str,
    "timestamp": datetime,
    "kind": str,
    "value": Any,
    "by": str | None,
    "model_id": str | None,
    "metadata": dict[str, Any],
}
_ENCODE = msgspec.json.Encoder().encode
TOKEN_TYPES: dict[str, Any] = {"request_id": str, "prompt_tokens": int, "completion_tokens": int, "cost_usd": float}


@cache
def _kind(hint: Any) -> Any:
    arguments = [a for a in typing.get_args(hint) if a is not type(None)]
    return arguments[0] if type(None) in typing.get_args(hint) else hint


@cache
def is_json(hint: Any) -> bool:
    """Whether values of this type are stored as JSON text."""
    return _kind(hint) not in (str, int, float, bool, datetime, dict[str, str], tuple[str, ...])


def _arrow_type(hint: Any) -> Any:
    import pyarrow as pa

    types = {
        str: pa.string(),
        int: pa.int64(),
        float: pa.float64(),
        bool: pa.bool_(),
        datetime: pa.timestamp("us"),
        dict[str, str]: pa.map_(pa.string(), pa.string()),
        tuple[str, ...]: pa.list_(pa.string()),
    }
    return types.get(_kind(hint), pa.string())


@cache
def _schema(kind: str) -> Any:
    import pyarrow as pa

    if kind == "bodies":
        texts = [(name, pa.string()) for name in ("request_id", "request", "response")]
        return pa.schema([*texts, ("request64", pa.binary()), ("response64", pa.binary())])
    types = {"metrics": METRIC_TYPES, "feedback": FEEDBACK_TYPES, "tokens": TOKEN_TYPES}[kind]
    return pa.schema([*((name, _arrow_type(hint)) for name, hint in types.items()), ("origin", pa.string())])


def schema(kind: str) -> pa.Schema:
    """The Arrow schema of one kind of file: metrics, bodies, feedback or tokens."""
    return _schema(kind)


def _array(values: Sequence[Any], hint: Any, kind: Any) -> Any:
    """The values of one field as a column. Stamps are turned to UTC by pyarrow, one without a zone is taken as UTC."""
    base = _kind(hint)
    if base == dict[str, str]:
        return _maps(values, kind)
    if is_json(hint):
        values = [None if value is None else _ENCODE(value).decode() for value in values]
    return _column(values, kind)


def _maps(values: Sequence[dict[str, str] | None], kind: Any) -> Any:
    """Maps, put together from flat keys and items: pyarrow takes twice as long from a list of pairs."""
    import pyarrow as pa

    if None in values:
        return pa.array([None if value is None else list(value.items()) for value in values], kind)
    given = [value for value in values if value is not None]
    ends = pa.array(accumulate((len(value) for value in given), initial=0), pa.int32())
    keys = pa.array(chain.from_iterable(given), kind.key_type)
    return pa.MapArray.from_arrays(ends, keys, pa.array(chain.from_iterable(one.values() for one in given), kind.item_type))


def _column(values: Sequence[Any], kind: Any) -> Any:
    import pyarrow as pa

    try:
        return pa.array(values, kind)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        return pa.array([_fitting(value, kind) for value in values], kind)


def _fitting(value: Any, kind: Any) -> Any:
    """The value, or None where it does not fit its column (a count beyond 64 bits): the record stays, that number does not."""
    import pyarrow as pa

    try:
        pa.array([value], kind)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        return None
    return value


def _table(kind: str, records: Sequence[Any], origins: Sequence[str], types: dict[str, Any]) -> pa.Table:
    import pyarrow as pa

    if not records:
        return schema(kind).empty_table()
    values = {name: [getattr(record, name) for record in records] for name in types}
    return table_of(kind, values, pa.array(list(origins), pa.string()), types)


def table_of(kind: str, values: Mapping[str, Sequence[Any]], origins: pa.Array, types: dict[str, Any]) -> pa.Table:
    """A table of `kind` from the values of each field; `types` as METRIC_TYPES."""
    import pyarrow as pa

    shape = schema(kind)
    made = [_array(values[name], hint, shape.field(name).type) for name, hint in types.items()]
    return pa.Table.from_arrays([*made, origins], schema=shape)


def metrics_table(records: Sequence[Any], origins: Sequence[str]) -> pa.Table:
    """Ended records without their bodies; `origins` says which line each came from."""
    return _table("metrics", records, origins, METRIC_TYPES)


def feedback_table(records: Sequence[Feedback], origins: Sequence[str]) -> pa.Table:
    """Feedback as columns."""
    return _table("feedback", records, origins, FEEDBACK_TYPES)


def tokens_table(records: Sequence[Tokens], origins: Sequence[str]) -> pa.Table:
    """Token counts that were filled in later."""
    return _table("tokens", records, origins, TOKEN_TYPES)


def bodies_table(records: Sequence[Any]) -> pa.Table:
    """The bodies of ended records, as text where they are safe JSON, else as bytes."""
    import pyarrow as pa

    columns: dict[str, list[Any]] = {name: [] for name in schema("bodies").names}
    for record in records:
        columns["request_id"].append(record.request_id)
        for name in ("request", "response"):
            encoded = getattr(record, name + "64") is not None
            body = body_bytes(record, name)
            columns[name].append(None if encoded or body is None else body.decode())
            columns[name + "64"].append(body if encoded else None)
    return pa.table(columns, schema=schema("bodies"))


def values_of(row: dict[str, Any], types: dict[str, Any]) -> dict[str, Any]:
    """One stored row as field → value with the noun's own types; absent columns are left to the noun's defaults."""
    return {name: _loaded(row[name], hint) for name, hint in types.items() if row.get(name) is not None}


def _loaded(value: Any, hint: Any) -> Any:
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC)
    load = _loader(hint)
    if load is not None:
        return load(value)
    return tuple(value) if isinstance(value, list) else value


@cache
def _loader(hint: Any) -> Callable[[Any], Any] | None:
    """What makes a stored value of type `hint`; None where it is stored as it is. Asked for every value of every row."""
    if is_json(hint):
        return msgspec.json.Decoder(hint).decode
    return dict if _kind(hint) == dict[str, str] else None


def aware(stamp: datetime) -> datetime:
    """A stamp in UTC; one without a zone is UTC."""
    return stamp.replace(tzinfo=UTC) if stamp.tzinfo is None else stamp.astimezone(UTC)


def hour_of(stamp: datetime) -> str:
    """The partition a moment belongs to, `2026-01-05T09` in UTC; a stamp without a zone is UTC."""
    return aware(stamp).isoformat()[:13]
