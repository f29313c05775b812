"""Merged checkpoints go once nothing serves them, and not before."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tunekeeper.core.clock import ManualClock
from tunekeeper.core.nouns.retraining import Model
from tunekeeper.core.nouns.serving import Slot
from tunekeeper.core.nouns.training import Version
from tunekeeper.deployment.config import Config
from tunekeeper.deployment.pruning import FRESH_SECONDS, Leftover, prune, shared_folder
from tunekeeper.store.ledgers.slots import save_slot
from tunekeeper.store.ledgers.versions import save_version
from tunekeeper.workspace import Workspace, create_workspace

DESK = Model(name="desk", base="base")


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return create_workspace(tmp_path / "data", project=tmp_path, clock=ManualClock())


def merged(ws: Workspace, digit: str, *, model: str = "desk", known: bool = True, suffix: str = "-merged-bf16") -> Path:
    """A merged folder of a thousand bytes that is two hours old, and unless it is not `known` the version that it is of."""
    digest = digit * 64
    if known:
        name = f"v1.{digit}-2026-01-05-9examples"
        version = Version(
            id=f"{model}@{name}", model=model, name=name, major=1, minor=0, base="base", base_digest="sha256:b",
            adapter=f"sha256:{digest}",
        )  # fmt: skip
        with ws.state.write(by="training") as tx:
            save_version(tx, version)
    folder = shared_folder(ws, Config()) / (digest[:24] + suffix)
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"x" * 1000)
    for each in (folder, folder / "model.safetensors"):
        os.utime(each, (time.time() - 2 * FRESH_SECONDS,) * 2)
    return folder


def serve(ws: Workspace, digit: str, wanted: str = "loaded") -> None:
    slot = Slot(id=f"desk-{digit}", model="desk", version=f"v1.{digit}-2026-01-05-9examples", engine="vllm", wanted=wanted)  # type: ignore[arg-type]
    with ws.control.write(by="deployment") as tx:
        save_slot(tx, slot)


def by_folder(found: list[Leftover]) -> dict[str, Leftover]:
    return {Path(each.path).name[0]: each for each in found}


def test_what_a_slot_holds_stays_and_what_none_holds_goes(ws: Workspace) -> None:
    live, old, standby = (merged(ws, digit) for digit in "123")
    serve(ws, "1")
    serve(ws, "3", wanted="unloaded")
    found = by_folder(prune(ws, DESK, Config()))
    assert live.is_dir()
    assert not old.exists()
    assert not standby.exists()
    assert found["1"].why.startswith("slot desk-1 holds v1.1")
    assert (found["2"].removed, found["2"].bytes, found["2"].version) == (True, 1000, "desk@v1.2-2026-01-05-9examples")


def test_a_dry_run_says_the_same_and_removes_nothing(ws: Workspace) -> None:
    folder = merged(ws, "1")
    found = prune(ws, DESK, Config(), dry_run=True)
    assert folder.is_dir()
    assert found == prune(ws, DESK, Config())
    assert not folder.exists()
    assert prune(ws, DESK, Config()) == []


def test_what_somebody_may_be_at_work_with_stays(ws: Workspace) -> None:
    folder = merged(ws, "1")
    (folder / "model.safetensors").touch()
    assert "changed 0 minutes ago" in prune(ws, DESK, Config())[0].why
    assert folder.is_dir()
    assert prune(ws, DESK, Config(), now=lambda: time.time() + 2 * FRESH_SECONDS)[0].removed


def test_what_a_killed_merge_left_and_what_no_version_has_goes_and_other_models_keep_theirs(ws: Workspace) -> None:
    half, nobodys = merged(ws, "1", suffix="-merged-own.part"), merged(ws, "2", known=False)
    half = half.rename(half.with_name(f".{half.name}"))
    others, adapter = merged(ws, "3", model="other"), merged(ws, "4", suffix="")
    found = prune(ws, DESK, Config())
    assert sorted(each.why for each in found) == ["left by a merge that was killed", "no version has this adapter"]
    assert [each.exists() for each in (half, nobodys, others, adapter)] == [False, False, True, True]


def test_folders_that_a_link_points_to_are_nobody_s_to_remove(ws: Workspace, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    shared_folder(ws, Config()).mkdir(parents=True)
    (shared_folder(ws, Config()) / f"{'5' * 24}-merged-own").symlink_to(mine)
    assert prune(ws, DESK, Config(), now=lambda: time.time() + 9 * FRESH_SECONDS) == []
    assert mine.is_dir()
