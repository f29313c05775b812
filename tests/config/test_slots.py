"""The words of the `serving:` section, and of an entry of a serve file, refused with file, line and field."""

from __future__ import annotations

from pathlib import Path

import pytest

from tunekeeper.cli.app import main
from tunekeeper.config import load_project, origins
from tunekeeper.config.schema import model_schema
from tunekeeper.config.slots import ServeFallback, ServeShadow, ServeSlot, Serving, keyless
from tunekeeper.core.errors import ConfigError
from tunekeeper.core.nouns.serving import Timeouts

MODEL = """\
task: answers
serving:
  slots:
    big: {endpoint: "https://api.example.com/v1", model: big-1, api_key_env: BIG_KEY, price_in: 2.5, price_out: 10}
    local: {engine: ollama, endpoint: "localhost:11434", messages: [{role: user, content: hi}]}
  route: {big: 9000, local: 1000}
  fallback: [local, {slot: big, system: S}]
  shadow: {slot: local, share: 500}
  timeouts: {connect: 1}
  confidence_floor: 0.4
  durability: power
"""


def project(folder: Path, text: str = MODEL) -> Path:
    (folder / "models").mkdir(exist_ok=True)
    (folder / "tunekeeper.yaml").write_text("")
    (folder / "models" / "desk.yaml").write_text(text)
    return folder


def serving(folder: Path, text: str = MODEL) -> Serving:
    found: Serving = load_project(project(folder, text), environ={}).model("desk").sections["serving"]
    return found


def test_a_model_file_says_all_that_a_serve_file_can(tmp_path: Path) -> None:
    found = serving(tmp_path)
    assert (found.weights(), found.slots["local"].endpoint) == ({"big": 9000, "local": 1000}, "http://localhost:11434/v1")
    assert found.slots["local"].messages == ({"role": "user", "content": "hi"},)
    assert found.fallback == ("local", ServeFallback(slot="big", system="S"))
    assert (found.shadow, found.timeouts) == (ServeShadow(slot="local", share=500), Timeouts(connect=1))
    assert (found.confidence_floor, found.durability) == (0.4, "power")


def test_without_the_section_nothing_is_asked_for(tmp_path: Path) -> None:
    found = serving(tmp_path, "task: answers\n")
    assert (found, found.weights(), found.block()) == (Serving(), {}, None)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("price_in: 2.5,", "price_hour: 2,", ":4: one slot is paid by the hour or by tokens, not by both"),
        ("price_in: 2.5, price_out: 10", "price_hour: -2", ":4: price_hour is -2; a price is 0 or more USD per hour"),
        ("price_in: 2.5,", "adapter: 1,", ":4: openai takes no adapter's number (fix: write engine: llamacpp and a number"),
        ("price_in: 2.5,", "engine: llamacpp, adapter: -1,", ":4: adapter is -1; they count from 0"),
        ("price_in: 2.5,", "parallel: 0,", ":4: parallel is 0; a server gives 1 answer at once or more"),
        ("fallback: [local,", "fallback: [lokal,", ":7: 'lokal' is no slot of desk; known: big, local (fix: write 'local')"),
        ("{slot: big, system: S}", "{slot: xyz}", ":7: 'xyz' is no slot of desk"),
        ("route: {big: 9000", "route: {bigg: 9000", ":6: 'bigg' is no slot of desk; known: big, local (fix: write 'big')"),
        ("big: 9000", "big: 900", ":6: the weights of desk add up to 1900, not to 10000"),
        ("slot: local, share: 500", "slot: gone, share: 500", ":8: 'gone' is no slot of desk"),
        ("share: 500", "share: 0", ":8: share 0 is not between 1 and 10000"),
        ("connect: 1", "connect: 0", ":9: timeouts.connect is 0, not a number of seconds above 0"),
        ("connect: 1", "total: .inf", ":9: timeouts.total is inf"),
        ("connect: 1", "conect: 1", ":9: unknown key 'conect' in serving.timeouts (fix: write 'connect')"),
        ("floor: 0.4", "floor: 4", ":10: confidence_floor 4.0 is not above 0 and at most 1"),
        ("fallback: [local, {slot: big, system: S}]", "fallback: []", ":10: confidence_floor without a fallback does nothing"),
        (
            "durability: power",
            "durability: strong",
            ":11: serving.durability: invalid enum value 'strong' (fix: known: process, power)",
        ),
        ("price_in: 2.5", "price_in: -1", ":4: price_in is -1; a price is 0 or more USD per million"),
        ("price_in: 2.5", "price: 2.5", ":4: unknown key 'price' in serving.slots.big (fix: write 'price_in')"),
        ("engine: ollama", "engine: olama", ":5: serving.slots.local.engine: invalid enum value 'olama' (fix: write 'ollama')"),
        ('"localhost:11434"', '"ftp://x"', ":5: 'ftp://x' is no address (fix: write http://HOST:PORT/v1)"),
        ("model: big-1", 'version: "v1\\r\\nset-cookie: a"', r":4: 'v1\r\nset-cookie: a' has characters that cannot be seen"),
        ("{role: user, content: hi}", "{role: user}", ":5: a message needs role and content"),
        ("    local:", '    "lo cal":', "'lo cal' cannot name a slot"),
        ("serving:", "serving:\n  assign_by: key", "unknown key 'assign_by' in serving"),
    ],
)
def test_what_is_wrong_is_told_with_file_line_and_field(tmp_path: Path, old: str, new: str, said: str) -> None:
    text = MODEL.replace(old, new)
    if "lo cal" in new:
        text = text.replace("local", "lo cal").replace('"lo cal":', '"lo cal":').replace("lo calhost", "localhost")
        text = text.replace("{big: 9000, lo cal: 1000}", '{big: 9000, "lo cal": 1000}')
    with pytest.raises(ConfigError) as caught:
        serving(tmp_path, text)
    assert "models/desk.yaml:" in str(caught.value)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("h:1", "http://h:1/v1"),
        ("h:1/", "http://h:1/v1"),
        ("h:1/v1", "http://h:1/v1"),
        ("h/api/v1/", "http://h/api/v1"),
        ("[::1]:1", "http://[::1]:1/v1"),
        ("https://h", "https://h"),
    ],
)
def test_an_address_without_a_scheme_is_made_whole(tmp_path: Path, given: str, meant: str) -> None:
    assert serving(tmp_path, MODEL.replace("localhost:11434", given)).slots["local"].endpoint == meant


