from __future__ import annotations

import importlib
import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from tunekeeper.core.clock import ManualClock
from tunekeeper.core.errors import Conflict, NotFound
from tunekeeper.core.nouns.data import DatasetVersion, ReviewItem
from tunekeeper.core.nouns.deployment import Artifact, Parity, ParityCheck
from tunekeeper.core.nouns.evaluation import Case, Criterion, Estimate, Exam, Score, Suite, Verdict
from tunekeeper.core.nouns.monitoring import Alert, Baseline, Signal, Trigger
from tunekeeper.core.nouns.retraining import Cycle
from tunekeeper.core.nouns.rollout import Approval, Incident, Phase, Rollout, RolloutCheck
from tunekeeper.core.nouns.serving import ApiKey, FallbackEntry, Promotion, Route, Share, Slot
from tunekeeper.core.nouns.training import TrainingRun, Version
from tunekeeper.store import ledgers, snapshot
from tunekeeper.store.ledgers.jobs import JobRow
from tunekeeper.store.ledgers.keys import find_keys, load_key, save_key
from tunekeeper.store.ledgers.promotions import append_promotion, find_promotions, load_promotion
from tunekeeper.store.ledgers.rollouts import find_rollouts, load_rollout, save_rollout
from tunekeeper.store.ledgers.routes import find_routes, load_route, load_route_table, save_route
from tunekeeper.store.ledgers.scores import append_scores, find_scores
from tunekeeper.store.ledgers.slots import save_slot
from tunekeeper.store.ledgers.suite_locks import find_suite_locks, load_suite_lock, save_suite_lock
from tunekeeper.workspace import Workspace, open_workspace

AT = ManualClock().start
CASE = Case(id="c1", messages=({"role": "user", "content": "héllo \u2028"},), expected={"category": "billing"})
VERDICT = Verdict(outcome="fail", reasons=("worse",), measured={"accuracy": Estimate(value=0.5, low=0.4, high=0.6, n=40)})
VALUES = [
    ("slots", "slot", Slot(id="x", model="m", files={"model": "a.gguf"}, options={"parallel": 2})),
    (
        "rollouts",
        "rollout",
        Rollout(
            id="x",
            model="m",
            version="v",
            slot="s",
            phases=(Phase(weight=500, seconds=7200.0),),
            verdict=VERDICT,
            checks=(RolloutCheck(at=AT, phase=0, action="hold", reason="few"),),
        ),
    ),
    (
        "approvals",
        "approval",
        Approval(id="x", model="m", version="v", artifact_digest="d", suite_digest="s", by="dana", expires=AT),
    ),
    ("incidents", "incident", Incident(id="x", model="m", version="v", rollout=None, reason="r", cases=(CASE,), due=AT)),
    (
        "datasets",
        "dataset",
        DatasetVersion(id="x", model="m", number=1, digest="d", examples=3, train=2, eval=1, report={"dropped": {"pii": 1}}),
    ),
    ("reviews", "review", ReviewItem(id="x", model="m", request_id="r", why="edit")),
    (
        "runs",
        "run",
        TrainingRun(
            id="x",
            model="m",
            dataset="d",
            dataset_digest="d",
            recipe={"r": 8},
            recipe_digest="d",
            base="b",
            base_digest="d",
            loss=(2.0, 1.5),
        ),
    ),
    (
        "versions",
        "version",
        Version(id="x", model="m", name="v1.0", major=1, minor=0, base="b", base_digest="d", messages=({"role": "user"},)),
    ),
    (
        "artifacts",
        "artifact",
        Artifact(
            id="x",
            model="m",
            version="v",
            engine="llamacpp",
            stop=("</s>",),
            parity=Parity(verdict="pass", checks=(ParityCheck(layer="template", ok=True),)),
        ),
    ),
    (
        "exams",
        "exam",
        Exam(id="x", model="m", version="v", artifact=None, artifact_digest=None, suite="s", suite_digest="d", verdict=VERDICT),
    ),
    ("signals", "signal", Signal(id="x", model="m", name="edit_rate", since=AT, until=AT, value=0.1, n=9)),
    ("baselines", "baseline", Baseline(id="x", model="m", version="v", since=AT, until=AT, n=10, values={"edit_rate": 0.02})),
    ("alerts", "alert", Alert(id="x", model="m", rule="MON-03", samples=("r1", "r2"), since=AT)),
    ("triggers", "trigger", Trigger(id="x", model="m", reason="RETR-01", evidence=("a", "b"))),
    ("cycles", "cycle", Cycle(id="x", model="m", number=1, why="w", options={"from": "v1"}, timings={"train": 3.5})),
    ("jobs", "job", JobRow(id="x", kind="train", model="m", digest="d", input={"a": [1, None, "é"]}, env=("KEY",))),
]


