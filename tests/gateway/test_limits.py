"""Limits are numbers with a unit, and all of them positive."""

from __future__ import annotations

import pytest

from tunekeeper.core.errors import ConfigError
from tunekeeper.gateway.limits import Limits, address_of


def test_the_defaults_are_those_of_the_security_table() -> None:
    limits = Limits()
    assert (limits.body_bytes, limits.head_bytes, limits.headers, limits.depth) == (4 << 20, 32 << 10, 100, 64)
    assert (limits.header_seconds, limits.body_seconds, limits.messages) == (10, 30, 2000)
    assert limits.answer_bytes == 64 << 20


@pytest.mark.parametrize("name", ["body_mb", "header_seconds", "connections", "connections_per_address", "drain_seconds"])
def test_a_limit_that_is_not_positive_is_named(name: str) -> None:
    for wrong in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ConfigError, match=name):
            Limits(**{name: wrong})


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        (("192.0.2.7", 5000), "192.0.2.7"),
        (("2001:db8:1:2:aaaa::1", 5000, 0, 0), "2001:db8:1:2::/64"),
        (("2001:db8:1:2:bbbb::9", 5001, 0, 0), "2001:db8:1:2::/64"),
        (("2001:db8:1:3::1", 5001, 0, 0), "2001:db8:1:3::/64"),
        (("::ffff:192.0.2.7", 5000, 0, 0), "192.0.2.7"),
        (("fe80::1%eth0", 5000, 0, 2), "fe80::/64"),
        (("not:an:address", 1), "not:an:address"),
        ("", ""),
        (None, ""),
    ],
)
def test_connections_are_counted_by_address_and_by_network_where_a_host_has_many(peer: object, address: str) -> None:
    assert address_of(peer) == address
