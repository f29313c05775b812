"""The standby goes after a clean week, and going back says that it must load first and how long that took."""

from __future__ import annotations

import json
import signal
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.patience import until
from tests.processes.test_plans import cli, event
from tunekeeper.cli.app import main
from tunekeeper.core.clock import ManualClock
from tunekeeper.core.errors import UpstreamUnavailable
from tunekeeper.core.nouns.monitoring import Alert
from tunekeeper.core.nouns.rollout import Incident
from tunekeeper.core.nouns.serving import FallbackEntry, Promotion, Route, Share, Slot
from tunekeeper.deployment.idle import IdleUnloader, Past, clean_since, due, unload_due
from tunekeeper.deployment.slots import await_ready, observe_slot, reload, tell
from tunekeeper.rollout.moves import load_time, promote, rollback, to_load
from tunekeeper.store.ledgers.slots import load_slot, save_slot
from tunekeeper.testing.ollama import serving as ollama
from tunekeeper.workspace import Workspace, create_workspace

DAY = timedelta(days=1)
NOW = datetime(2026, 2, 1, tzinfo=UTC)
LIVE = Promotion(id="p2", model="m", generation=2, champion="m-green", version="v2", previous="m-blue", created=NOW - 8 * DAY)
ROUTE = Route(model="m", champion="m-green", previous="m-blue", shares=(Share(slot="m-green", variant="champion"),))
GREEN = Slot(id="m-green", model="m", version="v2", artifact="a2", created=NOW - 30 * DAY)
BLUE = replace(GREEN, id="m-blue", version="v1", artifact="a1")
SLOTS = [GREEN, BLUE]


def wrong(state: str, days: float, **fields: Any) -> Incident:
    """An incident, open or closed, so many days ago."""
    return Incident(id="i", model="m", version="v1", rollout=None, reason="r", state=state, created=NOW - days * DAY, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("past", "names"),
    [
        ({}, ["m-blue"]),
        ({"promotions": ()}, []),
        ({"promotions": (replace(LIVE, created=NOW - 6 * DAY),)}, []),
        ({"promotions": (replace(LIVE, created=None),)}, []),
        ({"promotions": (LIVE, replace(LIVE, id="p3", kind="rollback", created=NOW - 3 * DAY))}, []),
        ({"incidents": (wrong("open", 20),)}, []),
        ({"incidents": (wrong("closed", 3),)}, []),
        ({"incidents": (wrong("closed", 9),)}, ["m-blue"]),
        ({"alerts": (Alert(id="a", model="m", rule="R", since=NOW - 20 * DAY),)}, []),
        ({"alerts": (Alert(id="a", model="m", rule="R", state="resolved", until=NOW - DAY),)}, []),
        ({"alerts": (Alert(id="a", model="m", rule="R", state="resolved", until=NOW - 9 * DAY),)}, ["m-blue"]),
    ],
)
def test_only_a_clean_week_makes_the_standby_due(past: dict[str, Any], names: list[str]) -> None:
    found = due(ROUTE, SLOTS, Past(**{"promotions": (LIVE,), **past}), NOW, 7)
    assert [slot.id for slot in found] == names


@pytest.mark.parametrize(
    ("route", "slots", "names"),
    [
        (replace(ROUTE, challenger="m-blue"), SLOTS, []),
        (replace(ROUTE, shadow="m-blue"), SLOTS, []),
        (replace(ROUTE, fallback=(FallbackEntry(slot="m-blue"),)), SLOTS, []),
        (replace(ROUTE, shares=(*ROUTE.shares, Share(slot="m-blue", variant="challenger"))), SLOTS, []),
        (ROUTE, [GREEN, replace(BLUE, wanted="unloaded")], []),
        (ROUTE, [GREEN, replace(BLUE, artifact=None)], []),
        (ROUTE, [GREEN, BLUE, replace(BLUE, id="m-next", created=NOW - DAY)], ["m-blue"]),
        (ROUTE, [GREEN, BLUE, replace(BLUE, id="m-next")], ["m-blue", "m-next"]),
    ],
)
def test_what_somebody_needs_or_was_just_loaded_stays(route: Route, slots: list[Slot], names: list[str]) -> None:
    assert [slot.id for slot in due(route, slots, Past(promotions=(LIVE,)), NOW, 7)] == names


def test_a_time_that_is_not_known_is_no_clean_time() -> None:
    assert clean_since(ROUTE, Past(promotions=(LIVE,))) == LIVE.created
    assert clean_since(ROUTE, Past(promotions=(LIVE,), incidents=(replace(wrong("closed", 1), created=None),))) is None


def lived(ws: Workspace, **changes: Any) -> None:
    """Two versions that were live one after the other, both loaded."""
    with ws.control.write(by="test") as tx:
        for name, version in (("m-blue", "v1"), ("m-green", "v2")):
            slot = Slot(
                id=name, model="m", version=version, artifact=f"art_{version}", files={"model": "f.gguf"}, gated=True,
                endpoint="http://127.0.0.1:9/v1", observed="ready",
            )  # fmt: skip
            save_slot(tx, replace(slot, **changes))
    promote(ws, "m", "m-blue", by="test", reason="first")
    promote(ws, "m", "m-green", by="test", reason="second")


