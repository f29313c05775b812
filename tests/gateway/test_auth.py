"""Who may call: pure decisions over presented keys."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tunekeeper.core.nouns.serving import ApiKey
from tunekeeper.gateway.auth import ANYONE, STATIC, Caller, hash_key, judge, new_key, presented
from tunekeeper.gateway.refusals import Refusal

PEPPER = b"p" * 32
NOW = datetime(2026, 1, 5, tzinfo=UTC)


def asked(
    key: str | None, scope: str = "infer", *, known: tuple[ApiKey, ...] = (), static: str | None = None, required: bool = True
) -> Any:
    return judge(key, scope, keys={k.hash: k for k in known}, static=static, required=required, pepper=PEPPER, now=lambda: NOW)


def known(text: str, **more: Any) -> ApiKey:
    return ApiKey(id=f"key_{text}", hash=hash_key(text, PEPPER), **more)


def test_keys_are_long_different_and_checkable() -> None:
    rng = random.Random(1)
    keys = {new_key(rng.randbytes) for _ in range(200)}
    assert len(keys) == 200
    assert {len(key) for key in keys} == {49}
    assert all(key.startswith("tk_") and key[3:].isalnum() for key in keys)


def test_a_hash_needs_the_pepper() -> None:
    assert hash_key("a", PEPPER) != hash_key("a", b"q" * 32)
    assert len(hash_key("a", PEPPER)) == 64


@pytest.mark.parametrize(
    ("header", "key"),
    [(None, None), ("Bearer abc", "abc"), ("bearer  abc ", "abc"), ("Basic abc", None), ("Bearer ", None), ("abc", None)],
)
def test_only_a_bearer_key_is_taken(header: str | None, key: str | None) -> None:
    assert presented(header) == key


def test_where_no_key_is_asked_anyone_may_call() -> None:
    assert asked(None, required=False) is ANYONE
    assert asked("wrong", required=False) is ANYONE


@pytest.mark.parametrize("key", [None, "nonsense", "x" * 10_000, "\udc80"])
def test_a_missing_or_unknown_key_is_refused(key: str | None) -> None:
    verdict = asked(key, known=(known("good"),))
    assert isinstance(verdict, Refusal)
    assert verdict.code == ("missing_key" if key is None else "invalid_key")
    assert verdict.status == 401


def test_a_known_key_brings_its_identity_and_its_models() -> None:
    verdict = asked("good", known=(known("good", models=("m",)),))
    assert verdict == Caller("key_good", trusted=False, models=("m",))
    assert verdict.may_call("m")
    assert not verdict.may_call("other")


def test_scopes_are_asked_for_and_admin_may_everything() -> None:
    plain, admin = known("plain"), known("admin", scopes=("admin",))
    assert isinstance(asked("plain", "metrics", known=(plain,)), Refusal)
    assert asked("plain", "metrics", known=(plain,)).code == "scope_missing"
    for scope in ("infer", "feedback", "metrics"):
        assert asked("admin", scope, known=(admin,)).trusted


def test_an_expired_key_is_refused() -> None:
    old = known("old", expires=NOW - timedelta(seconds=1))
    assert asked("old", known=(old,)).code == "key_expired"
    assert asked("new", known=(known("new", expires=NOW + timedelta(seconds=1)),)).key_id == "key_new"


def test_the_gateways_own_key_is_known_by_its_hash() -> None:
    assert asked("env", static=hash_key("env", PEPPER)) is STATIC
    assert asked("other", static=hash_key("env", PEPPER)).code == "invalid_key"
