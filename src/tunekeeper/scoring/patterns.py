"""Patterns that users write, in linear time: RE2, without back-references and look-around."""

from __future__ import annotations

import functools
from typing import Any

from tunekeeper.core.errors import ConfigError


@functools.lru_cache(maxsize=64)
def compile_pattern(pattern: str) -> Any:
    """A linear-time pattern (RE2: no back-references, no look-around), case sensitive. Raises ValueError for what RE2 refuses."""
    import re2

    options = re2.Options()
    options.log_errors = False
    options.max_mem = 8 << 20
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        raise ValueError(str(error)) from None


def searchable(answer: str) -> str:
    """An answer as RE2 can read it: a lone surrogate, which JSON can carry and UTF-8 cannot, becomes a question mark."""
    return answer.encode("utf-8", "replace").decode("utf-8")


def asked_for(pattern: str, where: str) -> Any:
    """`compile_pattern` of what stands at `where` in a file. Raises ConfigError naming it."""
    try:
        return compile_pattern(pattern)
    except ValueError as error:
        raise ConfigError(f"{where}: pattern {pattern!r}: {error}", fix="write it for RE2, without look-around") from None
