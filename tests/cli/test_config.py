from __future__ import annotations

import json


def test_values_are_shown_with_their_origin(tell, project):
    shown = tell("config", "show", "--origin", "--dir", project, "--json").json
    assert shown["gateway.port"] == {"value": 8080, "origin": "tunekeeper.yaml:6"}
    assert shown["support-desk.training.rank"] == {"value": 16, "origin": "default"}
    assert "(default)" in tell("config", "show", "--origin", "--dir", project).out


def test_a_wrong_key_is_told_with_file_line_and_near_name(tell, project):
    (project / "tunekeeper.yaml").write_text("gateway:\n  prot: 1\n")
    told = tell("config", "check", "--dir", project)
    assert told.code == 2
    assert told.err == "error: tunekeeper.yaml:2: unknown key 'prot' in gateway (fix: write 'port')\n"


def test_the_schemas_describe_every_section_and_refuse_other_keys(tell):
    schema = json.loads(tell("config", "schema", "--model").out)
    rank = schema["$defs"]["training.Config"]["properties"]["rank"]
    assert (rank["type"], bool(rank["description"])) == ("integer", True)
    assert schema["additionalProperties"] is False
    project = json.loads(tell("config", "schema").out)
    assert set(project["properties"]) == {"project", "gateway", "notify", "worker", "log"}
    assert project["$defs"]["gateway.Limits"]["properties"]["body_mb"]["description"]
