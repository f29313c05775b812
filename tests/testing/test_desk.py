from __future__ import annotations

import json
from pathlib import Path

from tunekeeper.config import load_project
from tunekeeper.rollout.moves import promote, set_route
from tunekeeper.scoring.suites import load_suite
from tunekeeper.testing.desk import FORMAT, MODEL, Ticket, World, open_desk
from tunekeeper.training.base import read_base


def test_the_project_is_one_that_the_product_reads(tmp_path: Path) -> None:
    desk = open_desk(tmp_path / "desk", cases=5, rows=7)
    config = load_project(desk.folder).model(MODEL)
    assert config.task.format == FORMAT
    assert len(load_suite(desk.folder / "suites" / "core.yaml").cases) == 5
    assert len((desk.folder / "data" / "rows.jsonl").read_text().splitlines()) == 7
    assert read_base(desk.folder / "base").digest.startswith("sha256:")


def test_the_same_seed_is_the_same_desk(tmp_path: Path) -> None:
    texts = [open_desk(tmp_path / name, seed=3, cases=4).folder.joinpath("suites", "core.jsonl").read_text() for name in "ab"]
    assert texts[0] == texts[1]


def test_the_same_seed_is_the_same_month_down_to_ids_salts_and_shares(tmp_path: Path) -> None:
    logs = []
    for name in "ab":
        desk = open_desk(tmp_path / name, seed=3)
        for slot in ("blue", "green"):
            desk.slot(slot, slot)
        promote(desk.ws, MODEL, "blue", by="test", reason="first")
        set_route(desk.ws, MODEL, {"blue": 5_000, "green": 5_000}, by="test")
        desk.traffic(40, 600.0, desk.faulty({"green": 0.5}))
        feedback = [(each.id, each.request_id) for each in desk.ws.log.feedback()]
        logs.append((desk.route().salt, [(each.request_id, each.slot) for each in desk.ws.log.find(model=MODEL)], feedback))
    assert logs[0] == logs[1]
    assert logs[0][2]


def test_users_are_shared_out_by_the_route_answered_by_the_slots_and_correct_what_is_wrong(tmp_path: Path) -> None:
    desk = open_desk(tmp_path / "desk")
    (desk.ws.root / "rule.json").write_text(json.dumps({"default": "No."}))
    desk.slot("blue", "v1")
    desk.slot("green", "v2", files={"model": "rule.json"}, observed="ready")
    promote(desk.ws, MODEL, "blue", by="test", reason="first")
    set_route(desk.ws, MODEL, {"blue": 5_000, "green": 5_000}, by="test")
    asked = desk.traffic(60, 600.0)
    assert set(asked) == {"blue", "green"}
    found = desk.ws.log.find(model=MODEL)
    assert [each.request_id for each in found] == desk.sent
    assert {(each.version, each.answer == "No.") for each in found} == {("v1", False), ("v2", True)}
    assert {each.request_id for each in desk.ws.log.feedback()} == {each.request_id for each in found if each.slot == "green"}


def test_a_changed_world_has_its_own_truth(tmp_path: Path) -> None:
    desk = open_desk(tmp_path / "desk")
    desk.world = World(moved={"parcel": "refund", "drone": "shipping"})
    tickets: list[Ticket] = [desk.world.ticket(desk.rng) for _ in range(300)]
    assert {each.category for each in tickets if "the parcel " in each.text} == {"refund"}
    assert {each.category for each in tickets if "the drone " in each.text} == {"shipping"}
