from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import tunekeeper
from tests.patience import until
from tunekeeper.config import load_project
from tunekeeper.config.watching import FileWatch, project_files
from tunekeeper.core.ids import digest_file
from tunekeeper.core.nouns.monitoring import Trigger
from tunekeeper.core.nouns.retraining import Cycle
from tunekeeper.core.nouns.rollout import Rollout
from tunekeeper.core.nouns.training import Version
from tunekeeper.data import freezing, import_files, versions
from tunekeeper.data.collection import history
from tunekeeper.data.drafts import load_draft
from tunekeeper.data.review import find as find_reviews
from tunekeeper.overview import overview
from tunekeeper.retraining.cycle import open_cycle
from tunekeeper.retraining.worker import LEASE, Worker, _owner, facts_of
from tunekeeper.store.gauges import FILE, load_gauges
from tunekeeper.store.ledgers.cycles import find_cycles
from tunekeeper.store.ledgers.rollouts import save_rollout
from tunekeeper.store.ledgers.signals import find_signals
from tunekeeper.store.ledgers.triggers import find_triggers
from tunekeeper.store.ledgers.versions import save_version
from tunekeeper.testing.desk import MODEL, Desk, World, write_rows

DAY = 86_400.0


def worker_of(desk: Desk, owner: str = "one") -> tuple[Worker, list[dict[str, Any]]]:
    said: list[dict[str, Any]] = []
    return Worker(ws=desk.ws, project=load_project(desk.folder), owner=owner, say=said.append), said


def cycles(desk: Desk, model: str = MODEL) -> list[Cycle]:
    with desk.ws.state.read() as tx:
        return find_cycles(tx, model=model)


def frozen(desk: Desk, rows: int = 40) -> str:
    """Dataset 1, which a version has learned."""
    config = load_project(desk.folder).model(MODEL)
    path = desk.folder / "data" / "rows.jsonl"
    write_rows(path, [World().ticket(desk.rng) for _ in range(rows)])
    import_files(desk.ws, config.task, config.sections["data"], [path])
    dataset = freezing.freeze(desk.ws, config.task, config.sections["data"], by="ana").id
    made = Version(
        id=f"{MODEL}@v0.9", model=MODEL, name="v0.9", major=0, minor=9, base="b", base_digest="sha256:b", dataset=dataset
    )
    with desk.ws.state.write(by="test") as tx:
        save_version(tx, made)
    return dataset


def test_a_round_without_anything_to_do_changes_no_route_and_opens_nothing(desk: Desk) -> None:
    worker, said = worker_of(desk)
    before = desk.route()
    assert worker.tick()
    assert desk.route() == before
    assert cycles(desk) == []
    assert [line for line in said if line["event"] in ("error", "overtaken", "fault")] == []


def test_what_the_worker_knows_gateways_can_tell(desk: Desk) -> None:
    worker, _ = worker_of(desk)
    assert worker.tick()
    path = desk.ws.root / "run" / FILE
    written = path.stat().st_mtime_ns
    assert [family.name for family in load_gauges(desk.ws.root)][-1] == "model_watchdog_timestamp_seconds"
    assert worker.tick()
    assert path.stat().st_mtime_ns == written, "not with every round"


def test_a_second_worker_does_nothing_while_the_first_holds_the_lease(desk: Desk) -> None:
    first, _ = worker_of(desk)
    second, said = worker_of(desk, "two")
    assert first.tick()
    open_cycle(desk.ws, MODEL, why="test", by="ana")
    assert not second.tick()
    assert (said, cycles(desk)[0].state) == ([], "open")
    assert first.tick()
    assert cycles(desk)[0].state == "failed", "there is no data: the first one took the step"


def test_a_worker_that_resigns_is_followed_at_once(desk: Desk) -> None:
    first, _ = worker_of(desk)
    second, _ = worker_of(desk, "two")
    first.tick()
    first.resign()
    assert second.tick()
    assert not first.tick()


def test_an_error_of_one_model_does_not_stop_another(desk: Desk) -> None:
    models = desk.folder / "models"
    (models / "zebra.yaml").write_text((models / f"{MODEL}.yaml").read_text().replace(f"model: {MODEL}", "model: zebra"))
    open_cycle(desk.ws, "zebra", why="test", by="ana")
    desk.traffic(60, DAY)
    worker, said = worker_of(desk)
    # What a model file says is checked when it is read: here it goes wrong afterwards.
    config = worker.project.models[MODEL]
    worker.project.models[MODEL] = replace(config, task=replace(config.task, format={"kind": "regex", "pattern": "("}))
    worker.tick()
    troubles = [line for line in said if line["event"] in ("error", "fault")]
    assert {line["model"] for line in troubles} == {MODEL}
    assert cycles(desk, "zebra")[0].state == "failed"