@pytest.mark.parametrize(("name", "one", "value"), VALUES, ids=[name for name, _, _ in VALUES])
def test_a_noun_comes_back_as_it_was_saved(ws: Workspace, name: str, one: str, value: Rollout) -> None:
    ledger = importlib.import_module(f"tunekeeper.store.ledgers.{name}")
    load, find, save = (getattr(ledger, verb) for verb in (f"load_{one}", f"find_{name}", f"save_{one}"))
    database = getattr(ws, ledger.DATABASE)
    with database.write(by="test") as tx:
        saved = save(tx, value)
        assert saved == replace(value, created=AT, rev=1)
    with database.read() as tx:
        assert load(tx, "x") == saved
        assert saved in find(tx, model="m")
        assert saved not in find(tx, model="another")
        with pytest.raises(NotFound, match=r"'none'.*tunekeeper "):
            load(tx, "none")
    with database.write(by="test") as tx:
        again = save(tx, saved)
        assert (again.rev, again.created) == (2, AT)
        with pytest.raises(Conflict):
            save(tx, saved)


def test_every_ledger_file_names_its_writer_and_its_database() -> None:
    files = sorted(path.stem for path in Path(ledgers.__path__[0]).glob("[a-z]*.py"))
    assert files == sorted([*snapshot.LEDGERS["control"], *snapshot.LEDGERS["state"], "outbox"])
    for name in files:
        ledger = importlib.import_module(f"tunekeeper.store.ledgers.{name}")
        assert ledger.WRITER in {
            "rollout",
            "deployment",
            "gateway",
            "data",
            "training",
            "evaluation",
            "monitoring",
            "retraining",
            "jobs",
            "notify",
        }
        home = "control" if name in snapshot.LEDGERS["control"] else "either" if name == "outbox" else "state"
        assert home == ledger.DATABASE


def test_rows_are_found_by_state_deadline_and_order(ws: Workspace) -> None:
    with ws.control.write(by="test") as tx:
        save_rollout(tx, replace(load_rollout(tx, "rol_1"), state="promoted"))
        save_rollout(tx, replace(load_rollout(tx, "rol_2"), state="running", due=None))
    with ws.control.read() as tx:
        assert [row.id for row in find_rollouts(tx, state="loading")] == ["rol_0", "rol_3"]
        assert [row.id for row in find_rollouts(tx, state=("promoted", "running"))] == ["rol_1", "rol_2"]
        assert [row.id for row in find_rollouts(tx, due_before=1.0)] == ["rol_0", "rol_1"]
        assert [row.id for row in find_rollouts(tx, newest_first=True, limit=2)] == ["rol_3", "rol_2"]
        assert find_rollouts(tx, limit=0) == []


def test_fields_of_a_newer_release_are_passed_over(ws: Workspace) -> None:
    with ws.control.write(by="test") as tx:
        body = json.loads(tx.connection.rows("select body from rollouts where id = 'rol_0'")[0][0])
        assert body["schema"] == 1
        body |= {"schema": 2, "colour": {"deep": [1]}}
        del body["strategy"]
        tx.connection.change("update rollouts set body = :body where id = 'rol_0'", body=json.dumps(body))
    with ws.control.read() as tx:
        assert load_rollout(tx, "rol_0").strategy == "canary"