@pytest.mark.parametrize("endpoint", ["https://ana:hunter2@h:1/v1", "https://h/v1?key=hunter2", "https://h/v1#hunter2"])
def test_what_an_endpoint_cannot_say_is_refused_and_not_said_again(tmp_path: Path, endpoint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        serving(tmp_path, MODEL.replace('"localhost:11434"', f'"{endpoint}"'))
    assert ":5: an endpoint has no user, password, `?` or `#`" in str(caught.value)
    assert "api_key_env" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_key_in_the_place_of_its_variable_s_name_is_refused_and_not_said_again(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        serving(tmp_path, MODEL.replace("BIG_KEY", "sk-proj-4711"))
    assert ":4: api_key_env is no name of an environment variable (fix: put the key into .env" in str(caught.value)
    assert "4711" not in str(caught.value)


def test_config_show_says_where_each_word_stands_and_the_schema_knows_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = {each.key: each.origin for each in origins(load_project(project(tmp_path), environ={}))}
    assert found["desk.serving.confidence_floor"] == "models/desk.yaml:10"
    assert found["desk.serving.timeouts.connect"] == "models/desk.yaml:9"
    assert found["desk.serving.timeouts.total"] == "default"
    assert main(["config", "show", "--dir", str(tmp_path), "--json"]) == 0
    assert '"api_key_env":"BIG_KEY"' in capsys.readouterr().out.replace(" ", "")
    properties = model_schema()["$defs"]["serving.ServeSlot"]["properties"]
    assert properties["api_key_env"]["description"].startswith("Name of the environment variable")


@pytest.mark.parametrize(
    ("value", "said"), [(None, ["B"]), ("", ["B"]), ("\n", ["B"]), ("sk\n1", ["B"]), ("sk-1", []), ("sk-1\n", [])]
)
def test_a_slot_whose_key_is_in_no_variable_is_named(value: str | None, said: list[str]) -> None:
    environ = {} if value is None else {"B": value}
    slots = {"hosted": ServeSlot(endpoint="http://x/v1", api_key_env="B"), "local": ServeSlot(endpoint="http://y/v1")}
    assert keyless({"desk": Serving(slots=slots)}, environ) == [("desk/hosted", name) for name in said]
