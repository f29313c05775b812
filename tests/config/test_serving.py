from __future__ import annotations

import re
from pathlib import Path

import pytest

from tunekeeper.config.project import LogConfig
from tunekeeper.config.serving import load_routing_file, load_serve_file
from tunekeeper.config.slots import ServeFallback
from tunekeeper.core.errors import ConfigError

WHOLE = """\
durability: power
limits: {body_mb: 2}
models:
  desk:
    assign_by: user
    slots:
      a: {engine: openai, endpoint: "http://127.0.0.1:9/v1", model: m, api_key_env: KEY}
      b: {endpoint: "localhost:11434"}
    route: {a: 9000, b: 1000}
    fallback: [b, {slot: a, system: S, messages: [{role: user, content: hi}]}]
    shadow: {slot: b, share: 1000}
    timeouts: {connect: 1, first_token: 2}
    confidence_floor: 0.4
"""
TWO_SLOTS = """\
active_slot: "green"
blue:
  model: "customer-support-v2.1"
  endpoint: "localhost:11434"
green:
  model: "customer-support-v2.2"
  endpoint: "localhost:11435"
"""


def put(folder: Path, text: str) -> Path:
    path = folder / "gateway.yaml"
    path.write_text(text)
    return path


def refused(folder: Path, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_serve_file(put(folder, text))
    return str(caught.value).replace(str(folder), "")


def test_a_whole_file_is_read(tmp_path):
    file = load_serve_file(put(tmp_path, WHOLE))
    desk = file.models["desk"]
    assert (file.durability, file.limits.body_mb) == ("power", 2)
    assert (desk.weights(), desk.slots["b"].endpoint) == ({"a": 9000, "b": 1000}, "http://localhost:11434/v1")
    assert desk.fallback == ("b", ServeFallback(slot="a", system="S", messages=({"role": "user", "content": "hi"},)))
    assert (desk.timeouts.connect, desk.timeouts.total) == (1, 600)
    assert desk.confidence_floor == 0.4


def test_how_long_the_log_is_kept_is_said_for_each_gateway(tmp_path):
    assert load_serve_file(put(tmp_path, WHOLE)).log == LogConfig(days=395, body_days=30)
    assert load_serve_file(put(tmp_path, WHOLE + "log: {days: 90, body_days: null}\n")).log == LogConfig(days=90, body_days=None)
    assert "log.body_days is 91, longer than the 90 days" in refused(tmp_path, WHOLE + "log: {days: 90, body_days: 91}\n")
    assert "log.days is 0; it must lie above 0" in refused(tmp_path, WHOLE + "log: {days: 0}\n")


def test_probes_are_asked_for(tmp_path):
    assert load_serve_file(put(tmp_path, WHOLE)).probe_seconds == 0
    assert load_serve_file(put(tmp_path, WHOLE + "probe_seconds: 30\n")).probe_seconds == 30


def test_one_slot_needs_no_route(tmp_path):
    file = load_serve_file(put(tmp_path, "models: {m: {slots: {only: {endpoint: 'h:1'}}}}\n"))
    assert file.models["m"].weights() == {"only": 10_000}


def test_only_a_change_of_the_route_block_changes_its_digest(tmp_path):
    before = load_serve_file(put(tmp_path, WHOLE)).models["desk"].block()
    assert load_serve_file(put(tmp_path, WHOLE.replace("share: 1000", "share: 2000"))).models["desk"].block() == before
    assert load_serve_file(put(tmp_path, WHOLE.replace("a: 9000, b: 1000", "a: 8000, b: 2000"))).models["desk"].block() != before


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("route: {a: 9000, b: 1000}", "route: {a: 9000, b: 100}", "add up to 9100, not to 10000"),
        ("route: {a: 9000, b: 1000}", "route: {a: 9000, c: 1000}", ":9: 'c' is no slot of desk; known: a, b"),
        ("route: {a: 9000, b: 1000}", "", "has 2 slots and no route"),
        ("fallback: [b,", "fallback: [x,", ":10: 'x' is no slot of desk"),
        ("slot: b, share: 1000", "slot: z, share: 1000", "'z' is no slot"),
        ("share: 1000", "share: 20000", "not between 1 and 10000"),
        ("engine: openai", "engin: openai", ":7: unknown key 'engin' in models.desk.slots.a (fix: write 'engine')"),
        ('"localhost:11434"', '"ftp://x"', "'ftp://x' is no address"),
        ("  desk:", "  Desk!:", "'Desk!' cannot name a model"),
        ("durability: power", "durability: maybe", ":1: durability: invalid enum value 'maybe'"),
        ("floor: 0.4", "floor: 40", ":13: confidence_floor 40.0 is not above 0 and at most 1"),
        ("floor: 0.4", "floor: 0", "confidence_floor 0.0 is not above 0"),
        ("floor: 0.4", "floor: .nan", "confidence_floor nan is not above 0"),
        ("fallback: [b, {slot: a, system: S, messages: [{role: user, content: hi}]}]", "", "without a fallback does nothing"),
        ("body_mb: 2", "body_mb: 0", "must be positive"),
        ("durability: power", "probe_seconds: -1", ":1: probe_seconds is -1; write 0 or more seconds"),
        ("durability: power", "durabilty: power", "unknown key 'durabilty' (fix: write 'durability')"),
    ],
)
def test_what_is_wrong_in_the_file_is_told(tmp_path, old, new, said):
    assert said in refused(tmp_path, WHOLE.replace(old, new))


def test_a_file_without_models_is_refused(tmp_path):
    assert "no models" in refused(tmp_path, "durability: power\n")


def test_the_two_slot_file_gives_everything_to_the_active_slot(tmp_path):
    path = put(tmp_path, TWO_SLOTS)
    desk = load_routing_file(path, "customer-support").models["customer-support"]
    assert (desk.weights(), desk.static) == ({"green": 10_000}, str(path))
    assert desk.slots["blue"].endpoint == "http://localhost:11434/v1"


def test_an_active_slot_that_the_file_does_not_hold_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="active_slot is 'red', which is no slot of this file"):
        load_routing_file(put(tmp_path, TWO_SLOTS.replace('"green"', '"red"')), "m")
    with pytest.raises(ConfigError, match="active_slot is missing"):
        load_routing_file(put(tmp_path, "blue: {endpoint: 'h:1'}\n"), "m")


@pytest.mark.parametrize("active", ["1", "'1'"])
def test_a_slot_may_be_called_by_a_number(tmp_path, active):
    path = put(tmp_path, f"active_slot: {active}\n1: {{endpoint: 'h:1'}}\n2: {{endpoint: 'h:2'}}\n")
    assert load_routing_file(path, "m").models["m"].weights() == {"1": 10_000}


@pytest.mark.parametrize(("slot", "read"), [("1:30", "90"), ("on", "True")])
def test_a_word_that_yaml_reads_as_something_else_is_to_stand_in_quotes(tmp_path, slot, read):
    said = f"active_slot is {read}, which is no slot of this file (fix: name one of: {slot}, in quotes)"
    with pytest.raises(ConfigError, match=re.escape(said)):
        load_routing_file(put(tmp_path, f"active_slot: {slot}\n'{slot}': {{endpoint: 'h:1'}}\n"), "m")


def test_a_routing_file_is_named_as_its_owner_names_it(tmp_path):
    link = tmp_path / "current.yaml"
    link.symlink_to(put(tmp_path, TWO_SLOTS))
    assert load_routing_file(link, "m").models["m"].static == str(link), "a link that is exchanged changes no route by its name"