def edited(desk: Desk, worker: Worker) -> Trigger:
    """A good day, then one on which most answers are corrected; ends after the worker's round."""
    for wrong in (0.0, 0.7):
        desk.traffic(60, DAY, desk.faulty({"blue": wrong}))
        worker.tick()
    with desk.ws.state.read() as tx:
        return find_triggers(tx, model=MODEL)[0]


def test_alarms_become_a_trigger_and_the_trigger_one_cycle_that_knows_why(desk: Desk) -> None:
    frozen(desk)
    worker, said = worker_of(desk)
    trigger = edited(desk, worker)
    [cycle] = cycles(desk)
    assert (cycle.reason, cycle.trigger) == ("trigger", trigger.id)
    assert trigger.summary in cycle.why
    assert "corrections collected" in cycle.why
    assert {line["event"] for line in said} >= {"watched", "cycle", "closed"}
    assert cycle.state == "inconclusive", "the section asks for more corrections than there are"
    worker.tick()
    assert cycles(desk) == [cycle], "a trigger is taken once, and there is a cool-down"
    with desk.ws.state.read() as tx:
        assert {signal.name for signal in find_signals(tx, model=MODEL)} >= {"edit_rate", "format", "requests"}
    assert find_reviews(desk.ws, MODEL, state="open"), "what was measured is sampled for review"


def test_a_worker_obeys_the_files_of_its_project_as_they_are_changed(desk: Desk) -> None:
    file = desk.folder / "models" / f"{MODEL}.yaml"
    worker, said = worker_of(desk)
    worker.files = FileWatch(partial(project_files, desk.folder))
    before = file.read_text()
    file.write_text(before.replace("level: 3", "level: 2"))
    for _ in range(2):
        worker.tick()
    assert (worker.project.model(MODEL).task.level, said[-1]) == (2, {"event": "reloaded"})
    file.write_text(before.replace("level: 3", "level: many"))
    for _ in range(3):
        worker.tick()
    (refused,) = [line for line in said if line["event"] == "not_reloaded"]
    assert f"models/{MODEL}.yaml" in refused["why"]
    assert worker.project.model(MODEL).task.level == 2


def test_what_is_known_of_a_waiting_trigger(desk: Desk) -> None:
    config = load_project(desk.folder).model(MODEL)
    assert facts_of(desk.ws, config) is None
    write_level(desk, 2)
    careful, _ = worker_of(desk)
    edited(desk, careful)
    facts = facts_of(desk.ws, config)
    assert facts is not None
    edits = {each.request_id for each in desk.ws.log.feedback(model=MODEL, kind=("edit",))}
    assert (facts.corrections, facts.cycle_open, facts.last_closed) == (len(edits), False, None)
    assert cycles(desk) == [], "level 2: a person opens cycles"
    desk.say(desk.sent[0], "edit", "something else", by="another")
    desk.spool.feedback(
        {
            "id": "fb_x",
            "request_id": "req_of_another",
            "timestamp": desk.clock.utc(),
            "kind": "edit",
            "value": "x",
            "model_id": "zebra",
        }
    )
    desk.spool.flush()
    again = facts_of(desk.ws, config)
    assert again is not None
    assert again.corrections == len(edits | {desk.sent[0]}), "each request once, and of this model only"


def write_level(desk: Desk, level: int) -> None:
    file = desk.folder / "models" / f"{MODEL}.yaml"
    file.write_text(file.read_text().replace("level: 3", f"level: {level}"))


