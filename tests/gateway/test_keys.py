"""Keys: shown once, hashed, in force when the call returns."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from tunekeeper.core.clock import ManualClock
from tunekeeper.core.errors import NotFound, UserError
from tunekeeper.gateway import create_key, find_keys, revoke_key
from tunekeeper.gateway.auth import hash_key
from tunekeeper.gateway.quotas import limited
from tunekeeper.store.published import PublishedReader, WorkerSlot, barrier
from tunekeeper.workspace import Workspace, create_workspace


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return create_workspace(tmp_path / "data", clock=ManualClock())


def test_a_key_is_stored_hashed_and_published(ws: Workspace) -> None:
    made = create_key(ws, scopes=["infer", "feedback", "infer"], models=["m"], name="site", by="ann")
    reader = PublishedReader(ws.root)
    published = reader.current().keys[0]
    reader.close()
    assert (published.id, published.hash) == (made.id, hash_key(made.key, ws.pepper()))
    assert (published.scopes, published.models, published.name) == (("infer", "feedback"), ("m",), "site")
    assert published.expires == datetime(2026, 4, 5, 9, tzinfo=UTC), "90 days by default"
    for path in ws.root.rglob("*"):
        assert not path.is_file() or made.key.encode() not in path.read_bytes()


def test_a_revoked_key_is_withdrawn_from_what_workers_obey(ws: Workspace) -> None:
    first, second = create_key(ws), create_key(ws, days=None)
    assert revoke_key(ws, first.id).revoked
    reader = PublishedReader(ws.root)
    assert [key.id for key in reader.current().keys] == [second.id]
    assert reader.current().keys[0].expires is None
    reader.close()
    assert revoke_key(ws, first.id).revoked, "twice is once"
    assert [key.id for key in find_keys(ws)] == [first.id, second.id]
    assert [key.id for key in find_keys(ws, live=True)] == [second.id]


def test_the_call_waits_for_living_workers(ws: Workspace) -> None:
    held = WorkerSlot(ws.root, "w0")
    create_key(ws)
    acknowledged, pending = barrier(ws.root, 1, timeout=0.01)
    assert (acknowledged, len(pending)) == ([], 1), "a worker that does not obey is only waited for so long"
    held.close()


def test_wrong_scopes_and_days_are_refused(ws: Workspace) -> None:
    with pytest.raises(UserError, match="everything"):
        create_key(ws, scopes=["everything"])
    with pytest.raises(UserError):
        create_key(ws, scopes=[])
    for days in (-1, float("nan"), float("inf"), 1e300):
        with pytest.raises(UserError, match="days"):
            create_key(ws, days=days)
    for name in ("two\nlines", "red \x1b[31m", "x" * 200):
        with pytest.raises(UserError, match="cannot name a key"):
            create_key(ws, name=name)
    assert find_keys(ws) == []


def test_an_unknown_key_cannot_be_revoked(ws: Workspace) -> None:
    with pytest.raises(NotFound, match="key_none"):
        revoke_key(ws, "key_none")


def test_limits_travel_to_the_workers(ws: Workspace) -> None:
    bounds = {"requests_per_minute": 60, "tokens_per_minute": 1000, "concurrent": 4, "budget_usd": 2.5, "budget_period": "day"}
    made = create_key(ws, **bounds)  # type: ignore[arg-type]
    plain = create_key(ws)
    reader = PublishedReader(ws.root)
    published = {key.id: key for key in reader.current().keys}
    reader.close()
    assert {name: getattr(published[made.id], name) for name in bounds} == bounds
    assert limited(published[made.id])
    assert not limited(published[plain.id])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("requests_per_minute", 0),
        ("tokens_per_minute", -1),
        ("concurrent", 0),
        ("budget_usd", float("nan")),
        ("budget_usd", 1e12),
    ],
)
def test_a_limit_that_nothing_could_keep_is_refused(ws: Workspace, name: str, value: float) -> None:
    with pytest.raises(UserError, match=name):
        create_key(ws, **{name: value})  # type: ignore[arg-type]
    with pytest.raises(UserError, match="week"):
        create_key(ws, budget_usd=1.0, budget_period="week")
    assert find_keys(ws) == []