def test_routes_slots_and_keys_share_one_sequence_and_one_database_tells_gateways_everything(ws: Workspace) -> None:
    with ws.control.write(by="test") as tx:
        assert load_route_table(tx).generation == 0
        slot = save_slot(tx, Slot(id="blue", model="m", engine="fake"))
        share = Share(slot="blue", variant="champion", ranges=((0, 10_000),))
        first = save_route(tx, Route(model="m", shares=(share,), champion="blue", fallback=(FallbackEntry(slot="blue"),)))
        key = save_key(tx, ApiKey(id="key_1", hash="h1"))
        gone = save_key(tx, ApiKey(id="key_2", hash="h2"))
        save_key(tx, replace(gone, revoked=True))
        second = save_route(tx, replace(first, reason="again"))
        other = save_route(tx, Route(model="other"))
    assert [first.generation, second.generation, other.generation] == [2, 6, 7]
    assert second.created == AT
    ws.path("state.db").unlink()
    with open_workspace(ws.root).control.read() as tx:
        table = load_route_table(tx)
        assert table.generation == 7
        assert table.routes == {"m": second, "other": other}
        assert table.slots == {"blue": slot}
        assert table.keys == (key,)
        assert load_route(tx, "m") == second
        assert find_routes(tx, "m") == [second, first]
        assert find_routes(tx, "m", limit=1) == [second]
        assert find_keys(tx, hash="h2")[0].revoked
        assert load_key(tx, "key_1") == key
        with pytest.raises(NotFound, match="'nobody'"):
            load_route(tx, "nobody")


def test_a_route_that_is_not_committed_takes_no_number(ws: Workspace) -> None:
    with pytest.raises(ZeroDivisionError), ws.control.write(by="test") as tx:
        save_route(tx, Route(model="m"))
        raise ZeroDivisionError
    with ws.control.write(by="test") as tx:
        assert save_route(tx, Route(model="m")).generation == 1


def test_promotions_are_appended_once(ws: Workspace) -> None:
    first = Promotion(id="prm_1", model="m", generation=1, champion="blue", version="v1", previous=None)
    with ws.control.write(by="test") as tx:
        stored = append_promotion(tx, first)
        assert append_promotion(tx, replace(first, champion="other")) == stored
        append_promotion(tx, replace(first, id="prm_2", kind="rollback", left="green", champion="red"))
        assert [row.id for row in find_promotions(tx, model="m", newest_first=True)] == ["prm_2", "prm_1"]
        assert [row.id for row in find_promotions(tx, kind="rollback")] == ["prm_2"]
        assert [row.id for row in find_promotions(tx, champion="blue")] == ["prm_1"]
        assert load_promotion(tx, "prm_1") == stored == replace(first, created=AT)


def test_scores_are_appended_once_each(ws: Workspace) -> None:
    scores = [
        Score(id=f"exam_1/c{n}/exact", subject="exam_1", case=f"c{n}", scorer="exact", value=float(n % 2)) for n in range(1200)
    ]
    with ws.state.write(by="test") as tx:
        assert append_scores(tx, scores[:700]) == 700
        assert append_scores(tx, scores) == 500
        assert append_scores(tx, scores) == 0
        found = find_scores(tx, subject="exam_1", scorer="exact")
        assert [score.id for score in found] == [score.id for score in scores]
        assert found[0].created == AT
        assert find_scores(tx, subject="exam_2") == []


def test_the_first_lock_of_a_suite_stands(ws: Workspace, clock: ManualClock) -> None:
    suite = Suite(id="core", model="m", cases=(CASE,), criteria=(Criterion(metric="accuracy", at_least=0.9),), digest="d1")
    with ws.state.write(by="test") as tx:
        locked = save_suite_lock(tx, suite)
        clock.advance(60)
        assert save_suite_lock(tx, suite) == locked
        changed = save_suite_lock(tx, replace(suite, digest="d2"))
        assert (locked.locked, changed.locked) == (AT, AT + timedelta(seconds=60))
        assert load_suite_lock(tx, "core", "d1") == locked
        assert find_suite_locks(tx, model="m", id="core") == [locked, changed]
        with pytest.raises(NotFound):
            load_suite_lock(tx, "core", "d3")
