from __future__ import annotations

import json

from tunekeeper.core.nouns.serving import Slot
from tunekeeper.deployment.slots import declare_slots
from tunekeeper.notify.follower import place_path
from tunekeeper.rollout.moves import rollback, seed_routes, set_route
from tunekeeper.rollout.routes import RouteSeed
from tunekeeper.workspace import open_workspace


def serve_two(project):
    """The model answers from slot a; b stands by."""
    ws = open_workspace(project / ".tunekeeper", project=project)
    slots = [Slot(id=name, model="support-desk", version=f"v-{name}", endpoint="http://127.0.0.1:9/v1") for name in "ab"]
    declare_slots(ws, slots)
    seed_routes(ws, [RouteSeed(model="support-desk", weights={"a": 10_000}, block="1")], by="test")
    return ws


def test_a_new_project_serves_nothing_and_says_so(tell, project):
    told = tell("status", "--dir", project)
    assert (told.code, told.out.splitlines()[0]) == (0, "NOT SERVING: support-desk, nothing is live")
    assert tell("status", "support-dsk", "--dir", project).code == 2


def test_status_says_what_is_live_and_history_what_was(tell, project):
    ws = serve_two(project)
    set_route(ws, "support-desk", {"b": 10_000}, by="ann")
    rollback(ws, "support-desk", by="ann", reason="too slow")
    assert tell("status", "--dir", project).out.splitlines()[2].endswith(" –"), "nothing runs: how servers were is long ago"
    (model,) = tell("status", "--dir", project, "--json").json["models"]
    assert (model["live"], model["shares"][0]["weight"]) == ("v-a", 10_000)
    assert model["verdict"].startswith(("NOT ENOUGH EVIDENCE: support-desk, live v-a", "INCIDENT: support-desk, live v-a"))
    lines = tell("history", "support-desk", "--dir", project, "--json").json["promotions"]
    assert [(line["kind"], line["version"]) for line in lines] == [
        ("rollback", "v-a"),
        ("promotion", "v-b"),
        ("promotion", "v-a"),
    ]


def test_history_names_the_slot_that_a_rollback_left(tell, project):
    ws = serve_two(project)
    set_route(ws, "support-desk", {"a": 9_000, "b": 1_000}, by="ann")
    rollback(ws, "support-desk", by="ann", reason="too slow")
    assert tell("history", "support-desk", "--dir", project).out.splitlines()[1].split()[2:] == ["rollback", "v-a", "a", "b"]


def test_history_needs_no_configuration(tell, project):
    serve_two(project)
    (project / "tunekeeper.yaml").write_text("broken: [")
    assert tell("history", "support-desk", "--dir", project).code == 0
    assert tell("status", "--dir", project).code == 2


def test_a_sink_that_takes_no_records_is_named(tell, project):
    serve_two(project)
    with (project / "tunekeeper.yaml").open("a") as file:
        file.write("log: {sinks: [{kind: datadog, name: dd}, {kind: stdout}]}\n")
    assert tell("status", "--dir", project, "--json").json["sinks_away"] == {}
    place = {"front": "2026-01-05T09:00:00Z", "error": "intake: 503 busy", "since": "2026-01-05T09:30:00Z"}
    path = place_path(project / ".tunekeeper", "dd")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(place))
    assert tell("status", "--dir", project, "--json").json["sinks_away"] == {"dd": "intake: 503 busy, since 2026-01-05 09:30"}
    last = tell("status", "--dir", project).out.splitlines()[-1]
    assert last == "sink dd takes no records: intake: 503 busy, since 2026-01-05 09:30"


def test_of_many_models_those_that_cannot_wait_come_first_and_the_rest_is_a_table(tell, project):
    ws = serve_two(project)
    for name in ("apples", "pears", "plums"):
        assert tell("init", project, "--model", name).code == 0
    assert tell("status", "--dir", project).out.splitlines() == [
        "4 models: 1 not enough evidence, 3 not serving",
        "",
        "model         state                now                                         last 24 h  failed  edited",
        "support-desk  not enough evidence  live v-a, no window of it was measured yet          0       0       0",
        "apples        not serving          nothing is live                                     0       0       0",
        "pears         not serving          nothing is live                                     0       0       0",
        "plums         not serving          nothing is live                                     0       0       0",
        "",
        "nothing is running: tunekeeper up",
    ]
    set_route(ws, "support-desk", {"b": 10_000}, by="ann")
    rollback(ws, "support-desk", by="ann", reason="too slow")
    lines = tell("status", "--dir", project).out.splitlines()
    assert (lines[0], lines[2][:22]) == ("4 models: 1 incident, 3 not serving", "INCIDENT: support-desk")
    [incident] = tell("incident", "ls", "--dir", project, "--json").json
    assert f"  once it is understood: tunekeeper incident close {incident['id']}" in lines
    why = ("--why-missed", "no such case", "--what-changes", "the suite", "--retry-on", "2026-02-01")
    assert tell("incident", "close", incident["id"], *why, "--dir", project).code == 0
    set_route(ws, "support-desk", {"a": 9_000, "b": 1_000}, by="ann", override="slowly")
    assert "measured yet, a 90 %, b 10 %" in tell("status", "--dir", project).out
    assert tell("status", "apples", "--dir", project).out.startswith("NOT SERVING: apples, nothing is live\n  last 24 h: 0")
