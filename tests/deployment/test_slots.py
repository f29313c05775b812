from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tunekeeper.core.clock import ManualClock
from tunekeeper.core.errors import NotFound, UserError
from tunekeeper.core.nouns.deployment import Artifact
from tunekeeper.core.nouns.serving import FallbackEntry, Route, Share, Slot
from tunekeeper.core.nouns.training import Version
from tunekeeper.deployment.config import Config
from tunekeeper.deployment.slots import (
    arm,
    declare_slots,
    free_slot,
    in_use,
    observe_slot,
    reload,
    unload,
)
from tunekeeper.store.ledgers.routes import save_route
from tunekeeper.store.ledgers.slots import find_slots, load_slot
from tunekeeper.store.published import PublishedReader
from tunekeeper.workspace import Workspace, create_workspace


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return create_workspace(tmp_path / "data", clock=ManualClock())


def armed(ws: Workspace, minor: int, *, gated: bool = True) -> Slot:
    """A slot for version v1.<minor>, whose file is its number."""
    name = f"v1.{minor}-2026-01-05-9examples"
    version = Version(
        id=f"desk@{name}", model="desk", name=name, major=1, minor=minor, base="b", base_digest="d", system="Be brief."
    )
    digest = ws.blobs.put_bytes(str(minor).encode())
    artifact = Artifact(id=f"art_{minor}", model="desk", version=version.id, engine="llamacpp", digest=digest)
    return arm(ws, Config(price_in=0.1), version, artifact, gated=gated)


def route(ws: Workspace, champion: str, previous: str | None = None) -> None:
    with ws.control.write(by="test") as tx:
        shares = (Share(slot=champion, variant="champion", ranges=((0, 10_000),)),)
        save_route(tx, Route(model="desk", champion=champion, previous=previous, shares=shares))


def test_the_first_artifact_goes_into_blue_under_its_own_name(ws: Workspace) -> None:
    slot = armed(ws, 0)

    assert (slot.id, slot.version, slot.wanted, slot.observed) == ("desk-blue", "v1.0-2026-01-05-9examples", "loaded", "absent")
    assert slot.files == {"model": "models/desk/v1.0-2026-01-05-9examples.gguf"}
    assert ws.path(slot.files["model"]).read_bytes() == b"0"
    assert (slot.system, slot.price_in, slot.options["context"], slot.gated) == ("Be brief.", 0.1, 512, True)


def test_arming_again_finds_the_slot_and_keeps_what_was_observed(ws: Workspace) -> None:
    armed(ws, 0)
    seen = observe_slot(ws, "desk-blue", "ready", endpoint="http://127.0.0.1:9/v1", pid=7)

    assert armed(ws, 0) == seen


def test_a_failed_slot_stays_failed_until_it_is_asked_for_again(ws: Workspace) -> None:
    armed(ws, 0)
    observe_slot(ws, "desk-blue", "failed", reason="truncated")
    assert armed(ws, 0).reason == "truncated"

    assert (reload(ws, "desk-blue").observed, load(ws).reason) == ("absent", None)


def load(ws: Workspace, id: str = "desk-blue") -> Slot:
    with ws.control.read() as tx:
        return load_slot(tx, id)


def test_a_new_version_goes_where_nothing_is_served(ws: Workspace) -> None:
    blue = armed(ws, 0)
    route(ws, blue.id)
    green = armed(ws, 1)
    route(ws, green.id, previous=blue.id)
    third = armed(ws, 2)
    route(ws, third.id, previous=green.id)
    fourth = armed(ws, 3)

    assert [s.id for s in (blue, green, third, fourth)] == ["desk-blue", "desk-green", "desk-next", "desk-blue"]
    assert (fourth.version, fourth.endpoint, fourth.observed) == ("v1.3-2026-01-05-9examples", None, "absent")


def test_everything_a_route_names_is_in_use() -> None:
    shares = (Share(slot="a", variant="champion", ranges=((0, 10_000),)),)
    full = Route(
        model="m", champion="a", previous="b", challenger="c", shadow="d", fallback=(FallbackEntry(slot="e"),), shares=shares
    )

    assert in_use(full) == {"a", "b", "c", "d", "e"}
    assert in_use(None) == set()
    with pytest.raises(UserError, match="all slots"):
        free_slot("m", {f"m-{n}" for n in ("blue", "green", "next", *(f"next-{i}" for i in range(2, 10)))})


def test_an_observation_is_published_once_and_an_old_one_is_dropped(ws: Workspace) -> None:
    slot = armed(ws, 0)
    reader = PublishedReader(ws.root)
    observe_slot(ws, slot.id, "ready", endpoint="http://127.0.0.1:9/v1", pid=7, digest=slot.digest)
    before = reader.generation()
    assert reader.current().slots[slot.id].endpoint == "http://127.0.0.1:9/v1"

    observe_slot(ws, slot.id, "ready", endpoint="http://127.0.0.1:9/v1", pid=7, digest=slot.digest)
    observe_slot(ws, slot.id, "failed", digest="sha256:" + "0" * 64)

    assert reader.generation() == before
    assert load(ws).observed == "ready"
    assert observe_slot(ws, slot.id, "stopped").pid is None
    with pytest.raises(NotFound):
        observe_slot(ws, "desk-red", "ready")


def test_a_slot_that_serves_or_is_the_way_back_cannot_be_unloaded(ws: Workspace) -> None:
    blue, green = armed(ws, 0), None
    route(ws, blue.id)
    green = armed(ws, 1)
    route(ws, green.id, previous=blue.id)

    for name in (blue.id, green.id):
        with pytest.raises(UserError, match="in use"):
            unload(ws, name)
    route(ws, green.id)
    assert unload(ws, blue.id).wanted == "unloaded"
    assert ws.path(blue.files["model"]).exists()
    assert reload(ws, blue.id).wanted == "loaded"


def test_declared_slots_are_upserted_and_count_as_gated_and_ready(ws: Workspace) -> None:
    outside = Slot(id="m.a", model="m", engine="openai", endpoint="http://127.0.0.1:1/v1", upstream_model="x")
    supervised = Slot(id="m.b", model="m", engine="fake", files={"answers": "a.json"})
    first = declare_slots(ws, [outside, supervised])
    assert [(s.gated, s.observed, s.rev) for s in first] == [(True, "ready", 1), (True, "absent", 1)]
    observe_slot(ws, "m.b", "ready", endpoint="http://127.0.0.1:2/v1", pid=3)

    again = declare_slots(ws, [outside, supervised])
    moved = declare_slots(ws, [replace(outside, endpoint="http://127.0.0.1:5/v1")])

    assert [(s.rev, s.observed) for s in again] == [(1, "ready"), (2, "ready")]
    assert (moved[0].rev, moved[0].endpoint) == (2, "http://127.0.0.1:5/v1")
    with ws.control.read() as tx:
        assert len(find_slots(tx)) == 2


def test_an_artifact_without_a_file_cannot_be_loaded(ws: Workspace) -> None:
    version = Version(id="desk@v", model="desk", name="v", major=1, minor=0, base="b", base_digest="d")

    with pytest.raises(NotFound, match="no file"):
        arm(ws, Config(), version, Artifact(id="art_1", model="desk", version="desk@v", engine="openai"), gated=True)
