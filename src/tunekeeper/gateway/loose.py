"""Answers of model servers that are not quite OpenAI's: what fits our few fields is read, what does not is passed over. Pure.

Some servers give a token count as text, an id as a number or a time with decimals; some cut an emoji in two, between its
UTF-16 escapes. None of that is worth an error: the body goes to the client as it is, and only what the log reads of it is less.
Strict decoding comes first; this is for the rest.
"""

from __future__ import annotations

import re
from functools import cache
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec

_Struct = TypeVar("_Struct", bound=msgspec.Struct)
_ENCODE = msgspec.json.Encoder().encode
_UNFIT = object()
_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL
)
"""An escape of JSON: two that are one character, half of such a pair, or any other."""


def read_loosely(data: bytes, kind: type[_Struct], needed: str) -> _Struct | None:
    """A JSON object as `kind`, whose fields all have defaults. None when it is no JSON object, and when field `needed` is there
    and is something else altogether."""
    try:
        value = _decoded(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if not isinstance(value, dict) or _fitted(value.get(needed), _hints(kind)[needed]) is _UNFIT:
        return None
    return _struct(value, kind)


def _decoded(data: bytes) -> Any:
    try:
        return msgspec.json.decode(data)
    except msgspec.DecodeError:
        whole = _ESCAPE.sub(lambda found: rb"\ufffd" if found[1] else found[0], data)
        if whole == data:
            raise
        return msgspec.json.decode(whole)


def _struct(value: dict[str, Any], kind: type[_Struct]) -> _Struct:
    fitted = {name: _fitted(value[name], hint) for name, hint in _hints(kind).items() if name in value}
    return kind(**{name: part for name, part in fitted.items() if part is not _UNFIT})


@cache
def _hints(kind: type[msgspec.Struct]) -> dict[str, Any]:
    return get_type_hints(kind)


def _fitted(value: Any, hint: Any) -> Any:
    """`value` as `hint`, or _UNFIT: then the field's default counts."""
    options = get_args(hint) if get_origin(hint) in (UnionType, Union) else (hint,)
    for option in options:
        if isinstance(value, dict) and isinstance(option, type) and issubclass(option, msgspec.Struct):
            return _struct(value, option)
        if isinstance(value, list) and get_origin(option) is list:
            parts = [_fitted(each, get_args(option)[0]) for each in value]
            return [part for part in parts if part is not _UNFIT]
        if option is msgspec.Raw:
            return msgspec.Raw(_ENCODE(value))
    try:
        return msgspec.convert(value, hint, strict=False)
    except msgspec.ValidationError:
        return _UNFIT