def slot_of(ws: Workspace, name: str) -> Slot:
    with ws.control.read() as tx:
        return load_slot(tx, name)


def test_after_it_went_going_back_says_that_it_must_load_and_how_long_that_takes(tmp_path: Path) -> None:
    clock = ManualClock()
    ws = create_workspace(tmp_path / "data", clock=clock)
    lived(ws)
    observe_slot(ws, "m-blue", "ready", seconds=3.24)
    look = IdleUnloader(ws, {"m": 7, "unknown": 7})
    clock.advance(6 * 86400)
    look()
    assert slot_of(ws, "m-blue").wanted == "loaded"
    clock.advance(86400)

    look()

    blue = slot_of(ws, "m-blue")
    assert (blue.wanted, blue.files, slot_of(ws, "m-green").wanted) == ("unloaded", {"model": "f.gguf"}, "loaded")
    assert unload_due(ws, "m", 7) == []
    for to in (None, "v1"):
        assert to_load(ws, "m", to) == blue
        with pytest.raises(
            UpstreamUnavailable, match=r"v1 in slot m-blue was unloaded and must load first \(3.2 s the last time"
        ):
            rollback(ws, "m", to=to, by="test")
    assert load_time(replace(blue, options={})) == "how long that takes is not known"
    reload(ws, "m-blue")
    observe_slot(ws, "m-blue", "failed", reason="no memory")
    with pytest.raises(UpstreamUnavailable, match="no memory"):
        await_ready(ws, "m-blue")
    observe_slot(ws, "m-blue", "ready")
    assert await_ready(ws, "m-blue").id == "m-blue"
    assert to_load(ws, "m") is None
    assert rollback(ws, "m", by="test").after == "v1"


def test_a_slot_that_does_not_load_in_time_is_said(tmp_path: Path) -> None:
    ws = create_workspace(tmp_path / "data")
    lived(ws, observed="absent")
    with pytest.raises(UpstreamUnavailable, match="it is absent after 0 s"):
        await_ready(ws, "m-blue", seconds=0)


def test_a_server_of_somebody_else_is_told(tmp_path: Path) -> None:
    clock = ManualClock()
    ws = create_workspace(tmp_path / "data", clock=clock)
    with ollama() as double:
        lived(ws, engine="ollama", files={}, endpoint=f"{double.url}/v1", upstream_model="m:v1")
        clock.advance(8 * 86400)
        assert unload_due(ws, "m", 7) == ["m-blue"]
        until(lambda: any(path == "/api/generate" for _, path, *_ in double.asked))
        assert (slot_of(ws, "m-blue").observed, to_load(ws, "m")) == ("stopped", slot_of(ws, "m-blue"))
    tell(slot_of(ws, "m-blue"))  # one that is away holds nothing


def test_up_ends_the_standby_and_rollback_loads_it_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "tunekeeper.yaml").write_text("gateway: {port: 0}\nworker: {enabled: false}\n")
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "m.yaml").write_text("deployment: {engine: fake, unload_after_days: 0}\n")
    ws = create_workspace(tmp_path / ".tunekeeper", project=tmp_path)
    ws.path("rule.json").write_text('{"default": "yes"}')
    lived(ws, engine="fake", files={"model": "rule.json"}, observed="absent", endpoint=None)
    with cli("up", "--dir", str(tmp_path), "--json") as process:
        event(process, "ready")
        until(lambda: slot_of(ws, "m-blue").wanted == "unloaded" and slot_of(ws, "m-green").observed == "ready")
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    assert main(["rollback", "m", "--dir", str(tmp_path)]) == 4
    said = capsys.readouterr().err
    assert "v1 in slot m-blue was unloaded and must load first" in said
    assert "tunekeeper rollback m --load" in said
    assert main(["rollback", "m", "--load", "--dry-run", "--dir", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "would go back to m-blue\n"
    (tmp_path / "models" / "m.yaml").write_text("deployment: {engine: fake}\n")
    with cli("up", "--dir", str(tmp_path), "--json") as process:
        event(process, "ready")
        assert main(["rollback", "m", "--load", "--dir", str(tmp_path), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["to"] == "v1"
        assert slot_of(ws, "m-blue").options["load_seconds"] >= 0
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


def test_a_version_that_was_just_asked_for_again_is_not_idle(tmp_path: Path) -> None:
    clock = ManualClock()
    ws = create_workspace(tmp_path / "data", clock=clock)
    lived(ws)
    clock.advance(8 * 86400)
    assert unload_due(ws, "m", 7) == ["m-blue"]
    reload(ws, "m-blue")
    assert unload_due(ws, "m", 7) == []
    clock.advance(8 * 86400)
    assert unload_due(ws, "m", 7) == ["m-blue"]
