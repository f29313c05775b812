"""Lines that lie aside: given back by hour and model, each id once, and nothing of them stays."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from tunekeeper.store.log.aside import Aside
from tunekeeper.store.log.lines import scan
from tunekeeper.store.log.records import decode

AT = datetime(2025, 3, 1, 23, 30, tzinfo=UTC)


@pytest.fixture
def row() -> Callable[..., dict[str, Any]]:
    def make(id: str, hours: float = 0, model: str = "m", **more: Any) -> dict[str, Any]:
        return {"request_id": id, "timestamp": AT + timedelta(hours=hours), "model_id": model, **more}

    return make


@pytest.fixture
def aside(tmp_path: Path) -> Iterator[Aside]:
    with closing(Aside(tmp_path / "run")) as made:
        yield made


def given_back(aside: Aside) -> list[Any]:
    return [decode(line) for line in scan(b"".join(aside.lines())).lines]


def test_they_come_back_by_hour_then_model_then_as_they_came(aside: Aside, row: Callable[..., Any]) -> None:
    aside.put([row("a", 2), row("b", 0, "z"), row("c", 0, "ä"), row("d", 2), row("e", -30)])
    aside.put([row("f", 0.4, "z"), row("g", 2), row("h", 0, "z")])
    assert [each.request_id for each in given_back(aside)] == ["e", "b", "f", "h", "c", "a", "d", "g"]


def test_of_one_id_the_first_one_stays_wherever_the_others_lie(aside: Aside, row: Callable[..., Any]) -> None:
    aside.put([row("a", 3, latency_ms=1.0), row("b", 1)])
    aside.put([row("b", 0), row("a", 0, "other"), row("a", 3, latency_ms=2.0), row("c")])
    assert [(each.request_id, each.latency_ms) for each in given_back(aside)] == [("c", None), ("b", None), ("a", 1.0)]


def test_stamps_of_any_zone_and_of_none_lie_in_their_hour_of_utc(aside: Aside, row: Callable[..., Any]) -> None:
    india = timezone(timedelta(hours=5, minutes=30))
    aside.put(
        [
            row("late", 1),
            {**row("zone"), "timestamp": AT.astimezone(india)},
            {**row("none"), "timestamp": datetime(2025, 3, 1, 22)},
        ]
    )
    assert [each.request_id for each in given_back(aside)] == ["none", "zone", "late"]


def test_nothing_of_them_has_a_name_on_the_disk(aside: Aside, tmp_path: Path, row: Callable[..., Any]) -> None:
    assert list(aside.lines()) == []
    aside.put([row("a", request=b'{"messages":[]}')])
    assert os.listdir(tmp_path / "run") == []
