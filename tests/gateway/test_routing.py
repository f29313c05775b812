"""Choices: sticky, in the right shares, never moved back."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest

from tunekeeper.core.nouns.serving import Route, RouteTable, Share, Slot
from tunekeeper.gateway.routing import Asked, Choice, Unit, asked_for, bucket_of, choose, pinned, role_of, shadowed, unit_of

N = 20_000


def route(weight: int, **more: Any) -> Route:
    """A challenger with `weight` ten-thousandths, grown from the top of the champion's range."""
    return Route(
        model="m",
        salt="salt",
        champion="a",
        challenger="b",
        shares=(
            Share(slot="a", variant="champion", ranges=((0, 10_000 - weight),)),
            Share(slot="b", variant="challenger", ranges=((10_000 - weight, 10_000),)),
        ),
        **more,
    )


def users(n: int = N) -> list[Unit]:
    return [Unit("user", f"user-{i}") for i in range(n)]


def slot_of(made: Choice | None) -> str:
    assert made is not None
    return made.slot


@pytest.mark.parametrize("weight", [500, 2500, 5000])
def test_shares_lie_inside_the_999_per_mille_binomial_band(weight: int) -> None:
    got = sum(slot_of(choose(route(weight), unit)) == "b" for unit in users())
    share = weight / 10_000
    assert abs(got - N * share) < 3.2905 * math.sqrt(N * share * (1 - share))


def test_the_same_user_always_meets_the_same_slot() -> None:
    first = [choose(route(2500), unit) for unit in users(2000)]
    assert first == [choose(route(2500), unit) for unit in users(2000)]


def test_raising_a_weight_never_moves_a_user_back() -> None:
    steps = [{u.key for u in users() if slot_of(choose(route(w), u)) == "b"} for w in (500, 2500, 5000, 10_000)]
    for before, after in pairwise(steps):
        assert before <= after


def test_a_choice_says_bucket_weight_and_variant() -> None:
    unit = Unit("user", "u")
    made = choose(route(2500), unit)
    assert made is not None
    assert made.bucket == bucket_of("salt", unit)
    assert (made.variant, made.weight) in (("champion", 7500), ("challenger", 2500))


def test_salt_and_kind_belong_to_the_bucket() -> None:
    buckets = {bucket_of(salt, Unit(kind, "u")) for salt in ("a", "b") for kind in ("user", "session")}
    assert len(buckets) == 4


def test_a_route_that_covers_no_bucket_chooses_nothing() -> None:
    assert choose(Route(model="m"), Unit("user", "u")) is None


HEADERS = {b"x-tunekeeper-unit": b"unit-1", b"x-session-id": b"session-1", b"x-tunekeeper-tenant": b"tenant-1"}
BODY = {"user": "body-user", "metadata": {"user_id": "meta-user", "tenant_id": "t2"}}


@pytest.mark.parametrize(
    ("headers", "body", "assign_by", "key", "expected"),
    [
        (HEADERS, BODY, "user", "k", Unit("user", "meta-user")),
        (HEADERS, {"user": "body-user"}, "user", "k", Unit("user", "body-user")),
        (HEADERS, {}, "user", "k", Unit("unit", "unit-1")),
        ({b"x-session-id": b"s"}, {}, "user", "k", Unit("session", "s")),
        ({b"x-litellm-session-id": b"l"}, {}, "user", None, Unit("session", "l")),
        ({}, {}, "user", "k", Unit("key", "k")),
        ({}, {}, "user", None, Unit("request", "req")),
        (HEADERS, BODY, "session", "k", Unit("session", "session-1")),
        (HEADERS, BODY, "tenant", "k", Unit("tenant", "tenant-1")),
        ({}, BODY, "tenant", "k", Unit("tenant", "t2")),
        (HEADERS, BODY, "key", "k", Unit("key", "k")),
        (HEADERS, BODY, "unit", "k", Unit("unit", "unit-1")),
        (HEADERS, BODY, "request", "k", Unit("request", "req")),
        ({}, {"metadata": {"user_id": 17}}, "user", None, Unit("user", "17")),
        ({}, {"metadata": {"user_id": ["x"]}, "user": ""}, "user", None, Unit("request", "req")),
        ({b"x-tunekeeper-unit": b"  "}, {"metadata": None}, "user", None, Unit("request", "req")),
    ],
)
def test_the_unit_is_the_one_asked_for_else_the_next_present(
    headers: dict[bytes, bytes], body: dict[str, Any], assign_by: str, key: str | None, expected: Unit
) -> None:
    assert unit_of(headers, body, assign_by, key, "req") == expected


def test_only_a_digest_of_the_unit_is_shown() -> None:
    assert Unit("user", "ann").digest != Unit("user", "bob").digest
    assert len(Unit("user", "ann").digest) == 16


def test_names_come_apart_at_the_at_sign() -> None:
    assert asked_for("m") == Asked("m")
    assert asked_for("m@champion") == Asked("m", "champion")
    assert asked_for("m@") == Asked("m", "")


def table(**slots: str) -> RouteTable:
    return RouteTable(
        generation=1,
        slots={name: Slot(id=name, model="m", version=version, endpoint="http://h/v1") for name, version in slots.items()},
    )


def test_aliases_and_versions_mean_slots() -> None:
    held, now = table(a="v1.0-x", b="v1.1-y", c="v0.9-z"), route(500, previous="c")
    assert slot_of(pinned(held, now, "champion")) == "a"
    assert slot_of(pinned(held, now, "challenger")) == "b"
    assert slot_of(pinned(held, now, "previous")) == "c"
    assert pinned(held, now, "shadow") is None
    found = pinned(held, now, "v1.1-y")
    assert found == Choice("b", "challenger")
    assert pinned(held, now, "v7") is None


def test_a_version_in_two_slots_means_the_one_with_a_role() -> None:
    assert slot_of(pinned(table(z="v1", a="v1"), Route(model="m", champion="z"), "v1")) == "z"


def test_a_full_version_id_is_known_too() -> None:
    assert slot_of(pinned(table(a="m@v1"), Route(model="m"), "v1")) == "a"


def test_roles_are_looked_up_in_order() -> None:
    now = Route(model="m", champion="a", previous="a", shadow="s")
    assert (role_of(now, "a"), role_of(now, "s"), role_of(now, "x")) == ("champion", "shadow", None)


def test_the_shadow_share_is_kept() -> None:
    now = route(500, shadow="b", shadow_share=1000)
    got = sum(shadowed(now, f"req_{i}") for i in range(N))
    assert abs(got - 2000) < 3.2905 * math.sqrt(N * 0.1 * 0.9)
    assert not shadowed(route(500), "req_1")
