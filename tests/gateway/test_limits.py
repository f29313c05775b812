"""Limits are numbers with a unit, and all of them positive."""

from __future__ import annotations

import pytest

from tunekeeper.core.errors import ConfigError
from tunekeeper.gateway.limits import Limits


def test_the_defaults_are_those_of_the_security_table() -> None:
    limits = Limits()
    assert (limits.body_bytes, limits.head_bytes, limits.headers, limits.depth) == (4 << 20, 32 << 10, 100, 64)
    assert (limits.header_seconds, limits.body_seconds, limits.messages) == (10, 30, 2000)
    assert limits.answer_bytes == 64 << 20


@pytest.mark.parametrize("name", ["body_mb", "header_seconds", "connections", "drain_seconds"])
def test_a_limit_that_is_not_positive_is_named(name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        Limits(**{name: 0})