@contextmanager
def process(desk: Desk) -> Iterator[subprocess.Popen[bytes]]:
    """The worker as `up` starts it."""
    command = [sys.executable, "-m", "tunekeeper.retraining.worker", "--project", str(desk.folder), "--interval", "0.02"]
    source = str(Path(tunekeeper.__file__).parent.parent)
    with (desk.folder / "worker.err").open("ab") as err:
        child = subprocess.Popen(command, stderr=err, stdin=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": source})
    try:
        yield child
    finally:
        child.kill()
        child.wait()


def test_a_killed_worker_is_followed_by_another_that_goes_on(desk: Desk) -> None:
    with process(desk) as first:
        until(lambda: desk.ws.control.lease_alive("worker"))
        first.send_signal(signal.SIGKILL)
        first.wait()
    for database in (desk.ws.control, desk.ws.state):
        assert database.acquire_lease(LEASE, _owner(), 3600), "the dead one's lease, made so long that nobody waits for it"
    open_cycle(desk.ws, MODEL, why="test", by="ana")
    with process(desk) as second:
        until(lambda: cycles(desk)[0].state != "open")
        with process(desk) as third:
            assert third.wait(60) == 4, "two on one project are one too many"
        second.terminate()
        assert second.wait(60) == 0
    assert not desk.ws.control.lease_alive("worker"), "one that ends in order lets the next one in"
    said = (desk.folder / "worker.err").read_text().splitlines()
    assert [line for line in said if line.startswith("error: another worker runs on this project")]
    lines = [json.loads(line) for line in said if line.startswith("{")]
    assert [line["event"] for line in lines if line["event"] in ("closed", "error", "fault")] == ["closed"]


def test_the_worker_counts_the_tokens_that_a_server_did_not(desk: Desk) -> None:
    base = Path(__file__).parents[2] / "examples" / "support_desk" / "base"
    digest = digest_file(base / "tokenizer.json")
    names = {"id": f"{MODEL}@v1.0", "model": MODEL, "name": "v1.0", "base": str(base), "base_digest": "sha256:0"}
    version = Version(**names, major=1, minor=0, tokenizer_digest=digest)
    with desk.ws.state.write(by="test") as tx:
        save_version(tx, version)
    desk.traffic(3, 60.0)
    worker, said = worker_of(desk)
    worker.tick()
    worker.tick()
    found = desk.ws.log.find(model=MODEL)
    assert all((i.prompt_tokens or 0) > 10 and (i.completion_tokens or 0) > 2 for i in found)
    assert [line for line in said if line["event"] == "counted"] == [{"event": "counted", "model": MODEL, "records": 3}]


def test_once_a_week_what_users_said_comes_into_the_draft_and_status_says_so(desk: Desk) -> None:
    frozen(desk)
    desk.traffic(12, 7 * DAY, desk.faulty({"blue": 1.0}))
    worker, said = worker_of(desk)

    def collected() -> list[dict[str, Any]]:
        worker.collecting.clear()  # the desk's clock stands still: it would never look again
        worker.tick()
        return [line for line in said if line["event"] == "collected"]

    worker.tick()
    until(lambda: history(desk.ws, MODEL))
    assert [line["model"] for line in until(collected)] == [MODEL]
    [run] = history(desk.ws, MODEL)
    edited = {each.request_id for each in desk.ws.log.feedback(model=MODEL, kind=("edit",))}
    assert (set(run["added"]), run["by"], len(versions.log(desk.ws, MODEL))) == (edited, "schedule", 1)
    assert edited < {each.id for each in load_draft(desk.ws, MODEL)}
    [status] = [each for each in overview(desk.ws, [MODEL]) if each.model == MODEL]
    assert status.collected.endswith(f"by schedule: {run['told']}")
    worker.collecting.clear()
    worker.tick()
    assert len(history(desk.ws, MODEL)) == 1, "it is not due again"


def test_people_are_asked_to_look_at_a_version_that_was_promoted(desk: Desk) -> None:
    desk.traffic(120, DAY)
    [served] = {each.version for each in desk.ws.log.find(model=MODEL)}
    with desk.ws.control.write(by="rollout") as tx:
        started = desk.ws.clock.utc() - timedelta(days=2)
        save_rollout(
            tx,
            Rollout(id="rol_1", model=MODEL, version=f"{MODEL}@{served}", slot="blue", state="promoted", started_at=started),
        )
    worker, said = worker_of(desk)
    worker.tick()
    items = [item for item in find_reviews(desk.ws, MODEL) if item.why == "update"]
    assert len(items) == 20
    assert [line for line in said if line["event"] == "to review"] == [
        {"event": "to review", "model": MODEL, "answers": 20, "why": f"{served} is new: people look at its first answers"}
    ]
    worker.asking.clear()
    worker.tick()
    assert [item.id for item in find_reviews(desk.ws, MODEL) if item.why == "update"] == [item.id for item in items]
